"""The jobs of a sweep: started as cores and GPUs come free, watched, stopped, started again.

The life of a job: it is taken from those that wait (`_start`), gets cores or a GPU (a lease), and a
process, which is watched to its end (`_run_process`); then how it ended is judged: it is finished,
or failed, or put back to be tried again (`_judge`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from sweeplab import store
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import RunFailed
from sweeplab.runs.job import Job
from sweeplab.sweep.attempts import Attempt, Attempts
from sweeplab.sweep.endings import Cause, Endings
from sweeplab.sweep.halt import Halt
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.place import LOOK, Process, SweepPlace
from sweeplab.sweep.screen import SweepScreen
from sweeplab.sweep.steering import Steering
from sweeplab.sweep.watch import Watch
from sweeplab.sweep.worker import RAISED


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
        self._steering = Steering(home, jobs, self._attempts, view)
        self._endings = Endings(jobs, self._settings, view, self._attempts, self._steering)
        self._tasks: set[asyncio.Task[None]] = set()  # for each process
        self._at_work: dict[Process, list[Attempt]] = {}  # those that have begun
        self.started = 0  # processes

    def run(self, tend: Callable[[], None] = lambda: None) -> str | None:
        """Train until all jobs have ended; return why some were not started, if so.

        Calls `tend` once a round, about every 0.2 s. Raises KeyboardInterrupt after Ctrl-C or SIGTERM.
        """
        with self._steering:
            _run_apart(self._run(tend))
        if self._halt.signals:
            raise self._halt.error
        return self._halt.reason

    async def _run(self, tend: Callable[[], None]) -> None:
        self._halt = Halt(self._settings.time_limit)
        with self._halt.heeding_signals(self._interrupt):
            while True:
                self._start()
                if not self._tasks and self._steering.has_ended(self._halt, self._place):
                    return
                await self._any_ended()
                if self._halt.signals and self._place.goes_on:
                    return
                self._look_after()
                tend()

    def _look_after(self) -> None:
        """Tend the place, heed requests and the time limit, and draw the screen."""
        try:
            self._place.tend()
        except RunFailed as error:  # it can do no more jobs
            self._halt.end(str(error))
        self._steering.look(self._halt)
        if len(self._tasks) > len(self._at_work) or self._steering.is_waiting:  # some are to begin
            self._halt.heed_time()
        if self._view.live:
            attempts = [attempt for group in self._at_work.values() for attempt in group]
            self._view.show([attempt.progress() for attempt in attempts])

    async def _any_ended(self) -> None:
        """Wait a moment for a job to end, and start what other sweeps leave room for."""
        until = time.monotonic() + 0.9 * LOOK  # timers may be a little early
        while not await self._ended(self._place.look) and time.monotonic() < until:
            self._start()

    async def _ended(self, seconds: float) -> bool:
        """Wait at most so long for a job to end; return whether one has. Raises what its task did."""
        if not self._tasks:
            await asyncio.sleep(seconds)
            return False
        ended, self._tasks = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in ended:
            task.result()
        return bool(ended)

    def _interrupt(self) -> None:
        """End all jobs after Ctrl-C, unless they go on without this process."""
        if self._place.goes_on:
            return
        runs = counted(len(self._at_work), "run")
        self._view.say(f"stopping {runs} at the last checkpoint; Ctrl-C again: at once")
        self._halt.end("interrupted")

    def _start(self) -> None:
        """Start waiting jobs for as long as there is room."""
        while self._halt.reason is None:
            group = self._steering.take()
            if group is None:
                return
            self._halt.heed_time()
            if self._halt.reason is not None:
                return
            config = group[0].cell.job.config
            threads = group[0].run.threads or config.trainer.threads or 1
            lease = self._place.take(config, threads)
            if lease is None:
                self._attempts.put_back(group)
                return
            self.started += 1
            self._tasks.add(asyncio.create_task(self._run_process(group, lease)))

    # --- the life of a job

    async def _run_process(self, group: list[Attempt], lease: Lease) -> None:
        """Start a process for jobs that are trained together, watch it, and judge how each ended.

        A job that ends before the others leaves the group.
        """
        sent = [_as_sent(attempt.cell.job, self._jobs.plan.id) for attempt in group]
        data = repr(sent[0].config.data)
        try:
            process = self._place.start(sent, lease, data)
            watch = Watch(process, self._halt, self._settings.job_timeout)
            if not await watch.has_begun():
                return
            self._at_work[process] = group
            try:
                cause = await watch.end(lambda: self._reason_to_end(group), self._jobs.look)
            finally:
                del self._at_work[process]
        finally:
            self._place.give(lease)
        for attempt in group:
            self._judge(attempt, watch.code, cause)

    def _reason_to_end(self, group: list[Attempt]) -> Cause | None:
        """Say why jobs that are still trained together are to end now; None if they are not."""
        self._judge_early(group)
        if self._steering.is_paused:
            return Cause.PAUSED
        is_hopeless = all(self._jobs.hopeless(attempt.cell) for attempt in group)
        return Cause.PRUNED if group and is_hopeless else None

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
            self._halt.end(f"sweep.fail_fast=true, and {attempt.cell.name} did not finish")


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a loop of its own, also where this thread runs one already: a notebook's.

    The thread's own loop rests meanwhile, as during any other cell of a notebook.
    """
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(work)
    finally:
        asyncio._set_running_loop(outer)


def _as_sent(job: Job, sweep_id: str) -> Job:
    """Return a job as it is sent to its process: with the sweep's id, and without its layers."""
    # What is to be done afterwards (`sweep.then`) is done once, by the sweep.
    sweep = replace(job.config.sweep, id=sweep_id, then=None)
    return replace(job, config=replace(job.config, sweep=sweep), layers=[])
