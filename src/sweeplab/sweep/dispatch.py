"""The jobs of a sweep: started as cores and GPUs come free, watched, stopped, started again."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sweeplab import store
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import Interrupted
from sweeplab.runs import report
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.pool import Workers
from sweeplab.sweep.processes import CellAtWork, Processes, Running, describe_exit, log_tail
from sweeplab.sweep.queue import Attempt, Queue
from sweeplab.sweep.screen import SweepScreen
from sweeplab.sweep.server import BAD_INPUT, LOST, RAISED

LOSSES = 3  # nodes that a job may lose: after more, the job itself may be what ends them


class Dispatch:
    """Carries out the jobs of one sweep."""

    def __init__(
        self,
        home: store.Store,
        jobs: Jobs,
        settings: Config,
        pool: Workers,
        view: SweepScreen,
    ) -> None:
        self._home = home
        self._jobs = jobs
        self._settings = settings.sweep
        self._pool = pool
        self._view = view
        self._queue = Queue(home, jobs, pool, view)
        self._processes = Processes(pool, jobs.plan.id, settings.sweep.job_timeout)
        self._lost: Counter[str] = Counter()  # fingerprint -> how often its node was lost
        self._began = time.monotonic()
        self._stopping: str | None = None  # why no further job is started
        self._signals: list[int] = []  # received so far

    @property
    def started(self) -> int:
        """How many processes were started."""
        return self._processes.started

    def run(self, tend: Callable[[], None] = lambda: None) -> str | None:
        """Train until all jobs have ended; return why some were not started, if so.

        Calls `tend` now and then. Raises KeyboardInterrupt after Ctrl-C or SIGTERM.
        """
        with _noting_signals() as self._signals:
            while self._start() or self._processes or self._is_expecting:
                for process, code in self._processes.wait(self._jobs.look):
                    for member in process.members:
                        self._judge(member, process, code)
                self._judge_early()
                self._heed_signals()
                self._processes.stop_late()
                self._processes.prune(self._jobs)
                if self._view.live:
                    self._view.show(self._processes.progress())
                tend()
        if self._signals:
            raise Interrupted if signal.SIGTERM in self._signals else KeyboardInterrupt
        return self._stopping

    def _start(self) -> bool:
        """Start what there is room for; return whether something was started."""
        limit, before = self._settings.time_limit, self.started
        while self._stopping is None:
            attempt = self._queue.take()
            if attempt is None:
                break
            if limit is not None and time.monotonic() - self._began >= limit:
                self._stopping = f"sweep.time_limit={limit:g} seconds are over"
                break
            members = [self._member(cell, attempt.number) for cell in attempt.cells]
            if not self._processes.start(members):
                self._queue.put_back(attempt)
                break
        return self.started > before

    def _member(self, cell: Cell, attempt: int) -> CellAtWork:
        run = self._home.run(cell.job.fingerprint)
        return CellAtWork(cell=cell, run=run, attempt=attempt, history=store.History(run.journal))

    @property
    def _is_expecting(self) -> bool:
        """Whether there may be room later for jobs that wait."""
        return self._queue.is_waiting and self._stopping is None and self._pool.expecting

    def _judge_early(self) -> None:
        """Judge jobs that have ended before the others that are trained with them."""
        for process in self._processes:
            if len(process.members) == 1:
                continue
            for member in process.members:
                if member.run.status in (store.Status.FINISHED, store.Status.FAILED):
                    process.members = [other for other in process.members if other is not member]
                    self._judge(member, process, RAISED)

    def _judge(self, member: CellAtWork, process: Running, code: int) -> None:
        """Say how a job ended, and start it again, by itself, if it died and may."""
        cell, run = member.cell, member.run
        result = run.result()
        if result is not None and result.status == store.Status.FINISHED:
            best = report.best(cell.job, run, result)
            self._view.finished(cell.name, report.brief(cell.job, result, best), best)
            self._jobs.ended(cell)
            return
        if self._signals:  # it was asked to end
            return
        if code == LOST and self._start_elsewhere(member, process):
            return
        if process.pruned:
            last = max(run.epochs(), default=0)
            self._view.finished(cell.name, f"pruned after epoch {last}", None)
            self._jobs.ended(cell)
            return
        reason = describe_exit(code)
        if process.timed_out:
            reason = f"stopped after sweep.job_timeout={self._settings.job_timeout:g} s"
        has_raised = result is not None and result.status == store.Status.FAILED
        self._take_failure(member, reason, may_retry=code != BAD_INPUT and not has_raised)

    def _take_failure(self, member: CellAtWork, reason: str, *, may_retry: bool) -> None:
        """Say why a job did not finish, and start it again if it may and has attempts left."""
        cell, run, retries = member.cell, member.run, self._settings.retries
        lines = [f"{cell.name}: {reason}"]
        lines += [f"    {line}" for line in log_tail(run)]
        lines.append(f"    log: {run.log_file}")
        is_retried = may_retry and member.attempt <= retries
        if is_retried:
            lines.append(f"    started again ({member.attempt} of {retries})")
            self._queue.put_back(Attempt(cells=[cell], number=member.attempt + 1))
        else:
            self._jobs.ended(cell)
        self._view.failed("\n".join(lines), final=not is_retried)
        if not is_retried and self._settings.fail_fast and self._stopping is None:
            self._stopping = f"sweep.fail_fast=true, and {cell.name} did not finish"
            self._processes.stop_all()

    def _start_elsewhere(self, member: CellAtWork, process: Running) -> bool:
        """Start a job again whose node was lost, unless it has lost too many.

        The loss is not the job's fault, and counts as no attempt.
        """
        fingerprint = member.cell.job.fingerprint
        self._lost[fingerprint] += 1
        if self._lost[fingerprint] > LOSSES or process.kill_at is not None:
            return False
        message = f"{member.cell.name}: its node was lost; started again on another"
        self._view.failed(message, final=False)
        self._queue.put_back(Attempt(cells=[member.cell], number=member.attempt))
        return True

    def _heed_signals(self) -> None:
        """Ask all jobs to end after Ctrl-C, and kill them after a second one."""
        if not self._signals:
            return
        if self._stopping is None:
            self._stopping = "interrupted"
            runs = counted(len(self._processes), "run")
            self._view.say(f"stopping {runs} at the last checkpoint; Ctrl-C again: at once")
        self._processes.stop_all()
        if len(self._signals) > 1:
            self._processes.kill_all()


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of raising: nothing is cut off in the middle.

    Does nothing outside the main thread, where signals cannot be handled.
    """
    received: list[int] = []
    before = {}
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda got, _frame: received.append(got))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
