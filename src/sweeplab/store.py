"""The store: a folder of runs under their fingerprints, each with its journal and its result; and sweep manifests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeplab.errors import UserError

SCHEMA = 1
"""Raised when the form of what is hashed changes."""

ID_LENGTH = 16
"""Hex digits of a fingerprint that name a run's folder."""

FINGERPRINT_LENGTH = 64

WEIGHTS = ("weights.safetensors", "weights.pt")  # the second holds what the first cannot
SUMMARY = "summary.json"  # beside a sweep's report

FINISHED, FAILED, INTERRUPTED, UNFINISHED = "finished", "failed", "interrupted", "unfinished"
PRUNED = "pruned"  # ended early by a search; asked for again by anyone else, it goes on
START, RESUME, TRACK, EPOCH, END = "start", "resume", "track", "epoch", "end"
SYSTEM = "system"  # a look at the machine
MODEL = "model"  # the network lies in the folder of this name, for MLflow to serve
DIFFERS = "differs"  # an epoch that was trained again came out otherwise


_ONE_AT_A_TIME = threading.Lock()  # of the threads that append to a journal, one may have to mend it


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fingerprint(canonical: Mapping[str, Any], data_digest: str, code_digest: str) -> tuple[str, str]:
    """(fingerprint, question) of what a run is asked to compute, each 64 hex digits.

    The question leaves out the code digest: runs with the same question and other fingerprints differ in code only.
    """
    question = {"schema": SCHEMA, "config": canonical, "data": data_digest}
    return _sha256({**question, "code": code_digest}), _sha256(question)


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, whenever the process or the machine stops."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(
                file.fileno(), 0o666 & ~_umask()
            )  # others may read it, as any new file; a temporary one is private
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the new name may be lost with the power
    finally:
        os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(_plain(value), indent=2) + "\n").encode())


def _plain(value: Any) -> Any:
    """JSON has no nan and no infinity: they are written as the strings that `float` reads."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


class Journal:
    """A run's append-only event log, one JSON object a line with `time` (Unix seconds) and `event`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **fields: Any) -> None:
        """Add an event; it is with the operating system before this returns."""
        line = json.dumps({"time": time.time(), "event": event, **_plain(fields)}) + "\n"
        with _ONE_AT_A_TIME:
            try:
                with self.path.open("ab") as file:
                    file.write(line.encode())
            except OSError:
                self.mend()  # a full disk takes half a line
                raise

    def events(self, first: int = 0) -> list[dict[str, Any]]:
        """The complete lines from number `first` (0 is the first); a torn last line is not one."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines[first:]]

    def epochs(self) -> dict[int, dict[str, float]]:
        """Epoch -> metrics; of a repeated epoch the first line counts."""
        result: dict[int, dict[str, float]] = {}
        for event in self.events():
            if event["event"] == EPOCH:
                result.setdefault(event["epoch"], numbers(event["metrics"]))
        return result

    def mend(self) -> None:
        """Cut off a torn last line, as a killed process leaves it; to be called before the next append."""
        if self.path.exists() and (content := self.path.read_bytes()) and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)


def differing(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """The names of the metrics that are not the same bits; nan is nan, and a missing one differs."""
    return [name for name in {**before, **now} if repr(before.get(name)) != repr(now.get(name))]


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as read from JSON, "NaN" and "Infinity" as the numbers they stand for."""
    return {sys.intern(name): float(value) for name, value in values.items()}


@dataclass(kw_only=True)
class Result:
    """`result.json`: what came out of a run."""

    fingerprint: str
    question: str
    status: str  # finished | failed | interrupted | pruned
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

    def result(self) -> Result | None:
        """What came out; None while the run is unfinished without a word."""
        if not self.result_file.exists():
            return None
        values = json.loads(self.result_file.read_text())
        return Result(**{**values, "metrics": numbers(values["metrics"])})

    @property
    def status(self) -> str:
        """`finished`, `failed`, `interrupted`, `pruned`, or `unfinished` where there is no result."""
        result = self.result()
        return UNFINISHED if result is None else result.status

    def write_result(self, result: Result) -> None:
        write_json(self.result_file, asdict(result))

    def config(self) -> dict[str, Any]:
        """The resolved config as recorded, as plain data."""
        import yaml

        loaded = yaml.load(self.config_file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
        assert isinstance(loaded, dict)
        return loaded

    def write_config(self, config: Mapping[str, Any], overrides: list[str]) -> None:
        """Record what is asked for, readable by people and by Hydra."""
        import yaml

        fast = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times; a job of a sweep has little else to do
        for file, content in ((self.config_file, dict(config)), (self.overrides_file, overrides)):
            write_atomic(file, yaml.dump(content, Dumper=fast, sort_keys=False, allow_unicode=True).encode())

    def drop_checkpoints(self) -> None:
        """Delete what only a resume needs."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    @contextmanager
    def claim(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run: no other process trains it meanwhile. `waiting` is called once if another holds it now.

        The lock is the operating system's, so that it ends with its owner, however that ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.lock_file)
        try:
            lock.acquire(timeout=0.3)  # longer than another process's look at the lock
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @property
    def claimed(self) -> bool:
        """Whether a living process holds the run."""
        return self.lock_file.exists() and locked(self.lock_file)


def locked(path: Path) -> bool:
    """Whether a living process holds this lock."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


class Store:
    """The folder of runs."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.sweeps = self.root / "sweeps"

    def check(self) -> Store:
        """Raise UserError if the folder cannot be made or written; nothing is made to find out."""
        try:
            there = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        except OSError as error:
            raise self._refusal(error.strerror) from error
        if not there.is_dir():
            raise self._refusal(f"{there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise self._refusal(f"{there} cannot be written")
        return self

    def open(self) -> Store:
        """Make the folder if need be. Raises UserError if that fails."""
        try:
            self.check().sweeps.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error.strerror) from error
        return self

    def _refusal(self, why: str | None) -> UserError:
        return UserError(f"store.root={self.root}: {why}; name a folder that can be made, as in store.root=$HOME/runs")

    @property
    def id(self) -> str:
        """The store's own name, made on first use: runs of other stores on one MLflow server are told apart by it."""
        file = self.root / "store.json"
        if not file.exists():
            with FileLock(self.root / "store.lock"):
                if not file.exists():
                    write_json(file, {"id": uuid.uuid4().hex})
        return str(json.loads(file.read_text())["id"])

    def run(self, fingerprint: str) -> Run:
        """The run of this fingerprint, whether it exists yet or not."""
        return Run(self.root / fingerprint[:ID_LENGTH])

    def runs(self) -> list[Run]:
        """All runs, the one that was at work last at the end."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if len(p.name) == ID_LENGTH and (p / "journal.jsonl").exists()]
        return [Run(p) for p in sorted(folders, key=lambda p: (p / "journal.jsonl").stat().st_mtime)]

    def find(self, name: str) -> Run:
        """The run with this id or the beginning of one, this fingerprint, or this folder.

        Raises UserError if there is not exactly one.
        """
        if (Path(name) / "journal.jsonl").exists():
            return Run(Path(name).resolve())
        whole = len(name) == FINGERPRINT_LENGTH
        found = [run for run in self.runs() if run.id.startswith(name[:ID_LENGTH] if whole else name)] if name else []
        if len(found) != 1:
            many = f"several runs begin so: {', '.join(run.id for run in found)}" if found else "no such run"
            raise UserError(f"{name}: {many} in {self.root}; its folders are the runs' names")
        return found[0]

    def write_manifest(self, sweep: Mapping[str, Any]) -> None:
        """Record a sweep under its `id`: what it asks for, its cells, how it ended."""
        write_json(self.sweeps / f"{sweep['id'][:ID_LENGTH]}.json", sweep)

    def manifest(self, sweep: str) -> dict[str, Any]:
        """The manifest of this sweep id."""
        manifest = json.loads((self.sweeps / f"{sweep[:ID_LENGTH]}.json").read_text())
        assert isinstance(manifest, dict)
        return manifest

    def study_file(self, sweep: str) -> Path:
        """Where Optuna keeps the trials of the search of this sweep id."""
        return self.sweeps / f"{sweep[:ID_LENGTH]}.optuna.jsonl"

    def report_folder(self, sweep: str) -> Path:
        """Where the report of this sweep id is."""
        return self.sweeps / sweep[:ID_LENGTH]

    def write_summary(self, sweep: str, metrics: Mapping[str, float], description: str) -> None:
        """What MLflow is told of a sweep as a whole, beside its report: metrics, and a description in Markdown."""
        content = {"time": time.time(), "metrics": metrics, "description": description}
        write_json(self.report_folder(sweep) / SUMMARY, content)

    def manifests(self) -> list[dict[str, Any]]:
        """All sweeps, the oldest first."""
        files = [p for p in self.sweeps.glob("*.json") if len(p.stem) == ID_LENGTH]
        return sorted((json.loads(p.read_text()) for p in files), key=lambda sweep: float(sweep["time"]))
