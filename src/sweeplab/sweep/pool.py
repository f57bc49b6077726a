"""The launcher's end of the fork server: start jobs, stop them, hear how they ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection

from sweeplab import data
from sweeplab.job import Job
from sweeplab.sweep.server import Handover, Order, Signal

PROGRAM = "from sweeplab.sweep.server import main; main()"  # not -m: messages are of classes in a module of that name


class Pool:
    """A process for each job. As a context manager: whatever is still running at its end is killed."""

    def __init__(self) -> None:
        self._server: tuple[subprocess.Popen[bytes], Connection] | None = None
        self._running: set[int] = set()
        self._shared: dict[str, data.Shared] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for shared in self._shared.values():
            shared.file.close()

    def warm(self) -> None:
        """Start the server ahead of the first job: it takes seconds to load PyTorch."""
        self._connection()

    def share(self, name: str, splits: data.Splits) -> None:
        """Let all jobs that are started with this name use these splits, which are held in memory once."""
        self._shared[name] = data.share(splits)
        if self._server is not None:
            self._hand_over(name, self._server[1], self._server[0].pid)

    def start(self, number: int, job: Job, environment: Mapping[str, str], splits: str) -> None:
        """Start a job; `splits` is the name of a shared data set, and what is not shared the job loads by itself."""
        known = splits if splits in self._shared else None
        order = Order(number=number, job=job, environment=dict(environment), splits=known)
        self._running.add(number)
        with suppress(ConnectionError):  # `wait` sees that the server has gone
            self._connection().send(order)

    def stop(self, number: int, *, hard: bool = False) -> None:
        """Ask a job to end (SIGTERM: it records that it was interrupted), or kill it with all that it started."""
        if self._server is not None and number in self._running:
            order = Signal(number=number, signal=signal.SIGKILL if hard else signal.SIGTERM, group=hard)
            with suppress(ConnectionError):
                self._server[1].send(order)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """The jobs that have ended, at most so long from now: (number, exit code, or minus the signal)."""
        if self._server is None:
            return []
        connection = self._server[1]
        ended: list[tuple[int, int]] = []
        try:
            while connection.poll(0 if ended else seconds):
                ended.append(connection.recv())
        except (EOFError, ConnectionError):  # killed, and so all jobs with it; the next job starts another server
            ended += [(number, -signal.SIGKILL) for number in self._running - {number for number, _ in ended}]
            self._close()
        self._running -= {number for number, _ in ended}
        return ended

    def _connection(self) -> Connection:
        if self._server is None:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(  # noqa: S603  # our own module
                    [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C in the terminal is the launcher's to handle
                )
            self._server = process, Connection(ours.detach())
            self._server[1].send(sys.path)
            for name in self._shared:
                self._hand_over(name, self._server[1], process.pid)
        return self._server[1]

    def _hand_over(self, name: str, connection: Connection, process: int) -> None:
        shared = self._shared[name]
        with suppress(ConnectionError):
            connection.send(Handover(name=name, layout=shared.layout))
            reduction.send_handle(connection, shared.file.fileno(), process)

    def _close(self) -> None:
        if self._server is None:
            return
        process, connection = self._server
        self._server = None
        connection.close()  # upon which the server kills its jobs and ends
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
