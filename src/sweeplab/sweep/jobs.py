"""Where the jobs of a sweep come from: a fixed plan here, a search in `search`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

from sweeplab.store import Store
from sweeplab.sweep import preview
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.grouping import group
from sweeplab.sweep.place import LOOK
from sweeplab.sweep.plan import Plan


class Jobs:
    """The jobs of a fixed plan."""

    look = LOOK
    notice = ""  # which of the jobs of the plan there will be
    ahead = True  # whether jobs can be asked for before there is room for them
    batch: int | None = None  # how many a launcher of Hydra's gets at once; None: all

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.given_up: set[str] = set()  # fingerprints of runs that need not finish any more

    @property
    def possible(self) -> list[Cell]:
        """All jobs that may be asked for, as far as they are known."""
        return self.plan.cells

    @property
    def total(self) -> int:
        """How many jobs the whole sweep has, at most."""
        return len(self.possible)

    @property
    def left(self) -> bool:
        """Whether there may be anything to train."""
        return any(not cell.job.finished for cell in self.plan.cells)

    def summary(self) -> str:
        """Describe the jobs in one line, after `begin`."""
        return preview.summary(self.plan)

    def __iter__(self) -> Iterator[Cell]:
        """Yield each job that is left, once."""
        return (cell for cell in self.plan.cells if not cell.job.finished)

    def more(self) -> bool:
        """Add the jobs that the results so far call for, once none are left; return whether any are."""
        return False

    def groups(self, workers: int) -> Iterator[list[Cell]]:
        """Yield each job that is left, once, with those that had best be trained with it.

        `workers` is 0 if jobs are not to be trained as one.
        """
        return iter(group(list(self), workers))

    def begin(self, home: Store, record: Callable[[], None]) -> None:
        """Prepare, before the first job; `record` writes the plan's manifest."""

    def at_work(self) -> AbstractContextManager[None]:
        """Return the context of the training, between `begin` and `end`."""
        return nullcontext()

    def end(self) -> None:
        """Clean up after the last job, however that ended."""

    def ended(self, cell: Cell) -> None:
        """Take note that a run has ended in whatever way, and is not started again."""

    def hopeless(self, cell: Cell) -> bool:
        """Whether a run that is at work is to be ended now."""
        del cell
        return False
