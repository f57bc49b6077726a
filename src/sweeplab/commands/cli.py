"""The `sweeplab` command, and what train.py does with a composed config."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from sweeplab import console
from sweeplab.commands.guard import guarded
from sweeplab.errors import Interrupted, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeplab.config import Config

__all__ = ["guarded", "main", "train"]


def train(config: DictConfig) -> None:
    """Hydra's task: train the composed config. What goes wrong is told here, since Hydra would add words of its own;
    a job of a sweep raises instead, so that the others go on.
    """
    from sweeplab import tracking
    from sweeplab.config import is_job
    from sweeplab.console import waiting
    from sweeplab.speed import head_start

    given = config.get("sweep")
    sweep = given if isinstance(given, Mapping) else {}  # what is wrong is told where the whole config is read
    if sweep.get("id") is not None:
        from sweeplab.runs.run import main as job

        return (job if is_job() else guarded(_refuse_sweep_id))(config)
    if sweep.get("plan") is True:
        return guarded(_plan)(config)
    with head_start.allowed(tracking.early(config)):
        with waiting("loading PyTorch"):
            from sweeplab.runs.run import main as run
        return guarded(run)(config)


def _refuse_sweep_id(config: DictConfig) -> None:
    raise UserError(f"sweep.id={config.sweep.id}: is set by the sweep that a run belongs to; leave it out")


def _plan(config: DictConfig) -> None:
    """`sweep.plan=true` without -m: the plan of a single run."""
    from sweeplab.config import task_overrides
    from sweeplab.sweep.plan import make
    from sweeplab.sweep.preview import show

    given = task_overrides()
    show(make([given], given, lambda _: config, is_single_run=True))


class _Parser(argparse.ArgumentParser):
    """Hides the secrets in what it cannot read."""

    def error(self, message: str) -> NoReturn:
        from sweeplab.console import shown

        super().error(shown(message))


def main(arguments: Sequence[str] | None = None) -> None:
    """The `sweeplab` command."""
    if arguments is None:
        console.start_in_utf_8()
    console.start_streams()
    parser = _Parser(
        prog="sweeplab",
        description="Look at what train.py has recorded. Every command takes config overrides after its own arguments, "
        "as in: sweeplab ui store.root=elsewhere",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ui = _command(commands, "ui", _ui, "open the MLflow UI on the runs of this root")
    ui.add_argument("--port", type=int, default=5000, help="port of the UI on 127.0.0.1; the next free one if taken")
    _command(commands, "sync", _sync, "bring MLflow level with the store")
    compare = _command(commands, "compare", _compare, "what came out of sweeps: ranked, with its uncertainty")
    compare.usage = "%(prog)s [options] [SWEEP ...] [key=value ...]"
    compare.epilog = "SWEEP: the beginning of a sweep's id, its MLflow run, or an experiment; or two runs"
    compare.add_argument("--where", metavar="EXPR", help="only runs whose config fits: 'model.hidden < 512'")
    compare.add_argument("--baseline", metavar="KEY=VALUE", action="append", default=[], help="differences from it")
    compare.add_argument("--target", type=float, help="of the monitored metric, for epochs to it (default 0.98)")
    compare.add_argument("--report", metavar="FOLDER", help="write the report there: HTML, PNG and CSV")
    compare.add_argument("--write", action="store_true", help="write the experiment's page, experiments/SWEEP.md")
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts, instead of the table")
    form.add_argument("--csv", action="store_true", help="the groups, unrounded, instead of the table")
    replay = _command(commands, "replay", _replay, "train a recorded run again, and compare every bit", "RUN")
    replay.add_argument(
        "--trust", metavar="MODULE", action="append", default=[], help="whose classes and functions it may call, too"
    )
    runs = _command(commands, "runs", _runs, "list the runs of the store, or make room in it")
    runs.add_argument("--json", action="store_true", help="for scripts")
    runs.add_argument("--clean", action="store_true", help="remove failed, interrupted and unfinished runs")
    runs.add_argument("--weights", action="store_true", help="with --clean: the weights of finished runs instead")
    runs.add_argument("--older-than", metavar="AGE", help="only those idle for so long: 30m, 12h, 7d, 2w")
    runs.add_argument("--yes", action="store_true", help="remove them without asking")
    given, overrides = parser.parse_known_args(arguments)

    def run() -> None:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            given.run(given, [*given.overrides, *overrides])
        finally:
            signal.signal(signal.SIGTERM, before)  # here, where `guarded` still tells what the handler raises

    guarded(run)()


def _terminate(*_: object) -> None:
    """SIGTERM as Ctrl-C, so that what a command has started (an MLflow server) ends with it."""
    raise Interrupted


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    run: Callable[[argparse.Namespace, list[str]], None],
    text: str,
    *required: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    for argument in required:
        parser.add_argument(argument)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config overrides, as for train.py")
    parser.set_defaults(run=run)
    return parser


def _compose(overrides: Sequence[str]) -> Config:
    from sweeplab.config import compose

    return compose(overrides)


def _ui(given: argparse.Namespace, overrides: list[str]) -> None:
    """Serve the tracking database until Ctrl-C; a tracking server of its own is only pointed to."""
    from sweeplab.commands import ui

    ui.main(given, _compose(overrides))


def _sync(given: argparse.Namespace, overrides: list[str]) -> None:
    """Carry what MLflow lacks; exit code 1 if some of it still lags."""
    from sweeplab.commands import sync

    sync.main(given, _compose(overrides))


def _runs(given: argparse.Namespace, overrides: list[str]) -> None:
    """List the store; with --clean, remove what did not come to its end."""
    from sweeplab.commands import runs

    runs.main(given, _compose(overrides))


def _compare(given: argparse.Namespace, words: list[str]) -> None:
    """Of the words, those without `=` name sweeps (or two runs); the latest sweep if there is none."""
    from sweeplab.commands import compare

    overrides = [word for word in words if "=" in word]
    compare.main(given, [word for word in words if "=" not in word], _compose(overrides))


def _replay(given: argparse.Namespace, overrides: list[str]) -> None:
    """Exit code 0 if the bits are the same, 1 if not, 2 for a record that is refused."""
    from sweeplab.console import waiting

    with waiting("loading PyTorch"):
        from sweeplab.replay.replay import main as replay
    replay(given.RUN, overrides, given.trust)


if __name__ == "__main__":
    main()
