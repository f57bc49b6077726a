"""What each MLflow run is to have: its goal, computed from the store.

The goal of a run tells how many lines its journal has, its status, its sweeps and its files. The
record of the run (`mlflow.json`) keeps the goal that MLflow has reached. Where the two are equal,
there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sweeplab import store
from sweeplab.config import key_of
from sweeplab.tracking import terms
from sweeplab.tracking.records import DELETED, FINGERPRINT, SWEEP_ID, Node

RUNNING, KILLED = "RUNNING", "KILLED"
STATUS = {
    store.Status.FINISHED: "FINISHED",
    store.Status.FAILED: "FAILED",
    store.Status.INTERRUPTED: KILLED,
    store.Status.PRUNED: KILLED,
    "running": RUNNING,
}
Choice = tuple[tuple[str, str], ...]  # of groups of the config: (("model", "mlp"), ...)
FILES = ("config.yaml", "overrides.yaml", "journal.jsonl", "result.json", *store.WEIGHTS)
SWEEP_LENGTH = 12  # hex digits of a sweep's id in its tag


class FollowedRun:
    """A run of the store, followed as its journal grows."""

    def __init__(self, run: store.Run) -> None:
        self.run: store.Run = run
        self.id: str = run.id
        self.record: Path = run.mlflow_file
        self.sweeps: list[SweepManifest] = []  # the sweeps that the run is of
        self.history: store.History = store.History(run.journal)
        self.history.forget()  # most runs are up to date, and only a few facts of them are needed

    @property
    def known_by(self) -> tuple[str, str]:
        """The tag by which its MLflow runs are known, and its value."""
        return FINGERPRINT, self.history.fingerprint or self.id

    @property
    def start(self) -> int:
        """When it began, in milliseconds."""
        return terms.ms(self.history.started_at or 0.0)

    @property
    def experiments(self) -> list[str]:
        """The MLflow experiments that are to show the run: its own ones, then its sweeps'."""
        names = {**self.history.experiments, **self.history.tracked}
        for sweep in self.sweeps:
            names |= dict.fromkeys(sweep.experiments)
        return list(names)

    def parent(self, experiment: str) -> SweepManifest | None:
        """Find the sweep that trained the run; in another experiment, the first that reused it.

        None if the run was trained in this experiment without a sweep.
        """
        candidates = [sweep for sweep in self.sweeps if experiment in sweep.experiments]
        for sweep in candidates:
            trained_by = self.history.sweep[:SWEEP_LENGTH]
            if trained_by and sweep.id.startswith(trained_by):
                return sweep
        if experiment in self.history.experiments or not candidates:
            return None
        return candidates[0]

    def goal(self, fed: Node) -> Node:
        """Return what MLflow is to have of the run; `fed` is the goal that it has reached."""
        status = self._status(fed)  # before the line count: it may read more of the journal
        goal = {
            "lines": self.history.count,
            "status": status,
            "sweeps": [sweep.tag for sweep in self.sweeps],
            "files": {} if status == RUNNING else run_files(self.run.folder),
        }
        if self.history.has_model and (self.run.folder / store.MODEL).is_dir():
            goal["model"] = True  # absent otherwise, as in records older than models
        return goal

    def _status(self, fed: Node) -> str:
        """Return the status for MLflow; a run without an end is KILLED unless somebody holds it."""
        if self.history.has_ended:
            return STATUS[self.history.status]
        if fed.get("status") == KILLED and fed.get("lines") == self.history.count:
            # It was found dead before. A look at its lock could hinder whoever resumes it now.
            return KILLED
        is_alive = self.run.claimed
        # The run may have ended, and released its lock, since the journal was read.
        if self.history.read():
            return STATUS[self.history.status] if self.history.has_ended else RUNNING
        if is_alive:
            return RUNNING
        self.run.ensure_open(self.run.result())
        return KILLED


@dataclass
class SweepManifest:
    """The manifest of a sweep, and the version of its file."""

    file: Path
    version: int  # time of change, in nanoseconds
    manifest: Node
    _begun: dict[Choice, store.Run] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The sweep's id."""
        return str(self.manifest["id"])

    @property
    def record(self) -> Path:
        """The file that notes what MLflow has of it."""
        return self.file.with_suffix(".mlflow.json")

    @property
    def known_by(self) -> tuple[str, str]:
        """The tag by which its MLflow runs are known, and its value."""
        return SWEEP_ID, self.id

    @property
    def start(self) -> int:
        """When it began, in milliseconds."""
        return terms.ms(self.manifest["time"])

    @property
    def tag(self) -> str:
        """The tag that the sweep's runs have in MLflow."""
        return f"sweep.{self.id[:SWEEP_LENGTH]}"

    @cached_property
    def experiments(self) -> list[str]:
        """The MLflow experiments that are to show the sweep, the latest one first."""
        names = [self.manifest.get("experiment"), *self.manifest.get("formerly", [])]
        return [name for name in names if name]

    @cached_property
    def names(self) -> dict[str, str]:
        """The name of each cell, by its fingerprint."""
        return {str(cell["fingerprint"]): cell["name"] for cell in self.manifest["cells"]}

    @cached_property
    def runs(self) -> frozenset[str]:
        """The ids of the sweep's runs."""
        return frozenset(fingerprint[: store.ID_LENGTH] for fingerprint in self.names)

    @cached_property
    def replicated(self) -> list[str]:
        """The keys over which its configs are repeated."""
        return list(self.manifest.get("replicate") or ["seed"])

    @cached_property
    def _choices(self) -> dict[Choice, list[str]]:
        """The fingerprints of the cells with each choice of groups of the config."""
        choices: dict[Choice, list[str]] = {}
        for cell in self.manifest["cells"]:
            choice = {key: text for key, text in overrides_of(cell).items() if "." not in key}
            for key in self.replicated:
                choice.pop(key, None)
            choices.setdefault(tuple(choice.items()), []).append(str(cell["fingerprint"]))
        return choices

    def begun(self, home: store.Store) -> dict[Choice, store.Run]:
        """Find for each choice the first of its runs that has begun."""
        for choice in self._choices.keys() - self._begun.keys():
            runs = map(home.run, self._choices[choice])
            run = next((run for run in runs if run.journal.path.exists()), None)
            if run is not None:
                self._begun[choice] = run
        return {choice: self._begun[choice] for choice in self._choices if choice in self._begun}

    def goal(self, fed: Node, home: store.Store, *, has_clients: bool) -> Node:
        """Return what MLflow is to have of the sweep; `fed` is the goal that it has reached.

        A sweep without an end is KILLED as soon as no client is left that could drive it, and stays
        so until its manifest is written again.
        """
        goal = {
            "status": STATUS[self.manifest["status"]],
            "version": self.version,
            "files": _stamps(self.file.with_suffix("").glob("*"), self.file.parent),
            "view": len(self.begun(home)),  # it tells of so many choices; absent in old records
        }
        if goal["status"] == RUNNING:
            was_dead = fed.get("status") == KILLED and fed.get("version") == self.version
            if was_dead or not has_clients:
                goal["status"] = KILLED
        return goal


@dataclass
class TrackedRun:
    """A run of the store, or a sweep, in an MLflow experiment: what is there, and what is to be."""

    source: FollowedRun | SweepManifest
    experiment: str
    entry: Node  # what the record of the source says of this experiment
    goal: Node = field(default_factory=dict)

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run; None if there is none yet."""
        return self.entry.get("run")

    @property
    def fed(self) -> Node:
        """The goal that MLflow has reached; empty if it has nothing yet."""
        return dict(self.entry.get("fed", {}))

    @property
    def is_behind(self) -> bool:
        """Whether there is something to feed: what somebody deleted in MLflow stays deleted."""
        return self.entry.get("fed") != self.goal and not self.entry.get(DELETED)


def overrides_of(cell: Node) -> dict[str, str]:
    """Map the keys that a cell was given to their values as typed; of a key given twice the last."""
    overrides = cell.get("overrides", [])
    return {key_of(override): override.partition("=")[2] for override in overrides}


def run_files(folder: Path) -> dict[str, list[int]]:
    """Stamp the files of an ended run that MLflow is to have: name -> [size, time of change]."""
    files = [folder / name for name in FILES]
    files += folder.glob("profile/**/*")
    files += folder.glob(f"{store.METRICS}/*")
    return _stamps(files, folder)


def _stamps(files: Iterable[Path], folder: Path) -> dict[str, list[int]]:
    """Stamp those files that exist; their names are relative to `folder`."""
    stamps = {}
    for file in sorted(files):
        if file.is_file() and not file.name.startswith("."):  # temporary ones begin with a dot
            stat = file.stat()
            stamps[file.relative_to(folder).as_posix()] = [stat.st_size, stat.st_mtime_ns]
    return stamps
