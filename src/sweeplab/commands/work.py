"""`sweeplab work`: take jobs of a sweep that another command has planned, on this machine."""

from __future__ import annotations

import os
import subprocess
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from sweeplab import console
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.store import Store


def add_options(parser: ArgumentParser) -> None:
    """Add the sweep."""
    parser.add_argument("SWEEP", help="the beginning of its id")


def main(arguments: Namespace, settings: Config) -> None:
    """Train what is open of a sweep, as many jobs at once as there are cores for."""
    home = Store(settings.store.root)
    sweep_id = _sweep(home, arguments.SWEEP)
    with console.waiting("loading PyTorch"):
        from sweeplab.sweep import leases
        from sweeplab.sweep.board import WorkersBoard
        from sweeplab.sweep.board_worker import BoardWorker, too_large
    board = WorkersBoard(home, sweep_id)
    board.terms()
    room = leases.of_worker()
    worker = BoardWorker(home, board, room, _slurm_job())
    worker.run()
    console.say(f"{console.counted(worker.trained, 'job')} trained here")
    if count := too_large(board, room):
        left = console.counted(count, "job")
        console.say(f"{left} left to other workers: more cores or GPUs needed than there are here")
    if worker.is_out_of_time and board.open():
        _queue_again()


def _sweep(home: Store, name: str) -> str:
    """Return the id of the sweep that a name stands for: the latest, if several do."""
    found = home.named(name, console.complain)
    if found:
        return str(found[-1]["id"])
    from sweeplab.sweep.board import FOLDER

    begun = sorted(folder.name for folder in home.sweeps.glob(f"{name[:16]}*{FOLDER}"))
    if name and len(begun) == 1:
        return begun[0].removesuffix(FOLDER)
    raise UserError(
        f"{name}: no such sweep in {home.root}; the command that plans it prints its id"
    )


def _slurm_job() -> str | None:
    """Return the Slurm job that this worker is, as 39_1; None if it is none."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ.get("SLURM_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"


def _queue_again() -> None:
    """Let Slurm start this worker anew: its time is over, and there is more to do."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is not None:
        with suppress(OSError):
            subprocess.run(["scontrol", "requeue", job], check=False)  # noqa: S603, S607
