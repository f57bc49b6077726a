"""Every key of a config with its type, default and meaning, and every option of a group.

The words are those of the comments in conf/, which stand beside the keys that they explain.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from sweeplab.config import origins
from sweeplab.config.hydra_calls import conf_dir, hydra_in
from sweeplab.config.layers import Layers
from sweeplab.config.sections import SECTIONS, SEEDS
from sweeplab.config.text import SCALAR_NAMES
from sweeplab.config.validation import expected

COMMENTED = {"": "config", "data": "data/mnist", "trainer": "trainer/default"}
COMMENTED["tracking"] = "tracking/mlflow"
"""The files of sweeplab's conf/ that comment every key of a typed section."""

CLASS_PATH = "the dotted name of a class or a function, as torch.nn.Linear"
WHAT_IS_BUILT = "what is built, with the other keys of the section as its arguments"

_COMMENT = re.compile(r":?\s*#\s*(.*\S)")
_CONTINUED = re.compile(r"\s*#\s*(.*\S)\s*")


@dataclass(kw_only=True, slots=True, frozen=True)
class ConfigKey:
    """A key of a config."""

    key: str  # as in trainer.epochs
    allowed: str  # the values that it takes, in words: "a whole number >= 1"; '' if any class says
    default: Any  # as it is written, which may be an interpolation
    meaning: str  # '' if no file says
    choices: tuple[str, ...] = ()  # if it takes one of a few words


def config_keys(layers: Layers) -> list[ConfigKey]:
    """Return every key of a composed config, Hydra's own left out, in the config's order."""
    meanings: dict[str, str] = {}
    for section, name in COMMENTED.items():
        meanings |= _comments(conf_dir() / f"{name}.yaml", section)
    for layer in layers.layers:
        hidden = layer.hidden
        for each in (hidden, layer) if hidden is not None else (layer,):
            if each.file is not None:
                meanings |= _comments(each.file, ".".join(each.package))
    values = {key: origins.find(layers.values, key) for key in origins.keys_of(layers)}
    return _described(values, meanings)


def option_keys(group: str, option: str) -> list[ConfigKey]:
    """Return the keys that the file of an option of sweeplab's own sets."""
    from omegaconf import OmegaConf

    file, section = conf_dir() / group / f"{option}.yaml", group.replace("/", ".")
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(content, dict)
    content.pop("defaults", None)
    keys = origins.leaves(content, section)
    values = {key: origins.find(content, key.removeprefix(f"{section}.")) for key in keys}
    return _described(values, _comments(file, section))


def _described(values: Mapping[str, Any], meanings: Mapping[str, str]) -> list[ConfigKey]:
    """Put together what is known of keys with these values."""
    typed = dict(_typed_keys())
    keys = []
    for key, value in values.items():
        allowed, choices = typed.get(key, ("", ()))
        meaning = meanings.get(key, "")
        if key.endswith("._target_"):
            allowed = CLASS_PATH
            meaning = meaning or meanings.get(key.removesuffix("._target_")) or WHAT_IS_BUILT
        elif key not in typed and "${" not in str(value):
            allowed = SCALAR_NAMES.get(type(value), "")
        keys.append(
            ConfigKey(key=key, allowed=allowed, default=value, meaning=meaning, choices=choices)
        )
    return keys


def group_options(folder: Path | None = None) -> dict[str, dict[str, str]]:
    """Return the options of every group of a folder of configs, each with what its file says first.

    Without a folder it is sweeplab's own conf/, which every folder's options are beside.
    """
    folder = folder or conf_dir()
    with hydra_in(folder) as hydra:
        loader = hydra.config_loader
        groups = [group for group in loader.list_groups("") if group != "hydra"]
        names = {group: sorted(loader.get_group_options(group)) for group in groups}
    described: dict[str, dict[str, str]] = {}
    for group, options in names.items():
        if options:
            described[group] = {name: _heading(folder, group, name) for name in options}
    return described


def _typed_keys() -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Yield the keys of the schema with the values that they take, in words, and as choices."""
    yield "seed", (str(SEEDS["allowed"]), ())
    for name, section in SECTIONS.items():
        yield from _of_section(name, section)


def _of_section(name: str, section: Any) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    hints = typing.get_type_hints(section)
    for field in fields(section):
        key, hint = f"{name}.{field.name.removesuffix('_')}", hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _of_section(key, hint)
            continue
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        is_optional = types.NoneType in kinds
        kind = next(kind for kind in kinds if kind is not types.NoneType)
        choices = tuple(field.metadata.get("choices", ()))
        yield key, (expected(kind, field.metadata, is_optional=is_optional), choices)


# --- Comments of YAML files -----------------------------------------------------------------------


def _comments(file: Path, section: str) -> dict[str, str]:
    """Return the comment of each key in a file, by the key's whole name."""
    import yaml

    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    return dict(_below(yaml.compose(text, yaml.SafeLoader), section, lines))


def _below(node: Any, section: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    if getattr(node, "id", "") != "mapping":
        return
    for name, value in node.value:
        key = f"{section}.{name.value}" if section else name.value
        line = name.end_mark.line
        end = value.end_mark if value.end_mark.line == line else name.end_mark
        comment = _COMMENT.match(lines[line][end.column :].lstrip())
        if comment is not None:
            yield key, " ".join([comment[1], *_comment_lines(lines[line + 1 :])])
        yield from _below(value, key, lines)


def _comment_lines(lines: list[str]) -> Iterator[str]:
    """Yield the text of the lines of comments that a list of lines begins with."""
    for line in lines:
        comment = _CONTINUED.fullmatch(line)
        if comment is None:
            return
        yield comment[1]


def _heading(folder: Path, group: str, name: str) -> str:
    """Return the comment that the file of an option begins with; '' if it has none."""
    places = [folder / group, conf_dir() / group]
    if group == "experiment":
        places = [folder.resolve().parent / "experiments"]
    for place in places:
        file = place / f"{name}.yaml"
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            return " ".join(each for each in _comment_lines(lines) if not each.startswith("@"))
    return ""
