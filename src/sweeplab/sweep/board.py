"""The board of a sweep: a folder in the store, over which a launcher and workers of any machine
share out jobs.

    sweep.json           what a worker must know before its first job
    open/JOB             a job that nobody has taken: its config
    taken/WORKER/JOB     the same file, at work
    asked/WORKER/JOB     a signal that the launcher wants the worker to send to the job
    ended/JOB            the exit code with which the job has ended
    workers/WORKER.json  what a worker says of itself, with a lock that it holds as long as it lives
    launcher.lock        held by the launcher as long as it lives

A job is taken by moving its file, of which the file system lets only one process be the first, also
between machines. Nothing here is needed to know what came out: that is in the runs, and a board
that is lost is made anew by the sweep's command.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeplab import store
from sweeplab.errors import UserError

FOLDER = ".work"  # ends the name of a board's folder, which begins with the sweep's id
OPEN, TAKEN, ASKED, ENDED, WORKERS, LOGS = FOLDERS = (
    "open", "taken", "asked", "ended", "workers", "logs",
)  # fmt: skip
AGAIN = "+"  # added to a job's name each time its worker is lost without a launcher
LOSSES = 3  # workers that a job may lose so: after more, the job itself may be what ends them


@dataclass(kw_only=True, slots=True)
class Posted:
    """A job on a board."""

    fingerprint: str
    name: str
    overrides: list[str]
    config: dict[str, Any]  # resolved, with secrets hidden
    threads: int
    gpus: float  # or a share of one


@dataclass(kw_only=True, slots=True)
class WorkerInfo:
    """What a worker says of itself."""

    name: str
    host: str
    pid: int
    cores: int
    gpus: list[str]
    slurm: str | None = None  # its Slurm job: 39_1
    problem: str | None = None  # why it takes no jobs


@dataclass(kw_only=True, slots=True)
class Order:
    """A signal for a job that is at work."""

    job: str
    number: signal.Signals


@dataclass(kw_only=True, slots=True)
class Terms:
    """What a worker must know before its first job, and must find on its machine."""

    sweep: str  # id
    folder: str  # the launcher's, from which relative paths of a config start
    path: list[str]  # where modules are looked for first
    probe: dict[str, Any] = field(default_factory=dict)  # of agent.Probe


class Board:
    """The folder."""

    def __init__(self, home: store.Store, sweep_id: str) -> None:
        self.root: Path = home.root
        self.folder: Path = home.sweeps.absolute() / f"{sweep_id[: store.ID_LENGTH]}{FOLDER}"
        self.sweep_id = sweep_id
        self.lock_file: Path = self.folder / "launcher.lock"

    def _at(self, *parts: str) -> Path:
        return self.folder.joinpath(*parts)

    def terms(self) -> Terms:
        """Read what a worker must know. Raises UserError if there is no such board."""
        try:
            return Terms(**_read(self._at("sweep.json")))
        except (OSError, ValueError, TypeError) as error:
            advice = "issue it with hydra/launcher=slurm or hydra/launcher=workers"
            reason = "has no jobs for workers"
            raise UserError(f"sweep {self.sweep_id[:12]}: {reason}; {advice}") from error

    @property
    def has_launcher(self) -> bool:
        """Whether there is a launcher, who may post further jobs."""
        return store.locked(self.lock_file)

    def members(self) -> list[str]:
        """List the workers, those that have gone included."""
        names = _names(self._at(WORKERS))
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def is_alive(self, name: str) -> bool:
        """Whether a worker is there: it holds its lock."""
        return store.locked(self._at(WORKERS, f"{name}.lock"))

    def taken(self) -> dict[str, list[str]]:
        """Return the jobs that each worker is at work on."""
        return {worker: self.taken_by(worker) for worker in _names(self._at(TAKEN))}

    def taken_by(self, worker: str) -> list[str]:
        """List the jobs that a worker is at work on."""
        return _names(self._at(TAKEN, worker))

    def open(self) -> list[str]:
        """List the jobs that nobody has taken, the first to be taken first."""
        return sorted(_names(self._at(OPEN)))


class WorkersBoard(Board):
    """The folder, as a worker uses it."""

    @contextmanager
    def joined(self, member: WorkerInfo) -> Iterator[None]:
        """Be a worker of the board."""
        for folder in (TAKEN, ASKED):
            self._at(folder, member.name).mkdir(parents=True, exist_ok=True)
        with FileLock(self._at(WORKERS, f"{member.name}.lock")):
            self.introduce(member)
            try:
                yield
            finally:
                for folder in (TAKEN, ASKED):
                    with suppress(OSError):  # jobs are left in it: the launcher puts them back
                        self._at(folder, member.name).rmdir()
                self._at(WORKERS, f"{member.name}.json").unlink(missing_ok=True)
        self._at(WORKERS, f"{member.name}.lock").unlink(missing_ok=True)

    def introduce(self, member: WorkerInfo) -> None:
        """Say who a worker is, or why it takes no jobs."""
        _write(self._at(WORKERS, f"{member.name}.json"), asdict(member))

    def read(self, name: str) -> Posted | None:
        """Read an open job; None if it has been taken meanwhile."""
        with suppress(OSError, ValueError, TypeError):
            return Posted(**_read(self._at(OPEN, name)))
        return None

    def take(self, name: str, worker: str) -> bool:
        """Take an open job; returns False if another worker was faster."""
        mine = self._at(TAKEN, worker, name)
        with suppress(OSError):
            self._at(OPEN, name).rename(mine)
        # NFS may repeat a move that has succeeded, and then report that the file is missing.
        return mine.exists()

    def put_back(self, name: str, worker: str) -> None:
        """Let another worker take a job that this one leaves unfinished."""
        with suppress(FileNotFoundError):
            self._at(TAKEN, worker, name).rename(self._at(OPEN, name))

    def end(self, name: str, worker: str, code: int) -> None:
        """Tell how a job has ended."""
        _write_text(self._at(ENDED, name), str(code))
        self._at(TAKEN, worker, name).unlink(missing_ok=True)

    def asked(self, worker: str) -> list[Order]:
        """Return the signals that are to be sent since this was asked last."""
        orders = []
        for name in _names(self._at(ASKED, worker)):
            self._at(ASKED, worker, name).unlink(missing_ok=True)
            job, _, number = name.rpartition(".")
            orders.append(Order(job=job, number=signal.Signals[number]))
        return orders

    def rescue(self) -> None:
        """Put back the jobs of workers that have gone, in the place of a launcher that has gone, too."""
        for worker, names in self.taken().items():
            if not names or self.is_alive(worker):
                continue
            for name in names:
                if name.count(AGAIN) < LOSSES:
                    with suppress(FileNotFoundError):
                        self._at(TAKEN, worker, name).rename(self._at(OPEN, name + AGAIN))


class LaunchersBoard(Board):
    """The folder, as its launcher uses it."""

    def make(self) -> None:
        """Make the folder, unless it is there."""
        for name in FOLDERS:
            self._at(name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove the folder: nobody has come to work with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def leading(self, seconds: float) -> Iterator[bool]:
        """Hold the launcher's lock; yield False if another still holds it after so many seconds."""
        lock = FileLock(self.lock_file)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def write_terms(self, terms: Terms) -> None:
        _write(self._at("sweep.json"), asdict(terms))

    def clear(self) -> None:
        """Take down what an earlier launcher has posted and no living worker has taken."""
        for folder in (OPEN, ENDED):
            for name in _names(self._at(folder)):
                self._at(folder, name).unlink(missing_ok=True)
        for name in self.members():
            if not self.is_alive(name):
                self.forget(name)

    def post(self, name: str, job: Posted) -> None:
        """Let a worker take this job; jobs are taken in the order of their names."""
        _write(self._at(OPEN, name), asdict(job))

    def withdraw(self, name: str) -> bool:
        """Take down a job; returns False if a worker was faster."""
        try:
            self._at(OPEN, name).unlink()
        except FileNotFoundError:
            return False
        return True

    def ask(self, worker: str, name: str, number: signal.Signals) -> None:
        """Have a worker send a signal to a job that it has taken."""
        folder = self._at(ASKED, worker)
        folder.mkdir(exist_ok=True)
        _write(folder / f"{name}.{number.name}", {})

    def ended(self) -> dict[str, int]:
        """Return the exit codes of the jobs that have ended since this was asked last."""
        codes = {}
        for name in _names(self._at(ENDED)):
            file = self._at(ENDED, name)
            with suppress(OSError, ValueError):
                codes[name] = int(file.read_text(encoding="utf-8"))
            file.unlink(missing_ok=True)
        return codes

    def lose(self, worker: str, name: str) -> None:
        """Take away a job from a worker that has gone."""
        self._at(TAKEN, worker, name).unlink(missing_ok=True)

    def info(self, name: str) -> WorkerInfo | None:
        """Read what a worker says of itself; None if it says nothing yet, or has left."""
        with suppress(OSError, ValueError, TypeError):
            return WorkerInfo(**_read(self._at(WORKERS, f"{name}.json")))
        return None

    def forget(self, name: str) -> None:
        """Remove what a worker that has gone has left."""
        for folder in (TAKEN, ASKED):
            shutil.rmtree(self._at(folder, name), ignore_errors=True)
        for suffix in ("json", "lock"):
            self._at(WORKERS, f"{name}.{suffix}").unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    """List what is in a folder, but for files that are being written."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208  # names alone
    except FileNotFoundError:
        return []


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _write(file: Path, content: dict[str, Any]) -> None:
    _write_text(file, json.dumps(store.plain(content)))


def _write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all, but not for a loss of power: a board can be made anew."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
