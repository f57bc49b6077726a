"""What a composed config is made of: files and defaults, one upon the other, then overrides.

Hydra's private functions are used here and in `sweep/compose.py` only: they have been these since
1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.config.composing import conf_dir, quote_home
from sweeplab.config.hydra_calls import hydra_in
from sweeplab.config.nodes import Node
from sweeplab.config.sections import defaults

if TYPE_CHECKING:
    from hydra.core.default_element import ResultDefault
    from hydra.core.override_parser.types import Override
    from hydra.plugins.config_source import ConfigResult, ConfigSource
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
    hidden: ConfigLayer | None = (
        None  # the file of the same name in a folder that is searched later
    )

    @property
    def group(self) -> str:
        """The group that the file is an option of; '' for a primary config."""
        return self.name.rpartition("/")[0]


@dataclass(kw_only=True, slots=True)
class Layers:
    """A composed config, and all that it is made of; what comes later wins."""

    composed: DictConfig
    layers: list[ConfigLayer]
    overrides: list[Override]  # of values, in their order
    choices: dict[str, str | None]  # group -> option
    typed: dict[str, str]  # group -> the override that chooses its option
    choosers: dict[str, str] = field(default_factory=dict)  # group -> the config that overrides it

    @classmethod
    def of(cls, words: Sequence[str], folder: Path, name: str) -> Layers:
        """Compose the config `name` of a folder, with the overrides of a command line."""
        from hydra.types import RunMode

        words = quote_home(words)
        with hydra_in(folder) as hydra:
            loader: Any = hydra.config_loader
            composed = loader.load_configuration(name, words, RunMode.RUN)
            parsed, repository = loader._parse_overrides_and_create_caching_repo(name, words)
            listed = loader.compute_defaults_list(name, words, RunMode.RUN)
            sources = repository.get_sources()
            layers = []
            for default in listed.defaults:
                result = loader._load_single_config(default, repository)
                layers.append(_layer(default, result, sources, folder))
        if SCHEMA not in [layer.name for layer in layers]:  # a conf/ that does without
            layers.insert(0, _schema())
        known = listed.overrides
        choosers = {
            group: str(metadata.containing_config_path)
            for group, metadata in known.override_metadata.items()
            if not metadata.external_override
        }
        values = listed.config_overrides
        typed = {
            override.key_or_group: str(override.input_line)
            for override in parsed
            if override not in values
        }
        return cls(
            composed=composed,
            layers=layers,
            overrides=values,
            choices=dict(known.known_choices),
            typed=typed,
            choosers=choosers,
        )


def _layer(
    default: ResultDefault, result: ConfigResult, sources: Sequence[ConfigSource], folder: Path
) -> ConfigLayer:
    name, package = str(default.config_path), default.package or ""
    layer = ConfigLayer(
        name=name,
        provider=result.provider,
        file=_file(result.path, name, folder),
        package=package.split(".") if package else [],
        values=_plain(result.config),
    )
    for source in sources:
        path = f"{source.scheme()}://{source.path}"
        file = _file(path, name, folder)
        if source.scheme() != "file" or file == layer.file or not source.is_config(name):
            continue
        layer.hidden = ConfigLayer(
            name=name,
            provider=source.provider,
            file=file,
            package=layer.package,
            values=_embedded(source.load_config(name).config, layer.package),
        )
        break
    return layer


def _file(path: str, name: str, folder: Path) -> Path | None:
    """Return the file of a config; an experiment is registered from one beside `folder`."""
    if path.startswith("file://"):
        return Path(path.removeprefix("file://")).resolve() / f"{name.removesuffix('.yaml')}.yaml"
    if name.startswith("experiment/"):
        return folder.resolve().parent / "experiments" / f"{name.partition('/')[2]}.yaml"
    return None


def _schema() -> ConfigLayer:
    node = {section: dict(values) for section, values in defaults().items()}
    return ConfigLayer(name=SCHEMA, provider="sweeplab", file=None, package=[], values=node)


def _embedded(config: Any, package: Sequence[str]) -> Any:
    values = _plain(config)
    if isinstance(values, dict):
        values.pop("defaults", None)
    for name in reversed(package):
        values = {name: values}
    return values


def _plain(config: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)


def is_packaged(file: Path) -> bool:
    """Whether a file ships with sweeplab."""
    return file.is_relative_to(conf_dir())


def plain_values(config: DictConfig) -> Node:
    """Return a composed config as plain data, interpolations unresolved."""
    values = _plain(config)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
