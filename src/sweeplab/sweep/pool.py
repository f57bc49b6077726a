"""What carries out the jobs of a sweep; and that on this machine: the launcher's end of the fork server."""

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
    """Start jobs, stop them, hear how they ended. At their end as a context manager, what still runs is killed."""

    def __enter__(self) -> Workers: ...

    def __exit__(self, *_: object) -> None: ...

    def open(self, home: Store, settings: Config) -> None:
        """To be called before the first lease. Raises UserError if the jobs of such a sweep cannot be done."""

    def share(self, name: str, splits: data.Splits) -> None:
        """Let all jobs that are started with this name use these splits, which are held in memory once."""

    @property
    def workers(self) -> int:
        """How many jobs can be at work at once; 0: nobody knows, and none are to be trained as one."""

    @property
    def full(self) -> bool:
        """Whether there is certainly no room for another job."""

    @property
    def expecting(self) -> bool:
        """Whether there may be room later, although nothing is at work now."""

    def take(self, settings: Config, threads: int) -> Lease | None:
        """What a job of this config needs, on so many threads; None if there is no room now."""

    def give(self, lease: Lease) -> None:
        """Back."""

    def start(self, number: int, jobs: list[Job], lease: Lease, splits: str) -> None:
        """Start a job, or several that are to be trained as one, in a process of that number.

        `splits` is the name of a shared data set; what is not shared the process loads by itself.
        """

    def stop(self, number: int, *, hard: bool = False) -> None:
        """Ask a job to end (SIGTERM: it records that it was interrupted), or kill it with all that it started."""

    def prune(self, number: int) -> None:
        """Ask a job to end and to record that a search gave it up."""

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """The jobs that have ended, at most so long from now: (number, exit code, or minus the signal, or LOST)."""


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
        known = splits if splits in self._shared else None
        self._running.add(number)
        with suppress(ConnectionError):  # `wait` sees that the server has gone
            self._server.connection.send(Order(number=number, jobs=jobs, environment=lease.environment, splits=known))

    def stop(self, number: int, *, hard: bool = False) -> None:
        self._send(number, Signal(number=number, signal=signal.SIGKILL if hard else signal.SIGTERM, group=hard))

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
        except (EOFError, ConnectionError):  # killed, and so all jobs with it; the next job starts another server
            ended += [(number, -signal.SIGKILL) for number in self._running - {number for number, _ in ended}]
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
