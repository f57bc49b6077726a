"""The jobs of a sweep: started as cores and GPUs come free, watched, stopped, started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sweeplab import store
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import Interrupted
from sweeplab.runs.job import Job
from sweeplab.sweep.attempts import Attempt, Attempts
from sweeplab.sweep.endings import Cause, Endings
from sweeplab.sweep.jobs import LOOK, Jobs
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.place import SweepPlace
from sweeplab.sweep.screen import SweepScreen
from sweeplab.sweep.worker import RAISED

GRACE = 5.0  # seconds that a job has to end in when it is asked to; then it is killed


class Halt:
    """Why no further job is started, and whether those at work are to end."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.reason: str | None = None
        self.signals: list[int] = []  # received so far
        self.stop = loop.create_future()  # done: all jobs are to end
        self.kill = loop.create_future()  # done: and at once

    @contextmanager
    def heeding_signals(self, say: Callable[[], None]) -> Iterator[None]:
        """Heed SIGINT and SIGTERM instead of raising: nothing is cut off in the middle.

        Calls `say` when the first has come. Does nothing outside the main thread, where signals
        cannot be handled.
        """
        loop = asyncio.get_running_loop()
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(
                    number, lambda got, _frame: loop.call_soon_threadsafe(self._heed, got, say)
                )
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self, number: int, say: Callable[[], None]) -> None:
        """Ask all jobs to end after Ctrl-C, and kill them after a second one."""
        self.signals.append(number)
        if self.reason is None:
            self.reason = "interrupted"
            say()
        self.end()
        if len(self.signals) > 1 and not self.kill.done():
            self.kill.set_result(None)

    def end(self) -> None:
        """Ask all jobs to end."""
        if not self.stop.done():
            self.stop.set_result(None)


class Dispatch:
    """Carries out the jobs of one sweep."""

    def __init__(
        self,
        home: store.Store,
        jobs: Jobs,
        settings: Config,
        place: SweepPlace,
        view: SweepScreen,
    ) -> None:
        self._jobs = jobs
        self._settings = settings.sweep
        self._place = place
        self._view = view
        self._attempts = Attempts(home, jobs, place, view)
        self._endings = Endings(jobs, self._settings, view, self._attempts)
        self._at_work: dict[asyncio.Task[None], list[Attempt]] = {}
        self.started = 0  # processes

    def run(self, tend: Callable[[], None] = lambda: None) -> str | None:
        """Train until all jobs have ended; return why some were not started, if so.

        Calls `tend` now and then. Raises KeyboardInterrupt after Ctrl-C or SIGTERM.
        """
        asyncio.run(self._run(tend))
        if self._halt.signals:
            raise Interrupted if signal.SIGTERM in self._halt.signals else KeyboardInterrupt
        return self._halt.reason

    async def _run(self, tend: Callable[[], None]) -> None:
        self._halt = Halt()
        began = time.monotonic()
        with self._halt.heeding_signals(self._say_stopping):
            while True:
                self._start(began)
                if not self._at_work and not self._is_expecting:
                    return
                await self._any_ended(LOOK)
                self._place.tend()
                if self._view.live:
                    attempts = [attempt for group in self._at_work.values() for attempt in group]
                    self._view.show([attempt.progress() for attempt in attempts])
                tend()

    async def _any_ended(self, seconds: float) -> None:
        """Wait until a job has ended, at most so long; raise what went wrong in its watching."""
        if not self._at_work:
            await asyncio.sleep(seconds)
            return
        ended, _ = await asyncio.wait(
            self._at_work, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in ended:
            del self._at_work[task]
            task.result()

    @property
    def _is_expecting(self) -> bool:
        """Whether there may be room later for jobs that wait."""
        is_waiting = self._attempts.are_waiting and self._halt.reason is None
        return is_waiting and self._place.expecting

    def _say_stopping(self) -> None:
        runs = counted(len(self._at_work), "run")
        self._view.say(f"stopping {runs} at the last checkpoint; Ctrl-C again: at once")

    def _start(self, began: float) -> None:
        """Start what there is room for."""
        limit = self._settings.time_limit
        while self._halt.reason is None:
            group = self._attempts.take()
            if group is None:
                return
            if limit is not None and time.monotonic() - began >= limit:
                self._halt.reason = f"sweep.time_limit={limit:g} seconds are over"
                return
            config = group[0].cell.job.config
            threads = group[0].run.threads or config.trainer.threads or 1
            lease = self._place.take(config, threads)
            if lease is None:
                self._attempts.put_back(group)
                return
            self.started += 1
            self._at_work[asyncio.create_task(self._train(group, lease))] = group

    # --- the life of a job

    async def _train(self, group: list[Attempt], lease: Lease) -> None:
        """Train jobs in a process: until it ends, or is told to, or is killed because it does not.

        Those that end before the others leave the group.
        """
        orders = [_order(attempt.cell.job, self._jobs.plan.id) for attempt in group]
        data = repr(orders[0].config.data)
        try:
            process = self._place.start(orders, lease, data)
            ended = asyncio.ensure_future(process.ended())
            cause = await self._cause_of_end(ended, group)
            if cause is not Cause.ITSELF:
                is_pruned = cause is Cause.PRUNED
                process.send(signal.SIGUSR1 if is_pruned else signal.SIGTERM)
                await _first([ended, self._halt.kill], GRACE)
            if not ended.done():
                process.send(signal.SIGKILL)
            code = await ended
        finally:
            self._place.give(lease)
        for attempt in group:
            self._judge(attempt, code, cause)

    async def _cause_of_end(self, ended: asyncio.Future[int], group: list[Attempt]) -> Cause:
        """Wait for the first of what ends a process."""
        timeout = self._settings.job_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            await _first([ended, self._halt.stop], self._jobs.look)
            if ended.done():
                return Cause.ITSELF
            if self._halt.stop.done():
                return Cause.STOPPED
            if deadline is not None and time.monotonic() >= deadline:
                return Cause.TIMEOUT
            self._judge_early(group)
            if group and all(self._jobs.hopeless(attempt.cell) for attempt in group):
                return Cause.PRUNED

    def _judge_early(self, group: list[Attempt]) -> None:
        """Judge jobs that have ended before the others that are trained with them."""
        if len(group) == 1:
            return
        for attempt in list(group):
            if attempt.run.status in (store.Status.FINISHED, store.Status.FAILED):
                group.remove(attempt)
                self._judge(attempt, RAISED, Cause.ITSELF)

    def _judge(self, attempt: Attempt, code: int, cause: Cause) -> None:
        """Take note of how a job ended, and heed `sweep.fail_fast`."""
        is_interrupted = bool(self._halt.signals)
        failed = self._endings.take(attempt, code, cause, is_interrupted=is_interrupted)
        if failed and self._settings.fail_fast and self._halt.reason is None:
            self._halt.reason = f"sweep.fail_fast=true, and {attempt.cell.name} did not finish"
            self._halt.end()


async def _first(futures: Sequence[asyncio.Future[Any]], seconds: float) -> None:
    """Wait for the first of these, at most so long."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _order(job: Job, sweep_id: str) -> Job:
    """Return a job as it is sent to its process: with the sweep's id, and without its layers."""
    sweep = replace(job.config.sweep, id=sweep_id)
    return replace(job, config=replace(job.config, sweep=sweep), layers=[])
