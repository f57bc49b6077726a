"""A process of a sweep, watched until it has ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from sweeplab.sweep.endings import Cause
from sweeplab.sweep.halt import Halt
from sweeplab.sweep.place import Process
from sweeplab.sweep.worker import NEVER

GRACE = 5.0  # seconds that a job has to end in when it is asked to; then it is killed


class Watch:
    """Sees a process begin and end, and ends it if it must be ended."""

    def __init__(self, process: Process, halt: Halt, timeout: float | None) -> None:
        """Watch a process; after `timeout` seconds at work it is ended."""
        self._process = process
        self._halt = halt
        self._timeout = timeout
        self._ended = asyncio.ensure_future(process.ended())

    @property
    def code(self) -> int:
        """How the process ended: its exit code, minus a signal, LOST or NEVER."""
        return self._ended.result()

    async def has_begun(self) -> bool:
        """Wait until it is at work; returns False if it was withdrawn before."""
        if self._process.since is not None:
            return True
        begun = asyncio.ensure_future(self._process.begun())
        await _first([begun, self._ended, self._halt.close])
        if not begun.done() and not self._ended.done():
            self._process.send(signal.SIGTERM)  # withdraws it, unless it is just beginning
            await _first([begun, self._ended])
        begun.cancel()
        return not (self._ended.done() and self.code == NEVER)

    async def end(self, reason_to_end: Callable[[], Cause | None], look: float) -> Cause:
        """Wait until it has ended, by itself or because it is told to; returns why.

        `reason_to_end` is called every `look` seconds; the process is ended if it gives a cause.
        """
        cause = await self._cause(reason_to_end, look)
        if cause is not Cause.ITSELF:
            is_pruned = cause is Cause.PRUNED
            self._process.send(signal.SIGUSR1 if is_pruned else signal.SIGTERM)
            await _first([self._ended, self._halt.kill], GRACE)
        if not self._ended.done():
            self._process.send(signal.SIGKILL)
            await self._ended
        return cause

    async def _cause(self, reason_to_end: Callable[[], Cause | None], look: float) -> Cause:
        """Return the first cause that ends the process."""
        while True:
            await _first([self._ended, self._halt.stop], look)
            if self._ended.done():
                return Cause.ITSELF
            if self._halt.stop.done():
                return Cause.STOPPED
            now = time.monotonic()
            seconds = now - (self._process.since or now)
            if self._timeout is not None and seconds >= self._timeout:
                return Cause.TIMEOUT
            if (cause := reason_to_end()) is not None:
                return cause


async def _first(futures: Sequence[asyncio.Future[Any]], seconds: float | None = None) -> None:
    """Wait until one of the futures is done, or the seconds are over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
