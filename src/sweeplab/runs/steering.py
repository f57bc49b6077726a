"""A run at work looks at the end of an epoch whether it is asked to stop or to pause."""

from __future__ import annotations

import time

from sweeplab import console, store
from sweeplab.errors import EndedByRequest
from sweeplab.runs.job import Job
from sweeplab.store import Wish
from sweeplab.train.distributed import broadcast

LOOK = 1.0  # seconds between two looks, at least: some epochs take milliseconds


class Listener:
    """Looks for the request in a run's folder."""

    def __init__(self, run: store.Run, job: Job) -> None:
        self._run, self._name = run, job.name
        self._is_job = job.config.sweep.id is not None
        self._looked_at = -LOOK

    def heed(self, epoch: int) -> None:
        """Raise EndedByRequest after this epoch if the run is asked to end, on all ranks at once."""
        wish = broadcast(self._look())
        if wish is None:
            return
        run = self._run.id
        way = console.command(f"sweeplab resume {run}")
        ended = f"run {run} ({self._name}) ended after epoch {epoch} by sweeplab {wish}"
        raise EndedByRequest(f"{ended}; {way}, or the same command, goes on", str(wish))

    def _look(self) -> Wish | None:
        now = time.monotonic()
        if now - self._looked_at < LOOK:
            return None
        self._looked_at = now
        wish: Wish | None = self._run.request.read()
        if wish not in (Wish.STOP, Wish.PAUSE):
            return None
        # That of a job stays: by it the sweep knows that it is not to be begun again.
        if self._is_job or self._run.request.withdraw():
            return wish
        return None
