"""`sweeplab why KEY`: what gives a key of the config its value, and what it would be without that."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from inspect import Parameter
from pathlib import Path
from typing import Any, NoReturn

from sweeplab import config, console
from sweeplab.config import Config, origins, reference
from sweeplab.config.layers import Layers
from sweeplab.config.origins import Explained, Origin
from sweeplab.config.slips import other_key
from sweeplab.errors import UserError, listed_names


def add_options(parser: ArgumentParser) -> None:
    """Add the form."""
    parser.usage = "%(prog)s [options] KEY [KEY ...] [key=value ...]"
    keys = "a key, as trainer.epochs; a section, as trainer; a group of options, as model"
    parser.add_argument("words", nargs="*", action="extend", metavar="KEY", help=keys)
    parser.add_argument("--json", action="store_true", help="for scripts")


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the keys, which have no `=`, from among the overrides."""
    arguments.settings = [word for word in words if "=" in word or word.startswith(("~", "-"))]
    arguments.keys = [word for word in words if word not in arguments.settings]
    return list(arguments.settings)


def without_config(arguments: Namespace) -> None:
    """Say where the values of a refused config are from, if that can be told; then it is refused."""
    with suppress(Exception):  # the reason of the refusal is told next
        _explain_keys(arguments)


def main(arguments: Namespace, _: Config) -> None:
    """Explain each key. Raises UserError for one that there is not."""
    _explain_keys(arguments)


def _explain_keys(arguments: Namespace) -> None:
    if not arguments.keys:
        key = next((word.lstrip("+~").partition("=")[0] for word in arguments.settings), "")
        example = f"sweeplab why {' '.join([key or 'trainer.epochs', *arguments.settings])}"
        raise UserError(f"name a key, as in: {example}")
    layers = _layers(arguments, arguments.settings)
    explained: list[Explained] = []
    for key in arguments.keys:
        explained += _explain(layers, key) or _refuse(arguments, layers, key)
    if arguments.json:
        print(console.json_text("why", {"keys": [_as_json(each) for each in explained]}))
        return
    is_section = len(explained) > len(arguments.keys)
    lines: list[str] = []
    for each in explained:
        if is_section and not each.is_choice:
            lines.append(_short(each))
        else:
            lines += [*_lines(each), *_without_choice(arguments, each)]
            if each.is_choice and each.value is None:
                options = listed_names(_options(arguments, each.key)) or "none"
                lines.append(f"  no option of {each.key} is chosen; there are: {options}")
    console.say("\n".join(lines))  # all at once: the last of them may make a secret known


def _layers(arguments: Namespace, settings: list[str]) -> Layers:
    return Layers.of(settings, arguments.entry.folder, arguments.entry.name)


def _explain(layers: Layers, key: str) -> list[Explained]:
    """Explain a key, or a group's choice and each key of its section; [] if there is no such key."""
    if not key.strip("~+"):
        raise UserError(f"{key!r}: name a key, as trainer.epochs")
    found: list[Explained | None] = []
    if key in layers.choices:
        found.append(origins.explain_choice(layers, key))
    section = key.replace("/", ".")
    inner = [each for each in origins.keys_of(layers, section) if each != section]
    found += [origins.explain_key(layers, each) for each in inner]
    if not found:
        whole = re.sub(r"(\[\d+\]|\.\d+)+$", "", key)  # of an item, the list
        if isinstance(origins.find(layers.values, whole), list):
            key = whole
        found.append(origins.explain_key(layers, key) or _class_default(layers, key))
    return [each for each in found if each is not None]


def _refuse(arguments: Namespace, layers: Layers, key: str) -> NoReturn:
    """Raise UserError for a key that there is not, or a group without a chosen option."""
    options = _options(arguments, key)
    if options:
        plus = "" if any(word.startswith(f"~{key}") for word in arguments.settings) else "+"
        how = f"no option of this group is chosen, as by {plus}{key}={options[0]}"
        raise UserError(f"{key}: {how}; valid: {listed_names(options)}")
    keys = [*layers.choices, *origins.keys_of(layers)]
    raise UserError(f"{key}: no such key{other_key(key, keys)}")


def _options(arguments: Namespace, group: str) -> list[str]:
    return sorted(reference.group_options(arguments.entry.folder).get(group, ()))


def _class_default(layers: Layers, key: str) -> Explained | None:
    """Explain an argument of a `_target_` that no config sets: the class has a default of its own."""
    section, _, name = key.rpartition(".")
    target = origins.find(layers.values, f"{section}._target_")
    if not isinstance(target, str):
        return None
    from sweeplab.targets import default, locate

    with suppress(UserError):  # a class that is found in the folder of train.py only
        found: Any = locate(target, f"{section}._target_")
        value = default(found, name)
        if value is not Parameter.empty:
            origin = Origin(kind="class", value=value, text=target)
            return Explained(key=key, value=value, origins=[origin])
    return None


def _without_choice(arguments: Namespace, explained: Explained) -> Iterator[str]:
    """Say what the value would be without the option that the command line chooses."""
    chosen = explained.origins[0].chosen_by
    if not chosen:
        return
    settings = [word for word in arguments.settings if word != chosen]
    other = origins.explain_key(_layers(arguments, settings), explained.key)
    if other is None:
        yield f"  without {chosen}: no such key"
    elif not explained.origins[1:] or other.value != explained.origins[1].value:
        where = _where(other.origins[0])
        yield f"  without {chosen}: {_text(other.key, other.value)}  {where}"


def _lines(explained: Explained, indent: str = "") -> Iterator[str]:
    """Yield the value and where it is from, what it is taken from, and what would hold otherwise."""
    yield indent + _first(explained)
    for each in explained.references:
        yield from _lines(each, f"{indent}  ")
    for origin in explained.origins[1:]:
        yield f"{indent}  else {_value(explained.key, origin)}  {_where(origin)}"


def _first(explained: Explained) -> str:
    first = explained.origins[0]
    source = _where(first)
    if first.kind == "environment" and first.value is None:
        return f"{first.text} is not set in the environment"
    if first.is_removal:
        return f"{explained.key} is not there, {source}"
    if explained.value == origins.NOT_GIVEN:
        return f"{explained.key} is still to be given: ??? {source}"
    if "${" in str(first.value):  # also in an item of a list
        source += f": {_value(explained.key, first)}"
    if first.kind == "sweep":
        source += ", one after the other"
    return f"{explained.key} = {_text(explained.key, explained.value)}  {source}"


def _short(explained: Explained) -> str:
    others = [_value(explained.key, origin) for origin in explained.origins[1:]]
    if others and others[0] != _text(explained.key, explained.value):
        return f"{_first(explained)}; else {others[0]}"
    return _first(explained)


def _value(key: str, origin: Origin) -> str:
    return "none" if origin.is_removal else _text(key, origin.value)


def _text(key: str, value: Any) -> str:
    return config.brief(config.to_text(config.redact(value, key)))


def _where(origin: Origin) -> str:
    """Say where a value comes from."""
    text = config.redact_override(origin.text)
    if origin.kind == "override":
        verb = "taken out on" if origin.is_removal else "from"
        return f"{verb} the command line ({text})"
    if origin.kind == "environment":
        return f"from {text} in the environment"
    if origin.kind == "class":
        return f"the default of {text}, which no config sets"
    if origin.file is None:
        return text
    place = _place(origin.file)
    if origin.line is not None:
        place += f":{origin.line}"
    if origin.kind == "sweep":
        return f"from the sweep of {place}"
    return f"from {place} ({origin.chosen_by})" if origin.chosen_by else f"from {place}"


def _place(file: Path) -> str:
    """Name a file as a reader finds it: from here, or as sweeplab's."""
    if file.is_relative_to(Path.cwd()):
        return str(file.relative_to(Path.cwd()))
    if file.is_relative_to(config.conf_dir()):
        return f"sweeplab's conf/{file.relative_to(config.conf_dir())}"
    return str(file)


def _as_json(explained: Explained) -> dict[str, Any]:
    """Return all of it as plain data, secrets hidden."""
    # First, so that secrets of variables are known and hidden where a value repeats them.
    references = [_as_json(each) for each in explained.references]
    places = []
    for origin in explained.origins:
        value = None if origin.is_removal else _plain(explained.key, origin.value)
        place = asdict(origin) | {"value": value, "text": config.redact_override(origin.text)}
        places.append(place | {"file": origin.file and str(origin.file)})
    value = _plain(explained.key, explained.value)
    return asdict(explained) | {"value": value, "origins": places, "references": references}


def _plain(key: str, value: Any) -> Any:
    """Return a value for JSON: a class's default may be anything, and a text may hold a secret."""
    shown = json.loads(json.dumps(config.redact(value, key), default=str))
    return config.redact_text(shown) if isinstance(shown, str) else shown
