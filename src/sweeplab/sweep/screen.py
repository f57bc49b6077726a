"""The progress of a sweep: on a terminal a table that lives below what is printed, elsewhere lines only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from sweeplab import console


@dataclass(kw_only=True, slots=True, frozen=True)
class Working:
    """A run of a sweep that is at work."""

    name: str
    epoch: int  # the last that is complete; 0: none yet
    epochs: int
    value: float | None  # of the monitored metric at that epoch


class SweepScreen:
    """The progress of a sweep: on a terminal a table that lives below what is printed, elsewhere lines only."""

    def __init__(self, total: int, reused: int, monitor: str, mode: str) -> None:
        self._total, self._reused, self._monitor, self._sign = total, reused, monitor, 1 if mode == "max" else -1
        self._finished = self._failed = 0
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self.live = console.screen().is_terminal
        self._shown = Live(console=console.screen(), auto_refresh=False, transient=True) if self.live else None

    def __enter__(self) -> SweepScreen:
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.stop()

    def say(self, text: str, style: str = "") -> None:
        """A line above the table."""
        console.say(text, style)

    def finished(self, name: str, line: str, value: float | None) -> None:
        """A run has come to its end; `value` is its monitored metric at the best epoch."""
        self._finished += 1
        self.best(name, value)
        self.say(f"{self._finished + self._failed + self._reused}/{self._total} {name}: {line}")

    def reused(self, name: str, value: float | None) -> None:
        """A run need not be trained: the store has it."""
        self._reused += 1
        self.best(name, value)

    def best(self, name: str, value: float | None) -> None:
        """Take this run into account for the best so far."""
        if value is not None and (self._best is None or self._sign * value > self._sign * self._best[0]):
            self._best = value, name

    def failed(self, text: str, *, final: bool) -> None:
        """A run has failed, for good or to be started again."""
        self._failed += final
        self.say(text, "red")

    def show(self, working: Sequence[Working]) -> None:
        """Draw the table anew, if it is a terminal."""
        if self._shown is None:
            return
        grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in working:
            value = "" if each.value is None else f"{self._monitor} {console.number(each.value)}"
            share = ProgressBar(total=each.epochs, completed=each.epoch, width=16)
            grid.add_row(
                console.plain(each.name),
                share,
                console.plain(f"epoch {each.epoch}/{each.epochs}"),
                console.plain(value),
            )
        self._shown.update(Group(self._overall(len(working)), grid), refresh=True)

    def _overall(self, working: int) -> Group:
        done = self._finished + self._failed + self._reused
        bar = Table.grid(padding=(0, 2, 0, 0))
        counts = f"{self._finished} finished, {self._reused} reused, {self._failed} failed, {working} at work"
        left = self._left()
        bar.add_row(ProgressBar(total=self._total, completed=done, width=24), console.plain(f"{done}/{self._total}"),
                    console.plain("" if left is None else f"about {console.duration(left)} left"))  # fmt: skip
        best = (
            ""
            if self._best is None
            else f"best so far: {self._monitor} {console.number(self._best[0])} ({self._best[1]})"
        )
        return Group(bar, console.plain(counts), console.plain(best, style="green"))

    def _left(self) -> float | None:
        """Seconds, by what was done in the time so far."""
        done = self._finished + self._failed
        left = self._total - self._reused - done
        return (time.monotonic() - self._began) / done * left if done else None
