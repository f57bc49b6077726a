"""What an exception of Hydra's or OmegaConf's says to the user who typed the command."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NAMES = "a group of options takes a name, or a list of names, as in model=mlp; leave it out for the default"
ASCII_KEYS = "a key on the command line has letters of ASCII only; give others in a YAML file"
QUOTES = "a value with blanks, brackets or letters beyond ASCII needs quotes of its own, as in 'key=\"a value\"'"
EQUALS = "a value that holds = needs quotes of its own, as in 'sweep.baseline=\"model.batch_norm=false\"'"
OVERRIDE = "give key=value, as in trainer.epochs=5; a list is given whole, as in 'model.hidden=[64,32]'"
KEY = re.compile(r"(?:\+\+?|~)?[\w$-]+(?:[./][\w$-]+)*(?:@[\w.:-]*)?")
OWN = ("sweeplab.", "hydra_plugins.hydra_sweeplab.")  # how the names of our own modules begin
PASSING = (
    "sweeplab.commands.cli",
    "sweeplab.commands.guard",
    "sweeplab.config.composing",
)  # those of them that only hand a command on to Hydra
LOGGERS = "must be true, false, the name of a logger, or a list of names"


def explain(error: Exception, overrides: Sequence[str] | None = None) -> str | None:
    """Say in one or two lines what is wrong with a config or a command line; None if the error is about neither.

    With `overrides`, the error was raised while Hydra composed them; without, they are those of this process's command.
    """
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    cause = error.__cause__
    words = sys.argv[1:] if overrides is None else overrides
    if isinstance(error, MissingConfigException):
        return _missing(error, words)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read: {_reason(error)}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        if cause.key == "experiment":
            return "experiment: there is none; an experiment is a file experiments/<name>.yaml beside conf/"
        asked = re.search(r"use \+(\S+)", str(error))
        valid = [] if cause.parent_node is None else [str(key) for key in cause.parent_node if str(key) != "hydra"]
        return f"{asked[1] if asked else cause.full_key}: no such key{did_you_mean(str(cause.key), valid)}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error).splitlines()[0]
    if isinstance(error, HydraException):
        text = " ".join(str(error).split())
        if sweep := _no_sweep_there(f"{text} {cause}", words):
            return sweep
        return f"{text} ({str(cause).splitlines()[0]})" if isinstance(cause, OmegaConfBaseException) else text
    if of_file := yaml_error(error):
        return str(of_file)
    if overrides is not None or _raised_by_hydra(error):
        return _refused(error, words)
    return None


def _no_sweep_there(text: str, words: Sequence[str]) -> str | None:
    """Say where several values are given without -m, and where a range stands inside a list; None of all else."""
    if named := re.search(r"Ambiguous value for argument '([^'=]+)=(.*?)' 1\.", text):
        key, value = named[1], named[2]
        number = value.replace(",", ".") if re.fullmatch(r"-?0,\d+", value) else ""
        point = f"; if {number} is meant, its point is a dot" if number else ""
        return f"{key}={value}: several values are a sweep, which takes -m; a list is given as {key}=[{value}]{point}"
    if "Unexpected type annotation: Set[str]" in text:
        inside = [word for word in words if re.search(r"\[.*\b(range|choice|interval|glob)\(", word)]
        return (
            f"{' '.join(inside)}: no range, choice, interval or glob inside a list; give it alone, as in seed=range(3)"
        )
    return None


def unreadable(file: Path, error: Exception) -> str:
    """Say of a YAML file what a parser, or the codec before it, could not read, and where that stands."""
    if not isinstance(error, UnicodeError):
        return f"{file}: cannot be read: {' '.join(str(error).split())}"
    content = file.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        return f"{file}: is no text in UTF-8: byte 0x{content[wrong.start]:02x} in line {line}; save it as UTF-8"
    return f"{file}: cannot be read: {error}"


def yaml_error(error: Exception) -> UserError | None:
    """What to say where a parser, or the codec before it, could not read a YAML file of Hydra's; None of other errors.

    Its traceback is needed, since a codec does not say which file it was.
    """
    from yaml import YAMLError

    if isinstance(error, UserError):
        return error
    if not isinstance(error, UnicodeError | YAMLError):
        return None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "hydra._internal.core_plugins.file_config_source":
            path = frame.f_locals.get("full_path")
            return None if path is None else UserError(unreadable(Path(path), error))
    return None


def _missing(error: Any, words: Sequence[str]) -> str:
    """An option, a whole config or the folder of configs that is not there."""
    if folder := re.search(r"config directory '(.+?)'", str(error)):
        return (
            f"{folder[1]}: there is no such folder; make it (it may stay empty): options of your own go there, "
            "beside those that ship with sweeplab"
        )
    name = error.missing_cfg_file or ""
    if not error.options:
        return f"{name}: no such config; " + " ".join(str(error).split())
    group, _, option = name.rpartition("/")
    for override in _typed(words):
        if name.startswith(f"{override.key_or_group}/"):
            group = override.key_or_group
            option = name.removeprefix(f"{group}/")
    return f"{group}={option}: no such option{did_you_mean(option, error.options)}"


def _reason(error: Any) -> str:
    """Why an override cannot be read. The parser's own words tell only where it gave up."""
    key, equals, _ = str(error.override).partition("=")
    if not equals:
        return OVERRIDE
    if not key.isascii():
        return ASCII_KEYS
    if not KEY.fullmatch(key):
        return f"{key!r} is no key; {OVERRIDE}"
    lines = [line for line in str(error).splitlines() if not line.startswith(("Error parsing override", "See https"))]
    if not lines or lines[0].startswith("LexerNoViableAltException"):
        return QUOTES
    if "=" in str(error.override).partition("=")[2] and not re.search(r"['\"]", str(error.override)):
        return EQUALS
    if unexpected := re.match(r"(?:mismatched|extraneous) input '(.+?)' expecting", lines[0]):
        end = unexpected[1] == "<EOF>"
        return "a value is missing at its end" if end else f"{unexpected[1]!r} is not expected there"
    return lines[0]


def _raised_by_hydra(error: Exception) -> bool:
    """Whether Hydra raised it over what was typed: before any task of ours ran, and not in our own code."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [name for name in modules if name.startswith(OWN) and name not in PASSING]
    of_hydra = [name for name in modules if name.split(".")[0] in ("hydra", "omegaconf")]
    return bool(of_hydra) and not own


def _refused(error: Exception, words: Sequence[str]) -> str:
    """Name those of the overrides that Hydra stumbles over without a message of its own."""
    typed = list(_typed(words))
    for override in typed:
        if override.key_or_group == "hydra.verbose":
            return f"{override.input_line}: {LOGGERS}"
    nameless = [override.input_line for override in typed if not _names_options(override)]
    if nameless:
        return f"{' '.join(map(str, nameless))}: {NAMES}"
    reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if "--" in reason:  # about options, not overrides
        return f"{' '.join(words)}: {reason}"
    of_hydra = [str(override.input_line) for override in typed if override.key_or_group.startswith("hydra")]
    return f"{' '.join(of_hydra or words)}: Hydra cannot take it: {reason}"


def _typed(words: Sequence[str]) -> Iterator[Override]:
    """The overrides among the words of a command line that can be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word in words:
        if word.startswith("-") or "=" not in word:
            continue
        try:
            yield parser.parse_override(word)
        except HydraException:
            continue


def _names_options(override: Override) -> bool:
    """Whether what may be a choice of options is one: a name, or a list of names; a dict is a section of keys."""
    from hydra.core.override_parser.types import ChoiceSweep, QuotedString

    if "." in override.key_or_group or override.key_or_group == "seed" or override.is_delete():
        return True
    value: Any = override._value
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    texts = str | QuotedString
    return all(
        all(isinstance(name, texts) for name in value) if isinstance(value, list) else isinstance(value, texts | dict)
        for value in values
    )
