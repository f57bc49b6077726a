"""The `sweeplab` command; train.py, too, takes from here what it is made of."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from sweeplab import config, console
from sweeplab.commands.guard import guarded, reported, version
from sweeplab.commands.train import train
from sweeplab.errors import Interrupted, UserError, near_name

__all__ = ["guarded", "main", "train"]


COMMANDS = {
    "init": "write a project of your own: a network, a data set, a question, tests",
    "ui": "open MLflow's page of a sweep or a run in the browser",
    "sync": "bring MLflow level with the store",
    "compare": "what came out of sweeps: ranked, with its uncertainty",
    "watch": "how a sweep stands while it runs: its ranking so far, and the runs at work",
    "replay": "train a recorded run again, and compare every bit",
    "verify": "train runs of a sweep again, drawn at random: what that tells of all",
    "pack": "put a sweep into one file, to hand it on",
    "unpack": "take a packed sweep into the store; nothing of it is run",
    "show": "what a run's network gets right, and its worst mistakes",
    "predict": "what a run's network says of pictures or rows of numbers",
    "stop": "end a run or a sweep at a checkpoint, wherever it is at work",
    "pause": "the same, and give its cores to others until it is resumed",
    "resume": "let a paused, stopped or interrupted run or sweep go on",
    "retry": "train the failed runs of a sweep, or one, anew",
    "work": "take jobs of a sweep that another command has planned, on this machine",
    "runs": "list the runs of the store, or make room in it",
    "help": "what can be set, and what a key means",
    "why": "which file, default or override sets a key, and what it would be without",
}
"""Each is a module of its own here (MODULES names those that share one), which is imported for its command only: it has

`add_options(parser)`, which adds the command's own arguments;
`main(arguments, settings)`, which runs it on the composed config;
and, if it takes words that are no overrides among those that are, `overrides(arguments, words)`,
which keeps the former in `arguments` and returns the latter.
"""

OTHER_NAMES = {
    "list": "sweeplab runs",
    "ls": "sweeplab runs",
    "rm": "sweeplab runs rm",
    "delete": "sweeplab runs rm",
    "clean": "sweeplab runs --clean",
    "status": "sweeplab watch",
    "cancel": "sweeplab stop",
    "serve": "sweeplab ui",
    "mlflow": "sweeplab ui",
    "plot": "sweeplab compare --report report",
    "version": "sweeplab --version",
    "train": "python train.py",
    "run": "python train.py",
    "sweep": "python train.py -m",
    "--failed": "--status failed",
    "--latest": "latest",
}
"""What other programs call a command, or an option."""

_OVERRIDE = re.compile(r"[+~]*[\w.@/]+=")

NAMES = ("NAME", "RUN", "SWEEP", "FILE")  # how parsers call what a command takes one of

MODULES = dict.fromkeys(("stop", "pause", "resume", "retry"), "steer")


_WORDS = {
    r"argument (?:-\w/)?(-\S+): ignored explicit argument '(.*)'": r" \1=\2: takes no value",
    r"argument (-\S+): expected one argument": r" \1: needs a value",
    r"argument (-\S+): invalid int value: '(.*)'": r" \1=\2: must be a whole number",
    r"argument (-\S+): (.*): (must be .*)": r" \1=\2: \3",
    r"argument (-\S+): not allowed with argument (\S+)": r" \1: cannot be given with \2",
    r"argument COMMAND: invalid choice: '(.*?)'.*": r" \1: no such command",
    r"argument (-\S+): (.*)": r" \1: \2",
    r"the following arguments are required: (.*)": r": lacks \1",
}
"""What argparse says of a mistake, and how we say it, behind the command's name."""


class _Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in our words, and hides the secrets in what it cannot read."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, allow_abbrev=False)
        self.register("action", None, _Once)

    def error(self, message: str) -> NoReturn:
        for pattern, words in _WORDS.items():
            if match := re.fullmatch(pattern, message, re.DOTALL):
                message = match.expand(words)
                break
        self.exit(2, console.shown(f"{self.prog}{message}; {self.prog} --help says more") + "\n")


class _Once(argparse._StoreAction):
    """Keeps the value of an option, which may be given once only, and not blank."""

    _is_given = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if self._is_given and option_string is not None:
            raise argparse.ArgumentError(self, "is given twice")
        if option_string is not None and self.nargs is None and not str(values).strip():
            raise argparse.ArgumentError(self, "expected one argument")
        self._is_given = True
        super().__call__(parser, namespace, values, option_string)


class _Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(version())
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `sweeplab` command."""
    if arguments is None:
        console.start_in_utf_8()
    console.start_streams()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with console.words_apart("--json" in words), config.command_noted(), reported():
        known, rest = _parser(words).parse_known_args(words)
        options = known.parser._option_string_actions
        for word in rest:
            if word.partition("=")[0] in options:
                known.parser.error(f"argument {word}: comes after the command")
            if word.startswith("-"):
                _refuse(known.parser, word, "no such option", options)
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            _run(known, [*known.words, *rest])
        finally:  # here, where what the handler raises is still reported
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    """Take SIGTERM as Ctrl-C, so that an MLflow server that a command started ends with it."""
    raise Interrupted


def _run(arguments: argparse.Namespace, words: list[str]) -> None:
    """Run the chosen command on the config of these words, which is the project's if there is one."""
    command = _module(arguments.command)
    entry = config.entry(arguments.config_dir, arguments.config_name)
    if entry.problem:
        console.complain(entry.problem)
    arguments.entry = entry
    config.ensure_readable(words, has_names=True)
    words = _name_first(arguments, words)
    _ensure_names(arguments, words)
    if hasattr(command, "overrides"):
        words = command.overrides(arguments, words)
    try:
        with config.mending(words, entry.folder, entry.name):
            settings = config.compose(words, entry.folder, entry.name)
    except Exception:
        _ensure_no_option(arguments.parser, words)
        if hasattr(command, "without_config"):
            command.without_config(arguments)
        raise
    command.main(arguments, settings)


def _name_first(arguments: argparse.Namespace, words: list[str]) -> list[str]:
    """Take the name of a run or a sweep that was typed after an override; return the overrides."""
    for key in NAMES:
        word = vars(arguments).get(key)
        if not isinstance(word, str):  # none, or files, of which a command takes several
            continue
        if word.startswith("-"):  # argparse takes what looks like a number for a name
            _refuse(arguments.parser, word, "no such option", [])
        if not _is_override(word):
            continue
        names = [other for other in words if not _is_override(other)]
        if not names:
            example, what = f"sweeplab {arguments.command} latest", "the name of a sweep or a run"
            if key == "FILE":
                example, what = f"sweeplab {arguments.command} FILE", "the file"
            problem = f"sets a key; {what} comes first"
            raise UserError(f"{word}: {problem}, as in: {example}")
        setattr(arguments, key, names[0])
        left = list(words)
        left.remove(names[0])
        return [word, *left]
    return words


def _is_override(word: str) -> bool:
    """Tell whether a word sets a key of the config; a folder's name may have an `=`, too."""
    return bool(_OVERRIDE.match(word)) and not Path(word).exists()


def _ensure_no_option(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Raise UserError for an option that was typed like a key of the config."""
    for word in words:
        name, equals, value = word.partition("=")
        option = f"--{name.replace('_', '-')}"
        action = parser._option_string_actions.get(option) if equals else None
        if action is not None:
            meant = option if action.nargs == 0 else f"{option} {value}"
            raise UserError(f"{word}: no such key; did you mean '{meant}'?")


def _ensure_names(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    """Raise UserError for an empty name, and for a second one where there is one only."""
    given = vars(arguments)
    names = [given[key] for key in NAMES if isinstance(given.get(key), str)]
    if any(not text.strip() for text in words) and arguments.command in ("why", "help"):
        raise UserError(
            f"'': an empty name; name a key, as in: sweeplab {arguments.command} trainer.epochs"
        )
    if any(not text.strip() for text in [*names, *words]):
        runs = console.command("sweeplab runs")
        raise UserError(f"'': an empty name; latest is the latest sweep, {runs} lists the runs")
    for word in words:
        if names and "=" not in word and not word.startswith("~"):
            problem = f"is a second name; sweeplab {arguments.command} takes one at a time"
            raise UserError(f"{word}: {problem}")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser of a command line; of the command in it, if any, with its own options."""
    parser = _Parser(
        prog="sweeplab",
        description="Look at what train.py has recorded. Every command takes config overrides "
        "after its own arguments, as in: sweeplab ui store.root=elsewhere",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="sweeplab's own")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        _refuse(parser, chosen, "no such command", COMMANDS)
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if name == chosen:
            _module(name).add_options(command)
            _add_config(command)
            command.set_defaults(parser=command)
    return parser


def _refuse(
    parser: argparse.ArgumentParser, word: str, problem: str, valid: Iterable[str]
) -> NoReturn:
    """End the program with what was meant by a command, or an option, that there is not."""
    name, equals, value = word.partition("=")
    near = OTHER_NAMES.get(name) or near_name(name, valid)
    if "." in name:
        near = name.lstrip("-")  # a key of the config
    if near in COMMANDS:
        near = f"sweeplab {near}"
    advice = (
        f"; did you mean '{near}{equals}{value}'?" if near else f"; {parser.prog} --help lists all"
    )
    parser.exit(2, console.shown(f"{parser.prog} {word}: {problem}{advice}") + "\n")


def _module(name: str) -> Any:
    """Import what carries out a command."""
    return import_module(f"sweeplab.commands.{MODULES.get(name, name)}")


def _add_config(command: argparse.ArgumentParser) -> None:
    """Add what says which config a command reads: every command takes it."""
    folder = "the conf/ of your project; without it that of the train.py in this folder, if any"
    command.add_argument("--config-dir", metavar="DIR", help=folder)
    name = "its main file; without it what train.py names, or config"
    command.add_argument("--config-name", metavar="NAME", help=name)
    overrides = "config overrides, as for train.py"
    command.add_argument(  # after the command's own words, if it takes any
        "words", nargs="*", action="extend", default=[], metavar="key=value", help=overrides
    )


if __name__ == "__main__":
    main()
