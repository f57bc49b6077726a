"""Slurm as the place of a sweep: it starts the workers, which take jobs from the board."""

from __future__ import annotations

import hashlib
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

from sweeplab import console, store
from sweeplab.config import Config, item_text
from sweeplab.errors import UserError
from sweeplab.sweep.board import LOGS
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.slurm_news import SlurmNews
from sweeplab.sweep.slurm_options import SlurmOptions, WorkerSize
from sweeplab.sweep.slurm_queue import Report, SlurmError, SlurmQueue, worker_script
from sweeplab.sweep.workers import Workers

NAME = "hydra/launcher=slurm"
POLL = 3.0  # seconds between two looks at Slurm's queue
LEAVING = 5.0  # seconds in which workers leave when the sweep has ended
LOOK = 0.1  # seconds between two looks for them
ENDING_LOOK = 0.5  # seconds between two looks at the queue while workers are ending
WORKERS = 16  # at most, unless told otherwise


class Slurm(Workers):
    """Has Slurm start workers, as many as there is work for, and says what becomes of them."""

    def __init__(self, options: SlurmOptions) -> None:
        super().__init__()
        self._options = options
        self._queue: SlurmQueue | None = None
        self._pool = ThreadPoolExecutor(1)  # Slurm's commands may take their time
        self._looking: Future[Report] | None = None
        self._polled_at = 0.0

    def __exit__(self, *args: object) -> None:
        self._pool.shutdown(wait=True)
        if self._queue is not None and not self._posts:
            self._say_ends(self._queue)
        super().__exit__(*args)  # from which the workers see that there is nothing more to do
        if self._queue is not None and not self._posts:
            self._await_leaving()
            try:
                self._queue.cancel()
            except SlurmError as error:
                console.complain(str(error))

    def _say_ends(self, queue: SlurmQueue) -> None:
        """Say how workers ended that were ending when the last job did, cancelled ones above all."""
        deadline = time.monotonic() + LEAVING
        reports = [] if self._looking is None else [self._looking.result()]
        reports.append(queue.look(0))
        while queue.ending and time.monotonic() < deadline:
            time.sleep(ENDING_LOOK)
            reports.append(queue.look(0))
        for report in reports:
            for ended in report.ended:
                self._news.say_end(ended)
        for name in queue.ending:
            console.say(f"Slurm job {name}: is still ending (COMPLETING)", style="yellow")

    def _await_leaving(self) -> None:
        """Wait a moment for the workers to leave by themselves."""
        deadline = time.monotonic() + LEAVING
        while any(map(self._board.is_alive, self._board.members())):
            if time.monotonic() > deadline:
                return
            time.sleep(LOOK)

    # --- what is asked of Slurm

    def expect(self, jobs: Jobs) -> None:
        """Decide what is asked of Slurm. Raises UserError if such workers could do no job."""
        super().expect(jobs)
        self._planned = self._make_queue(jobs.plan.settings)

    def preview(self, settings: Config) -> tuple[str, int]:
        """Return the command that would submit the workers, and how many jobs they do at once."""
        workers = self._wanted(settings, self._jobs.total)
        return f"would submit: {self._shown}", workers * self._size.jobs

    def _make_queue(self, settings: Config) -> SlurmQueue:
        """Return the queue with what is asked of Slurm for a worker; nothing is asked yet."""
        self._size = WorkerSize.of(self._options, self._left, settings)
        board = self._board_of(settings)
        # The same sweep in another store has other workers.
        place = hashlib.sha256(str(board.folder).encode()).hexdigest()[:6]
        name = f"sweeplab-{self._jobs.plan.id[:8]}-{place}"
        arguments = self._options.arguments(name, self._size, f"{board.folder}/{LOGS}")
        root = store.Store(settings.store.root).root.absolute()
        words = ["work", self._jobs.plan.id, f"store.root={item_text(str(root))}"]
        last = self._wanted(settings, self._jobs.total) - 1
        self._shown = " ".join(["sbatch", *arguments, f"--array=0-{last}"])
        return SlurmQueue(name, arguments, worker_script(self._options.setup, words))

    def _wanted(self, settings: Config, jobs: int) -> int:
        """Return how many workers so many jobs are work for."""
        most = self._options.workers or WORKERS
        if settings.sweep.workers != "auto":
            most = min(most, math.ceil(int(settings.sweep.workers) / self._size.jobs))
        if self._jobs.ahead:
            jobs = min(jobs, len(self._left))
        return min(most, math.ceil(jobs / self._size.jobs))

    # --- the sweep

    def _call_workers(self) -> None:
        self._queue = self._planned
        self._news = SlurmNews(self._board.folder / LOGS)
        with console.waiting("submitting workers to Slurm"):
            report = self._queue.look(self._wanted(self._settings, self._jobs.total))
        if not report.elements:
            self._queue = None  # no worker is to be awaited
            self._board.remove()
            reason = report.silent or report.refused
            raise UserError(f"{NAME}: {reason}\nnothing was submitted: {self._shown}")
        self._news.tell(report, (), has_jobs=True)

    def tend(self) -> None:
        """See to the jobs and to the workers. Raises RunFailed if there will be no workers."""
        super().tend()
        assert self._posts is not None
        assert self._queue is not None
        if self._looking is None and time.monotonic() - self._polled_at > POLL:
            self._polled_at = time.monotonic()
            wanted = self._wanted(self._settings, len(self._posts)) if self._news.may_submit else 0
            self._looking = self._pool.submit(self._queue.look, wanted)
        if self._looking is not None and self._looking.done():
            report, self._looking = self._looking.result(), None
            self._news.tell(report, self._posts.busy, has_jobs=len(self._posts) > 0)

    def _say_what_goes_on(self) -> None:
        super()._say_what_goes_on()
        jobs = " ".join(self._queue.jobs if self._queue else ())
        if jobs:
            console.say(f"Slurm's jobs go on, too; to end them: scancel {jobs}")
