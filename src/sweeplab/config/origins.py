"""Where the value of a key comes from, and what it would be without that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeplab.config.composing import conf_dir
from sweeplab.config.layers import ConfigLayer, Layers, is_packaged, plain_values
from sweeplab.config.nodes import Node
from sweeplab.config.reading import root
from sweeplab.config.resolving import register

ENVIRONMENT = {
    "tracking.uri": "MLFLOW_TRACKING_URI",
    "tracking.experiment": "MLFLOW_EXPERIMENT_NAME",
}
"""Variables that are taken where a key is null."""

MISSING = object()
REMOVED = object()
NOT_GIVEN = "???"  # what OmegaConf has where a value is still to be given
_REFERENCE = re.compile(r"\$\{([^{}:]+)\}")
_VARIABLE = re.compile(r"\$\{oc\.env:([^{},]+)")


@dataclass(kw_only=True, slots=True)
class Origin:
    """A place that gives a key a value, or takes the key out."""

    kind: str  # override, sweep, file, default, hydra, environment, class
    value: Any = None
    text: str = ""  # the override, the variable, or the name of what is no file
    file: Path | None = None
    line: int | None = None
    is_removal: bool = False
    chosen: str = ""  # the override of the command line that chooses the file


@dataclass(kw_only=True, slots=True)
class Explained:
    """A key, its value, and all that gives it one, the first of which holds."""

    key: str
    value: Any
    origins: list[Origin]
    is_choice: bool = False  # of an option of a group
    references: list[Explained] = field(default_factory=list)  # what its value is taken from


def keys_of(layers: Layers, prefix: str = "") -> list[str]:
    """Return the keys of the composed config, or of a section of it; those of Hydra only if asked."""
    values = plain_values(layers.composed)
    if not prefix:
        values.pop("hydra", None)
        return list(_leaves(values, ""))
    section = _find(values, prefix.split("."))
    return list(_leaves(section, prefix)) if isinstance(section, dict) else []


def explain_choice(layers: Layers, group: str) -> Explained:
    """Say which option of a group is chosen, and where: the winning place first, the default last."""
    overriding: list[Origin] = []
    listed: list[Origin] = []
    for layer in layers.layers:
        for line, name, option, is_override in _listed(layer):
            if name != group:
                continue
            origin = Origin(kind="file", value=option, file=layer.file, line=line)
            if not is_override:
                listed.append(origin)
            elif layers.choosers.get(group) == layer.name:
                overriding.insert(0, origin)
            else:
                overriding.append(origin)
    origins = overriding + listed[::-1]
    if group in layers.typed:
        typed = Origin(kind="override", value=layers.choices.get(group), text=layers.typed[group])
        typed.is_removal = typed.text.startswith("~")
        origins.insert(0, typed)
    if not origins:
        origins = [Origin(kind="hydra", value=layers.choices[group], text="Hydra")]
    return Explained(key=group, value=layers.choices[group], origins=origins, is_choice=True)


def explain_key(layers: Layers, key: str) -> Explained | None:
    """Say where the value of a key comes from; None if nothing gives it one."""
    parts = key.split(".")
    origins = [*_from_environment(layers, key), *_from_overrides(layers, parts)]
    origins += _from_sweep(layers, key)
    for layer in reversed(layers.layers):
        origins += _from_layer(layers, layer, parts)
    is_there = _find(plain_values(layers.composed), parts) is not MISSING
    if not origins and is_there and parts[0] == "hydra":
        origins = [Origin(kind="hydra", text="Hydra, as it starts", value=_value(layers, key))]
    if all(origin.value is REMOVED for origin in origins):
        return None
    first = origins[0]
    written = first.value
    value = written
    if is_there and first.kind not in ("sweep", "environment"):
        value = _value(layers, key)
    explained = Explained(key=key, value=value, origins=origins)
    if isinstance(written, str) and not first.is_removal:
        explained.references = _references(layers, parts, written)
    return explained


def list_of(layers: Layers, key: str) -> str:
    """Return the key of the list that an item is of, as model.hidden for model.hidden[0]; else the key."""
    shorter = re.sub(r"(\[\d+\]|\.\d+)+$", "", key)
    if isinstance(_find(plain_values(layers.composed), shorter.split(".")), list):
        return shorter
    return key


# --- Where values come from -----------------------------------------------------------------------


def _from_environment(layers: Layers, key: str) -> list[Origin]:
    name = ENVIRONMENT.get(key, "")
    value = os.environ.get(name)
    if not value or _value(layers, key) is not None:
        return []
    return [Origin(kind="environment", value=value, text=name)]


def _from_overrides(layers: Layers, parts: list[str]) -> Iterator[Origin]:
    for override in reversed(layers.overrides):
        text = str(override.input_line)
        at = override.key_or_group.split(".")
        if at != parts[: len(at)]:
            continue
        if override.is_delete():
            yield Origin(kind="override", text=text, is_removal=True)
            continue
        value = _find(override.value(), parts[len(at) :])
        if value is not MISSING:
            yield Origin(kind="override", text=text, value=value, is_removal=value is REMOVED)


def _from_sweep(layers: Layers, key: str) -> Iterator[Origin]:
    """Yield the values that a sweep gives the key in turn, by `hydra.sweeper.params`."""
    at = ["hydra", "sweeper", "params", key]
    for layer in reversed(layers.layers):
        value = _find(layer.values, at)
        if value not in (MISSING, REMOVED):
            line = _line(layer, at)
            yield Origin(kind="sweep", value=value, file=layer.file, line=line)


def _from_layer(layers: Layers, layer: ConfigLayer, parts: list[str]) -> Iterator[Origin]:
    value = _find(layer.values, parts)
    if value is MISSING:
        return
    origin = Origin(kind="file", value=value, is_removal=value is REMOVED)
    if layer.file is not None:
        origin.file, origin.line = layer.file, _line(layer, parts)
    elif layer.provider == "hydra":
        origin.kind, origin.text = "hydra", "Hydra's default"
    else:
        origin.kind, origin.text = "default", "the schema's default"
    if layer.group and layers.choices.get(layer.group) == layer.name.rpartition("/")[2]:
        origin.chosen = layers.typed.get(layer.group, "")
    yield origin
    if layer.hidden is not None:
        yield from _from_layer(layers, layer.hidden, parts)


def _references(layers: Layers, parts: list[str], written: str) -> list[Explained]:
    """Explain the keys and variables that a value refers to."""
    found = []
    for name in _VARIABLE.findall(written):
        value = os.environ.get(name)
        origin = Origin(kind="environment", value=value, text=name)
        found.append(Explained(key=f"oc.env:{name}", value=value, origins=[origin]))
    for reference in _REFERENCE.findall(written):
        dots = len(reference) - len(reference.lstrip("."))
        above = parts[:-dots] if dots else []
        key = ".".join([*above, reference.lstrip(".")])
        explained = explain_key(layers, key)
        if explained is not None:
            found.append(explained)
    return found


def _value(layers: Layers, key: str) -> Any:
    """Return the value of a key, interpolations resolved where they can be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register(root())
    try:
        value = OmegaConf.select(layers.composed, key)
    except OmegaConfBaseException:  # one of Hydra's own, which knows more once it runs
        return _find(plain_values(layers.composed), key.split("."))
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


# --- Keys and lines -------------------------------------------------------------------------------


def _leaves(value: Any, key: str) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield key
        return
    for name, item in value.items():
        yield from _leaves(item, f"{key}.{name}" if key else str(name))


def _find(values: Any, parts: Sequence[str]) -> Any:
    """Return the value at a key: MISSING if there is none, REMOVED if another one stands in the place
    of its section.
    """
    for part in parts:
        if values == NOT_GIVEN:
            return MISSING
        if not isinstance(values, dict):
            return REMOVED
        by_name: Node = {str(name): value for name, value in values.items()}
        if part not in by_name:
            return MISSING
        values = by_name[part]
    return MISSING if values == NOT_GIVEN else values


def _line(layer: ConfigLayer, parts: list[str]) -> int | None:
    """Return the line of a layer's file on which a key, or the nearest section around it, stands."""
    assert layer.file is None or parts[: len(layer.package)] == layer.package
    node, line = _yaml(layer.file), None
    for part in parts[len(layer.package) :]:
        for key, value in _pairs(node):
            if key.value == part:
                node, line = value, key.start_mark.line + 1
                break
        else:
            return line
    return line


def _listed(layer: ConfigLayer) -> Iterator[tuple[int, str, str | None, bool]]:
    """Yield what a file's defaults list chooses: line, group, option, and whether it overrides."""
    for name, listed in _pairs(_yaml(layer.file)):
        if name.value != "defaults":
            continue
        for item in listed.value:
            for key, value in _pairs(item):
                *words, group = key.value.split()
                group = group.partition("@")[0]
                if not group.startswith("/") and layer.group:
                    group = f"{layer.group}/{group}"
                option = None if value.tag.endswith(":null") else value.value
                line = key.start_mark.line + 1
                yield line, group.lstrip("/"), option, "override" in words


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    """Return the keys and values of a mapping in YAML."""
    return node.value if getattr(node, "id", "") == "mapping" else []


def _yaml(file: Path | None) -> Any:
    import yaml

    if file is None or not file.is_file():
        return None
    with file.open(encoding="utf-8") as text:
        return yaml.compose(text, yaml.SafeLoader)


def place(origin: Origin) -> str:
    """Name the file and line of an origin as a reader finds it: from here, or as sweeplab's."""
    assert origin.file is not None
    file, here = origin.file, Path.cwd()
    name = str(file)
    if file.is_relative_to(here):
        name = str(file.relative_to(here))
    elif is_packaged(file):
        name = f"sweeplab's conf/{file.relative_to(conf_dir())}"
    return name if origin.line is None else f"{name}:{origin.line}"
