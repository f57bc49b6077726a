"""The reference: every key, every command and the Python names, from what the program itself says."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial

import sweeplab
from sweeplab import config
from sweeplab.commands import cli
from sweeplab.config import conf_dir, reference
from sweeplab.config.layers import Layers
from sweeplab.config.reference import ConfigKey

ABOVE = ("seed", "metrics")
"""The keys that are in no section."""

GROUPS = ("model", "data", "loss", "step", "optimizer", "scheduler", "tracking")
"""The groups whose options have keys of their own."""

HYDRA = {"hydra/launcher": ("ray", "ray_cluster", "slurm"), "hydra/sweeper": ("optuna",)}
"""The options of sweeplab's plugins."""

MOST_DEFAULTS = 3  # that are listed

EXIT_CODES = {
    0: "it is done",
    1: "a run failed, or something is missing, differs or lags behind",
    2: "bad input or a refused record; nothing was begun",
    130: "ended by Ctrl-C",
    143: "ended by SIGTERM",
    129: "ended by SIGHUP: the terminal was closed",
}

Options = dict[str, dict[str, ConfigKey]]
"""Key -> option of its group -> what the config says of the key with that option."""


def pages() -> dict[str, str]:
    """Return the pages of docs/reference/ by their names."""
    return {"config.md": config_page(), "commands.md": commands_page(), "python.md": python_page()}


# --- The config -----------------------------------------------------------------------------------


def config_page() -> str:
    """Describe every key, section by section."""
    lines = [
        "# Every key of the config",
        "",
        "Set a key on the command line, as in `trainer.epochs=5`, or in a YAML file.",
        "Choose an option by `group=option`, as in `model=cnn`.",
        "`sweeplab why KEY` says which file or override sets a key in your project.",
    ]
    groups = reference.group_options()
    for section, keys in sections(groups).items():
        lines += ["", f"({section.replace('/', '-')}-keys)=", f"## {section}"]
        lines += list(_choices(section, groups.get(section, {})))
        for key, found in keys.items():
            lines += ["", *_entry(key, found)]
    return "\n".join(lines) + "\n"


def sections(groups: dict[str, dict[str, str]]) -> dict[str, Options]:
    """Collect the keys of each section over all options of its group."""
    found: dict[str, Options] = {}
    for option, key in _composed(groups):
        section = "top level" if key.key in ABOVE else key.key.partition(".")[0]
        if section == "hydra":
            section = ".".join(key.key.split(".")[:2])
        found.setdefault(section, {}).setdefault(key.key, {}).setdefault(option, key)
    found.setdefault("debug", {})  # its options set keys of other sections
    return found


def _composed(groups: dict[str, dict[str, str]]) -> Iterator[tuple[str, ConfigKey]]:
    """Yield the keys of the default config, then those that other options bring."""
    default = Layers.of([], conf_dir(), "config")
    for key in reference.config_keys(default):
        yield default.choices.get(key.key.partition(".")[0]) or "", key
    for group in (*GROUPS, *HYDRA):
        for option in HYDRA.get(group) or groups[group]:
            for key in reference.option_keys(group, option):
                yield option, key


def _choices(group: str, options: dict[str, str]) -> Iterator[str]:
    """Yield a table of a group's options."""
    if options:
        yield from ("", f"| `{group}=` | |", "|---|---|")
    for name, about in options.items():
        yield f"| `{name}` | {cell(about)} |"


def _entry(key: str, found: dict[str, ConfigKey]) -> Iterator[str]:
    """Yield the entry of a key."""
    first = next(iter(found.values()))
    yield f":::{{confval}} {key}"
    if first.allowed:
        yield f":type: {first.allowed.replace('|', '/')}"
    yield f":default: {_default(found)}"
    yield ""
    yield escaped(first.meaning)
    yield ":::"


def _default(found: dict[str, ConfigKey]) -> str:
    """Write the default, and which option has it where they differ."""
    by_value: dict[str, list[str]] = {}
    for option, key in found.items():
        by_value.setdefault(config.to_text(key.default), []).append(option)
    value, names = next(iter(by_value.items()))
    if len(by_value) == 1:
        return f"`{value}`"
    if len(by_value) > MOST_DEFAULTS:
        return f"`{value}` ({names[0]}); the other options have their own"
    return ", ".join(f"`{value}` ({', '.join(names)})" for value, names in by_value.items())


def escaped(text: str) -> str:
    """Return a text as Markdown that shows it as it stands; what is in backticks is code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_\[\]<>${}#])", r"\\\1", part)
        for part in parts
    )


def cell(text: str) -> str:
    """Return a text for a table, in which a bar ends a cell."""
    return escaped(text).replace("|", "\\|")


# --- Commands -------------------------------------------------------------------------------------


def commands_page() -> str:
    """Describe every command of `sweeplab`, and the options of train.py."""
    from hydra._internal.utils import get_args_parser

    lines = [
        "# Every command",
        "",
        "Each command ends with an exit code:",
        "",
        "| code | |",
        "|---:|---|",
    ]
    lines += [f"| {code} | {about} |" for code, about in EXIT_CODES.items()]
    lines += ["", "## python train.py", ""]
    lines += ["Trains one run, or with `-m` a sweep. The options are those of Hydra; settings are "]
    lines += ["`key=value` ([every key](config.md)).", "", *_options(get_args_parser())]
    for name, about in cli.COMMANDS.items():
        parser = parser_of(name)
        usage = parser.format_usage().replace("\n       ", "\n").removeprefix("usage: ").rstrip()
        lines += ["", f"## sweeplab {name}", "", f"{escaped(sentence(about))}", ""]
        lines += ["```text", usage, "```", "", *_options(parser)]
    return "\n".join(lines) + "\n"


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, with its options."""
    whole = cli._parser([name])
    (commands,) = (each for each in whole._actions if isinstance(each, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table of the options of a parser, in the words of its help."""
    formatter: Callable[..., argparse.HelpFormatter] = partial(argparse.HelpFormatter, width=90)
    parser.formatter_class = formatter  # type: ignore[assignment]
    help_of = parser._get_formatter()
    yield "| option | |"
    yield "|---|---|"
    for action in parser._actions:
        if action.help is None or action.help == argparse.SUPPRESS:
            continue
        name = help_of._format_action_invocation(action)
        about = str(action.help).splitlines()[0].removesuffix(":")
        yield f"| `{name}` | {cell(about)} |"


def sentence(text: str) -> str:
    """Begin with a capital letter, and end with a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


# --- Python ---------------------------------------------------------------------------------------


def python_page() -> str:
    """Have autodoc describe the public names, functions first."""
    names = sorted(public_names(), key=lambda name: (not name.rpartition(".")[2].islower(), name))
    lines = [
        "# Every Python name",
        "",
        "`import sweeplab` is quick: PyTorch is loaded when something is asked of it that needs it.",
        "[From Python and a notebook](../python.md) shows them at work.",
    ]
    for name in names:
        kind = "autofunction" if name.rpartition(".")[2].islower() else "autoclass"
        lines += ["", f"## {name}", "", "```{eval-rst}", f".. {kind}:: {name}"]
        if kind == "autoclass":
            lines += ["   :members:", "   :inherited-members: Exception, BaseException"]
        lines.append("```")
    return "\n".join(lines) + "\n"


def public_names() -> list[str]:
    """List what `sweeplab` offers, and what a tracker of one's own derives from."""
    return [f"sweeplab.{name}" for name in sweeplab.__all__] + ["sweeplab.tracking.Exporter"]


def name_publicly() -> None:
    """Give the public objects the names by which users know them, for autodoc in this process."""
    from sweeplab.commands import python

    for name in ("compare", "sweep"):  # packages that are called
        vars(sweeplab)[name] = getattr(python, name)
    for name in sweeplab.__all__:
        found = getattr(sweeplab, name)
        found.__module__, found.__qualname__, found.__name__ = "sweeplab", name, name
        if inspect.isclass(found):
            vars(sweeplab)[name] = found
