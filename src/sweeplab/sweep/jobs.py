"""Where the jobs of a sweep come from: all known beforehand, or each chosen by what came out of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sweeplab.store import Store
from sweeplab.sweep import preview
from sweeplab.sweep.plan import Cell, Plan

LOOK = 0.2  # seconds between two looks at the clock, the journals and the signals


class Jobs:
    """Those of a plan that has them all."""

    look = LOOK
    batch: int | None = None  # how many a launcher of Hydra's gets at once; None: all

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.given_up: set[str] = set()  # fingerprints of runs that are not wanted to their end any more

    @property
    def total(self) -> int:
        """How many jobs the whole sweep has, at most."""
        return len(self.plan.cells)

    @property
    def left(self) -> bool:
        """Whether there may be anything to train."""
        return any(not cell.job.finished for cell in self.plan.cells)

    def summary(self) -> str:
        """One line, after `begin`."""
        return preview.summary(self.plan)

    def __iter__(self) -> Iterator[Cell]:
        """The jobs that are left, once."""
        return (cell for cell in self.plan.cells if not cell.job.finished)

    def begin(self, home: Store, record: Callable[[], None]) -> None:
        """To be called before the first job; `record` writes the plan's manifest."""

    def end(self) -> None:
        """To be called after the last one, however that ended."""

    def ended(self, cell: Cell) -> None:
        """Its run has come to an end, whatever that is, and is not started again."""

    def hopeless(self, cell: Cell) -> bool:
        """Whether a run that is at work is to be ended now."""
        del cell
        return False
