"""The jobs of a sweep: started as cores and GPUs come free, watched, stopped, started again."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from sweeplab import store
from sweeplab.config import Config
from sweeplab.errors import Interrupted
from sweeplab.runs import report
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.pool import Workers
from sweeplab.sweep.screen import SweepScreen, Working
from sweeplab.sweep.server import BAD_INPUT, INTERRUPTED, LOST, RAISED, TERMINATED

GRACE = 5.0  # seconds that a job has to end in when it is asked to; then it is killed
LOG_LINES = 5  # of a failed job's log that are shown at once
LOSSES = 3  # nodes that a job may lose: one loses none by chance so often, and may be what ends them


@dataclass(kw_only=True, slots=True, frozen=True)
class Member:
    """A job at work."""

    cell: Cell
    run: store.Run
    attempt: int
    history: store.History  # as far as it was read


@dataclass(slots=True)
class Running:
    """A process at work on a job, or on several that are trained as one."""

    members: list[Member]
    lease: Lease
    deadline: float | None  # by time.monotonic
    timed_out: bool = False
    pruned: bool = False
    kill_at: float | None = None  # it was asked to end


class Dispatch:
    """Carries out the jobs of one sweep. `tend` is called now and then."""

    def __init__(self, home: store.Store, jobs: Jobs, settings: Config, pool: Workers, view: SweepScreen) -> None:
        self._home, self._jobs, self._id, self._settings = home, jobs, jobs.plan.id, settings.sweep
        self._pool, self._view = pool, view
        self._source: Iterator[list[Cell]] | None = None  # asked when there may be room: a search then knows most
        self._waiting: deque[tuple[list[Cell], int]] = deque()  # taken from it, with the number of the attempt
        self._running: dict[int, Running] = {}
        self._lost: Counter[str] = Counter()  # fingerprint -> how often its node was lost
        self.started = 0
        self._began = time.monotonic()
        self._stopping: str | None = None  # why no further job is started
        self._signals: list[int] = []

    def run(self, tend: Callable[[], None] = lambda: None) -> str | None:
        """Until all have ended; why some were not started, if so. Raises KeyboardInterrupt after Ctrl-C or SIGTERM."""
        with self._heard():
            while self._start() or self._running or self._expecting:
                for number, code in self._pool.wait(self._jobs.look):
                    self._ended(self._running.pop(number), code)
                self._judge_early()
                self._obey()
                self._stop_late()
                self._prune()
                if self._view.live:
                    self._view.show([_row(member) for each in self._running.values() for member in each.members])
                tend()
        if self._signals:
            raise Interrupted if signal.SIGTERM in self._signals else KeyboardInterrupt
        return self._stopping

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Signals are noted meanwhile, where they can be (the main thread): nothing is cut off in the middle."""
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, lambda got, _frame: self._signals.append(got))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self) -> bool:
        """Start what there is room for; whether something was started."""
        limit, before = self._settings.time_limit, self.started
        while self._stopping is None and (planned := self._next()) is not None:
            cells, attempt = planned
            if limit is not None and time.monotonic() - self._began >= limit:
                self._stopping = f"sweep.time_limit={limit:g} seconds are over"
                break
            members = [self._member(cell, attempt) for cell in cells]
            first = cells[0].job
            lease = self._pool.take(first.config, _threads(first.config, members[0].run))
            if lease is None:
                self._waiting.appendleft(planned)
                break
            self.started += 1
            timeout = self._settings.job_timeout
            deadline = None if timeout is None else time.monotonic() + timeout
            self._running[self.started] = Running(members, lease, deadline)
            orders = [
                replace(
                    cell.job,
                    config=replace(cell.job.config, sweep=replace(cell.job.config.sweep, id=self._id)),
                    layers=[],
                )
                for cell in cells
            ]
            self._pool.start(self.started, orders, lease, repr(first.config.data))
        return self.started > before

    def _member(self, cell: Cell, attempt: int) -> Member:
        run = self._home.run(cell.job.fingerprint)
        return Member(cell=cell, run=run, attempt=attempt, history=store.History(run.journal))

    @property
    def _expecting(self) -> bool:
        return bool(self._waiting) and self._stopping is None and self._pool.expecting

    def _next(self) -> tuple[list[Cell], int] | None:
        """What is to be started next, with the number of its attempt; None if there is nothing, or no room."""
        if self._waiting:
            return self._waiting.popleft()
        if self._source is None:  # only now does the pool know its workers
            self._source = self._jobs.groups(self._pool.workers)
        while not self._pool.full and (cells := next(self._source, None)) is not None:
            if not cells[0].job.finished:
                return cells, 1
            for cell in cells:
                self._view.reused(cell.name, report.best_of(cell.job, self._home))
                self._jobs.ended(cell)
        return None

    def _ended(self, was: Running, code: int) -> None:
        self._pool.give(was.lease)
        for member in was.members:
            self._judge(member, was, code)

    def _judge_early(self) -> None:
        """Of runs that are trained as one some end before the others."""
        for was in self._running.values():
            for member in was.members if len(was.members) > 1 else ():
                if member.run.status in (store.Status.FINISHED, store.Status.FAILED):
                    was.members = [other for other in was.members if other is not member]
                    self._judge(member, was, RAISED)

    def _judge(self, member: Member, was: Running, code: int) -> None:
        """Say how a job ended, and start it again, by itself, if it died and may."""
        cell, found = member.cell, member.run
        result = found.result()
        if result is not None and result.status == store.Status.FINISHED:
            best = report.best(cell.job, found, result)
            self._view.finished(cell.name, report.brief(cell.job, result, best), best)
            self._jobs.ended(cell)
            return
        if self._signals:  # it was asked to
            return
        if code == LOST and self._again_elsewhere(member, was):
            return
        if was.pruned:
            self._view.finished(cell.name, f"pruned after epoch {max(found.epochs(), default=0)}", None)
            self._jobs.ended(cell)
            return
        raised = code == BAD_INPUT or (result is not None and result.status == store.Status.FAILED)
        why = f"stopped after sweep.job_timeout={self._settings.job_timeout:g} s" if was.timed_out else _how(code)
        again = not raised and member.attempt <= self._settings.retries
        lines = [f"{cell.name}: {why}", *(f"    {line}" for line in _tail(found)), f"    log: {found.log_file}"]
        if again:
            lines.append(f"    started again ({member.attempt} of {self._settings.retries})")
            self._waiting.appendleft(([cell], member.attempt + 1))
        else:
            self._jobs.ended(cell)
        self._view.failed("\n".join(lines), final=not again)
        if not again and self._settings.fail_fast and self._stopping is None:
            self._stopping = f"sweep.fail_fast=true, and {cell.name} did not finish"
            self._stop_all()

    def _again_elsewhere(self, member: Member, was: Running) -> bool:
        """Whether a job whose node was lost is started again: that is not the job's fault, and counts as no attempt."""
        fingerprint = member.cell.job.fingerprint
        self._lost[fingerprint] += 1
        if self._lost[fingerprint] > LOSSES or was.kill_at is not None:
            return False
        self._view.failed(f"{member.cell.name}: its node was lost; started again on another", final=False)
        self._waiting.appendleft(([member.cell], member.attempt))
        return True

    def _obey(self) -> None:
        """Ctrl-C once: jobs are asked to end. Twice: they are killed."""
        if self._signals and self._stopping is None:
            self._stopping = "interrupted"
            count = len(self._running)
            self._view.say(f"stopping {count} run{'s'[: count != 1]} at the last checkpoint; Ctrl-C again: at once")
        if self._signals:
            self._stop_all()
        if len(self._signals) > 1:
            for number in self._running:
                self._pool.stop(number, hard=True)

    def _stop_all(self) -> None:
        for number, each in self._running.items():
            self._ask_to_end(number, each)

    def _prune(self) -> None:
        """Ask those to end that the sweep has no use for any more."""
        for number, each in self._running.items():
            if each.kill_at is None and all(self._jobs.hopeless(member.cell) for member in each.members):
                each.kill_at, each.pruned = time.monotonic() + GRACE, True
                self._pool.prune(number)

    def _ask_to_end(self, number: int, each: Running) -> None:
        if each.kill_at is None:
            each.kill_at = time.monotonic() + GRACE
            self._pool.stop(number)

    def _stop_late(self) -> None:
        """Ask those that take too long to end, and kill those that were asked and did not."""
        now = time.monotonic()
        for number, each in self._running.items():
            if each.deadline is not None and now >= each.deadline and each.kill_at is None:
                each.timed_out = True
                self._ask_to_end(number, each)
            if each.kill_at is not None and now >= each.kill_at:
                self._pool.stop(number, hard=True)


def _threads(config: Config, found: store.Run) -> int:
    """The cores that a job computes on: a resumed run's as before, else as configured, else one."""
    if found.checkpoints.is_dir() and any(found.checkpoints.iterdir()):
        with suppress(store.DamagedError):  # which begins anew
            if (threads := store.History.of(found.journal).threads) is not None:
                return threads
    return config.trainer.threads or 1


def _how(code: int) -> str:
    """A job's end in words."""
    if code == LOST:
        return "its node was lost, and not for the first time; unfinished"
    if code < 0:
        try:
            return f"died: {signal.Signals(-code).name}; unfinished"
        except ValueError:
            return f"died: signal {-code}; unfinished"
    words = {RAISED: "failed", BAD_INPUT: "failed", INTERRUPTED: "interrupted", TERMINATED: "terminated"}
    return words.get(code, f"died: exit code {code}; unfinished")


def _row(each: Member) -> Working:
    """How far a job has come, by its journal."""
    config = each.cell.job.config
    with suppress(FileNotFoundError, store.DamagedError):
        each.history.read()
    epochs = each.history.epochs
    last = max(epochs, default=0)
    value = epochs[last].get(config.monitor) if epochs else None
    return Working(name=each.cell.name, epoch=last, epochs=config.trainer.epochs, value=value)


def _tail(found: store.Run) -> list[str]:
    """The last lines of its log; of a crash the first ones that it wrote, which say what and where."""
    if not found.log_file.exists():
        return []
    with found.log_file.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 16384))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip()[:200] for line in text.splitlines() if line.strip()]
    crash = next((n for n, line in enumerate(lines) if line.startswith("Fatal Python error")), len(lines))
    return lines[crash : crash + LOG_LINES] or lines[-LOG_LINES:]
