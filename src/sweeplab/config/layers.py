"""What a composed config is made of: files and defaults, one upon the other, then overrides.

Hydra's private functions are used here and in `sweep/compose.py` only: they have been these since
1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.config.composing import quote_words
from sweeplab.config.hydra_calls import hydra_in
from sweeplab.config.nodes import Node
from sweeplab.config.sections import defaults

if TYPE_CHECKING:
    from hydra.core.default_element import ResultDefault
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

SCHEMA = "sections"
"""The name under which the defaults of the typed sections are registered."""


@dataclass(kw_only=True, slots=True)
class ConfigLayer:
    """A file of configs, or a node that a program has registered, as Hydra merges it."""

    name: str  # as in trainer/default
    provider: str  # of the folder: main, sweeplab, hydra
    file: Path | None
    package: list[str]  # the section that it is put into
    values: Any  # with its package around them, interpolations unresolved
    hidden: ConfigLayer | None = None  # of the same name, where Hydra looks later

    @property
    def group(self) -> str:
        """The group that the file is an option of; '' for a primary config."""
        return self.name.rpartition("/")[0]


@dataclass(kw_only=True, slots=True)
class Layers:
    """A composed config, and all that it is made of; what comes later wins."""

    composed: DictConfig
    values: Node  # the same as plain data, interpolations unresolved
    layers: list[ConfigLayer]
    overrides: list[Override]  # of values
    choices: dict[str, str | None]  # group, or group@package -> option
    typed: dict[str, str]  # group -> the override of the command line that chooses its option
    choosers: dict[str, str | None]  # group -> the config whose defaults list overrides it

    @classmethod
    def of(cls, words: Sequence[str], folder: Path, name: str) -> Layers:
        """Compose the config `name` of a folder, with the overrides of a command line."""
        from hydra.types import RunMode

        words = quote_words(words)
        with hydra_in(folder) as hydra:
            loader: Any = hydra.config_loader
            composed = loader.load_configuration(name, words, RunMode.RUN)
            parsed, repository = loader._parse_overrides_and_create_caching_repo(name, words)
            listed = loader.compute_defaults_list(name, words, RunMode.RUN)
            layers = [_layer(default, loader, repository, folder) for default in listed.defaults]
        if SCHEMA not in [layer.name for layer in layers]:  # a conf/ that does without
            schema = ConfigLayer(
                name=SCHEMA, provider="sweeplab", file=None, package=[], values=defaults()
            )
            layers.insert(0, schema)
        values = listed.config_overrides
        chosen = [override for override in parsed if override not in values]
        metadata = listed.overrides.override_metadata
        return cls(
            composed=composed,
            values=_plain(composed),
            layers=layers,
            overrides=values,
            choices=dict(listed.overrides.known_choices),
            typed={word.get_key_element().lstrip("+~"): str(word.input_line) for word in chosen},
            choosers={group: choice.containing_config_path for group, choice in metadata.items()},
        )


def _layer(default: ResultDefault, loader: Any, repository: Any, folder: Path) -> ConfigLayer:
    """Load a config as Hydra does, and those of the same name that it hides."""
    name = str(default.config_path)
    layer: ConfigLayer | None = None
    for source in reversed(repository.get_sources()):
        if not source.is_config(name):
            continue
        result = loader._embed_result_config(source.load_config(name), default.package)
        file = _file(result.path, name, folder)
        if layer is not None and file == layer.file:  # the same folder once more
            continue
        layer = ConfigLayer(
            name=name,
            provider=result.provider,
            file=file,
            package=[part for part in (default.package or "").split(".") if part],
            values=_plain(result.config),
            hidden=layer,
        )
    assert layer is not None
    return layer


def _file(path: str, name: str, folder: Path) -> Path | None:
    """Return the file of a config; an experiment is registered from one beside `folder`."""
    if path.startswith("file://"):
        return Path(path.removeprefix("file://")).resolve() / f"{name.removesuffix('.yaml')}.yaml"
    if name.startswith("experiment/"):
        return folder.resolve().parent / "experiments" / f"{name.partition('/')[2]}.yaml"
    return None


def _plain(config: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)
