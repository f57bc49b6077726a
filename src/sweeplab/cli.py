"""The edge to the shell: exceptions become one message and an exit code; the `sweeplab` command."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from sweeplab.errors import Interrupted, RunFailed, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeplab.config import Config

P = ParamSpec("P")

FAILED, BAD_INPUT, CTRL_C, SIGTERM = 1, 2, 130, 143
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"  # as the user set it: `guarded` sets it for Hydra's sake
AGAIN = "issue the same command again for the rest"


def guarded(program: Callable[P, object]) -> Callable[P, None]:
    """The program with every way to end it made clear: a message on stderr and the exit code of DESIGN's table.

    HYDRA_FULL_ERROR=1 in the environment shows the traceback of any error.
    """

    @wraps(program)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra itself prints, and exits with 1 whatever happened
        try:
            program(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(_told(error))

    return run


def train(config: DictConfig) -> None:
    """Hydra's task: train the composed config. What goes wrong is told here, since Hydra would add words of its own;
    a job of a sweep raises instead, so that the others go on.
    """
    from sweeplab.run import main as run

    (run if config.sweep.id else guarded(run))(config)


def _told(error: BaseException) -> int:
    """Say on stderr what happened; returns the exit code."""
    from sweeplab.config import explain
    from sweeplab.screen import complain

    if TRACEBACKS:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        terminated = isinstance(error, Interrupted)
        complain(f"{'terminated' if terminated else 'interrupted'}: what was finished is kept; {AGAIN}")
        return SIGTERM if terminated else CTRL_C
    if isinstance(error, UserError):
        complain(str(error))
        return BAD_INPUT
    if isinstance(error, RunFailed):
        complain(str(error))
        return FAILED
    assert isinstance(error, Exception)
    if message := explain(error):
        complain(message)
        return BAD_INPUT
    traceback.print_exception(error)
    return FAILED


def main(arguments: Sequence[str] | None = None) -> None:
    """The `sweeplab` command."""
    parser = argparse.ArgumentParser(
        prog="sweeplab",
        description="Look at what train.py has recorded. Every command takes config overrides after its own arguments, "
        "as in: sweeplab ui store.root=elsewhere",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ui = _command(commands, "ui", _ui, "open the MLflow UI on the runs of this root")
    ui.add_argument("--port", type=int, default=5000, help="port of the UI on 127.0.0.1; the next free one if taken")
    _command(commands, "sync", _sync, "bring MLflow level with the store")
    given, overrides = parser.parse_known_args(arguments)
    guarded(lambda: given.run(given, [*given.overrides, *overrides]))()


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace, list[str]], None],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config overrides, as for train.py")
    parser.set_defaults(run=run)
    return parser


def _compose(overrides: Sequence[str]) -> Config:
    from sweeplab.config import compose

    return compose(overrides)


def _ui(a, b): ...
def _sync(a, b): ...
