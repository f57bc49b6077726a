"""The `sweeplab` command; train.py, too, takes from here what it is made of."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from sweeplab import config, console
from sweeplab.commands.guard import guarded, reported
from sweeplab.commands.train import train
from sweeplab.errors import Interrupted

__all__ = ["guarded", "main", "train"]


class _Parser(argparse.ArgumentParser):
    """A parser that hides the secrets in what it cannot read."""

    def error(self, message: str) -> NoReturn:
        super().error(console.shown(message))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `sweeplab` command."""
    if arguments is None:
        console.start_in_utf_8()
    console.start_streams()
    known, rest = _parser().parse_known_args(arguments)
    with reported():
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            _run(known, [*known.words, *rest])
        finally:  # here, where what the handler raises is still reported
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    """Take SIGTERM as Ctrl-C, so that an MLflow server that a command started ends with it."""
    raise Interrupted


def _run(arguments: argparse.Namespace, words: list[str]) -> None:
    """Run the chosen command, which is a module of its own, on the config of these words."""
    if arguments.command == "replay":
        with console.waiting("loading PyTorch"):
            from sweeplab.replay.replay import main as replay
        replay(arguments.RUN, words, arguments.trust)
        return
    if arguments.command == "predict":  # overrides stand among the files
        given = [*arguments.FILE, *words]
        words = [word for word in given if "=" in word and not Path(word).exists()]
        arguments.FILE = [word for word in given if word not in words]
    if arguments.command == "compare":  # it takes names, too, which have no `=`
        arguments.names = [word for word in words if "=" not in word]
        words = [word for word in words if "=" in word]
        file = arguments.latex or ""
        if "=" in file and not file.endswith(".tex"):  # an override, and no file
            words.append(file)
            arguments.latex = ""
    command = import_module(f"sweeplab.commands.{arguments.command}")
    command.main(arguments, config.compose(words))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sweeplab",
        description="Look at what train.py has recorded. Every command takes config overrides "
        "after its own arguments, as in: sweeplab ui store.root=elsewhere",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about)

    ui = command("ui", "open the MLflow UI on the runs of this root")
    port = "port of the UI on 127.0.0.1; the next free one if taken"
    ui.add_argument("--port", type=int, default=5000, help=port)
    command("sync", "bring MLflow level with the store")
    _add_options_of_compare(
        command("compare", "what came out of sweeps: ranked, with its uncertainty")
    )
    replay = command("replay", "train a recorded run again, and compare every bit")
    trust = "whose classes and functions it may call, too"
    replay.add_argument("--trust", metavar="MODULE", action="append", default=[], help=trust)
    replay.add_argument("RUN")
    show = command("show", "what a run's network gets right, and its worst mistakes")
    show.add_argument("RUN")
    predict = command("predict", "what a run's network says of pictures or rows of numbers")
    predict.add_argument("RUN")
    predict.add_argument("FILE", nargs="+", help="a picture, .npy, or rows of numbers")
    invert = "the pictures are dark on a light ground, and the set's are light on a dark one"
    predict.add_argument("--invert", action="store_true", help=invert)
    about = "take jobs of a sweep that another command has planned, on this machine"
    command("work", about).add_argument("SWEEP", help="the beginning of its id")
    _add_options_of_runs(command("runs", "list the runs of the store, or make room in it"))
    for each in commands.choices.values():
        overrides = "config overrides, as for train.py"
        each.add_argument("words", nargs="*", metavar="key=value", help=overrides)
    return parser


def _number(text: str) -> float:
    """Read a number of the command line. Raises argparse's own error for anything else."""
    try:
        return float(text)
    except ValueError as error:
        advice = ""
        if "," in text:
            advice = f"; if {text.replace(',', '.')} is meant, its point is a dot"
        raise argparse.ArgumentTypeError(f"{text} is no number{advice}") from error


def _add_options_of_compare(compare: argparse.ArgumentParser) -> None:
    compare.usage = "%(prog)s [options] [SWEEP ...] [key=value ...]"
    sweep = "the beginning of a sweep's id, its MLflow run, or an experiment; or two runs"
    compare.epilog = f"SWEEP: {sweep}"
    where = "only runs whose config fits: 'model.hidden < 512'"
    compare.add_argument("--where", metavar="EXPR", help=where)
    baseline = compare.add_argument("--baseline", metavar="KEY=VALUE", action="append", default=[])
    baseline.help = "differences from it"
    target = "of the monitored metric, for epochs to it (default 0.98)"
    compare.add_argument("--target", type=_number, help=target)
    margin = "how much worse than the best a smaller config may be and still as good"
    compare.add_argument("--margin", type=_number, help=margin)
    report = "write the report there: HTML, PNG and CSV"
    compare.add_argument("--report", metavar="FOLDER", help=report)
    write = "write the experiment's page, experiments/SWEEP.md"
    compare.add_argument("--write", action="store_true", help=write)
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts, instead of the table")
    csv = "the groups, unrounded, instead of the table"
    form.add_argument("--csv", action="store_true", help=csv)
    latex = "a table for a paper, instead of the table; with FILE.tex: written there"
    form.add_argument("--latex", metavar="FILE.tex", nargs="?", const="", help=latex)


def _add_options_of_runs(runs: argparse.ArgumentParser) -> None:
    runs.add_argument("--json", action="store_true", help="for scripts")
    clean = "remove failed, interrupted and unfinished runs"
    runs.add_argument("--clean", action="store_true", help=clean)
    weights = "with --clean: the weights of finished runs instead"
    runs.add_argument("--weights", action="store_true", help=weights)
    age = "only those idle for so long: 30m, 12h, 7d, 2w"
    runs.add_argument("--older-than", metavar="AGE", help=age)
    runs.add_argument("--yes", action="store_true", help="remove them without asking")


if __name__ == "__main__":
    main()
