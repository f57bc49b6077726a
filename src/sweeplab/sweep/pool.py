"""The workers of a sweep: what they do, and those on this machine, forked by a server."""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing import reduction
from typing import Protocol

from sweeplab import data
from sweeplab.config import Config
from sweeplab.runs.job import Job
from sweeplab.store import Store
from sweeplab.sweep import fork, leases
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.server import Handover, Order, Signal


class Workers(Protocol):
    """Start jobs, stop them, and hear how they ended.

    On leaving the context, jobs that still run are killed.
    """

    def __enter__(self) -> Workers: ...

    def __exit__(self, *_: object) -> None: ...

    def open(self, home: Store, settings: Config) -> None:
        """Prepare, before the first lease. Raises UserError if such a sweep cannot be done here."""

    def share(self, name: str, splits: data.Splits) -> None:
        """Hold splits in memory once, for all jobs that are started with this name."""

    @property
    def workers(self) -> int:
        """How many jobs can be at work at once; 0 if unknown: none are trained as one, then."""

    @property
    def full(self) -> bool:
        """Whether there is certainly no room for another job."""

    @property
    def expecting(self) -> bool:
        """Whether there may be room later, although nothing is at work now."""

    def take(self, settings: Config, threads: int) -> Lease | None:
        """Lease what a job of this config needs, on so many threads; None if there is no room."""

    def give(self, lease: Lease) -> None:
        """Return a lease."""

    def start(self, number: int, jobs: list[Job], lease: Lease, splits: str) -> None:
        """Start a process, known by its number, for a job or for several that are trained as one.

        `splits` is the name of a data set; the process loads it itself unless it was shared.
        """

    def stop(self, number: int, *, hard: bool = False) -> None:
        """Ask a job to end as interrupted, or kill it with all that it has started."""

    def prune(self, number: int) -> None:
        """Ask a job to end and to record that a search gave it up."""

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait at most so long for jobs to end; return their numbers and exit codes.

        The code is minus the signal for a job that died of one, and LOST if nobody knows.
        """


class Pool:
    """Workers on this machine: a process for each job."""

    def __init__(self, server: fork.Fork | None = None) -> None:
        self._server = server
        self._leases = leases.Leases(cores=0)
        self._running: set[int] = set()
        self._shared: dict[str, data.Shared] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for shared in self._shared.values():
            shared.file.close()

    def open(self, home: Store, settings: Config) -> None:
        del home
        self._leases = leases.of_this_machine(settings)

    @property
    def workers(self) -> int:
        return self._leases.workers or self._leases.cores

    @property
    def full(self) -> bool:
        return self._leases.full

    @property
    def expecting(self) -> bool:
        return False

    def take(self, settings: Config, threads: int) -> Lease | None:
        return self._leases.take(threads, leases.gpus_per_worker(settings))

    def give(self, lease: Lease) -> None:
        self._leases.give(lease)

    def share(self, name: str, splits: data.Splits) -> None:
        self._shared[name] = data.share(splits)
        if self._server is not None:
            self._hand_over(name, self._server)

    def start(self, number: int, jobs: list[Job], lease: Lease, splits: str) -> None:
        if self._server is None:
            self._server = fork.start()
            for name in self._shared:
                self._hand_over(name, self._server)
        self._running.add(number)
        order = Order(
            number=number,
            jobs=jobs,
            environment=lease.environment,
            splits=splits if splits in self._shared else None,
        )
        with suppress(ConnectionError):  # `wait` sees that the server has gone
            self._server.connection.send(order)

    def stop(self, number: int, *, hard: bool = False) -> None:
        kind = signal.SIGKILL if hard else signal.SIGTERM
        self._send(number, Signal(number=number, signal=kind, group=hard))

    def prune(self, number: int) -> None:
        self._send(number, Signal(number=number, signal=signal.SIGUSR1))

    def _send(self, number: int, order: Signal) -> None:
        if self._server is not None and number in self._running:
            with suppress(ConnectionError):
                self._server.connection.send(order)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        ended: list[tuple[int, int]] = []
        if self._server is None:
            return ended
        try:
            while self._server.connection.poll(0 if ended else seconds):
                ended.append(self._server.connection.recv())
        except (EOFError, ConnectionError):
            # The server was killed, and so were all its jobs; the next job starts another.
            known = {number for number, _ in ended}
            ended += [(number, -signal.SIGKILL) for number in self._running - known]
            self._close()
        self._running -= {number for number, _ in ended}
        return ended

    def _hand_over(self, name: str, server: fork.Fork) -> None:
        shared = self._shared[name]
        with suppress(ConnectionError):
            server.connection.send(Handover(name=name, layout=shared.layout))
            reduction.send_handle(server.connection, shared.file.fileno(), server.process.pid)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
