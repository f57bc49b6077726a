"""What a person sees: the layer table, the progress of a run, its result, the ranking of a sweep.

On a terminal a live bar; elsewhere one line per epoch. What users type is never read as rich's markup.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import rich
from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeplab import config, metrics, terminal
from sweeplab.metrics import EpochResult

T = TypeVar("T")

WARNINGS = 8

# What moves a terminal's cursor, colours it or turns its lines round: control characters, bidirectional marks, and
# halves of characters, which cannot be written at all. Line ends and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(kw_only=True, slots=True, frozen=True)
class Layer:
    """A row of the layer table."""

    name: str
    kind: str
    output: str  # shape of its output, B for the batch
    parameters: int


def console() -> Console:
    """rich's default console: one for all, so that bars and other output do not garble each other."""
    return rich.get_console()


def shown(text: str) -> str:
    """A text as it may be shown: secrets hidden, and control characters that somebody put into it spelled out."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), config.redact_text(text))


def plain(text: str, style: str = "") -> Text:
    """A text for rich, which takes nothing in it for markup."""
    return Text(terminal.fitting(shown(text)), style=style)


def say(text: str, style: str = "") -> None:
    """One line (or several) as it is: no markup, never wrapped, so that paths and links can be copied."""
    console().print(shown(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def warn(notes: Iterable[str]) -> None:
    """Lines in yellow, each once, the first few of many."""
    lines = list(dict.fromkeys(notes))
    for line in lines[:WARNINGS]:
        say(line, style="yellow")
    if len(lines) > WARNINGS:
        say(f"... and {len(lines) - WARNINGS} more of that kind", style="yellow")


def complain(text: str) -> None:
    """A message on stderr."""
    Console(stderr=True).print(shown(text), style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)


def command(name: str) -> str:
    """How a user starts one of our commands from this shell: under `uv run` the environment is not active."""
    return f"uv run {name}" if "UV_RUN_RECURSION_DEPTH" in os.environ else name


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """A table; the first `left` columns are flush left, the others (numbers) flush right."""
    grid = Table(title=plain(title), title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        text = index < left
        grid.add_column(plain(column), justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        grid.add_row(*(plain(cell) for cell in row))
    show(grid)


def show(grid: Table) -> None:
    """Print a table; where there is no terminal whose width counts, as wide as it needs to be."""
    if console().is_terminal:
        console().print(grid)
        return
    width = Measurement.get(console(), console().options.update(width=1000), grid).maximum
    Console(file=console().file, width=width).print(grid)


def layers(title: str, rows: Sequence[Layer]) -> None:
    """The layer table: what the network is made of and how many parameters it has."""
    total = sum(row.parameters for row in rows)
    shown = [(row.name, row.kind, row.output, f"{row.parameters:,}") for row in rows]
    table(title, ("layer", "type", "output", "parameters"), [*shown, ("total", "", "", f"{total:,}")], left=3)


def number(value: float | None, digits: int = 4) -> str:
    """A metric for people: fixed digits, a very small one in powers of ten; a dash for none."""
    if value is None:
        return "-"
    if value != 0 and digits >= 4 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


class RunScreen:
    """The progress of one run. As a context manager it shows the bar; `epoch` and `batches` feed it."""

    def __init__(self, epochs: int, batches: int, *, bar: bool = True, lines: bool = True) -> None:
        self._epochs, self._batches = epochs, batches
        self._live, self._lines = bar and console().is_terminal, lines
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> RunScreen:
        if self._live:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("left at most"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                console=console(),
                transient=True,
            )
            total = self._epochs * self._batches
            self._bar = self._progress.add_task("epoch 1", total=total)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def batches(self, epoch: int, batches: Iterable[T]) -> Iterator[T]:
        """The same batches, counted on the bar as they pass (about 50 times an epoch)."""
        every = max(1, self._batches // 50)
        for index, batch in enumerate(batches):
            yield batch
            if self._progress is not None and self._bar is not None and index % every == 0:
                done = (epoch - 1) * self._batches + index + 1
                self._progress.update(self._bar, completed=done, description=f"epoch {epoch}/{self._epochs}")

    def epoch(self, result: EpochResult, best_epoch: int | None) -> str:
        """Show an epoch's metrics; returns the line, for the log."""
        shown = [(name, value) for name, value in result.metrics.items() if not metrics.is_learning_rate(name)]
        values = "  ".join(f"{name} {number(value)}" for name, value in shown)
        mark = "  *" if result.epoch == best_epoch else ""
        line = f"epoch {result.epoch:>3}/{self._epochs}  {values}  {result.seconds:.1f} s{mark}"
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=result.epoch * self._batches)
        if self._lines:
            say(line)
        return line


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
        self.live = console().is_terminal
        self._shown = Live(console=console(), auto_refresh=False, transient=True) if self.live else None

    def __enter__(self) -> SweepScreen:
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.stop()

    def say(self, text: str, style: str = "") -> None:
        """A line above the table."""
        say(text, style)

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
            value = "" if each.value is None else f"{self._monitor} {number(each.value)}"
            share = ProgressBar(total=each.epochs, completed=each.epoch, width=16)
            grid.add_row(plain(each.name), share, plain(f"epoch {each.epoch}/{each.epochs}"), plain(value))
        self._shown.update(Group(self._overall(len(working)), grid), refresh=True)

    def _overall(self, working: int) -> Group:
        done = self._finished + self._failed + self._reused
        bar = Table.grid(padding=(0, 2, 0, 0))
        counts = f"{self._finished} finished, {self._reused} reused, {self._failed} failed, {working} at work"
        left = self._left()
        bar.add_row(ProgressBar(total=self._total, completed=done, width=24), plain(f"{done}/{self._total}"),
                    plain("" if left is None else f"about {duration(left)} left"))  # fmt: skip
        best = "" if self._best is None else f"best so far: {self._monitor} {number(self._best[0])} ({self._best[1]})"
        return Group(bar, plain(counts), plain(best, style="green"))

    def _left(self) -> float | None:
        """Seconds, by what was done in the time so far."""
        done = self._finished + self._failed
        left = self._total - self._reused - done
        return (time.monotonic() - self._began) / done * left if done else None


def duration(seconds: float) -> str:
    """For people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def result(title: str, rows: Mapping[str, str]) -> None:
    """The result of a run, a line for each thing that matters."""
    grid = Table(title=plain(title), title_justify="left", title_style="bold", box=rich.box.SIMPLE, show_header=False)
    grid.add_column(justify="left")
    grid.add_column(justify="left", overflow="fold")
    for name, value in rows.items():
        grid.add_row(plain(name), plain(value))
    show(grid)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner while something takes its time; silent when not a terminal."""
    if not console().is_terminal:
        yield
        return
    with console().status(plain(text)):
        yield


@contextmanager
def counting(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for things that are counted; yields `progress(done, total)`. Silent when not a terminal."""
    if not console().is_terminal:
        yield lambda _done, _total: None
        return
    with Progress(
        TextColumn(shown(text), markup=False), BarColumn(), MofNCompleteColumn(), console=console(), transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
