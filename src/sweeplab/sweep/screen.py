"""The progress of a sweep on the screen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table

from sweeplab import console
from sweeplab.compare.following import Working, seconds_left
from sweeplab.compare.runs import sign_of

BAR = 10  # columns of the bar of a run


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

    def retried(self) -> None:
        """Take back that a run has failed for good: it is started again."""
        self._failed -= 1

    def show(self, working: Sequence[Working]) -> None:
        """Draw the table anew, if there is one."""
        if self._table is None:
            return
        done = self._finished + self._failed
        left = self._total - self._reused - done
        counts = f"{self._finished} finished, {self._reused} reused, {self._failed} failed"
        head = overall(
            self._total,
            done + self._reused,
            f"{counts}, {len(working)} at work",
            seconds_left(time.monotonic() - self._began, done, left),
        )
        best = ""
        if self._best is not None:
            value, name = self._best
            best = f"best so far: {self._monitor} {console.number(value)} ({name})"
        parts = Group(head, console.plain(best, style="green"), bars(working, self._monitor))
        self._table.update(parts, refresh=True)


def overall(total: int, done: int, counts: str, seconds: float | None) -> Group:
    """Draw how far a sweep is: a bar, the seconds that are left, and the counts of its runs."""
    left = "" if seconds is None else f"about {console.duration(seconds)} left"
    head = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=total, completed=done, width=24)
    head.add_row(bar, console.plain(f"{done}/{total}"), console.plain(left))
    return Group(head, console.plain(counts))


def bars(working: Sequence[Working], monitor: str) -> Table:
    """Draw a line for each run that is at work: how far it is, how fast, and its latest value.

    What is left is at most, since a run may stop early. A narrow terminal shows no more than how
    far it is and what is left.
    """
    drawn = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    columns = {"epoch": [f"{run.epoch}/{run.epochs}" for run in working]}
    columns["epochs/s"], columns["left"] = ([pace(run)[i] for run in working] for i in (0, 1))
    columns[monitor] = [console.number(run.value) for run in working]
    width = _room(columns) - BAR - 2
    is_narrow = width < console.LEAST_TEXT
    if is_narrow:
        columns = {name: columns[name] for name in ("epoch", "left")}
        width = max(_room(columns), console.LEAST_TEXT)
    for head in ("at work", *([] if is_narrow else [""]), *columns) if working else ():
        drawn.add_column(console.plain(head), no_wrap=head != "at work", overflow="fold")
    for run, *texts in zip(working, *columns.values(), strict=True):
        bar = ProgressBar(total=run.epochs, completed=run.epoch, width=BAR)
        name = console.plain(console.wrapped(run.name, width))
        drawn.add_row(name, *([] if is_narrow else [bar]), *map(console.plain, texts))
    return drawn


def _room(columns: Mapping[str, Sequence[str]]) -> int:
    """Return how wide a column can be beside these; each has two blanks behind it."""
    taken = [max(map(len, (head, *texts))) + 2 for head, texts in columns.items()]
    return console.screen().width - sum(taken) - 2


def pace(run: Working) -> tuple[str, str]:
    """Write how fast a run is, and how long it takes at most; dashes if that is not known."""
    if run.speed is None or run.seconds_left is None:
        return "-", "-"
    return console.two_digits(run.speed), console.duration(run.seconds_left)
