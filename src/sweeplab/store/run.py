"""The folder of one run: what it was asked, what came of it, and who is at work on it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from string import hexdigits
from typing import Any

from filelock import FileLock, Timeout

from sweeplab.store.files import (
    DamagedError,
    in_short,
    plain,
    read_bytes,
    read_json,
    remove_leftovers,
    write_atomic,
    write_json,
)
from sweeplab.store.journal import Event, Journal, Line, epochs_of, numbers, parsed

ID_LENGTH = 16
"""Hex digits of a fingerprint that name a run's folder."""


class Status(StrEnum):
    """How a run ended, or that it has not."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"  # ended early by a search; asked for again by anyone else, it goes on
    UNFINISHED = "unfinished"  # neither result nor end are written: it is at work, or was killed


MODEL = "model"  # the folder of the trained network, for MLflow to serve
METRICS = "metrics"  # the folder of what metrics computed besides numbers
WEIGHTS = ("weights.safetensors", "weights.pt")  # the second holds what the first cannot
ASIDE = "damaged"  # the folder in a run's folder that keeps a damaged journal, and what goes with it
FED = ".mlflow.json."  # begins the feeder's temporary files, which it writes without a claim


@dataclass(kw_only=True)
class Result:
    """`result.json`: what came out of a run."""

    fingerprint: str
    question: str
    status: Status
    stop_reason: str | None
    metrics: dict[str, float]
    weights_sha256: str | None = None
    overrides: list[str] = field(default_factory=list)


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.journal = Journal(folder / "journal.jsonl")

    config_file = property(lambda self: self.folder / "config.yaml")
    overrides_file = property(lambda self: self.folder / "overrides.yaml")
    result_file = property(lambda self: self.folder / "result.json")
    weights_files = property(lambda self: [self.folder / name for name in WEIGHTS])
    log_file = property(lambda self: self.folder / "run.log")
    mlflow_file = property(lambda self: self.folder / "mlflow.json")
    lock_file = property(lambda self: self.folder / "lock")
    checkpoints = property(lambda self: self.folder / "checkpoints")

    @property
    def weights_file(self) -> Path:
        """Where the weights are; where they would be, if there are none."""
        ordinary, other = (self.folder / name for name in WEIGHTS)
        return other if other.exists() and not ordinary.exists() else ordinary

    def weights_held(self) -> list[Path]:
        """All files that hold weights of a finished run: its own, and those of the exported model."""
        exported = (file for file in (self.folder / MODEL).rglob("*") if file.is_file())
        return [*(file for file in self.weights_files if file.is_file()), *exported]

    def remove_weights(self) -> None:
        """Delete all files that hold weights; to be called by who has claimed the run."""
        for file in self.weights_files:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.folder / MODEL, ignore_errors=True)

    def why_no_weights(self) -> str | None:
        """Why there are no weights; None if there are."""
        result = self.result()
        if result is None or result.weights_sha256 is None:
            return f"has no weights; its status is {self.status}"
        if not self.weights_file.exists():
            return f"its weights were removed; sweeplab replay {result.fingerprint[:ID_LENGTH]} puts them back"
        return None

    def result(self) -> Result | None:
        """What came out; None while the run is unfinished without a word.

        The journal says the same, and makes up for a damaged `result.json`.
        """
        try:
            return self._read_result()
        except DamagedError:
            return self.journalled()

    def _read_result(self) -> Result | None:
        try:
            values = read_json(self.result_file)
        except FileNotFoundError:
            return None
        try:
            result = Result(**{**values, "metrics": numbers(values["metrics"]), "status": Status(values["status"])})
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise DamagedError(self.result_file, in_short(error)) from error
        if self._is_of_another(result.fingerprint):
            raise DamagedError(self.result_file, "it is that of another run")
        return result

    def _is_of_another(self, fingerprint: object) -> bool:
        """Whether this is no fingerprint of the run that the folder is named after; a copy may have any name."""
        named = len(self.id) == ID_LENGTH and set(self.id) <= set(hexdigits)
        return named and isinstance(fingerprint, str) and not fingerprint.startswith(self.id)

    def start(self) -> Line:
        """The first line of the journal: what was asked, and how it was begun; empty if it cannot be read."""
        try:
            with self.journal.path.open("rb") as file:
                return parsed(file.readline().rstrip(b"\n"), self.journal.path, 1)
        except (OSError, DamagedError):
            return {}

    def journalled(self) -> Result | None:
        """The result that the end of the journal tells of; None if there is no such end, or it cannot be read."""
        try:
            events = self.journal.events()
        except DamagedError:
            return None
        start, end = _last(events, Event.START), _last(events, Event.START, Event.RESUME, Event.END)
        if start is None or end is None or end["event"] != Event.END or self._is_of_another(start.get("fingerprint")):
            return None
        if end.get("status") not in set(Status):
            return None
        return Result(
            fingerprint=str(start.get("fingerprint")),
            question=str(start.get("question")),
            status=Status(end["status"]),
            stop_reason=end.get("stop_reason"),
            metrics=numbers(end.get("metrics") or {}),
            weights_sha256=end.get("weights_sha256"),
            overrides=start.get("overrides") or [],
        )

    def mend_result(self) -> str | None:
        """Write a damaged `result.json` anew, as the journal has it, or remove it; what was wrong with it, if so.

        To be called by who has claimed the run.
        """
        try:
            self._read_result()
        except DamagedError as error:
            if self.result_file.is_dir():
                shutil.rmtree(self.result_file)
            self.result_file.unlink(missing_ok=True)
            if (result := self.journalled()) is not None:
                self.write_result(result)
            return str(error)
        return None

    def history(self) -> tuple[Result | None, list[Line]]:
        """The result and the journal, read in this order, so that a finished run's journal has its end.

        Raises DamagedError if a line of the journal is damaged, its beginning or its end is missing, or it is that of
        another run. A run that failed, or was stopped, before it could begin has no beginning.
        """
        result, events = self.result(), self.journal.events()
        start = _last(events, Event.START)
        if start is None and _has_begun(events):
            raise DamagedError(self.journal.path, "its beginning is missing")
        if start is not None and self._is_of_another(start.get("fingerprint")):
            raise DamagedError(self.journal.path, "it is that of another run")
        last = _last(events, Event.START, Event.RESUME, Event.END)
        self._ensure_end(result, ended=last is not None and last["event"] == Event.END)
        return result, events

    def ensure_end(self, *, ended: bool) -> None:
        """Raise DamagedError for a journal that has not `ended` although the run has a result."""
        self._ensure_end(self.result(), ended=ended)

    def _ensure_end(self, result: Result | None, *, ended: bool) -> None:
        if ended or result is None:
            return
        if result.status == Status.FINISHED or not self.claimed:  # else somebody is about to go on with it
            raise DamagedError(self.journal.path, "its end is missing")

    @property
    def last_written(self) -> float | None:
        """When its journal was last written (or its result, if that is lost), in Unix seconds; None without both."""
        for file in (self.journal.path, self.result_file):
            with suppress(OSError, ValueError):
                return file.stat().st_mtime
        return None

    def epochs(self) -> dict[int, dict[str, float]]:
        """Epoch -> metrics, for what is only shown: nothing of a journal that cannot be read."""
        try:
            return self.journal.epochs()
        except DamagedError:
            return {}

    def damage(self) -> str | None:
        """What keeps an unfinished run from going on with its journal; None if nothing does."""
        try:
            _, events = self.history()
        except DamagedError as error:
            return str(error)
        known = epochs_of(events)
        lost = [epoch for epoch in range(1, max(self.saved(), default=0) + 1) if epoch not in known]
        return f"{self.journal.path}: is damaged: epoch {lost[0]} is missing" if lost else None

    def saved(self) -> list[int]:
        """The epochs that there are checkpoints of."""
        return [int(file.stem) for file in self.checkpoints.glob("*.pt") if file.stem.isdigit()]

    def set_aside(self) -> None:
        """Move a damaged journal, and the checkpoints that go with it, out of the way: the run begins anew."""
        aside = self.folder / ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for file in (self.journal.path, self.checkpoints):
            if file.exists():
                file.rename(aside / file.name)
        self.mlflow_file.unlink(missing_ok=True)  # it counts the lines of that journal

    @property
    def status(self) -> Status:
        """How it ended, by its result."""
        result = self.result()
        return Status.UNFINISHED if result is None else result.status

    def write_result(self, result: Result) -> None:
        write_json(self.result_file, asdict(result))

    def config(self) -> dict[str, Any]:
        """The resolved config as recorded, as plain data. Raises DamagedError if it cannot be read."""
        import yaml

        try:
            text = read_bytes(self.config_file).decode()
            loaded = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
        except FileNotFoundError as error:
            raise DamagedError(self.config_file, "it is missing") from error
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise DamagedError(self.config_file, " ".join(str(error).split())) from error
        if not isinstance(loaded, dict):
            raise DamagedError(self.config_file, "it holds no config")
        return loaded

    def recorded(self, section: str) -> dict[str, Any]:
        """A section of the config, found to be the one that the journal says was trained. Raises DamagedError."""
        recorded = self.config().get(section)
        start = _last(self.history()[1], Event.START)
        if start is not None and plain(recorded) != (start.get("config") or {}).get(section):
            raise DamagedError(self.config_file, f"its {section} is not the one that the journal says was trained")
        return dict(recorded or {})

    def write_config(self, config: Mapping[str, Any], overrides: list[str]) -> None:
        """Record what is asked for, readable by people and by Hydra."""
        import yaml

        fast = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times; a job of a sweep has little else to do
        for file, content in ((self.config_file, dict(config)), (self.overrides_file, overrides)):
            write_atomic(file, yaml.dump(content, Dumper=fast, sort_keys=False, allow_unicode=True).encode())

    def drop_checkpoints(self) -> None:
        """Delete what only a resume needs."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(self.folder / ASIDE / self.checkpoints.name, ignore_errors=True)

    @contextmanager
    def claim(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run: no other process trains it meanwhile. `waiting` is called once if another holds it now.

        The lock is the operating system's, so that it ends with its owner, however that ends. What an owner that was
        killed has left half-written is removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.lock_file)
        try:
            lock.acquire(timeout=0.3)  # longer than another process's look at the lock
        except Timeout:
            waiting()
            lock.acquire()
        try:
            remove_leftovers(self.folder, keep=FED)
            remove_leftovers(self.checkpoints)
            yield
        finally:
            lock.release()

    @property
    def claimed(self) -> bool:
        """Whether a living process holds the run."""
        return self.lock_file.exists() and locked(self.lock_file)


def locked(path: Path) -> bool:
    """Whether a living process holds this lock. Only reads: what is looked at may be on a disk without write access."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # another user's; what cannot be told is left alone
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _last(events: Sequence[Line], *kinds: str) -> Line | None:
    return next((event for event in reversed(events) if event["event"] in kinds), None)


def _has_begun(events: list[Line]) -> bool:
    """Whether a journal tells of more than of ends that came too early."""
    return not all(is_early_end(event) for event in events)


def is_early_end(event: Line) -> bool:
    """Whether it is the end of a run that is not finished."""
    return event["event"] == Event.END and event.get("status") != Status.FINISHED
