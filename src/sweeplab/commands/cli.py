"""The `sweeplab` command, and train.py's task: what it does with a composed config."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sweeplab import console
from sweeplab.commands.guard import guarded
from sweeplab.errors import Interrupted, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeplab.config import Config

__all__ = ["guarded", "main", "train"]


def train(config: DictConfig) -> None:
    """Train the composed config: Hydra's task.

    What goes wrong is told here, since Hydra would add words of its own. A job of a sweep raises
    instead, so that the others go on.
    """
    from sweeplab import tracking
    from sweeplab.config import is_job
    from sweeplab.speed import head_start

    sweep = config.get("sweep")
    if not isinstance(sweep, Mapping):  # what is wrong is told where the whole config is read
        sweep = {}
    if sweep.get("id") is not None and is_job():
        from sweeplab.runs.run import main as job

        job(config)
    elif sweep.get("id") is not None:
        guarded(_refuse_sweep_id)(config)
    elif sweep.get("plan") is True:
        guarded(_plan)(config)
    else:
        with head_start.allowed(tracking.early(config)):
            with console.waiting("loading PyTorch"):
                from sweeplab.runs.run import main as run
            guarded(run)(config)


def _refuse_sweep_id(config: DictConfig) -> None:
    problem = "is set by the sweep that a run belongs to; leave it out"
    raise UserError(f"sweep.id={config.sweep.id}: {problem}")


def _plan(config: DictConfig) -> None:
    """Show the plan of a single run: `sweep.plan=true` without -m."""
    from sweeplab.config import task_overrides
    from sweeplab.sweep.plan import make
    from sweeplab.sweep.preview import show

    overrides = task_overrides()
    show(make([overrides], overrides, lambda _: config, is_single_run=True))


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

    def run() -> None:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            _run(known, [*known.words, *rest])
        finally:  # here, where `guarded` still tells what the handler raises
            signal.signal(signal.SIGTERM, before)

    guarded(run)()


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
    command = import_module(f"sweeplab.commands.{arguments.command}")
    command.main(arguments, _compose(words))


def _compose(overrides: Sequence[str]) -> Config:
    from sweeplab.config import compose

    return compose(overrides)


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
    _add_options_of_runs(command("runs", "list the runs of the store, or make room in it"))
    for each in commands.choices.values():
        overrides = "config overrides, as for train.py"
        each.add_argument("words", nargs="*", metavar="key=value", help=overrides)
    return parser


def _add_options_of_compare(compare: argparse.ArgumentParser) -> None:
    compare.usage = "%(prog)s [options] [SWEEP ...] [key=value ...]"
    sweep = "the beginning of a sweep's id, its MLflow run, or an experiment; or two runs"
    compare.epilog = f"SWEEP: {sweep}"
    where = "only runs whose config fits: 'model.hidden < 512'"
    compare.add_argument("--where", metavar="EXPR", help=where)
    baseline = compare.add_argument("--baseline", metavar="KEY=VALUE", action="append", default=[])
    baseline.help = "differences from it"
    target = "of the monitored metric, for epochs to it (default 0.98)"
    compare.add_argument("--target", type=float, help=target)
    report = "write the report there: HTML, PNG and CSV"
    compare.add_argument("--report", metavar="FOLDER", help=report)
    write = "write the experiment's page, experiments/SWEEP.md"
    compare.add_argument("--write", action="store_true", help=write)
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts, instead of the table")
    csv = "the groups, unrounded, instead of the table"
    form.add_argument("--csv", action="store_true", help=csv)


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
