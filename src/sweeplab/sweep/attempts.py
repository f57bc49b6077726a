"""The jobs of a sweep that are to be started next, and how far those at work have come."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from sweeplab import store
from sweeplab.compare.following import Working
from sweeplab.runs import report
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.place import SweepPlace
from sweeplab.sweep.screen import SweepScreen


@dataclass(kw_only=True, slots=True, eq=False)
class Attempt:
    """A job that is to be trained, or is at work."""

    cell: Cell
    run: store.Run
    history: store.History  # as far as it was read
    number: int = 1  # of the attempt
    losses: int = 0  # how often its node was lost
    requested_ends: int = 0  # how often it had ended by a request when it was started

    def progress(self) -> Working:
        """Read in the journal how far the job has come."""
        config = self.cell.job.config
        with suppress(FileNotFoundError, store.DamagedError):
            self.history.read()
        return Working.of(
            self.run, self.cell.name, self.history, config.trainer.epochs, config.monitor
        )


class Attempts:
    """The jobs to be started next: those put back, then those of the plan or the search."""

    def __init__(self, home: store.Store, jobs: Jobs, place: SweepPlace, view: SweepScreen) -> None:
        self._home = home
        self._jobs = jobs
        self._place = place
        self._view = view
        self._source = jobs.groups(place.workers)
        self._waiting: deque[list[Attempt]] = deque()

    def put_back(self, group: list[Attempt]) -> None:
        """Let these jobs be the next."""
        self._waiting.appendleft(group)

    @property
    def are_waiting(self) -> bool:
        """Whether there are jobs that were put back."""
        return bool(self._waiting)

    def take(self) -> list[Attempt] | None:
        """Return jobs that are to be trained as one next; None if there are none, or no room.

        A search is asked for a job only when there may be room: it then knows most. Jobs that the
        store has meanwhile are reported as reused.
        """
        if self._waiting:
            return self._waiting.popleft()
        while not self._place.full:
            cells = next(self._source, None)
            if cells is None:
                if not self._jobs.more():
                    return None
                self._source = self._jobs.groups(self._place.workers)
                continue
            if not cells[0].job.finished:
                return [self._attempt(cell) for cell in cells]
            for cell in cells:
                self._view.reused(cell.name, report.best_of(cell.job, self._home))
                self._jobs.ended(cell)
        return None

    def _attempt(self, cell: Cell) -> Attempt:
        run = self._home.run(cell.job.fingerprint)
        return Attempt(cell=cell, run=run, history=store.History(run.journal))
