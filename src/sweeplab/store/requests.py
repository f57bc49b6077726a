"""What a run or a sweep at work is asked for: a small file, for which whoever does the work looks.

So it works wherever the run is trained, and nobody has to send a signal to another machine.
"""

from __future__ import annotations

import fcntl
import os
import time
from enum import StrEnum
from pathlib import Path

from sweeplab.store.files import locked, write_atomic

TRIES = 3  # two who ask at the same moment refuse each other
PAUSE = 0.01  # seconds between two tries


class Wish(StrEnum):
    """What is asked for."""

    STOP = "stop"  # end at a checkpoint; do not begin again by itself
    PAUSE = "pause"  # end at a checkpoint; begin again when the request is withdrawn
    RETRY = "retry"  # begin anew a run that failed


class Request:
    """A file that asks for something, until it is withdrawn."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> Wish | None:
        """Return what is asked for; None without a request, or with one that nobody understands."""
        try:
            text = self.file.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        return Wish(text) if text in list(Wish) else None

    def write(self, wish: Wish) -> None:
        """Ask for this, in the place of what was asked for before."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.file, f"{wish}\n".encode())

    def withdraw(self) -> bool:
        """Remove the request; return whether there was one. Of several callers one gets True."""
        try:
            self.file.unlink()
        except OSError:
            return False
        return True


class _Held:
    """A file that this process holds a lock of the operating system on, until it leaves or ends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def leave(self) -> None:
        """Hold it no longer."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Resumption(_Held):
    """Lets only one process at a time take a sweep or a run up again.

    The lock is held by what that process becomes by `exec`, too.
    """

    def begin(self) -> bool:
        """Hold it from now on; False if another process does."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return True  # in a store that cannot be written, of which the command itself tells
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d" % os.getpid())
        os.set_inheritable(descriptor, True)
        self._descriptor = descriptor
        return True

    @property
    def process(self) -> str:
        """The id of the process that holds it."""
        return self._file.read_text(encoding="utf-8", errors="replace")


class Presence(_Held):
    """Tells others that a process heeds requests, for as long as it lives or until it leaves.

    The lock is shared: two commands may carry out one sweep.
    """

    def enter(self) -> None:
        """Heed requests from now on."""
        if self._descriptor is None:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
            self._descriptor = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    @property
    def is_there(self) -> bool:
        """Whether a living process heeds requests."""
        for number in range(TRIES):
            if number:
                time.sleep(PAUSE)
            if not locked(self._file, is_shared=True):
                return False
        return True
