"""`sweeplab help [KEY ...]`, and train.py's --help: what can be set, and what a key means."""

from __future__ import annotations

import re
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from sweeplab import config, console
from sweeplab.config import Config, Entry, reference
from sweeplab.config.layers import Layers
from sweeplab.config.reference import ConfigKey
from sweeplab.config.slips import other_key
from sweeplab.errors import UserError

WIDTH = 79
FIRST = (
    "model.hidden",
    "model.batch_norm",
    "model.dropout",
    "optimizer.lr",
    "trainer.epochs",
    "trainer.batch_size",
    "trainer.patience",
    "trainer.device",
    "seed",
    "store.root",
)
"""The keys that people set first."""

BEGINNING = """\
Train a network on a data set; record it in the store and in MLflow.

  python train.py                                     the defaults
  python train.py model.hidden=392 trainer.epochs=5   change what you like
  python train.py -m model.hidden=392,256 seed=1,2,3  a sweep, compared
  python train.py model=mine.Net                      a network of yours
  python train.py experiment=NAME                     experiments/NAME.yaml

Choose an option of a group, as in optimizer=sgd:
"""

END = """
  sweeplab help KEY           a key, a section (trainer) or a group (model)
  sweeplab why KEY            where its value comes from
  python train.py --cfg job   every key; sweeplab --help: what else there is"""


def add_options(parser: ArgumentParser) -> None:
    """Add the form."""
    parser.usage = "%(prog)s [KEY ...] [key=value ...]"
    keys = "a key, as trainer.epochs; a section, as trainer; a group of options, as model"
    parser.add_argument("words", nargs="*", action="extend", metavar="KEY", help=keys)


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the overrides from among the words, which may be keys, too."""
    arguments.words = words
    return [word for word in words if "=" in word]


def main(arguments: Namespace, _: Config) -> None:
    """Explain each key, or without one how to begin. Raises UserError for one that there is not.

    Where there are overrides only, their keys are meant.
    """
    words: list[str] = arguments.words
    keys = [word.partition("=")[0].lstrip("+~") for word in words if "=" in word]
    show(arguments.entry, words if len(keys) < len(words) else [*keys, *words])


def show(entry: Entry, words: list[str]) -> None:
    """Explain keys of a project's config with the overrides among the words, or without any key how
    to begin.
    """
    settings = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    layers = Layers.of(settings, entry.folder, entry.name)
    keys = reference.config_keys(layers)
    options = reference.group_options(entry.folder)
    if not names:
        lines = list(_screen(keys, options))
    else:
        lines = []
        for name in names:
            lines += ["", *_explain(name, layers, keys, options)]
        lines = lines[1:]
    console.say("\n".join(lines))


def _screen(keys: list[ConfigKey], options: dict[str, dict[str, str]]) -> Iterator[str]:
    yield BEGINNING
    for group, names in options.items():
        text = f"  {group:13}{', '.join(names)}"
        yield textwrap.fill(text, WIDTH, subsequent_indent=" " * 15)
    yield "\nKeys that are set first, with their values:\n"
    known = {each.key: each for each in keys}
    yield from (_short(known[key], 30) for key in FIRST if key in known)
    yield END


def _short(key: ConfigKey, room: int) -> str:
    """Return a key, its value and the beginning of its meaning on one line."""
    text = f"  {_setting(key, key.default):{room}}"
    return f"{text} {textwrap.shorten(key.meaning, WIDTH - len(text) - 1, placeholder=' ...')}"


def _setting(key: ConfigKey, value: Any) -> str:
    return f"{key.key}={config.to_text(config.redact(value, key.key))}"


def _explain(
    name: str, layers: Layers, keys: list[ConfigKey], options: dict[str, dict[str, str]]
) -> Iterator[str]:
    """Explain one key, a group's options, or the keys of a section."""
    known = {each.key: each for each in keys}
    section = [each for each in keys if each.key.startswith(f"{name}.")]
    if name in known:
        yield from _key(known[name])
        return
    if name not in options and not section:
        raise UserError(f"{name}: no such key{other_key(name, [*options, *known])}")
    if name in options:
        chosen = layers.choices.get(name)
        yield f"{name}={chosen or 'null'} is chosen; options:"
        for option, about in options[name].items():
            yield _wrapped(f"{name}={option}", about)
    for each in section:
        yield _wrapped(_setting(each, each.default), each.meaning)


def _wrapped(setting: str, text: str) -> str:
    """Return a setting, and below it, or beside it where it is short, what it means."""
    line = f"  {setting:28} {text}".rstrip()
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * 31, drop_whitespace=True)


def _key(key: ConfigKey) -> Iterator[str]:
    yield _setting(key, key.default)
    yield textwrap.fill(key.meaning, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if key.allowed:
        yield f"  allowed: {key.allowed}"
    example = _example(key)
    if example is not None:
        yield f"  example: python train.py '{_setting(key, example)}'"


def _example(key: ConfigKey) -> Any:
    """Return another value that the key takes; None if the reference tells none."""
    if key.choices:
        return next((each for each in key.choices if each != key.default), None)
    if isinstance(key.default, bool):
        return not key.default
    if isinstance(key.default, int | float):
        return key.default * 2 or 1
    least = re.search(r"number >=? ?(\d+)", key.allowed)
    if key.default is None and least is not None:
        return int(least[1]) or 1
    return None if "${" in str(key.default) else key.default
