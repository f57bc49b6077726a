"""What a run's journal says: the one reader of journals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeplab.errors import first_line, one_line
from sweeplab.metrics import BEST_EPOCH
from sweeplab.store.files import DamagedError
from sweeplab.store.journal import Event, Journal, Line, Status, epoch_of, numbers, parsed


@dataclass(kw_only=True)
class Result:
    """What came out of a run: `result.json`. The end of the journal says the same."""

    fingerprint: str
    question: str
    status: Status
    stop_reason: str | None
    metrics: dict[str, float]
    weights_sha256: str | None = None
    overrides: list[str] = field(default_factory=list)


class EpochMetrics(Mapping[int, dict[str, float]]):
    """Epoch -> metrics; the line of an epoch is parsed when it is looked at."""

    def __init__(self, file: Path, lines: Sequence[Line | bytes], places: dict[int, int]) -> None:
        """`places`: epoch -> place of its line among the lines of this file."""
        self._file, self._lines, self._places = file, lines, places
        self._metrics: dict[int, dict[str, float]] = {}

    def __getitem__(self, epoch: int) -> dict[str, float]:
        if epoch not in self._metrics:
            place = self._places[epoch]
            line = _whole(self._lines[place], self._file, place)
            self._metrics[epoch] = numbers(line["metrics"])
        return self._metrics[epoch]

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _whole(line: Line | bytes, file: Path, place: int) -> Line:
    """Parse a line of a journal unless it is parsed. Raises DamagedError."""
    return parsed(line, file, place + 1) if isinstance(line, bytes) else line


def _new_lines(file: Path, offset: int) -> Sequence[bytes]:
    """Read the complete lines from a place on; a torn last line is not one."""
    try:
        with file.open("rb", buffering=0) as journal:
            journal.seek(offset)
            return journal.read().split(b"\n")[:-1]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(file, error.strerror or first_line(error)) from error


class JournalFacts(ABC):
    """What the lines of a journal say."""

    @property
    @abstractmethod
    def lines(self) -> list[Line]:
        """All lines, the first one first."""

    @property
    @abstractmethod
    def landmarks(self) -> list[Line]:
        """All lines but those of epochs."""

    @property
    @abstractmethod
    def epochs(self) -> Mapping[int, dict[str, float]]:
        """Epoch -> metrics; of a repeated epoch the first line counts."""

    def latest(self, *events: Event) -> Line:
        """Return the latest line of these events; empty if there is none."""
        lines = self.lines if Event.EPOCH in events else self.landmarks
        for line in reversed(lines):
            if line["event"] in events:
                return line
        return {}

    @property
    def first_start(self) -> Line:
        """How the run was begun for the first time; empty if it was not."""
        for line in self.landmarks:
            if line["event"] == Event.START:
                return line
        return {}

    @property
    def start(self) -> Line:
        """What was asked for, and how it was begun the last time; empty if it was not begun."""
        return self.latest(Event.START)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where and how it was started or resumed the last time; empty if it was not begun."""
        return dict(self.latest(Event.START, Event.RESUME).get("provenance") or {})

    @property
    def whereabouts(self) -> dict[str, str]:
        """Where it was started or resumed the last time: `host`, `slurm.job`, `ray.node`, ..."""
        provenance, found = self.provenance, {}
        if provenance.get("host"):
            found["host"] = str(provenance["host"])
        for cluster in ("slurm", "ray"):
            for fact, value in (provenance.get(cluster) or {}).items():
                found[f"{cluster}.{fact}"] = str(value)
        return found

    @property
    def threads(self) -> int | None:
        """How many CPU threads it was computed on the last time; None if it was not begun."""
        threads = self.provenance.get("threads")
        return None if threads is None else int(threads)

    @property
    def was_resumed(self) -> bool:
        """Whether it was ever resumed from a checkpoint."""
        return any(line["event"] == Event.RESUME for line in self.landmarks)

    @property
    @abstractmethod
    def status(self) -> Status:
        """How it ended; unfinished if it was begun again since."""

    @property
    def has_ended(self) -> bool:
        """Whether it has come to an end, of whatever kind, and was not begun again since."""
        return self.status != Status.UNFINISHED

    @property
    def end(self) -> Line:
        """How it ended; empty as long as it has not."""
        return self.latest(Event.END) if self.has_ended else {}

    @property
    def requested_ends(self) -> list[str]:
        """By which requests it was ended early, `stop` or `pause`, the first one first."""
        ends = [line.get("request") for line in self.landmarks if line["event"] == Event.END]
        return [str(request) for request in ends if request]

    @property
    def error(self) -> str | None:
        """What ended it too early, in one line; None if nothing did."""
        error = self.end.get("error")
        return one_line(error) if error else None

    @property
    def kept_weights(self) -> dict[int, str]:
        """Epoch -> SHA-256 of its weights, of those that `trainer.keep_every` has kept."""
        kept = [line for line in self.landmarks if line["event"] == Event.WEIGHTS]
        return {int(line["epoch"]): str(line["sha256"]) for line in kept}

    @property
    def metrics(self) -> dict[str, float]:
        """The final metrics; none as long as it has not ended."""
        return numbers(self.end.get("metrics") or {})

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept; None if there is none yet."""
        epoch = self.metrics.get(BEST_EPOCH)
        return None if epoch is None else int(epoch)

    @property
    def result(self) -> Result | None:
        """The result that the end of the journal tells of; None as long as it has not ended."""
        start, end = self.start, self.end
        if not start or not end:
            return None
        return Result(
            fingerprint=str(start.get("fingerprint")),
            question=str(start.get("question")),
            status=self.status,
            stop_reason=end.get("stop_reason"),
            metrics=self.metrics,
            weights_sha256=end.get("weights_sha256"),
            overrides=start.get("overrides") or [],
        )


class History(JournalFacts):
    """What a journal says, as far as it has been read; `read` takes in the lines added since.

    A few facts are kept for good; the lines, from which all else is found, until `forget`.
    """

    status: Status = Status.UNFINISHED

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._stamp: tuple[int, ...] = ()
        self._reset()

    def _reset(self) -> None:
        self._offset = 0  # bytes that have been read
        self._lines: list[Line | bytes] | None = []  # those of epochs are not parsed
        self._places: dict[int, int] = {}  # epoch -> how many lines stand before its first one
        self.count = 0  # lines that have been read
        self.fingerprint = self.sweep = ""  # of the latest start
        self.started_at: float | None = None  # Unix seconds of the first start
        self.status = Status.UNFINISHED
        self.has_begun = False  # whether there is more than ends that came too early
        self.has_model = False
        self.experiments: dict[str, None] = {}  # of MLflow, under which it was started, in order
        self.tracked: dict[str, None] = {}  # under which it was asked for when it was finished

    @classmethod
    def of(cls, journal: Journal) -> History:
        """Read a whole journal; one that is not there is empty. Raises DamagedError."""
        history = cls(journal)
        try:
            history.read()
        except FileNotFoundError:
            return cls(journal)
        except OSError as error:
            raise DamagedError(journal.path, error.strerror or first_line(error)) from error
        return history

    def read(self) -> bool:
        """Take in what is new; return whether the journal has changed since the last look.

        Raises FileNotFoundError if there is none, DamagedError for a line that is not as it was
        written.
        """
        stat = self.journal.path.stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if stamp == self._stamp:
            return False
        if stamp[:1] != self._stamp[:1] or stat.st_size < self._offset:
            is_forgetful = self._lines is None
            self._reset()
            if is_forgetful:
                self.forget()
        for line in _new_lines(self.journal.path, self._offset):
            epoch = epoch_of(line)
            if epoch is None:
                self._take(parsed(line, self.journal.path, self.count + 1))
            else:
                self._add(line, epoch)
            self._offset += len(line) + 1
        self._stamp = stamp
        return True

    def _take(self, line: Line) -> None:
        """Take in a line. Raises DamagedError if it lacks what such a line has."""
        try:
            self._heed(line)
            epoch = line["epoch"] if line["event"] == Event.EPOCH else None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            problem = f"line {self.count + 1}: {first_line(error)}"
            raise DamagedError(self.journal.path, problem) from error
        self._add(line, epoch)

    def _add(self, line: Line | bytes, epoch: int | None) -> None:
        if epoch is not None:
            self.has_begun = True
            self._places.setdefault(epoch, self.count)
        if self._lines is not None:
            self._lines.append(line)
        self.count += 1

    def _heed(self, line: Line) -> None:
        """Note the facts that are kept for good."""
        event, experiment = line["event"], line.get("experiment")
        # The end of a run that is not finished may be all that there is.
        self.has_begun |= event != Event.END or line.get("status") == Status.FINISHED
        match event:
            case Event.START:
                if self.started_at is None:
                    self.started_at = float(line["time"])
                self.fingerprint = str(line.get("fingerprint") or "")
                self.sweep = str(line.get("sweep") or "")
                self.status, self.has_model = Status.UNFINISHED, False
                if experiment:
                    self.experiments[experiment] = None
            case Event.RESUME:
                self.status, self.has_model = Status.UNFINISHED, False
            case Event.TRACK if experiment:
                self.tracked[experiment] = None
            case Event.MODEL:
                self.has_model = True
            case Event.END:
                self.status = Status(line["status"])

    @property
    def lines(self) -> list[Line]:
        """All lines that have been read."""
        kept = enumerate(self._kept())
        lines = [_whole(line, self.journal.path, place) for place, line in kept]
        self._lines = list(lines)
        return lines

    @property
    def landmarks(self) -> list[Line]:
        events = [line for line in self._kept() if not isinstance(line, bytes)]
        return [line for line in events if line["event"] != Event.EPOCH]

    @property
    def epochs(self) -> EpochMetrics:
        return EpochMetrics(self.journal.path, self._kept(), dict(self._places))

    def _kept(self) -> list[Line | bytes]:
        """Return all lines, read again if they were forgotten."""
        if self._lines is None:
            self._lines = list(self.journal.events()[: self.count])
        return self._lines

    def ensure_started(self) -> None:
        """Raise DamagedError if it tells of a run whose beginning is missing."""
        if self.has_begun and self.started_at is None:
            raise DamagedError(self.journal.path, "its beginning is missing")

    def forget(self) -> None:
        """Free the memory that the lines take."""
        self._lines = None

    def until(self, count: int) -> History:
        """Return the history of the first lines only."""
        history = History(self.journal)
        for line in self.lines[:count]:
            history._take(line)
        return history
