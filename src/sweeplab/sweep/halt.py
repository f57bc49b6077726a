"""Why no further job of a sweep begins, and whether those at work are to end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sweeplab import console
from sweeplab.errors import HungUp, Interrupted


class Halt:
    """Why no further job is started, and whether those at work are to end."""

    def __init__(self, time_limit: float | None) -> None:
        """`time_limit`: after so many seconds from now no further job is to begin."""
        self._began = time.monotonic()
        self._time_limit = time_limit
        loop = asyncio.get_running_loop()
        self.reason: str | None = None
        self.signals: list[int] = []  # received so far
        self.close: asyncio.Future[None] = loop.create_future()  # done: no job is to begin
        self.stop: asyncio.Future[None] = loop.create_future()  # done: all jobs are to end
        self.kill: asyncio.Future[None] = loop.create_future()  # done: all jobs are to be killed

    @contextmanager
    def heeding_signals(self, interrupted: Callable[[], None]) -> Iterator[None]:
        """Heed SIGINT, SIGTERM and SIGHUP instead of raising: nothing is cut off in the middle.

        Calls `interrupted` when the first has come. Does nothing outside the main thread, where signals
        cannot be handled.
        """
        loop = asyncio.get_running_loop()
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup
                before[number] = signal.signal(
                    number,
                    lambda got, _frame: loop.call_soon_threadsafe(self._heed, got, interrupted),
                )
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self, number: int, interrupted: Callable[[], None]) -> None:
        """Take note of Ctrl-C; after a second one the jobs are killed."""
        self.signals.append(number)
        if number == signal.SIGHUP:
            console.leave_terminal()
        if self.reason is None:
            self.reason = "interrupted"
        if len(self.signals) == 1:
            interrupted()
        if len(self.signals) > 1 and not self.kill.done():
            self.kill.set_result(None)

    @property
    def error(self) -> KeyboardInterrupt:
        """What a command is to raise that has received these signals."""
        kinds = {signal.SIGTERM: Interrupted, signal.SIGHUP: HungUp}
        for number, kind in kinds.items():
            if number in self.signals:
                return kind()
        return KeyboardInterrupt()

    @property
    def is_late(self) -> bool:
        """Whether the time is over in which jobs may begin."""
        limit = self._time_limit
        return limit is not None and time.monotonic() - self._began >= limit

    def heed_time(self) -> None:
        """Let no further job begin if the time is over."""
        if self.is_late:
            self.begin_none(f"sweep.time_limit={self._time_limit:g} seconds are over")

    def begin_none(self, reason: str) -> None:
        """Let no further job begin, for this reason."""
        if self.reason is None:
            self.reason = reason
        if not self.close.done():
            self.close.set_result(None)

    def end(self, reason: str) -> None:
        """Ask all jobs to end, for this reason."""
        self.begin_none(reason)
        if not self.stop.done():
            self.stop.set_result(None)
