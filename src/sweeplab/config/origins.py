"""Where the value of a key comes from, and what it would be without that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeplab.config.layers import ConfigLayer, Layers
from sweeplab.config.resolving import register
from sweeplab.config.validation import root

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
    chosen_by: str = ""  # the override of the command line that chooses the file


@dataclass(kw_only=True, slots=True)
class Explained:
    """A key, its value, and all that gives it one, the first of which holds."""

    key: str
    value: Any
    is_choice: bool = False  # of an option of a group
    origins: list[Origin]
    references: list[Explained] = field(default_factory=list)  # what its value is taken from


def keys_of(layers: Layers, section: str = "") -> list[str]:
    """Return the keys of a section; without one, all but Hydra's own. A list is one key."""
    if not section:
        return [key for key in leaves(layers.values, "") if not key.startswith("hydra.")]
    values = find(layers.values, section)
    return list(leaves(values, section)) if isinstance(values, dict) else []


def explain_choice(layers: Layers, group: str) -> Explained:
    """Say which option of a group is chosen, and where: the winning place first, the default last."""
    option = layers.choices[group]
    ranked: list[tuple[int, Origin]] = []
    for layer in reversed(layers.layers):
        for line, name, listed, is_override in _listed(layer):
            if name != group:
                continue
            rank = 2  # after the configs that override it, of rank 0 or 1
            if is_override:
                rank = int(layers.choosers.get(group) != layer.name)
            ranked.append((rank, Origin(kind="file", value=listed, file=layer.file, line=line)))
    origins = [each for layer in reversed(layers.layers) for each in _from_sweep(layer, group)]
    origins += [origin for _, origin in sorted(ranked, key=lambda pair: pair[0])]
    if group in layers.typed:
        text = layers.typed[group]
        is_removal = text.startswith("~")
        typed = Origin(kind="override", value=option, text=text, is_removal=is_removal)
        origins.insert(0, typed)
    if not origins:
        origins.append(Origin(kind="hydra", value=option, text="Hydra's default"))
    return Explained(key=group, value=origins[0].value, origins=origins, is_choice=True)


def explain_key(layers: Layers, key: str) -> Explained | None:
    """Say where the value of a key comes from; None if nothing gives it one."""
    origins = [*_from_environment(layers, key), *_from_overrides(layers, key)]
    for layer in reversed(layers.layers):
        origins += _from_sweep(layer, key)
    for layer in reversed(layers.layers):
        origins += _from_layer(layers, layer, key)
    # What is still to be given in a file changes nothing of a value that stands below it.
    givers = [place for place in origins if place.kind == "override" or place.value != NOT_GIVEN]
    origins = givers or origins
    is_there = find(layers.values, key) is not MISSING
    if not origins and is_there:
        value = _value(layers, key)
        origins.append(Origin(kind="hydra", text="Hydra, as it starts", value=value))
    if all(origin.value is REMOVED for origin in origins):
        return None
    first = origins[0]
    explained = Explained(key=key, value=first.value, origins=origins)
    if is_there and first.kind not in ("sweep", "environment"):
        explained.value = _value(layers, key)
    explained.references = _references(layers, key, str(first.value))
    return explained


# --- Where values come from -----------------------------------------------------------------------


def _from_environment(layers: Layers, key: str) -> list[Origin]:
    name = ENVIRONMENT.get(key, "")
    value = os.environ.get(name)
    if not value or _value(layers, key) is not None:
        return []
    return [Origin(kind="environment", value=value, text=name)]


def _from_overrides(layers: Layers, key: str) -> Iterator[Origin]:
    for override in reversed(layers.overrides):
        text, at = str(override.input_line), override.key_or_group
        if not f"{key}.".startswith(f"{at}."):
            continue
        value = REMOVED
        if not override.is_delete():
            value = find(override.value(), key.removeprefix(at).removeprefix("."))
        if value is not MISSING:
            is_removal = value is REMOVED
            value = None if override.is_delete() else value
            yield Origin(kind="override", text=text, value=value, is_removal=is_removal)


def _from_sweep(layer: ConfigLayer, key: str) -> Iterator[Origin]:
    """Yield the values that a sweep gives the key in turn, by `hydra.sweeper.params`."""
    values = find(layer.values, "hydra.sweeper.params")
    if isinstance(values, dict) and key in values:
        line = _line(layer, ["hydra", "sweeper", "params", key])
        yield Origin(kind="sweep", value=values[key], file=layer.file, line=line)


def _from_layer(layers: Layers, layer: ConfigLayer, key: str) -> Iterator[Origin]:
    """Yield the places where a layer, and those that it hides, set the key."""
    value = find(layer.values, key)
    if value is MISSING:
        return
    origin = Origin(kind="file", value=value, is_removal=value is REMOVED)
    if layer.file is not None:
        origin.file, origin.line = layer.file, _line(layer, key.split("."))
    elif layer.provider == "hydra":
        origin.kind, origin.text = "hydra", "Hydra's default"
    else:
        origin.kind, origin.text = "default", "the schema's default"
    group = f"{layer.group}@{'.'.join(layer.package)}"
    if group not in layers.choices:
        group = layer.group
    if group and layers.choices.get(group) == layer.name.rpartition("/")[2]:
        origin.chosen_by = layers.typed.get(group, "")
    yield origin
    if layer.hidden is not None:
        yield from _from_layer(layers, layer.hidden, key)


def _references(layers: Layers, key: str, written: str) -> list[Explained]:
    """Explain the keys and variables that a value refers to."""
    found = []
    for name in _VARIABLE.findall(written):
        value = os.environ.get(name)
        origin = Origin(kind="environment", value=value, text=name)
        found.append(Explained(key=f"oc.env:{name}", value=value, origins=[origin]))
    for reference in _REFERENCE.findall(written):
        name = reference.lstrip(".")
        if dots := len(reference) - len(name):  # relative: one dot is the section of the key
            name = ".".join([*key.split(".")[:-dots], name])
        explained = explain_key(layers, name)
        if explained is not None:
            found.append(explained)
    return found


def _value(layers: Layers, key: str) -> Any:
    """Return the value of a key, interpolations resolved where they can be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register(root())
    try:
        value = OmegaConf.select(layers.composed, key, throw_on_missing=True)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException:  # still to be given, or of Hydra's own, which knows more later
        return find(layers.values, key)


# --- Keys and lines -------------------------------------------------------------------------------


def leaves(value: Any, key: str) -> Iterator[str]:
    """Yield the keys below `key` that have no keys below them."""
    if not isinstance(value, dict) or not value:
        yield key
        return
    for name, item in value.items():
        yield from leaves(item, f"{key}.{name}" if key else str(name))


def find(values: Any, key: str) -> Any:
    """Return the value at a key: MISSING if there is none, REMOVED if another one stands in the place
    of its section.
    """
    for part in key.split(".") if key else []:
        if values == NOT_GIVEN:
            return MISSING
        if not isinstance(values, dict):
            return REMOVED
        values = {str(name): value for name, value in values.items()}.get(part, MISSING)
        if values is MISSING:
            return MISSING
    return values


def _line(layer: ConfigLayer, parts: Sequence[str]) -> int | None:
    """Return the line of a layer's file on which a key, or the nearest section around it, stands."""
    node, line = _yaml(layer.file), None
    for part in parts[len(layer.package) :]:
        inside = [(key, value) for key, value in _pairs(node) if key.value == part]
        if not inside:
            break
        key, node = inside[0]
        line = key.start_mark.line + 1
    return line


def _listed(layer: ConfigLayer) -> Iterator[tuple[int, str, str | None, bool]]:
    """Yield what a file's defaults list chooses: line, group, option, and whether it overrides."""
    lists = [value for key, value in _pairs(_yaml(layer.file)) if key.value == "defaults"]
    for item in [item for each in lists for item in each.value]:
        for key, value in _pairs(item):
            *words, name = key.value.split()
            group, _, package = name.partition("@")
            if not group.startswith("/") and layer.group:
                group = f"{layer.group}/{group}"
            if package:
                group += f"@{_package(layer, package)}"
            option = None if value.tag.endswith(":null") else value.value
            yield key.start_mark.line + 1, group.lstrip("/"), option, "override" in words


def _package(layer: ConfigLayer, package: str) -> str:
    """Return the package that a layer's defaults list gives an option, from the top."""
    parts = package.split(".")
    if parts[0] == "_global_":
        return ".".join(parts[1:])
    return ".".join([*layer.package, *(part for part in parts if part != "_here_")])


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    """Return the keys and values of a mapping in YAML."""
    return node.value if getattr(node, "id", "") == "mapping" else []


def _yaml(file: Path | None) -> Any:
    import yaml

    if file is None or not file.is_file():
        return None
    with file.open(encoding="utf-8") as text:
        return yaml.compose(text, yaml.SafeLoader)
