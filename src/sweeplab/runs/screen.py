"""Show one run: its layers, its progress, its result. On a terminal a live bar, elsewhere lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import rich.box
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sweeplab import console, metrics
from sweeplab.metrics import EpochResult

T = TypeVar("T")


@dataclass(kw_only=True, slots=True, frozen=True)
class Layer:
    """A row of the layer table."""

    name: str
    kind: str
    output: str  # shape of its output, B for the batch
    parameters: int


def layers(title: str, rows: Sequence[Layer]) -> None:
    """Print the layer table: what the network is made of and how many parameters it has."""
    total = sum(row.parameters for row in rows)
    shown = [(row.name, row.kind, row.output, f"{row.parameters:,}") for row in rows]
    console.table(
        title,
        ("layer", "type", "output", "parameters"),
        [*shown, ("total", "", "", f"{total:,}")],
        left=3,
    )


class RunScreen:
    """The progress of one run: a context manager that shows a bar; `epoch` and `batches` feed it."""

    def __init__(self, epochs: int, batches: int, *, bar: bool = True, lines: bool = True) -> None:
        self._epochs, self._batches = epochs, batches
        self._live, self._lines = bar and console.screen().is_terminal, lines
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
                console=console.screen(),
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
        """Yield the same batches, and count them on the bar (about 50 times an epoch)."""
        every = max(1, self._batches // 50)
        for index, batch in enumerate(batches):
            yield batch
            if self._progress is not None and self._bar is not None and index % every == 0:
                done = (epoch - 1) * self._batches + index + 1
                self._progress.update(
                    self._bar, completed=done, description=f"epoch {epoch}/{self._epochs}"
                )

    def epoch(self, result: EpochResult, best_epoch: int | None) -> str:
        """Show an epoch's metrics; returns the line, for the log."""
        shown = [
            (name, value)
            for name, value in result.metrics.items()
            if not metrics.is_learning_rate(name)
        ]
        values = "  ".join(f"{name} {console.number(value)}" for name, value in shown)
        mark = "  *" if result.epoch == best_epoch else ""
        line = f"epoch {result.epoch:>3}/{self._epochs}  {values}  {result.seconds:.1f} s{mark}"
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=result.epoch * self._batches)
        if self._lines:
            console.say(line)
        return line


def result(title: str, rows: Mapping[str, str]) -> None:
    """Print the result of a run, a line for each thing that matters."""
    grid = Table(
        title=console.plain(title),
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE,
        show_header=False,
    )
    grid.add_column(justify="left")
    grid.add_column(justify="left", overflow="fold")
    for name, value in rows.items():
        grid.add_row(console.plain(name), console.plain(value))
    console.show(grid)
