"""A worker of a sweep: it takes jobs from the board, and trains them, until there are no more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeplab import console, store
from sweeplab.errors import UserError
from sweeplab.sweep import server
from sweeplab.sweep.agent import Probe
from sweeplab.sweep.board import Posted, Terms, WorkerInfo, WorkersBoard
from sweeplab.sweep.leases import VISIBLE, Lease, Leases, described
from sweeplab.sweep.local import Local, LocalProcess
from sweeplab.sweep.posted_jobs import PostedJobs
from sweeplab.sweep.worker import BAD_INPUT, RAISED, TERMINATED

LOOK = 0.2  # seconds between two looks at the board
IDLE = 60.0  # seconds without a job after which a worker leaves, although there is a launcher
BEATS = 15.0  # seconds within which a launcher's next sign of life is seen here
LEAVING = 1.0  # seconds until a signal that has ended a job has reached its worker, too


@dataclass(kw_only=True, slots=True)
class AtWork:
    """A job that this worker has taken."""

    name: str
    lease: Lease
    posted: Posted
    process: LocalProcess | None = None  # None until it has been started
    is_asked: bool = False  # to end, by the launcher

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send(number)


class BoardWorker:
    """Takes jobs for as long as there are some, as many at once as it has cores and GPUs for."""

    def __init__(
        self, home: store.Store, board: WorkersBoard, leases: Leases, slurm: str | None
    ) -> None:
        self._home = home
        self._board = board
        self._leases = leases
        self._info = _info(leases, slurm)
        self._local = Local()
        self._at_work: dict[asyncio.Task[None], AtWork] = {}
        self._signals: list[int] = []  # received so far
        self._is_told = asyncio.Event()  # set with the first of them
        self.trained = 0  # jobs

    def run(self) -> None:
        """Work until there is nothing more to do here, or until a signal comes.

        Raises UserError if this machine cannot do the jobs.
        """
        terms = self._board.terms()
        self._home.ensure_locks()
        self._jobs = PostedJobs(self._home, terms.sweep, self._local)
        sys.path[:] = dict.fromkeys([*terms.path, *sys.path])
        with suppress(OSError):  # the launcher alone may have this folder
            os.chdir(terms.folder)
        with self._board.joined(self._info):
            problem = _problem(self._board, terms) or _lack(self._board, self._leases)
            if problem is not None:
                self._info.problem = problem
                self._board.introduce(self._info)
                time.sleep(LOOK * 5)  # for the launcher to see
                raise UserError(f"store.root={self._home.root}: this machine {problem}")
            server.start()
            with self._local:
                asyncio.run(self._work())

    # --- the loop

    async def _work(self) -> None:
        """Take and train jobs until there are no more, or a signal has come."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            loop.add_signal_handler(number, self._leave, number)
        idle_since = time.monotonic()
        while True:
            if not self._signals:
                self._take()
            if self._at_work:
                idle_since = time.monotonic()
                ended, _ = await asyncio.wait(
                    self._at_work, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED
                )
                for task in ended:
                    del self._at_work[task]
                    task.result()
                self._obey()
            elif self._signals or self._has_no_more(idle_since):
                return
            else:
                await asyncio.sleep(LOOK)

    def _has_no_more(self, idle_since: float) -> bool:
        """Whether there is nothing to wait for. Without a launcher, first put back lost jobs."""
        idle = time.monotonic() - idle_since
        if self._board.has_launcher:
            return idle > IDLE
        self._board.rescue()
        return idle > LOOK * 5 and not any(map(self._fits, self._board.open()))

    def _fits(self, name: str) -> bool:
        posted = self._board.read(name)
        return posted is not None and self._leases.could_take(posted.threads, posted.gpus)

    def _obey(self) -> None:
        """Send the jobs at work the signals that the launcher has ordered."""
        orders = self._board.asked(self._info.name)
        for work in self._at_work.values():
            for order in orders:
                if order.job == work.name:
                    work.is_asked = True
                    work.send(order.number)

    def _leave(self, number: int) -> None:
        """Have the jobs end at their last checkpoint, and leave them to others."""
        self._signals.append(number)
        self._is_told.set()
        if len(self._signals) == 1:
            console.say("leaving: what is at work ends at its last checkpoint")
        is_ctrl_c_again = self._signals.count(signal.SIGINT) > 1
        for work in self._at_work.values():
            work.send(signal.SIGKILL if is_ctrl_c_again else signal.SIGTERM)

    @property
    def is_out_of_time(self) -> bool:
        """Whether this worker left because its time is over, which SIGUSR1 says."""
        return self._signals[:1] == [signal.SIGUSR1]

    # --- a job

    def _take(self) -> None:
        """Take jobs for as long as there are cores for them."""
        if self._leases.full:
            return
        for name in self._board.open():
            posted = self._board.read(name)
            if posted is None or not self._leases.could_take(posted.threads, posted.gpus):
                continue
            lease = self._leases.take(posted.threads, posted.gpus)
            if lease is None:
                return
            if not self._board.take(name, self._info.name):
                self._leases.give(lease)
                continue
            work = AtWork(name=name, lease=lease, posted=posted)
            self._at_work[asyncio.create_task(self._train(work))] = work

    async def _train(self, work: AtWork) -> None:
        """Train a job in a process of its own, and tell how it has ended."""
        console.say(f"{work.posted.name}: begun")
        code = await self._code_of(work)
        self._leases.give(work.lease)
        if self._signals and code not in (0, RAISED, BAD_INPUT):
            self._board.put_back(work.name, self._info.name)
            console.say(f"{work.posted.name}: left to another worker")
            return
        self.trained += code == 0
        self._board.end(work.name, self._info.name, code)
        console.say(f"{work.posted.name}: ended" + (f" with exit code {code}" if code else ""))

    async def _code_of(self, work: AtWork) -> int:
        """Train a job; return its exit code, or minus the signal that it died of."""
        try:
            job = self._jobs.job(work.posted)
        except UserError as error:
            self._jobs.log(work.posted, str(error))
            return BAD_INPUT
        if self._signals or work.is_asked:
            return TERMINATED
        work.process = self._local.start([job], work.lease, repr(job.config.data))
        code = await work.process.ended()
        if code != 0 and not work.is_asked:
            with suppress(TimeoutError):  # its signal may be on the way to this worker, too
                await asyncio.wait_for(self._is_told.wait(), LEAVING)
        return code


def _lack(board: WorkersBoard, leases: Leases) -> str | None:
    """Say that no open job fits in here; None if one does, or there is none."""
    posted = [board.read(name) for name in board.open()]
    needs = {(job.threads, job.gpus) for job in posted if job is not None}
    if not needs or any(leases.could_take(*need) for need in needs):
        return None
    cores, gpus = min(needs)
    has = described(leases.cores, len(leases.gpus) if gpus else None)
    visible = os.environ.get(VISIBLE)
    seen = f", of {VISIBLE}={visible} as PyTorch sees it" if gpus and visible else ""
    return f"has {has}{seen}; a job needs {described(cores, gpus or None)}"


def too_large(board: WorkersBoard, leases: Leases) -> int:
    """Count the open jobs that need more cores or GPUs than there are here."""
    posted = [board.read(name) for name in board.open()]  # None: somebody has just taken it
    jobs = [job for job in posted if job is not None]
    return sum(not leases.could_take(job.threads, job.gpus) for job in jobs)


def _info(leases: Leases, slurm: str | None) -> WorkerInfo:
    """Return what a worker says of itself."""
    host = socket.gethostname()
    name = slurm or f"{host.partition('.')[0]}-{os.getpid()}"
    return WorkerInfo(
        name=f"{name}-{uuid.uuid4().hex[:4]}",
        host=host,
        pid=os.getpid(),
        cores=leases.cores,
        gpus=leases.gpus,
        slurm=slurm,
    )


def _problem(board: WorkersBoard, terms: Terms) -> str | None:
    """Say what keeps this machine from doing the jobs; None if nothing does."""
    probe = Probe(**{**terms.probe, "token": Path(terms.probe["token"])})
    if board.has_launcher or _is_beating(probe.token):
        return probe.problem()
    return probe.code_problem()  # there is nobody whose lock could be tried


def _is_beating(token: Path) -> bool:
    """Whether the launcher gives signs of life, although its lock is not to be seen here."""
    try:
        before = token.stat().st_mtime
        deadline = time.monotonic() + BEATS
        while time.monotonic() < deadline:
            time.sleep(LOOK)
            if token.stat().st_mtime != before:
                return True
    except FileNotFoundError:
        pass
    return False
