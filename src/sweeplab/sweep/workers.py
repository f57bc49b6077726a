"""Workers that come by themselves as the place of a sweep: jobs are posted on a board for them.

The launcher posts all jobs at once and watches. It starts no worker: `sweeplab work SWEEP` does, on
any machine that sees the store, or Slurm (`slurm`). Without the launcher the workers go on with what
is posted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from sweeplab import config, console, store, targets
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.runs import parts
from sweeplab.runs.job import Job
from sweeplab.sweep.agent import Probe, versions
from sweeplab.sweep.board import LaunchersBoard, Posted, Terms
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease, gpus_elsewhere
from sweeplab.sweep.place import SweepPlace
from sweeplab.sweep.posts import PostedProcess, Posts
from sweeplab.targets.packages import own_folders

OTHER = 1.0  # seconds in which another launcher of the same sweep may just be ending
ROOM = 8  # trials that a search asks for at once, unless `sweep.workers` says otherwise


class Workers(SweepPlace):
    """Posts jobs on a board, and sees what becomes of them."""

    goes_on = True

    def __init__(self) -> None:
        self._open = ExitStack()
        self._posts: Posts | None = None
        self._names: dict[str, str] = {}  # of jobs, by fingerprint
        self._room: int | None = None  # how many jobs may be posted at once; None: any number

    def __exit__(self, *_: object) -> None:
        if self._posts:
            self._say_what_goes_on()
        self._open.close()

    def _say_what_goes_on(self) -> None:
        """Say, at the end of a launcher that was told to end, that the jobs go on without it."""
        jobs = counted(len(self._posts or ()), "job")
        console.say(f"{jobs} left to workers, which go on; to join them: {self._command}")

    @property
    def _command(self) -> str:
        return console.command(f"sweeplab work {self._jobs.plan.id[:12]}")

    # --- before the first job

    def expect(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._left = [cell.job for cell in jobs.possible if not cell.job.finished]

    def open(self, home: store.Store, settings: Config) -> None:
        self._home, self._settings = home, settings
        home.ensure_locks()
        _ensure_no_secrets(self._left)
        if not self._jobs.ahead:
            workers = settings.sweep.workers
            self._room = ROOM if workers == "auto" else int(workers)
        self._board = self._board_of(settings)
        self._board.make()
        self._lead()
        probe = {**asdict(self._probe()), "token": str(self._board.lock_file)}
        path, folder = own_folders(), str(Path.cwd())
        self._board.write_terms(
            Terms(sweep=self._jobs.plan.id, folder=folder, path=path, probe=probe)
        )
        self._board.clear()
        self._posts = Posts(self._board)
        self._call_workers()

    def _board_of(self, settings: Config) -> LaunchersBoard:
        return LaunchersBoard(store.Store(settings.store.root), self._jobs.plan.id)

    def _lead(self) -> None:
        """Be the board's launcher, after one that may be there."""
        if self._open.enter_context(self._board.leading(OTHER)):
            return
        console.say("another command is at work on this sweep: waiting for it")
        if not self._open.enter_context(self._board.leading(-1)):
            raise UserError(f"{self._board.lock_file}: cannot be locked")

    def _probe(self) -> Probe:
        """Return what each worker must find on its machine."""
        paths = parts.class_paths(self._settings)
        words = parts.words(self._settings, held=True)  # without the files of the data
        pieces = targets.parts(paths, words)
        token = self._board.lock_file
        return Probe(token=token, targets=paths, words=words, code=pieces, versions=versions())

    def _call_workers(self) -> None:
        console.say(f"the jobs are left to workers; on each machine: {self._command}")

    # --- jobs; the workers have the leases

    @property
    def full(self) -> bool:
        return self._room is not None and len(self._posts or ()) >= self._room

    def take(self, settings: Config, threads: int) -> Lease | None:
        return None if self.full else Lease(threads, share=gpus_elsewhere(settings))

    def give(self, lease: Lease) -> None:
        pass

    def start(self, jobs: Sequence[Job], lease: Lease, splits: str) -> PostedProcess:
        """Post a job, unless a worker has it from an earlier launcher."""
        del splits  # each worker loads a data set for its first job
        (job,) = jobs  # none are trained as one: a lost worker costs one run only
        assert self._posts is not None
        posted = Posted(
            fingerprint=job.fingerprint,
            name=self._name(job),
            overrides=job.overrides,
            config=config.redact(config.to_dict(job.config)),
            threads=int(lease.cores),
            gpus=lease.share,
        )
        return self._posts.add(posted, self._home.run(job.fingerprint))

    def _name(self, job: Job) -> str:
        """Return what sets a job apart from the others of the sweep."""
        if job.fingerprint not in self._names:  # a search adds jobs
            self._names = {cell.job.fingerprint: cell.name for cell in self._jobs.plan.cells}
        return self._names.get(job.fingerprint, job.name)

    def tend(self) -> None:
        if self._posts is not None:
            self._posts.look()


def _ensure_no_secrets(jobs: Sequence[Job]) -> None:
    """Raise UserError for a config with a secret that a worker must know: none is written."""
    for job in jobs:
        plain = config.to_dict(job.config)
        hidden = config.redact(plain)
        for section in (*config.COMPONENTS, "metrics", "data", "trainer", "step"):
            before, after = plain.get(section, {}), hidden.get(section, {})
            if before != after:
                flat = config.flatten(after)
                keys = [key for key, value in config.flatten(before).items() if flat[key] != value]
                reason = "is a secret, which is not written down for workers on other machines"
                advice = "have the class read it from a variable of the environment"
                raise UserError(f"{section}.{keys[0]}: {reason}; {advice}")
