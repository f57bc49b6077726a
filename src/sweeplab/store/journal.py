"""A run's append-only event log: one JSON object a line, each with a checksum of its own.

A line is with the operating system as soon as it is appended: no end of the process loses it, and
other processes read it at once. It is on the disk before a checkpoint or a result that follows it.
When the machine loses its power, or the server of a shared disk does, the lines since the last
checkpoint may be lost; their epochs are trained again.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from sweeplab.errors import first_line
from sweeplab.store.files import DamagedError, naming, plain, read_bytes


class Event(StrEnum):
    """What a line of a journal tells of."""

    START = "start"  # the run begins, from the seed or from other weights
    RESUME = "resume"  # it goes on from a checkpoint
    EPOCH = "epoch"
    WEIGHTS = "weights"  # the weights after an epoch lie in the run's folder
    DIFFERS = "differs"  # an epoch that was trained again came out otherwise
    SYSTEM = "system"  # a look at the machine
    END = "end"  # finished, or ended too early
    MODEL = "model"  # the trained network lies in the run's folder, for MLflow to serve
    TRACK = "track"  # the finished run is to be seen under another MLflow experiment, too


class Status(StrEnum):
    """How a run ended, or that it has not."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"  # ended early by a search; asked for again by anyone else, it goes on
    UNFINISHED = "unfinished"  # neither result nor end are written: it is at work, or was killed


Line = dict[str, Any]
"""A line of a journal: `time` (Unix seconds), `event`, and what goes with that event."""

CHECKSUM = b', "crc": "'
"""Begins the end of a line: the CRC-32 of all that stands before, as 8 hex digits."""
CHECKSUM_LENGTH = len(CHECKSUM) + 8 + len('"}')
EPOCH = re.compile(rb'\{"time": [-+.e\d]+, "event": "epoch", "epoch": (\d+), "metrics": \{')
"""Begins the line of an epoch, as `written` writes it."""

MAPPINGS = ("config", "data", "provenance", "metrics")  # fields of events

_ONE_AT_A_TIME = threading.Lock()  # of threads that append to a journal: one may have to mend it


class Journal:
    """A run's event log. Each line has `time` (Unix seconds), `event`, and at its end `crc`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun = False  # by this object; if the file is gone then, it was taken away

    @property
    def has_vanished(self) -> bool:
        """Whether the file that this object appended to is gone, or its folder."""
        return not (self.path.exists() if self._begun else self.path.parent.is_dir())

    def append(self, event: Event, **fields: Any) -> None:
        """Add an event; it is with the operating system before this returns.

        Raises FileNotFoundError if the journal has vanished since this object last appended to it.
        """
        line = written({"time": time.time(), "event": event, **fields})
        flags = os.O_WRONLY | os.O_APPEND | (0 if self._begun else os.O_CREAT)
        with _ONE_AT_A_TIME, naming(self.path):
            descriptor = os.open(self.path, flags, 0o666)
            try:
                with os.fdopen(descriptor, "ab") as file:
                    file.write(line)
            except OSError:
                self.mend()  # a full disk takes half a line
                raise
            self._begun = True

    def sync(self) -> None:
        """Wait until all lines are on the disk: they outlast the loss of the machine's power."""
        with suppress(FileNotFoundError), naming(self.path):
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def events(self) -> list[Line]:
        """Read the complete lines, without a torn last line.

        Raises DamagedError for a line that is not as it was written.
        """
        try:
            lines = read_bytes(self.path).split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [parsed(line, self.path, number) for number, line in enumerate(lines, start=1)]

    def mend(self) -> None:
        """Cut off a torn last line, as a killed process leaves it, before the next append."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)


def written(event: Mapping[str, Any]) -> bytes:
    """Write an event as a line of a journal."""
    body = json.dumps(plain(event)).encode().removesuffix(b"}")
    return body + _ending(body) + b"\n"


def _ending(body: bytes) -> bytes:
    """Return the end of a line that begins so: its checksum."""
    return CHECKSUM + b'%08x"}' % zlib.crc32(body)


def epoch_of(line: bytes) -> int | None:
    """Return the epoch of an epoch's line that fits its checksum, without parsing it.

    None of any other line, also of one that tells of an epoch in another form.
    """
    begun = EPOCH.match(line)
    if begun is None or not line.endswith(_ending(line[:-CHECKSUM_LENGTH])):
        return None
    return int(begun[1])


def parsed(line: bytes, file: Path, number: int) -> Line:
    """Parse a line of a journal; a line without a checksum is taken as it is.

    Raises DamagedError, which names the file and the number of the line (from 1), if it is not as
    it was written.
    """
    try:
        return _parsed(line)
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise DamagedError(file, f"line {number}: {first_line(error)}") from error


def _parsed(line: bytes) -> Line:
    if line[-CHECKSUM_LENGTH:-10] != CHECKSUM:
        return checked(json.loads(line.decode()))
    if line[-10:-2] != b"%08x" % zlib.crc32(line[:-CHECKSUM_LENGTH]):
        raise ValueError("its content does not fit its checksum")
    event: Line = json.loads(line.decode())  # of the form that it was written in
    del event["crc"]
    return event


def checked(event: Any) -> Line:
    """Check that a line that anyone may have written is an event. Raises any error of plain values."""
    if not isinstance(event, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004  # what is read is of any kind
    has_name_and_time = isinstance(event["event"], str)
    has_name_and_time &= isinstance(event.get("time", 0.0), int | float)
    has_mappings = all(isinstance(event.get(name) or {}, dict) for name in MAPPINGS)
    if not has_name_and_time or not has_mappings:
        raise ValueError("it is no event of a run")
    if event["event"] == Event.EPOCH and not isinstance(event["epoch"], int):
        raise ValueError("its epoch is no number")
    if event["event"] in (Event.EPOCH, Event.END):
        numbers(dict(event.get("metrics", {})))
    return event


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as read from JSON, "NaN" and "Infinity" as the numbers they stand for."""
    return {sys.intern(name): float(value) for name, value in values.items()}


def differing(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Name the metrics that are not the same bits; NaN equals NaN, and a missing one differs."""
    return [name for name in {**before, **now} if repr(before.get(name)) != repr(now.get(name))]
