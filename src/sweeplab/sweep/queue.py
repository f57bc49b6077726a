"""The jobs of a sweep that are to be started next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sweeplab import store
from sweeplab.runs import report
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.pool import Workers
from sweeplab.sweep.screen import SweepScreen


@dataclass(kw_only=True, slots=True, frozen=True)
class Attempt:
    """Jobs that are to be trained as one."""

    cells: list[Cell]
    number: int = 1


class Queue:
    """Jobs that were put back, then those of the plan or the search."""

    def __init__(self, home: store.Store, jobs: Jobs, pool: Workers, view: SweepScreen) -> None:
        self._home = home
        self._jobs = jobs
        self._pool = pool
        self._view = view
        self._waiting: deque[Attempt] = deque()
        self._source: Iterator[list[Cell]] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there are jobs that were put back."""
        return bool(self._waiting)

    def put_back(self, attempt: Attempt) -> None:
        """Let these jobs be the next."""
        self._waiting.appendleft(attempt)

    def take(self) -> Attempt | None:
        """Return what is to be started next; None if there is nothing, or no room.

        A search is asked for a job only when there may be room: it then knows most. Jobs that the
        store has meanwhile are reported as reused.
        """
        if self._waiting:
            return self._waiting.popleft()
        if self._source is None:  # only now does the pool know its workers
            self._source = self._jobs.groups(self._pool.workers)
        while not self._pool.full:
            cells = next(self._source, None)
            if cells is None:
                return None
            if not cells[0].job.finished:
                return Attempt(cells=cells)
            for cell in cells:
                self._view.reused(cell.name, report.best_of(cell.job, self._home))
                self._jobs.ended(cell)
        return None
