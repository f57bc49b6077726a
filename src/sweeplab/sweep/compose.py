"""The jobs of a sweep as configs: exactly those that Hydra composes, many times faster."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, flag_override

from sweeplab.config import as_plain, flatten, yaml_error

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

BASES = 256  # choices of config groups that are kept composed

_OF_HYDRA = re.compile(r"\$\{[^}]*(?:hydra|\$\{)")
"""An interpolation that may lead into Hydra's own section; a nested one may lead anywhere."""


class Composer:
    """Composes the jobs of a sweep; `master` is the command's config, as a sweeper gets it."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader: Any = loader
        self._master = master
        self._parse = lru_cache(maxsize=4096)(self._parse_anew)
        self._base = lru_cache(maxsize=BASES)(self._compose_base)

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config that Hydra composes, or raise what it raises.

        Hydra's own section may be missing.
        """
        from hydra.errors import ConfigCompositionException

        try:
            composed = self._compose_quickly(overrides)
        except ConfigCompositionException:
            raise
        except Exception:  # an unreadable override, or an unknown version of Hydra
            composed = None
        if composed is None:
            return self._compose_by_hydra(overrides)
        if isinstance(composed, Exception):
            raise composed.with_traceback(None)
        return composed

    def _compose_by_hydra(self, overrides: Sequence[str]) -> DictConfig:
        composed = self._loader.load_sweep_config(self._master, list(overrides))
        assert isinstance(composed, DictConfig)
        return composed

    def _compose_quickly(self, overrides: Sequence[str]) -> DictConfig | Exception | None:
        """Do what Hydra does, but only once for each choice of config groups.

        Returns None for what only Hydra itself can do. This is the one place that uses Hydra's
        private functions: they have been these since 1.1.
        """
        from hydra._internal.config_loader_impl import ConfigLoaderImpl

        groups: list[str] = []
        values: list[Override] = []
        for text in overrides:
            kind, override = self._parse(text)
            if kind == "special":
                return None
            if kind == "group":
                groups.append(text)
            else:
                values.append(override)
        base = self._base(tuple(groups))
        if not isinstance(base, bytes):
            return base
        # Five times as fast as copy.deepcopy, and of our own making.
        config: DictConfig = pickle.loads(base)  # noqa: S301
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config

    @property
    def experiment(self) -> str | None:
        """The experiment that the command chooses."""
        choice = OmegaConf.select(self._master, "hydra.runtime.choices.experiment")
        return None if choice is None else str(choice)

    @property
    def experiments(self) -> list[str]:
        """The names of all experiments."""
        return [str(name) for name in self._groups.get_group_options("experiment")]

    def option(self, group: str, name: str) -> dict[str, Any]:
        """Return what an option of a group sets in the whole config: dotted keys with values.

        A group of which it chooses an option is one of the keys. Empty for an option that only sets
        keys of its own section, and for none.
        """
        loaded = self._groups.load_config(f"{group}/{name}")
        if loaded is None or loaded.header.get("package") != "_global_":
            return {}
        keys = flatten(as_plain(loaded.config, resolve=False))
        for default in loaded.defaults_list:
            if getattr(default, "override", False):
                chosen = default.group.lstrip("/")
                keys |= {chosen: default.value, **self.option(chosen, str(default.value))}
        return keys

    @cached_property
    def _groups(self) -> Any:
        """Hydra's repository of config groups, with the search path of the command."""
        hydra = self._master.hydra
        _, repository = self._loader._parse_overrides_and_create_caching_repo(
            hydra.job.config_name,
            OmegaConf.to_container(hydra.overrides.hydra),
        )
        return repository

    def _parse_anew(self, text: str) -> tuple[str, Override]:
        """Return `group`, `value` or `special`, and the override.

        Decides as Hydra does: a dict is a value, even that of a group.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser

        override = OverridesParser.create().parse_override(text)
        name = re.split(r"[./]", override.key_or_group)[0]
        if override.is_sweep_override() or name == "hydra" or _OF_HYDRA.search(text):
            return "special", override
        if isinstance(override.value(), dict):
            return "value", override
        if self._groups.group_exists(override.key_or_group):
            return "group", override
        return "value", override

    def _compose_base(self, groups: tuple[str, ...]) -> bytes | Exception | None:
        """Compose a choice of groups and pickle it, without Hydra's own section.

        Copying that section would cost most of the time. Returns None if something refers to it.
        """
        try:
            config = self._compose_by_hydra(groups)
        except Exception as error:
            return yaml_error(error) or error.with_traceback(None)  # its frames would hold much
        with flag_override(config, ["struct", "readonly"], False):
            del config["hydra"]
        if _OF_HYDRA.search(str(OmegaConf.to_container(config, resolve=False))):
            return None
        return pickle.dumps(config)
