"""Compose a config as Hydra does, and read what was typed for the running program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, pairwise, takewhile
from pathlib import Path
from typing import Any, NoReturn

from sweeplab.config import slips
from sweeplab.config.canon import flatten
from sweeplab.config.hydra_calls import conf_dir, hydra_in
from sweeplab.config.redaction import redact_override, remember_secrets
from sweeplab.config.sections import COMPONENTS, Config
from sweeplab.config.text import from_text, key_of, to_text
from sweeplab.config.validation import parse
from sweeplab.errors import UserError

_HOME_PATH = re.compile(r"(\+{0,2}[\w.]+=)(~[^'\",\[\]{}]*)")  # as in store.root=~/runs
_COMMAND = re.compile(r"(\+{0,2}sweep\.then=)(?!['\"])(.*[^\w./-].*)", re.DOTALL)


def compose(overrides: Sequence[str], folder: Path | None = None, name: str = "config") -> Config:
    """Compose the config that `train.py` gets with these overrides, from the file `name`.yaml of
    `folder` or of the package's `conf/`.
    """
    from hydra import compose as hydra_compose

    remember_secrets(overrides)
    with hydra_in(folder or conf_dir()):
        return parse(hydra_compose(name, overrides=quote_words(overrides)))


def quote_words(words: Sequence[str]) -> list[str]:
    """Put quotes around `~/runs`, and around the command of `sweep.then`, in the words of a command
    line: Hydra cannot read them without.
    """
    quoted = []
    for word in words:
        command = _COMMAND.fullmatch(word)
        if command is None:
            quoted.append(_HOME_PATH.sub(r"\1'\2'", word))
        else:
            text = re.sub(r"(\\*)'", r"\1\1\\'", command[2])
            quoted.append(f"{command[1]}'{text}'")
    return quoted


def ensure_readable(words: Sequence[str], *, has_names: bool = False) -> None:
    """Raise UserError for settings that blanks or signs have broken, and for a class that is given
    inside a section, which Hydra would merge into another class's arguments.

    `has_names`: words without `=` are names of sweeps or runs.
    """
    settings = quote_words([word for word in words if not word.startswith("-")])
    mended = slips.joined(settings, has_names=has_names)
    for word in mended:
        if word == "~tracking":  # its defaults send all to MLflow
            raise UserError(f"{word}: leaves nothing out{slips.meant('tracking=off')}")
        if choice := re.fullmatch(r"\+*hydra\.(launcher|sweeper)=(\w+)", word):
            reason = "options of a group are chosen with a slash"
            cure = slips.meant(f"hydra/{choice[1]}={choice[2]}")
            raise UserError(f"{word}: {reason}{cure}")
        group, _, text = word.partition("=")
        value: object = None
        if group in COMPONENTS and text.startswith("{"):
            value = from_text(text)
        if not isinstance(value, dict):
            continue
        reason = "would be merged into the arguments of the class that is chosen"
        if "_target_" in value:
            raise UserError(f"{word}: {reason}{slips.class_meant(group, value)}")
        is_section_of_parts = all(map(_is_called, value.values()))
        if f"~{group}" not in mended and is_section_of_parts:
            raise UserError(f"{word}: {reason}{slips.meant(f'~{group}', f'+{word}')}")
    if mended == settings or all(_is_readable(word) for word in settings):
        return
    broken = [word for word in settings if word not in mended]
    cures = [word for word in mended if word not in settings]
    if cures and all(_is_readable(word) for word in cures):
        raise UserError(f"{' '.join(broken)}: cannot be read{slips.meant(*cures)}")


def _is_called(value: object) -> bool:
    """Whether a value is a section with a class of its own."""
    return isinstance(value, dict) and "_target_" in value


def _is_readable(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def _default_keys() -> list[str]:
    """Return the keys of sweeplab's own config."""
    return slips.dotted_keys(_defaults())


def _defaults() -> dict[str, Any]:
    """Return sweeplab's own config, its interpolations as they are written."""
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    with hydra_in(conf_dir()):
        plain = OmegaConf.to_container(hydra_compose("config"), resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def ensure_options(words: Sequence[str]) -> None:
    """Raise UserError for a word of the command line to which Hydra would only answer with its
    usage.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{' '.join(words)}: {message}; python train.py --help says more")

    if set(words) & {"run", "train", "fit"}:
        raise UserError(
            f"{' '.join(words)}: train.py does nothing else than train; leave out the word"
        )
    parser = get_args_parser()
    parser.allow_abbrev = False  # --config is three options
    parser.error = refuse  # type: ignore[method-assign]  # else it prints its usage
    unknown = parser.parse_known_args(list(words))[1]
    for word in words:
        plain = re.sub(r"^[–—−]+", "-" if len(word) == 2 else "--", word)
        if plain != word:
            raise UserError(f"{word}: begins with a dash that no keyboard has{slips.meant(plain)}")
        if f"--{word}" in parser._option_string_actions:
            raise UserError(f"{word}: is an option, with dashes{slips.meant(f'--{word}')}")
    if not unknown:
        ensure_readable(words)
        return
    typed = unknown[0]
    reason = "settings stand together; give -m and other options before or after all of them"
    if typed.startswith("-"):
        values: list[str] = []
        if "=" not in typed:
            after = words[words.index(typed) + 1 :]
            values = list(takewhile(_is_plain_value, after))
        reason = "no such option of train.py; settings are given as key=value, without dashes"
        reason += _without_dashes(typed, values) or "; python train.py --help says more"
        typed = " ".join([typed, *values])
    elif all(word in ("-m", "--multirun") for word in words if word.startswith("-")):
        reason += slips.meant("-m", *(word for word in words if not word.startswith("-")))
    raise UserError(f"{typed}: {reason}")


def _is_plain_value(word: str) -> bool:
    return "=" not in word and not re.match("--?[A-Za-z]", word)


def _without_dashes(option: str, values: Sequence[str]) -> str:
    """Return the end of a message about `--epochs 5`: the setting that was meant, if one is near."""
    key, equals, value = option.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if key.startswith("no_"):
        word = f"{key.removeprefix('no_')}=false"
    elif values:
        word = slips.joined([key, *values])[0]
    else:
        word = f"{key}={value if equals else _default_value(key)}"
    return slips.setting_meant(word, _default_keys())


def _default_value(key: str) -> str:
    """Return what stands for the value of an option that was given none: the default, or for a
    switch true.
    """
    defaults = flatten(_defaults())
    default = defaults.get(slips.key_meant(key, defaults))
    if default is None or isinstance(default, bool):
        return "true"
    return to_text(default)


def overruled(words: Sequence[str]) -> list[str]:
    """Return notes about values of one key in a row, of which Hydra takes the last.

    bash makes them of braces. Values apart need no note: a script adds what overrules its own.
    """
    notes: list[str] = []
    for _, group in groupby(words, key_of):
        same = list(dict.fromkeys(map(redact_override, group)))
        if any(slips.is_overruled(*pair) for pair in pairwise(same)):
            values = ",".join(word.partition("=")[2] for word in same)
            cure = slips.meant(f"{same[0].partition('=')[0]}={values}")
            reason = "of several values of one key the last counts; bash makes them of {...}"
            notes.append(f"{' '.join(same)}: {reason}{cure}")
    return notes


def task_overrides() -> list[str]:
    """Return what the user overrode on the command line of the running Hydra program, secrets
    hidden.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    words = HydraConfig.get().overrides.task
    return [redact_override(word) for word in words if not word.startswith("sweep.id=")]


def overrides_of_sweeps() -> list[str]:
    """Return what was said of the launcher and the sweeper on the command line of the running
    program, but for those that are the default; nothing in a sweep, also of Hydra's own sweeper.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized() or is_job():
        return []
    words = HydraConfig.get().overrides.hydra
    about = re.compile(r"\+*hydra[/.](launcher|sweeper)(\.|=(?!basic$|sweeplab$))")
    return [word for word in words if about.match(word)]


def is_job() -> bool:
    """Whether the running Hydra program is a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
