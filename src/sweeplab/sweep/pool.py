"""The launcher's end of the fork server: start jobs, stop them, hear how they ended."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import reduction

from sweeplab import data
from sweeplab.job import Job
from sweeplab.sweep import fork
from sweeplab.sweep.server import Handover, Order, Signal


class Pool:
    """A process for each job. As a context manager: whatever is still running at its end is killed."""

    def __init__(self, server: fork.Fork | None = None) -> None:
        self._server = server
        self._running: set[int] = set()
        self._shared: dict[str, data.Shared] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for shared in self._shared.values():
            shared.file.close()

    def share(self, name: str, splits: data.Splits) -> None:
        """Let all jobs that are started with this name use these splits, which are held in memory once."""
        self._shared[name] = data.share(splits)
        if self._server is not None:
            self._hand_over(name, self._server)

    def start(self, number: int, job: Job, environment: Mapping[str, str], splits: str) -> None:
        """Start a job; `splits` is the name of a shared data set, and what is not shared the job loads by itself."""
        if self._server is None:
            self._server = fork.start()
            for name in self._shared:
                self._hand_over(name, self._server)
        known = splits if splits in self._shared else None
        self._running.add(number)
        with suppress(ConnectionError):  # `wait` sees that the server has gone
            self._server.connection.send(Order(number=number, job=job, environment=dict(environment), splits=known))

    def stop(self, number: int, *, hard: bool = False) -> None:
        """Ask a job to end (SIGTERM: it records that it was interrupted), or kill it with all that it started."""
        self._send(number, Signal(number=number, signal=signal.SIGKILL if hard else signal.SIGTERM, group=hard))

    def prune(self, number: int) -> None:
        """Ask a job to end and to record that a search gave it up."""
        self._send(number, Signal(number=number, signal=signal.SIGUSR1))

    def _send(self, number: int, order: Signal) -> None:
        if self._server is not None and number in self._running:
            with suppress(ConnectionError):
                self._server.connection.send(order)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """The jobs that have ended, at most so long from now: (number, exit code, or minus the signal)."""
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
