"""Hydra's work on files, done once in a process: thousands of tests compose the same groups of the same files.

What Hydra finds and merges depends on the chosen groups and on what is in the files alone. Values are set afterwards,
by Hydra itself, each time. What is refused is refused by Hydra itself, too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig

KEPT = 512  # some 20 kB each
OF_ONE_TEST = ("PYTEST_CURRENT_TEST", "SWEEPLAB_LEASES")  # no config reads them


@contextmanager
def composing_once() -> Iterator[None]:
    """Have Hydra do so."""
    compose = ConfigLoaderImpl._compose_config_from_defaults_list
    with pytest.MonkeyPatch.context() as patch:
        lists = _Once(config_loader_impl.create_defaults_list)
        configs = _Once(compose)

        def list_once(
            repo: Any, config_name: str | None, overrides_list: list[Any], **how: bool
        ) -> Any:
            groups = [each for each in overrides_list if _chooses_group(repo, each)]
            words = [each.input_line for each in groups]
            key = (_state(repo), config_name, tuple(words), tuple(sorted(how.items())))
            listed = lists(key, repo, config_name, groups, **how)
            values = [each for each in overrides_list if not _chooses_group(repo, each)]
            listed.config_overrides.extend(each for each in values if not each.is_sweep_override())
            return listed

        def compose_once(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
            return configs((_state(repo), repr(defaults)), loader, defaults=defaults, repo=repo)

        patch.setitem(_plugin(), "register_experiments", _Registered())
        patch.setattr(DictConfig, "__deepcopy__", _copied)
        patch.setattr(config_loader_impl, "create_defaults_list", list_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_once)
        yield


class _Once:
    """A function whose results are kept as bytes, so that each caller gets one of its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._kept: dict[object, bytes] = {}

    def __call__(self, key: object, *given: Any, **more: Any) -> Any:
        if key not in self._kept:
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = pickle.dumps(self._function(*given, **more))
        return pickle.loads(self._kept[key])  # noqa: S301


_deepcopy = DictConfig.__deepcopy__


def _copied(config: DictConfig, memo: dict[int, Any]) -> DictConfig:
    """Copy a config as OmegaConf does, in half the time: its own way takes a third of a small run."""
    children = config.__dict__["_content"]
    if not isinstance(children, dict):
        return _deepcopy(config, memo)
    nodes = [config, *children.values()]
    parents = [node.__dict__["_parent"] for node in nodes]
    try:
        for node in nodes:
            node.__dict__["_parent"] = None  # which are not copied
        text = pickle.dumps(config)
    except Exception:  # a class of a function, for one
        text = b""
    finally:
        for node, parent in zip(nodes, parents, strict=True):
            node.__dict__["_parent"] = parent
    if not text:
        return _deepcopy(config, memo)
    copied: DictConfig = pickle.loads(text)  # noqa: S301
    copied.__dict__["_parent"] = parents[0]
    for node in copied.__dict__["_content"].values():
        node.__dict__["_parent"] = copied
    return copied


def _plugin() -> dict[str, Any]:
    """The module that registers experiments, of which Hydra has loaded one of its own."""
    found = {each.__name__: each for each in Plugins.instance().discover(SearchPathPlugin)}
    names: dict[str, Any] = found["SweeplabSearchPath"].manipulate_search_path.__globals__
    return names


class _Registered:
    """`register_experiments`, which puts the same nodes back for a folder whose files are the same."""

    def __init__(self) -> None:
        self._register = _plugin()["register_experiments"]
        self._nodes: dict[object, dict[str, Any]] = {}

    def __call__(self, folder: Path) -> None:
        state = (folder, *_files(str(folder)))
        options = ConfigStore.instance().repo.setdefault("experiment", {})
        if state not in self._nodes:
            self._register(folder)
            self._nodes[state] = {file.name: options[file.name] for file in folder.glob("*.yaml")}
        options.update(self._nodes[state])


def _chooses_group(repo: Any, override: Any) -> bool:
    """Decide as Hydra does: a dict is a value, even that of a group."""
    is_value = override.is_sweep_override() or isinstance(override.value(), dict)
    return not is_value and bool(repo.group_exists(override.key_or_group))


def _state(repo: Any) -> object:
    """What the files of a repository hold, by their times and sizes; looked at once, as the repository reads them once."""
    if not hasattr(repo, "state_for_tests"):
        sources = [(each.scheme(), each.path) for each in repo.get_sources()]
        files = [tuple(_files(path)) for scheme, path in sources if scheme == "file"]
        environment = {k: v for k, v in os.environ.items() if k not in OF_ONE_TEST}
        state = (sources, files, sorted(environment.items()), _registered())
        repo.state_for_tests = repr(state)
    return repo.state_for_tests


def _files(folder: str) -> Iterator[tuple[str, int, int, int]]:
    if not os.path.isdir(folder):  # noqa: PTH112  # a composition is not to wait for this
        return
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(entry.path)
        elif entry.name.endswith((".yaml", ".yml")):
            found = entry.stat()
            yield entry.path, found.st_ino, found.st_mtime_ns, found.st_size


@cache
def _own_nodes() -> dict[int, Any]:
    """The configs that Hydra and its plugins have registered; they stay alive, so that their ids stay theirs."""
    return {id(each): each for _, each in _nodes(ConfigStore.instance().repo)}


def _registered() -> list[str]:
    """What tests have registered beside these."""
    nodes = list(_nodes(ConfigStore.instance().repo))
    others = [f"{name}: {each}" for name, each in nodes if id(each) not in _own_nodes()]
    return [f"{len(nodes)} nodes", *others]


def _nodes(registered: dict[str, Any], folder: str = "") -> Iterator[tuple[str, Any]]:
    for name, node in registered.items():
        if isinstance(node, dict):
            yield from _nodes(node, f"{folder}/{name}")
        else:
            yield f"{folder}/{name}", node
