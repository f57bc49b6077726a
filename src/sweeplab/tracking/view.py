"""The store as the feeder sees it: the MLflow runs that it asks for, and which of them are not level with it.

The journals are the truth and MLflow is a view of them, so nothing here needs to be done only once: each MLflow run has
a goal, computed from the store, and a record of what it has been fed (`mlflow.json`, written last). Where the two
differ the run is fed, with the journal's own timestamps, which makes the same rows again. Killed anywhere and started
again, the feeder therefore ends in the same place.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sweeplab import store
from sweeplab.tracking.records import DELETED, Node, entries, is_ours, sweep_record

RUNNING, KILLED = "RUNNING", "KILLED"
STATUS = {
    store.Status.FINISHED: "FINISHED",
    store.Status.FAILED: "FAILED",
    store.Status.INTERRUPTED: KILLED,
    store.Status.PRUNED: KILLED,
    "running": RUNNING,
}
FILES = ("config.yaml", "overrides.yaml", "journal.jsonl", "result.json", *store.WEIGHTS)
SWEEP_LENGTH = 12  # hex digits of a sweep's id in its tag


class Tail:
    """A run, followed by its journal."""

    def __init__(self, run: store.Run) -> None:
        self.run = run
        self.history = store.History(run.journal)
        self.history.forget()  # most runs are level, and only a few facts of them are needed
        self.settled = False  # level, and nobody is at work on it: nothing to look at until the journal grows

    @property
    def fingerprint(self) -> str:
        return self.history.fingerprint or self.run.id

    @property
    def ended(self) -> str:
        """How it ended, as MLflow says it; '' if it has not."""
        return STATUS[self.history.status] if self.history.has_ended else ""

    def read(self) -> bool:
        """Take in what is new; return whether the journal has changed since the last look."""
        changed = self.history.read()
        if changed:
            self.settled = False
        return changed


@dataclass
class Sweep:
    """A manifest, and which version of the file it is."""

    manifest: Node
    version: int = 0
    id = property(lambda self: str(self.manifest["id"]))
    tag = property(lambda self: f"sweep.{self.id[:SWEEP_LENGTH]}")

    @cached_property
    def experiments(self) -> list[str]:
        """Those of MLflow that are to show it: the latest one first, then those under which it was issued before."""
        return [name for name in (self.manifest.get("experiment"), *self.manifest.get("formerly", [])) if name]

    @cached_property
    def names(self) -> dict[str, str]:
        """Fingerprint -> the name of that cell."""
        return {str(cell["fingerprint"]): cell["name"] for cell in self.manifest["cells"]}

    @cached_property
    def runs(self) -> frozenset[str]:
        """The ids of its runs."""
        return frozenset(fingerprint[: store.ID_LENGTH] for fingerprint in self.names)


@dataclass
class Job:
    """One MLflow run that is not level with the store."""

    id: str  # of the run, or of the sweep
    file: Path  # its record
    experiment: str
    entry: Node
    goal: Node
    sweeps: list[Sweep] = field(default_factory=list)
    tail: Tail | None = None  # None: the parent run of sweeps[0]

    @property
    def fed(self) -> Node:
        return dict(self.entry.get("fed", {}))

    @property
    def parent(self) -> Sweep | None:
        """The sweep that trained the run, if it is of this experiment; else the first one here that reuses it."""
        assert self.tail is not None
        here = [sweep for sweep in self.sweeps if self.experiment in sweep.experiments]
        trained = [
            sweep
            for sweep in here
            if self.tail.history.sweep and sweep.id.startswith(self.tail.history.sweep[:SWEEP_LENGTH])
        ]
        return next(iter(trained or ([] if self.experiment in self.tail.history.experiments else here)), None)


@dataclass
class Written:
    """An MLflow run that a record of this store tells of."""

    file: Path
    entry: Node
    start: float  # milliseconds
    tail: Tail | None = None
    summary: Node | None = None  # of a sweep
    fed = property(lambda self: dict(self.entry.get("fed", {})))
    run_id = property(lambda self: str(self.entry["run"]))


class View:
    """The store as the feeder sees it: which MLflow runs it asks for, and which of them are not level."""

    def __init__(self, folder: store.Store, uri: str) -> None:
        self.store, self.uri = folder, uri
        self.created: dict[str, int] = {}  # of the experiments looked up: another time is another database
        self.experiments: set[str] = set()  # all that the store asks for
        self.damaged: dict[str, str] = {}  # run or sweep id -> what is wrong with its journal or manifest
        self._tails: dict[str, Tail] = {}
        self._sweeps: dict[Path, Sweep] = {}
        self._damaged_sweeps: dict[Path, int] = {}  # manifests that cannot be read -> the version of the file
        self._members: dict[str, list[Sweep]] = {}

    def unsettle(self) -> None:
        for tail in self._tails.values():
            tail.settled = False

    def jobs(self, only: Collection[str] | None = None, *, alone: bool = False) -> list[Job]:
        """What is to be fed, parents first; of these run ids and their sweeps only, if given.

        `alone`: no client lives, so that no sweep is being driven.
        """
        self._read_sweeps()
        wanted = [s for s in self._sweeps.values() if only is None or not s.runs.isdisjoint(only)]
        jobs = [job for sweep in wanted for name in sweep.experiments for job in self._parent(sweep, name, alone)]
        with os.scandir(self.store.root) as found:
            names = [e.name for e in found if len(e.name) == store.ID_LENGTH and (only is None or e.name in only)]
        return jobs + [job for name in names for job in self._look(name)]

    def written(self, experiment: str) -> Iterator[Written]:
        """What the records tell of an experiment, parents first; of the runs that `jobs` has looked at."""
        for sweep in self._sweeps.values():
            file = sweep_record(self.store, sweep.id)
            entry = self._valid(entries(file, self.uri), experiment)
            if entry.get("run"):
                try:
                    summary = self.store.summary(sweep.id)
                except store.DamagedError:
                    summary = None
                yield Written(file, entry, 1000 * float(sweep.manifest["time"]), summary=summary)
        for tail in self._tails.values():
            entry = self._valid(entries(tail.run.mlflow_file, self.uri), experiment)
            if entry.get("run"):
                yield Written(tail.run.mlflow_file, entry, 1000 * (tail.history.started_at or 0.0), tail)

    def lagging(self, only: Collection[str] | None) -> set[str]:
        """The run and sweep ids that are not level."""
        return {job.id for job in self.jobs(only)} | {name for name in self.damaged if only is None or name in only}

    def _read_sweeps(self) -> None:
        files = [f for f in self.store.sweeps.glob("*.json") if len(f.stem) == store.ID_LENGTH]
        versions = {file: file.stat().st_mtime_ns for file in files}
        if versions == self._damaged_sweeps | {file: sweep.version for file, sweep in self._sweeps.items()}:
            return
        known: dict[Path, Sweep] = {}
        self._damaged_sweeps = {}
        for file, version in versions.items():
            self.damaged.pop(file.stem, None)
            before = self._sweeps.get(file)
            try:
                same = before is not None and before.version == version
                known[file] = before if before and same else Sweep(store.read_manifest(file), version)
            except store.DamagedError as error:
                self._damaged_sweeps[file] = version
                self.damaged[file.stem] = str(error)
        self._sweeps = dict(sorted(known.items(), key=lambda item: float(item[1].manifest["time"])))
        self._members = {}
        for sweep in self._sweeps.values():
            for run_id in sweep.runs:
                self._members.setdefault(run_id, []).append(sweep)
        self.unsettle()

    def _look(self, name: str) -> list[Job]:
        """What is to be fed of this run; looking at an idle one costs a stat."""
        tail = self._tails.get(name)
        if tail is None:
            tail = self._tails[name] = Tail(store.Run(self.store.root / name))
        self.damaged.pop(name, None)
        try:
            return self._children(tail) if tail.read() or not tail.settled else []
        except FileNotFoundError:  # not begun, or cleaned away
            del self._tails[name]
            self._note_lost(tail)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            tail.settled = False
            reason = error if isinstance(error, store.DamagedError) else repr(error)
            self.damaged[name] = f"its journal cannot be read: {reason}"
        return []

    def _note_lost(self, tail: Tail) -> None:
        """Note a finished run whose journal has vanished."""
        try:
            tail.run.ensure_end(ended=False)
        except store.DamagedError as error:
            self.damaged[tail.run.id] = str(error)

    def _children(self, tail: Tail) -> list[Job]:
        sweeps, history = self._members.get(tail.run.id, []), tail.history
        wanted = {
            **history.experiments,
            **history.tracked,
            **dict.fromkeys(name for s in sweeps for name in s.experiments),
        }
        tail.settled = not wanted
        if not tail.ended and not (wanted and history.count):  # else `_status` looks
            tail.run.ensure_end(ended=False)
        if history.count and not history.has_begun:  # it failed too early to say what it was to be
            tail.settled = True
            return []
        if history.count and history.started_at is None:
            raise store.DamagedError(tail.run.journal.path, "its beginning is missing")
        if not wanted or not history.count:
            return []
        record, jobs = entries(tail.run.mlflow_file, self.uri), []
        for experiment in wanted:
            entry = self._valid(record, experiment)
            status = self._status(tail, entry.get("fed", {}))
            goal = {"lines": history.count, "status": status, "sweeps": [s.tag for s in sweeps]}
            goal["files"] = {} if status == RUNNING else stamps(tail.run.folder)
            if (
                history.has_model and (tail.run.folder / store.MODEL).is_dir()
            ):  # else not named, as before there were models
                goal["model"] = True
            if entry.get("fed") != goal and not entry.get(DELETED):
                jobs.append(Job(tail.run.id, tail.run.mlflow_file, experiment, entry, goal, sweeps, tail))
        tail.settled = not jobs and status != RUNNING and not tail.run.claimed  # files may come while it is held
        return jobs

    @staticmethod
    def _status(tail: Tail, fed: Node) -> str:
        if tail.ended:
            return tail.ended
        if fed.get("status") == KILLED and fed.get("lines") == tail.history.count:
            return KILLED  # found dead before; a look at its lock could stand in the way of who resumes it now
        alive = tail.run.claimed
        if tail.read():  # it may have ended, and let go of its lock, since the journal was read
            return tail.ended or RUNNING
        if not alive:
            tail.run.ensure_end(ended=False)
        return RUNNING if alive else KILLED

    def _parent(self, sweep: Sweep, experiment: str, alone: bool) -> list[Job]:
        file = sweep_record(self.store, sweep.id)
        entry = self._valid(entries(file, self.uri), experiment)
        goal = {"status": STATUS[sweep.manifest["status"]], "version": sweep.version}
        goal["files"] = _stamped(self.store.report_folder(sweep.id).glob("*"), self.store.sweeps)
        dead = {**goal, "status": KILLED}
        if goal["status"] == RUNNING and (alone or entry.get("fed") == dead):
            goal = dead  # until the manifest is written again
        if entry.get("fed") == goal or entry.get(DELETED):
            return []
        return [Job(sweep.id, file, experiment, entry, goal, [sweep])]

    def _valid(self, record: Mapping[str, Node], experiment: str) -> Node:
        """What this store has recorded of an experiment, unless the server has another one of that name now.

        What somebody deleted stays deleted, though the experiment went with it.
        """
        self.experiments.add(experiment)
        entry = record.get(experiment, {})
        same = self.created.get(experiment, entry.get("created")) == entry.get("created")
        return entry if (same or entry.get(DELETED)) and is_ours(entry, self.store) else {}


def stamps(folder: Path) -> dict[str, list[int]]:
    """The files that go to MLflow when a run has ended -> [size, time of change]."""
    further = (*folder.glob("profile/**/*"), *folder.glob(f"{store.METRICS}/*"))
    return _stamped([*(folder / name for name in FILES), *further], folder)


def _stamped(files: Iterable[Path], folder: Path) -> dict[str, list[int]]:
    """Those that are there, but not the temporary ones of `write_atomic`; named from `folder` on."""
    found = sorted(file for file in files if file.is_file() and not file.name.startswith("."))
    stats = {file.relative_to(folder).as_posix(): file.stat() for file in found}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
