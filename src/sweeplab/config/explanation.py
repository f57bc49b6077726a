"""Explain an exception of Hydra or OmegaConf to the user who typed the command."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.config.slips import (
    KEY,
    LAUNCHER,
    SETTING,
    TAKES_M,
    dotted_keys,
    launcher_key_meant,
    meant,
    setting_meant,
    target_meant,
)
from sweeplab.errors import UserError, did_you_mean, first_line, near_name, one_line

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NAMES = "a group of options takes a name, or a list of names, as in model=mlp; leave it out for the default"
NOTHING = {
    "model": "; model=own is a network of yours, as in model=own model._target_=my_package.Net",
    "loss": "; only a step that computes its loss by itself does without: ~loss step._target_=my_package.step",
    "step": "; leave it out, and step._target_=null switches an experiment's step off",
    "optimizer": "; ~optimizer leaves it out, for optimizers of parts of the network: "
    "+optimizer.PART._target_=torch.optim.Adam",
    "scheduler": "; scheduler=constant keeps the learning rate",
    "data": "; a set of yours is a file conf/data/mine.yaml, and data=mine",
    "tracking": "; tracking=off sends nothing to MLflow",
    "debug": "; debug=smoke trains a few steps",
}
"""What to give instead of no option at all, by group; it ends a message."""

OF_TORCH = {
    "loss": "torch.nn",
    "optimizer": "torch.optim",
    "scheduler": "torch.optim.lr_scheduler",
}
"""Where PyTorch has the classes that are options of a group."""

ASCII_KEYS = "a key on the command line has letters of ASCII only; give others in a YAML file"
QUOTES = "a value with blanks, brackets or letters beyond ASCII needs quotes of its own, as in 'key=\"a value\"'"
EQUALS = "a value that holds = needs quotes of its own, as in 'sweep.baseline=\"model.batch_norm=false\"'"
OVERRIDE = (
    "give key=value, as in trainer.epochs=5; a list is given whole, as in 'model.hidden=[64,32]'"
)
NO_SWEEP_IN_LIST = (
    "no range, choice, interval or glob inside a list; give it alone, as in seed=range(3)"
)
NO_EXPERIMENT = "there is none; an experiment is a file experiments/<name>.yaml beside conf/"
NO_FOLDER = (
    "there is no such folder; make it (it may stay empty): options of your own go there, "
    "beside those that ship with sweeplab"
)
LOGGERS = "must be true, false, the name of a logger, or a list of names"
CALL = re.compile(r"([\w.]+)\(([^()]*)\)")
SWEEP_IN_LIST = re.compile(r"\[.*\b(range|choice|interval|glob)\(")
OWN_MODULES = ("sweeplab.", "hydra_plugins.hydra_sweeplab.")
HYDRA_CALLERS = (
    "sweeplab.commands.cli",
    "sweeplab.commands.guard",
    "sweeplab.commands.python",
    "sweeplab.config.composing",
    "sweeplab.config.hydra_calls",
    "sweeplab.speed.compose_once",
)
"""Our own modules that only pass a command on to Hydra."""


def explain(
    error: Exception, overrides: Sequence[str] | None = None, *, is_composing: bool = False
) -> str | None:
    """Say in one or two lines what is wrong with a config or a command line; None if the error is
    about neither.

    `overrides` are those that were given; without them, the error is about this process's command
    line. `is_composing`: Hydra raised it while it composed these.
    """
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    words = sys.argv[1:] if overrides is None else overrides
    if isinstance(error, MissingConfigException):
        return _missing_option(error, words)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read: {_syntax_problem(error)}"
    if isinstance(error.__cause__, ConfigAttributeError | ConfigKeyError):
        return _missing_key(error, error.__cause__, words)
    if isinstance(error, OmegaConfBaseException):
        return omegaconf_message(error)
    if isinstance(error, HydraException):
        return _hydra_message(error, words)
    if file_error := yaml_error(error):
        return str(file_error)
    if is_composing or _raised_by_hydra(error):
        return _refused_override(error, words)
    return None


def omegaconf_message(error: Any) -> str:
    """Return the first line of an error of OmegaConf, after the key that it is about, if there is
    one.
    """
    message = first_line(error)
    if missing := re.fullmatch(r"Interpolation key '(.+)' not found", message):
        own = f"give {error.full_key} a value of its own"
        message = f"refers to {missing[1]}, which is not there; {own}"
        if missing[1].startswith("optimizer."):
            message += " (optimizers of parts of the network have one each)"
    if message.startswith("Missing mandatory value"):
        return f"{error.full_key}=???: must be given"
    return f"{error.full_key}: {message}" if error.full_key else message


def unreadable(file: Path, error: Exception) -> str:
    """Say what in a YAML file cannot be parsed, or cannot be decoded as UTF-8, and where it
    stands.
    """
    if not isinstance(error, UnicodeError):
        return f"{file}: cannot be read: {one_line(error)}"
    content = file.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as wrong:
        byte, line = content[wrong.start], content.count(b"\n", 0, wrong.start) + 1
        place = f"byte 0x{byte:02x} in line {line}"
        return f"{file}: is no text in UTF-8: {place}; save it as UTF-8"
    return f"{file}: cannot be read: {error}"


def yaml_error(error: Exception) -> UserError | None:
    """Return what to say if Hydra could not read a YAML file; None for other errors.

    The name of the file is taken from the traceback: an error of a codec does not tell it.
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


def _hydra_message(error: Exception, words: Sequence[str]) -> str:
    """Say what an exception of Hydra's own is about, in the words that were typed."""
    from omegaconf.errors import OmegaConfBaseException

    cause = error.__cause__
    text = one_line(error)
    if again := re.search(r"Multiple values for (\S+)\. To override", text):
        typed = [word for word in words if word.lstrip("+").startswith(f"{again[1]}=")]
        if not typed:
            return f"{again[1]}: stands twice in the defaults list of a file; keep one of the two"
        cure = [word.lstrip("+") for word in typed]
        return f"{' '.join(typed)}: is chosen already, which takes no plus{meant(*cure)}"
    if present := re.search(r"An item is already at '(.+?)'", text):
        typed = [word for word in words if word.startswith(f"+{present[1]}=")]
        cure = [word.lstrip("+") for word in typed]
        if typed:
            return f"{' '.join(typed)}: is a key already, which takes no plus{meant(*cure)}"
    if gone := re.search(r"Could not delete from config. '(.+)\..+' does not exist", text):
        advice = f"~{gone[1]} and +{gone[1]}.key=value write the section anew"
        return f"{text} A key that is null cannot be deleted, either; {advice}"
    if misplaced := _misplaced_sweep(f"{text} {cause}", words):
        return misplaced
    if isinstance(cause, OmegaConfBaseException):
        if "Cannot merge DictConfig with ListConfig" in str(cause):
            override = text.removeprefix("Error merging override ")
            return f"{override}: must be a section of keys, not a list"
        return f"{text} ({first_line(cause)})"
    return text


def _misplaced_sweep(text: str, words: Sequence[str]) -> str | None:
    """Say where several values are given without -m, and where a range stands inside a list; None
    for other errors.
    """
    if swept := re.search(r"Sweep parameters '([^'=]+=.*)' requires --multirun", text):
        return f"{swept[1]}: {TAKES_M}{meant('-m', swept[1])}"
    if swept := re.search(r"Sweeping over Hydra's configuration is not .* '([^'=]+)=(.*?)'", text):
        key, value = swept.groups()
        if key in (f"{LAUNCHER}.setup", f"{LAUNCHER}.options"):
            value = f"[{value}]"
        is_text = "/" not in key and not re.search(r"(^|,)[\d.]+(,|$)", value)
        cure = _with_quotes(key, value) if is_text else ""
        return f"{key}={swept[2]}: takes one value, as all keys of Hydra{cure}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^'=]+)=(.*?)' 1\.", text):
        key, value = ambiguous.groups()
        if re.fullmatch(r"-?0,\d+", value):
            return f"{key}={value}: {TAKES_M}; a point is a dot{meant(f'{key}={value}'.replace(',', '.'))}"
        if re.fullmatch(r"-?\d{1,3}(,000)+", value):
            plain = f"{key}={value}".replace(",", "")
            return f"{key}={value}: {TAKES_M}; a number is written without commas{meant(plain)}"
        listed = f"a list is given as '{key}=[{value}]'"
        return f"{key}={value}: {TAKES_M}; {listed}{meant('-m', f'{key}={value}')}"
    if "Unexpected type annotation: Set[str]" in text:
        inside = [word for word in words if SWEEP_IN_LIST.search(word)]
        return f"{' '.join(inside)}: {NO_SWEEP_IN_LIST}"
    return None


def _missing_key(error: Exception, cause: Any, words: Sequence[str]) -> str:
    """Say that there is no such key, and which was meant; `cause` is OmegaConf's exception."""
    if cause.key == "experiment":
        return f"experiment: {NO_EXPERIMENT}"
    section = cause.parent_node
    names = [] if section is None else [str(name) for name in section if str(name) != "hydra"]
    typed = _typed_setting(str(error), words)
    setting = typed or cause.full_key
    if typed.startswith(f"{LAUNCHER}."):
        return f"{setting}: no such key{launcher_key_meant(str(cause.key), names)}"
    if section is not None and not names:
        key, _, value = setting.partition("=")
        cure = target_meant(key, value) or f": +{setting}"
        return f"{setting}: no such key; a key below an empty one is added by a plus{cure}"
    if typed in words and "={" in typed:  # a section, one of whose keys it is
        return f"{setting}: there is no key {cause.full_key}{did_you_mean(str(cause.key), names)}"
    near = _setting_meant_in(section, typed) if typed and section is not None else ""
    return f"{setting}: no such key{near or did_you_mean(str(cause.key), names)}"


def _typed_setting(message: str, words: Sequence[str]) -> str:
    """Return the word of the command line that Hydra's message is about; '' if it is about none.

    The message tells one value; of several for a key, the word has all.
    """
    told = re.search(r"use \+(.*\S)", message)
    if told is None:
        return ""
    beginning = f"{told[1].partition('=')[0]}="
    if told[1] in words:
        return told[1]
    return next((word for word in words if word.startswith(beginning)), told[1])


def _setting_meant_in(section: Any, typed: str) -> str:
    """Return the end of a message about a setting whose key a section has not; '' if none is near.

    A class from elsewhere takes more arguments than its section lists.
    """
    keys = [key for key in _all_keys(section) if not key.startswith("hydra.")]
    if near := setting_meant(typed, keys):
        return near
    target = str(section._get_node("_target_")) if "_target_" in section else "sweeplab."
    if target.startswith("sweeplab."):  # whose options have all that there is
        return ""
    return f"; an argument of its class is added by a plus{meant(f'+{typed}')}"


def _all_keys(node: Any) -> list[str]:
    """Return the dotted keys of the whole config that a node is of."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node._get_root(), resolve=False)
    assert isinstance(plain, dict)
    return dotted_keys(plain)


def _missing_option(error: Any, words: Sequence[str]) -> str:
    """Name the option, the config or the folder of configs that is missing."""
    if folder := re.search(r"config directory '(.+?)'", str(error)):
        return f"{folder[1]}: {NO_FOLDER}"
    name = error.missing_cfg_file or ""
    if not error.options:
        return _missing_primary(name, str(error))
    group, _, option = name.rpartition("/")
    for override in _readable_overrides(words):
        if name.startswith(f"{override.key_or_group}/"):
            group = override.key_or_group
            option = name.removeprefix(f"{group}/")
    if option.lower() in ("none", "off", "no", "false") and group in NOTHING:
        return f"{group}={option}: no such option{NOTHING[group]}"
    same = [each for each in error.options if f"{each}.py" == option.lower()]
    if not same and (advice := _of_file(group, option)):
        kind = "folder" if Path(option).is_dir() else "file"
        return f"{group}={option}: is a {kind}{advice}"
    near = _option_meant(group, option, error.options)
    if not near and group == "model" and option[:1].isupper():
        return f"{group}={option}: no such option; a class is named after its file: model=FILE.{option}"
    if near:
        return f"{group}={option}: no such option{meant(f'{group}={near}')}"
    return f"{group}={option}: no such option{did_you_mean(option, error.options)}"


def _missing_primary(name: str, message: str) -> str:
    """Say that there is no such main file, and which there are in the user's folder."""
    folder = re.search(r"provider=main, path=(?:file://)?(.+)", message)
    if folder is None:
        return f"{name}: no such config; {one_line(message)}"
    valid = [file.stem for file in Path(folder[1]).glob("*.yaml")]
    return f"{name}: no such config in {folder[1]}{did_you_mean(name, valid)}"


def _option_meant(group: str, option: str, options: Sequence[str]) -> str:
    """Return the option of a group, or the path of a class, that was meant; '' if none is near."""
    last = option.rpartition("/")[2]
    if last != option and last in options:
        return last
    path = re.sub("[:/]+", ".", option.removeprefix("./").replace(".py", ""))
    if path != option and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", path):
        return path
    if option.lower() in ("mae", "l1"):
        return "torch.nn.L1Loss"
    near = near_name(option, options)
    if not near and group in OF_TORCH and option[:1].isupper():
        return f"{OF_TORCH[group]}.{option}"
    return near


def _of_file(group: str, option: str) -> str:
    """Say how a file of Python or a table is chosen; '' for what is neither."""
    if option.endswith(".csv"):
        return meant(
            f"{group}=csv", f"{group}.dataset.file={option}", f"{group}.dataset.target=NAME"
        )
    if Path(option).is_dir() and group == "data":
        return meant("data=image_folder", f"data.dataset.folder={option}")
    stem = option.partition(".")[0]
    if "-" in stem and Path(f"{stem}.py").is_file():
        return f"; no module has a dash in its name: rename it {stem.replace('-', '_')}.py"
    module = option.removesuffix(".py")
    if Path(f"{module}.py").is_file() or ("/" not in module and module != option):
        path = module.removeprefix("./").replace("/", ".")
        return f"; name a class in it, as in {group}={path}.Net"
    return ""


def _syntax_problem(error: Any) -> str:
    """Say why an override cannot be parsed: the parser's own words only tell where it gave up."""
    key, equals, value = str(error.override).partition("=")
    if not equals:
        return OVERRIDE
    if not key.isascii():
        return ASCII_KEYS
    if not KEY.fullmatch(key):
        return f"{key!r} is no key; {OVERRIDE}"
    if problem := _call_problem(key, value) or _python_problem(key, value):
        return problem
    frame = ("Error parsing override", "See https")
    lines = [line for line in str(error).splitlines() if not line.startswith(frame)]
    if not lines or lines[0].startswith("LexerNoViableAltException"):
        return QUOTES + _with_quotes(key, value)
    several = str(error.override).split()
    if len(several) > 1 and all(SETTING.match(word) for word in several):
        return f"several settings, which stand apart{meant(*several)}"
    if "=" in value and not re.search(r"['\"]", str(error.override)):
        return EQUALS + _with_quotes(key, value)
    unexpected = re.match(r"(?:mismatched|extraneous) input '(.+?)' expecting", lines[0])
    if not unexpected:
        return lines[0]
    if unexpected[1] == "<EOF>":
        return "a value is missing at its end"
    return f"{unexpected[1]!r} is not expected there"


def _call_problem(key: str, value: str) -> str:
    """Say why a value with parentheses cannot be read; '' for others."""
    called = CALL.fullmatch(value)
    if called and key in ("model", *OF_TORCH):
        arguments = [word.strip() for word in called[2].split(",") if "=" in word]
        cure = [f"{key}={called[1]}", *(f"{key}.{word}" for word in arguments)]
        return f"a class is named, not called{meant(*cure)}"
    if re.search(r"choice\(.*\b(range|interval|glob)\(", value):
        return f"choice takes values, as in {key}=choice(1,2); a range stands alone: {key}=range(2)"
    return ""


def _python_problem(key: str, value: str) -> str:
    """Say how a dict, or numbers of NumPy, are written, as f"{value}" does not; '' for others."""
    plain = re.sub(r"\bnp\.\w+\(([^()]*)\)", r"\1", value)
    plain = re.sub(r"(['\"])([\w.]+)\1(?=\s*:)", r"\2", plain)
    if plain == value or not list(_readable_overrides([f"{key}={plain}"])):
        return ""
    return f"is written as in Python{meant(f'{key}={plain}')}"


def _with_quotes(key: str, value: str) -> str:
    """Return the end of a message about a value that needs quotes of its own; '' if they do not
    help.
    """
    quoted = f'{key}="{value}"'
    if listed := re.fullmatch(r"\[([^\[\]{}()]*)\]", value):  # each item by itself
        items = [f'"{item.strip()}"' for item in listed[1].split(",")]
        quoted = f"{key}=[{','.join(items)}]"
    if '"' in value or "\n" in value or not list(_readable_overrides([quoted])):
        return ""
    return meant(quoted)


def _raised_by_hydra(error: Exception) -> bool:
    """Whether Hydra raised the error over what was typed, and no code of ours did."""
    is_hydra = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(OWN_MODULES) and module not in HYDRA_CALLERS:
            return False
        is_hydra = is_hydra or module.split(".")[0] in ("hydra", "omegaconf")
    return is_hydra


def _refused_override(error: Exception, words: Sequence[str]) -> str:
    """Name the overrides that Hydra stumbles over without a message of its own."""
    if faulty := _faulty_defaults(error):
        return faulty
    overrides = list(_readable_overrides(words))
    for override in overrides:
        if override.key_or_group == "hydra.verbose":
            return f"{override.input_line}: {LOGGERS}"
    nameless = [override for override in overrides if not _may_name_options(override)]
    if nameless:
        advice = NOTHING.get(nameless[0].key_or_group)
        values = [override._value for override in nameless]
        if advice and all(value is None or isinstance(value, bool) for value in values):
            return f"{_typed(nameless)}: there is no such option{advice}"
        return f"{_typed(nameless)}: {NAMES}"
    reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if "--" in reason:  # about options, not overrides
        return f"{' '.join(words)}: {reason}"
    of_hydra = [override for override in overrides if override.key_or_group.startswith("hydra")]
    return f"{_typed(of_hydra) or ' '.join(words)}: Hydra cannot take it: {reason}"


def _faulty_defaults(error: Exception) -> str:
    """Name the file whose defaults list Hydra cannot take, and the entry; '' for other errors.

    Both are taken from the traceback: the error of a wrong value does not tell them.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        known = frame.f_locals if frame.f_code.co_name == "_create_defaults_list" else {}
        file, entry = known.get("config_path"), known.get("item")
        if file is None:  # of an override
            continue
        advice = (
            "must be the name of a file, or a group and the name of an option, as in model: mlp"
        )
        if isinstance(known.get("config_value"), bool):
            advice = "YAML reads off, no, on and yes as true or false; write it in quotes: 'off'"
        return f"{str(file).removesuffix('.yaml')}.yaml: defaults: {entry}: {advice}"
    return ""


def _typed(overrides: Sequence[Override]) -> str:
    return " ".join(str(override.input_line) for override in overrides)


def _readable_overrides(words: Sequence[str]) -> Iterator[Override]:
    """Yield the overrides among the words of a command line that can be parsed."""
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


def _may_name_options(override: Override) -> bool:
    """Whether an override sets a key, or chooses options by a name or a list of names, as Hydra
    requires.
    """
    from hydra.core.override_parser.types import ChoiceSweep

    if "." in override.key_or_group or override.key_or_group == "seed" or override.is_delete():
        return True
    value: Any = override._value
    choices = value.list if isinstance(value, ChoiceSweep) else [value]
    return all(map(_is_name_or_section, choices))


def _is_name_or_section(value: Any) -> bool:
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, list):
        return all(isinstance(name, str | QuotedString) for name in value)
    return isinstance(value, str | QuotedString | dict)
