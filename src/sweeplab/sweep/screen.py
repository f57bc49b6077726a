"""The progress of a sweep on the screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table

from sweeplab import console
from sweeplab.compare.runs import sign_of


@dataclass(kw_only=True, slots=True, frozen=True)
class Working:
    """A run of a sweep that is at work."""

    name: str
    epoch: int  # the last that is complete; 0: none yet
    epochs: int
    value: float | None  # of the monitored metric at that epoch


class SweepScreen:
    """The progress of a sweep: a line for each run, and on a terminal or in a notebook a table."""

    def __init__(self, total: int, reused: int, monitor: str, mode: str) -> None:
        self._total = total
        self._reused = reused
        self._finished = 0
        self._failed = 0
        self._monitor = monitor
        self._sign = sign_of(mode)
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self._table = console.live()

    @property
    def live(self) -> bool:
        """Whether there is a table to draw."""
        return self._table is not None

    def __enter__(self) -> SweepScreen:
        if self._table is not None:
            self._table.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            self._table.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the table."""
        console.say(text, style)

    def finished(self, name: str, line: str, value: float | None) -> None:
        """Report a run that is complete; `value` is its monitored metric at the best epoch."""
        self._finished += 1
        self.best(name, value)
        self.say(f"{self._finished + self._failed + self._reused}/{self._total} {name}: {line}")

    def reused(self, name: str, value: float | None) -> None:
        """Count a run that the store already has."""
        self._reused += 1
        self.best(name, value)

    def best(self, name: str, value: float | None) -> None:
        """Take this run into account for the best so far."""
        if value is None:
            return
        if self._best is None or self._sign * value > self._sign * self._best[0]:
            self._best = value, name

    def failed(self, text: str, *, final: bool) -> None:
        """Report a run that has failed, for good or to be started again."""
        self._failed += final
        self.say(text, "red")

    def show(self, working: Sequence[Working]) -> None:
        """Draw the table anew, if there is one."""
        if self._table is None:
            return
        grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for run in working:
            epochs = f"epoch {run.epoch}/{run.epochs}"
            value = "" if run.value is None else f"{self._monitor} {console.number(run.value)}"
            bar = ProgressBar(total=run.epochs, completed=run.epoch, width=16)
            grid.add_row(console.plain(run.name), bar, console.plain(epochs), console.plain(value))
        self._table.update(Group(self._overall(len(working)), grid), refresh=True)

    def _overall(self, working: int) -> Group:
        """Draw what is above the table: how far the sweep is, and the best value so far."""
        done = self._finished + self._failed + self._reused
        bar = ProgressBar(total=self._total, completed=done, width=24)
        counts = f"{self._finished} finished, {self._reused} reused, {self._failed} failed"
        seconds = self._seconds_left()
        left = "" if seconds is None else f"about {console.duration(seconds)} left"
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_row(bar, console.plain(f"{done}/{self._total}"), console.plain(left))
        best = ""
        if self._best is not None:
            value, name = self._best
            best = f"best so far: {self._monitor} {console.number(value)} ({name})"
        at_work = console.plain(f"{counts}, {working} at work")
        return Group(head, at_work, console.plain(best, style="green"))

    def _seconds_left(self) -> float | None:
        """Estimate the seconds left from the time that the jobs so far have taken."""
        done = self._finished + self._failed
        if not done:
            return None
        left = self._total - self._reused - done
        return (time.monotonic() - self._began) / done * left
