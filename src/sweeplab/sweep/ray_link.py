"""The launcher's end of its connection to Ray, which a process of its own holds (`ray_driver`)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from sweeplab.sweep.ray_driver import LEAVING, Call

# Not `-m`, which would name the module `__main__`: Ray looks the actor's class up by its name.
PROGRAM = "from sweeplab.sweep.ray_driver import main; main()"


class LinkLostError(Exception):
    """The process that was connected to Ray has ended: the cluster has gone."""


class AgentLostError(Exception):
    """The agent that was to do it has gone, with its node or alone."""


class CallFailedError(Exception):
    """Ray has raised; the message says what."""


class Link:
    """Calls of methods of `ray_driver.Driver`, in a process in a session of its own.

    So Ctrl-C in a terminal does not reach it. It ends with the launcher, however that ends.
    """

    def __init__(self) -> None:
        ours, theirs = Pipe()
        descriptor, name = tempfile.mkstemp(prefix="sweeplab-ray-", suffix=".log")
        self.log: Path = Path(name)  # of what Ray says
        with theirs, os.fdopen(descriptor, "wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), name],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connection = ours
        self._numbers = itertools.count()
        self._open: dict[int, Future[Any]] = {}  # calls that are not answered
        self._lock = threading.Lock()
        self.is_lost = False
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def call(self, name: str, *arguments: Any) -> Future[Any]:
        """Call a method there.

        The result is that of the method, or LinkLostError, AgentLostError or CallFailedError.
        """
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self.is_lost:
                future.set_exception(LinkLostError())
                return future
            self._open[number] = future
        try:
            self._connection.send(Call(number, name, arguments))
        except OSError:
            self._lose()
        return future

    def _listen(self) -> None:
        """Pass on what is answered, in a thread, until the other end has gone."""
        while True:
            try:
                answer = self._connection.recv()
            except (EOFError, OSError):
                self._lose()
                return
            future = self._open.pop(answer.number)
            if answer.is_gone:
                future.set_exception(AgentLostError())
            elif answer.problem:
                future.set_exception(CallFailedError(answer.problem))
            else:
                future.set_result(answer.value)

    def _lose(self) -> None:
        with self._lock:
            self.is_lost = True
            unanswered = list(self._open.values())
            self._open.clear()
        for future in unanswered:
            future.set_exception(LinkLostError())

    def close(self) -> None:
        """Disconnect from Ray, which ends the agents and their jobs."""
        was_lost = self.is_lost
        with suppress(OSError):
            self._connection.send(None)
        try:
            self._process.wait(LEAVING + 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listening.join()
        self._connection.close()
        if not was_lost:
            self.log.unlink(missing_ok=True)
