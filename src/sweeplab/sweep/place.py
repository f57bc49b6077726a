"""Where the jobs of a sweep are trained: this machine (`local`), the nodes of Ray (`cluster`), or
workers that take them from a board (`workers`), which Slurm may start (`slurm`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from sweeplab import data
from sweeplab.config import Config
from sweeplab.runs.job import Job
from sweeplab.store import Run, Store
from sweeplab.sweep.leases import Lease

if TYPE_CHECKING:
    from sweeplab.sweep.jobs import Jobs


LOOK = 0.2  # seconds between two looks at the clock, the journals and the signals
SETTLING = 60.0  # seconds until a file of a node is surely seen here: NFS caches what is missing
SETTLING_LOOK = 0.1  # seconds between two looks for it


async def result_seen(run: Run) -> None:
    """Wait until this machine sees the result of another, too, but not for ever."""
    deadline = time.monotonic() + SETTLING
    while not run.result_file.exists() and time.monotonic() < deadline:
        await asyncio.sleep(SETTLING_LOOK)


class Process(ABC):
    """A process at work on a job, or on several that are trained as one."""

    def __init__(self) -> None:
        self.since: float | None = time.monotonic()
        """Since when it is at work, by the monotonic clock; None if it is not: it waits."""

    async def begun(self) -> None:  # noqa: B027  # most are at work at once
        """Wait until it is at work."""

    @abstractmethod
    async def ended(self) -> int:
        """Wait for its end; return the exit code, minus a signal, or worker.LOST or NEVER."""

    @abstractmethod
    def send(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL goes to all that it has started, too.

        SIGTERM ends it as interrupted, and SIGUSR1 as given up by a search.
        """


class SweepPlace(ABC):
    """Leases cores and GPUs, and starts processes on them: a context manager.

    On leaving it, processes that are still there are killed.
    """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    goes_on = False
    """Whether jobs go on without the launcher, after Ctrl-C, too."""

    def expect(self, jobs: Jobs) -> None:  # noqa: B027  # most need not know
        """Take note, before anything is made, of the jobs that there will be.

        Raises UserError if they cannot be done in such a place.
        """

    def preview(self, settings: Config) -> tuple[str, int]:
        """Say, after `expect` alone, what would be asked of others, and for how many jobs at once.

        ('', 0) if nothing: the jobs are done on this machine, or nobody knows where.
        """
        del settings
        return "", 0

    @abstractmethod
    def open(self, home: Store, settings: Config) -> None:
        """Prepare, before the first lease. Raises UserError if such a sweep cannot be done here."""

    def share(self, name: str, splits: data.Splits) -> None:  # noqa: B027  # if it can
        """Hold splits in memory once, for all jobs that are started with this name."""

    @property
    def workers(self) -> int:
        """How many jobs can be at work at once; 0 if unknown: none are trained as one, then."""
        return 0

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether there is certainly no room for another job."""

    @property
    def expecting(self) -> bool:
        """Whether there may be room later, although nothing is at work now."""
        return False

    @property
    def look(self) -> float:
        """Seconds after which there may be room that no job of this sweep has given back."""
        return LOOK

    def tend(self) -> None:  # noqa: B027  # a machine that stays needs nothing
        """Look after the place now and then. Raises RunFailed if it can do no more jobs."""

    @abstractmethod
    def take(self, settings: Config, threads: int) -> Lease | None:
        """Lease what a job of this config needs, on so many threads; None if there is no room."""

    @abstractmethod
    def give(self, lease: Lease) -> None:
        """Return a lease."""

    @abstractmethod
    def start(self, jobs: Sequence[Job], lease: Lease, splits: str) -> Process:
        """Start a process for a job, or for several that are trained as one.

        `splits` is the name of a data set; the process loads it itself unless it was shared.
        """
