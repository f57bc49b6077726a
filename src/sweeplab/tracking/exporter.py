"""What another tracker has to do to be told of runs, beside MLflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab.tracking.terms import MetricRow


@dataclass(kw_only=True, slots=True, frozen=True)
class ExportedRun:
    """What an exporter is told of a run."""

    id: str  # the first 16 hex digits of its fingerprint
    name: str  # what differs from the defaults: `hidden=392 seed=0`
    experiment: str  # as in MLflow
    sweep: str  # the id of the sweep that it was trained for; '' without one
    params: dict[str, Any]  # the config: dotted key -> value
    started: float  # Unix seconds
    lines: int  # of its journal: a run that was trained further has more
    status: str  # running, finished, failed, interrupted, pruned
    folder: Path  # in the store: weights.safetensors, result.json, ...


class Exporter(ABC):
    """Carries runs into another tracker.

    It is made in a process of its own, from `tracking.exporters.<name>` of the command that trains.
    Its methods are called there, from one thread, for any number of runs in turn. What they raise
    is told at the end of the command, and stops neither the training nor the other runs.
    """

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why it cannot work on this machine, a package that is missing, say; None if it can.

        It is asked before any work.
        """
        return None

    def has(self, run: ExportedRun) -> bool:
        """Return whether the tracker has all of an ended run already; False exports it anew."""
        del run
        return False

    @abstractmethod
    def begin(self, run: ExportedRun) -> None:
        """Take a run, whose rows follow from the first one on.

        What an earlier process has exported of it, up to the moment at which it was killed, say, is
        to be replaced.
        """

    @abstractmethod
    def log(self, run: ExportedRun, rows: Sequence[MetricRow]) -> None:
        """Take the rows that are new: `name`, `value`, `time` (milliseconds), `step` (the epoch)."""

    @abstractmethod
    def end(self, run: ExportedRun) -> None:
        """Take the run's end; `run.status` is `running` if it goes on without the command."""
