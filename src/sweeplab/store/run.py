"""The folder of one run: what it was asked, what came of it, and who is at work on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from string import hexdigits
from typing import Any

from filelock import FileLock, Timeout

from sweeplab.errors import first_line, one_line
from sweeplab.store.files import (
    DamagedError,
    locked,
    plain,
    read_bytes,
    read_json,
    remove_leftovers,
    write_atomic,
    write_json,
)
from sweeplab.store.history import History, Result
from sweeplab.store.journal import Journal, Line, Status, numbers, parsed
from sweeplab.store.requests import Request

ID_LENGTH = 16
"""Hex digits of a fingerprint that name a run's folder."""

MODEL = "model"  # the folder of the trained network, for MLflow to serve
METRICS = "metrics"  # the folder of what metrics computed besides numbers
WEIGHTS = ("weights.safetensors", "weights.pt")  # the second holds what the first cannot
KEPT = "weights"  # the folder of the weights after single epochs
ASIDE = "damaged"  # the folder of a run's that keeps a damaged journal, and what goes with it
LOG_LINES = 5  # of a failed run's log that are shown
LOG_WIDTH = 200  # characters of such a line
LOG_BYTES = 16384  # at the end of a log that are read for them
FED = ".mlflow.json."  # begins the feeder's temporary files, which it writes without a claim


class RunFile:
    """A file in the folder of a run, or a folder there; as an attribute of a run it is its path."""

    def __init__(self, name: str) -> None:
        self._name: str = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.folder / self._name


class RunFolder:
    """The files of one run, and who is at work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self.id: str = folder.name
        self.journal: Journal = Journal(folder / "journal.jsonl")

    config_file: RunFile = RunFile("config.yaml")
    overrides_file: RunFile = RunFile("overrides.yaml")
    result_file: RunFile = RunFile("result.json")
    origin_file: RunFile = RunFile("origin.json")
    log_file: RunFile = RunFile("run.log")
    mlflow_file: RunFile = RunFile("mlflow.json")
    lock_file: RunFile = RunFile("lock")
    checkpoints: RunFile = RunFile("checkpoints")
    kept: RunFile = RunFile(KEPT)

    @property
    def weights_files(self) -> list[Path]:
        """Where the weights may be."""
        return [self.folder / name for name in WEIGHTS]

    @property
    def request(self) -> Request:
        """What somebody asks of the process that trains it."""
        return Request(self.folder / "request")

    @property
    def weights_file(self) -> Path:
        """Where the weights are; where they would be, if there are none."""
        ordinary, other = (self.folder / name for name in WEIGHTS)
        return other if other.exists() and not ordinary.exists() else ordinary

    @property
    def last_written(self) -> float | None:
        """When its journal, or else its result, was last written (Unix seconds); None without."""
        for file in (self.journal.path, self.result_file):
            with suppress(OSError, ValueError):
                return file.stat().st_mtime
        return None

    def origin(self) -> dict[str, Any] | None:
        """Read where a run was unpacked from, and which of its modules are `trusted`.

        None of a run that was trained here. Raises DamagedError.
        """
        try:
            return read_json(self.origin_file)
        except FileNotFoundError:
            return None

    def log_tail(self) -> list[str]:
        """Read the last lines of its log; of a crash the first, which say what and where."""
        if not self.log_file.exists():
            return []
        with self.log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            text = file.read().decode(errors="replace")
        lines = [line.rstrip()[:LOG_WIDTH] for line in text.splitlines() if line.strip()]
        for number, line in enumerate(lines):
            if line.startswith("Fatal Python error"):
                return lines[number : number + LOG_LINES]
        return lines[-LOG_LINES:]

    def saved_epochs(self) -> list[int]:
        """List the epochs that there are checkpoints of."""
        return [int(file.stem) for file in self.checkpoints.glob("*.pt") if file.stem.isdigit()]

    def drop_checkpoints(self) -> None:
        """Delete what only a resume needs."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(self.folder / ASIDE / self.checkpoints.name, ignore_errors=True)

    @contextmanager
    def claim(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run: no other process trains it. Calls `waiting` once if another holds it now.

        The lock is the operating system's, so that it ends with its owner, however that ends. What
        a killed owner left half-written is removed.
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
            remove_leftovers(self.kept)
            yield
        finally:
            lock.release()

    @property
    def claimed(self) -> bool:
        """Whether a living process holds the run."""
        return self.lock_file.exists() and locked(self.lock_file)


class Run(RunFolder):
    """One run, by what is recorded in its folder."""

    # --- what it was asked

    def config(self) -> dict[str, Any]:
        """Read the resolved config as plain data. Raises DamagedError if it cannot be read."""
        import yaml

        try:
            text = read_bytes(self.config_file).decode()
            loaded = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
        except FileNotFoundError as error:
            raise DamagedError(self.config_file, "it is missing") from error
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise DamagedError(self.config_file, one_line(error)) from error
        if not isinstance(loaded, dict):
            raise DamagedError(self.config_file, "it holds no config")
        return loaded

    def recorded(self, section: str) -> dict[str, Any]:
        """Read a section of the config, checked against the journal. Raises DamagedError."""
        recorded = self.config().get(section)
        _, history = self.history()
        if history.start and plain(recorded) != (history.start.get("config") or {}).get(section):
            problem = f"its {section} is not the one that the journal says was trained"
            raise DamagedError(self.config_file, problem)
        return dict(recorded or {})

    def write_config(
        self, config: Mapping[str, Any], overrides: list[str], *, lasting: bool = True
    ) -> None:
        """Record what is asked for, readable by people and by Hydra."""
        import yaml

        fast = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times
        for file, content in ((self.config_file, dict(config)), (self.overrides_file, overrides)):
            text = yaml.dump(content, Dumper=fast, sort_keys=False, allow_unicode=True)
            write_atomic(file, text.encode(), lasting=lasting)

    def start(self) -> Line:
        """Read the first line of the journal: what was asked; empty if it cannot be read."""
        try:
            with self.journal.path.open("rb") as file:
                return parsed(file.readline().rstrip(b"\n"), self.journal.path, 1)
        except (OSError, DamagedError):
            return {}

    # --- what came of it

    @property
    def status(self) -> Status:
        """How it ended, by its result."""
        result = self.result()
        return Status.UNFINISHED if result is None else result.status

    def result(self) -> Result | None:
        """Return what came out; None while the run is unfinished without a word.

        The journal says the same, and makes up for a damaged `result.json`.
        """
        try:
            return self.read_result()
        except DamagedError:
            return self.journalled()

    def read_result(self) -> Result | None:
        """Read `result.json`; None if there is none. Raises DamagedError."""
        try:
            values = read_json(self.result_file)
        except FileNotFoundError:
            return None
        try:
            values["metrics"] = numbers(values["metrics"])
            values["status"] = Status(values["status"])
            result = Result(**values)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise DamagedError(self.result_file, first_line(error)) from error
        if self._is_of_another(result.fingerprint):
            raise DamagedError(self.result_file, "it is that of another run")
        return result

    def write_result(self, result: Result, *, lasting: bool = True) -> None:
        """Write what came out, after what the journal says of it."""
        if lasting:
            self.journal.sync()
        write_json(self.result_file, asdict(result), lasting=lasting)

    def journalled(self) -> Result | None:
        """Return the result that the journal's end tells of; None if there is none."""
        try:
            history = History.of(self.journal)
        except DamagedError:
            return None
        return None if self._is_of_another(history.fingerprint) else history.result

    def history(self) -> tuple[Result | None, History]:
        """Read the journal, and the result: what the end of the journal says, if there is one.

        Raises DamagedError if a line of the journal is damaged, its beginning or its end is
        missing, or it is that of another run. A run that failed, or was stopped, before it could
        begin has no beginning.
        """
        has_result, history = self.result_file.exists(), History.of(self.journal)
        result = history.result if has_result else None
        if has_result and result is None:  # the result first: a finished run's journal is whole
            result, history = self.result(), History.of(self.journal)
        history.ensure_started()
        if self._is_of_another(history.fingerprint):
            raise DamagedError(self.journal.path, "it is that of another run")
        if not history.has_ended:
            self.ensure_open(result)
        return result, history

    @property
    def threads(self) -> int | None:
        """The number of threads that an unfinished run keeps; None if any will do.

        Its journal keeps the epochs that were computed on them, with a checkpoint or without.
        """
        try:
            history = History.of(self.journal)
        except DamagedError:
            return None
        if history.status == Status.FAILED or not (history.epochs or self.saved_epochs()):
            return None
        return history.threads

    def epochs(self) -> Mapping[int, dict[str, float]]:
        """Epoch -> metrics, for what is only shown: nothing of a journal that cannot be read."""
        try:
            return History.of(self.journal).epochs
        except DamagedError:
            return {}

    def _is_of_another(self, fingerprint: str) -> bool:
        """Tell whether the folder is named after another fingerprint; a copy may have any name."""
        if not fingerprint or fingerprint.startswith(self.id):
            return False
        return len(self.id) == ID_LENGTH and set(self.id) <= set(hexdigits)

    def ensure_open(self, result: Result | None) -> None:
        """Raise DamagedError if the run has this result, although its journal has no end."""
        if result is None:
            return
        # Else somebody is about to go on with it.
        if result.status == Status.FINISHED or not self.claimed:
            raise DamagedError(self.journal.path, "its end is missing")
