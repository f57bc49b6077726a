"""The processes of a sweep that are at work, and what can be told of the jobs in them."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from sweeplab import store
from sweeplab.config import Config
from sweeplab.runs.job import Job
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.pool import Workers
from sweeplab.sweep.screen import Working
from sweeplab.sweep.server import BAD_INPUT, INTERRUPTED, LOST, RAISED, TERMINATED

GRACE = 5.0  # seconds that a job has to end in when it is asked to; then it is killed
LOG_LINES = 5  # of a failed job's log that are shown at once
LOG_WIDTH = 200  # characters of such a line
LOG_BYTES = 16384  # at the end of a log that are read for them


@dataclass(kw_only=True, slots=True, frozen=True)
class CellAtWork:
    """A job at work."""

    cell: Cell
    run: store.Run
    attempt: int  # from 1
    history: store.History  # as far as it was read

    def progress(self) -> Working:
        """Read in the journal how far the job has come."""
        config = self.cell.job.config
        with suppress(FileNotFoundError, store.DamagedError):
            self.history.read()
        epochs = self.history.epochs
        last = max(epochs, default=0)
        value = epochs[last].get(config.monitor) if epochs else None
        return Working(name=self.cell.name, epoch=last, epochs=config.trainer.epochs, value=value)


@dataclass(slots=True)
class Running:
    """A process at work on a job, or on several that are trained as one."""

    members: list[CellAtWork]
    lease: Lease
    deadline: float | None  # by time.monotonic
    timed_out: bool = False
    pruned: bool = False
    kill_at: float | None = None  # it was asked to end


class Processes:
    """Starts processes in a pool, and ends them: first asks, then kills."""

    def __init__(self, pool: Workers, sweep_id: str, timeout: float | None) -> None:
        self._pool = pool
        self._sweep_id = sweep_id
        self._timeout = timeout
        self._running: dict[int, Running] = {}
        self.started = 0

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Running]:
        return iter(self._running.values())

    def start(self, members: Sequence[CellAtWork]) -> bool:
        """Start a process for these jobs; return False if there is no room for it."""
        first = members[0]
        config = first.cell.job.config
        lease = self._pool.take(config, _threads(config, first.run))
        if lease is None:
            return False
        self.started += 1
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self._running[self.started] = Running(list(members), lease, deadline)
        orders = [_order(member.cell.job, self._sweep_id) for member in members]
        self._pool.start(self.started, orders, lease, repr(config.data))
        return True

    def wait(self, seconds: float) -> Iterator[tuple[Running, int]]:
        """Yield the processes that have ended, at most so long from now, with their exit codes."""
        for number, code in self._pool.wait(seconds):
            process = self._running.pop(number)
            self._pool.give(process.lease)
            yield process, code

    def progress(self) -> list[Working]:
        """Read how far each job has come."""
        members = itertools.chain.from_iterable(process.members for process in self)
        return [member.progress() for member in members]

    def stop_all(self) -> None:
        """Ask all processes to end."""
        for number, process in self._running.items():
            self._ask_to_end(number, process)

    def kill_all(self) -> None:
        """End all processes at once."""
        for number in self._running:
            self._pool.stop(number, hard=True)

    def stop_late(self) -> None:
        """Ask those that take too long to end, and kill those that were asked and did not."""
        now = time.monotonic()
        for number, process in self._running.items():
            is_late = process.deadline is not None and now >= process.deadline
            if is_late and process.kill_at is None:
                process.timed_out = True
                self._ask_to_end(number, process)
            if process.kill_at is not None and now >= process.kill_at:
                self._pool.stop(number, hard=True)

    def prune(self, jobs: Jobs) -> None:
        """Ask those to end that the sweep has no use for any more."""
        for number, process in self._running.items():
            if process.kill_at is not None:
                continue
            if all(jobs.hopeless(member.cell) for member in process.members):
                process.kill_at = time.monotonic() + GRACE
                process.pruned = True
                self._pool.prune(number)

    def _ask_to_end(self, number: int, process: Running) -> None:
        if process.kill_at is None:
            process.kill_at = time.monotonic() + GRACE
            self._pool.stop(number)


def _order(job: Job, sweep_id: str) -> Job:
    """Return a job as it is sent to its process: with the sweep's id, and without its layers."""
    sweep = replace(job.config.sweep, id=sweep_id)
    return replace(job, config=replace(job.config, sweep=sweep), layers=[])


def _threads(config: Config, run: store.Run) -> int:
    """Return the cores that a job computes on: a resumed run's as before, else as configured."""
    if run.checkpoints.is_dir() and any(run.checkpoints.iterdir()):
        with suppress(store.DamagedError):  # the run begins anew
            threads = store.History.of(run.journal).threads
            if threads is not None:
                return threads
    return config.trainer.threads or 1


def describe_exit(code: int) -> str:
    """Describe how a process ended."""
    if code == LOST:
        return "its node was lost, and not for the first time; unfinished"
    if code < 0:
        try:
            return f"died: {signal.Signals(-code).name}; unfinished"
        except ValueError:
            return f"died: signal {-code}; unfinished"
    words = {
        RAISED: "failed",
        BAD_INPUT: "failed",
        INTERRUPTED: "interrupted",
        TERMINATED: "terminated",
    }
    return words.get(code, f"died: exit code {code}; unfinished")


def log_tail(run: store.Run) -> list[str]:
    """Return the last lines of a run's log; of a crash the first, which say what and where."""
    if not run.log_file.exists():
        return []
    with run.log_file.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip()[:LOG_WIDTH] for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("Fatal Python error"):
            return lines[number : number + LOG_LINES]
    return lines[-LOG_LINES:]
