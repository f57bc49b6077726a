"""The feeder: carries the journals of a store into MLflow, in a process of its own beside training.

The journals are the truth and MLflow is a view of them, so nothing here needs to be done only once: each MLflow run has
a goal, computed from the store, and a record of what it has been fed (`mlflow.json`, written last). Where the two
differ the run is fed, with the journal's own timestamps, which makes the same rows again. Killed anywhere and started
again, it therefore ends in the same place.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from filelock import FileLock, Timeout

from sweeplab import config, metrics, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Node = dict[str, Any]

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Our own loop tries again, and looks before it creates; mlflow's retries could create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
URI_VARIABLE = "SWEEPLAB_FEEDER_URI"  # in the environment, because a command line shows in `ps`
PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two looks at the store; with the server away
GRACE = 4.0  # seconds to drain in after the last client has gone

RUNNING, KILLED = "RUNNING", "KILLED"
STATUS = {store.FINISHED: "FINISHED", store.FAILED: "FAILED", store.INTERRUPTED: KILLED, "running": RUNNING}
FILES = ("config.yaml", "overrides.yaml", "journal.jsonl", "result.json", "weights.safetensors")
SWEEP_LENGTH = 12  # hex digits of a sweep's id in its tag


class AwayError(Exception):
    """The server, or the database, does not answer."""


def public(uri: str) -> str:
    """The URI as it may be written down."""
    return str(config.redact(uri.partition("?")[0]))


def lock_file(folder: store.Store) -> Path:
    return folder.root / "feeder.lock"


def clients_file(folder: store.Store) -> Path:
    return folder.root / "feeder.clients"


def state_file(folder: store.Store) -> Path:
    return folder.root / "feeder.json"


def nobody(folder: store.Store, leaving: Callable[[], None] = lambda: None) -> bool:
    """Whether no client lives; `leaving` is then called while none can come: it waits for its lock until after it."""
    with clients_file(folder).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        leaving()
        return True


def read_json(file: Path) -> Node:
    """What the file holds; nothing if there is none."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}


def entries(file: Path, uri: str) -> dict[str, Node]:
    """Of a record (`mlflow.json`): experiment name -> {experiment, created, run, fed} at this URI."""
    return dict(read_json(file).get(public(uri), {}))


def sweep_record(folder: store.Store, sweep_id: str) -> Path:
    """Where the feeder notes a sweep's parent runs."""
    return folder.sweeps / f"{sweep_id[: store.ID_LENGTH]}.mlflow.json"


class Tail:
    """A run's journal, read as far as it has grown, and what a look at the store needs of it."""

    def __init__(self, run: store.Run) -> None:
        self.run = run
        self.settled = False  # level, and nobody is at work on it: nothing to look at until the journal grows
        self._stamp: tuple[int, ...] = ()
        self._reset()

    def _reset(self) -> None:
        self.lines = self._offset = 0
        self.fingerprint, self.sweep, self.ended = self.run.id, "", ""
        self.own: dict[str, None] = {}  # experiments of its start events, in order
        self.tracked: dict[str, None] = {}
        self._events: list[Node] | None = None

    def read(self) -> bool:
        """Take in what is new; whether the journal has changed since the last look."""
        stat = self.run.journal.path.stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if stamp == self._stamp:
            return False
        if stamp[:1] != self._stamp[:1] or stat.st_size < self._offset:
            self._reset()
        with self.run.journal.path.open("rb") as file:
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")[0]
        new = [json.loads(line) for line in whole.split(b"\n")] if whole else []
        self._offset += len(whole) + 1 if whole else 0
        self.lines += len(new)
        for event in new:
            self._note(event)
        if self._events is not None:
            self._events += new
        self._stamp, self.settled = stamp, False
        return True

    def _note(self, event: Node) -> None:
        if event["event"] == store.START:
            self.fingerprint = event.get("fingerprint") or self.run.id
            self.sweep = event.get("sweep") or ""
            self.own |= dict.fromkeys(filter(None, [event.get("experiment")]))
        if event["event"] == store.TRACK:
            self.tracked |= dict.fromkeys(filter(None, [event.get("experiment")]))
        if event["event"] in (store.START, "resume"):
            self.ended = ""
        if event["event"] == store.END:
            self.ended = STATUS[event["status"]]

    def events(self) -> list[Node]:
        """The lines read so far; kept in memory while the run is being fed."""
        if self._events is None:
            self._events = self.run.journal.events()[: self.lines]
        return self._events

    def forget(self) -> None:
        self._events = None


@dataclass
class Sweep:
    """A manifest, and which version of the file it is."""

    manifest: Node
    version: int = 0
    id = property(lambda self: str(self.manifest["id"]))
    experiment = property(lambda self: self.manifest.get("experiment"))
    tag = property(lambda self: f"sweep.{self.id[:SWEEP_LENGTH]}")

    def name_of(self, fingerprint: str) -> str | None:
        return next((c["name"] for c in self.manifest["cells"] if c["fingerprint"] == fingerprint), None)


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
        here = [sweep for sweep in self.sweeps if sweep.experiment == self.experiment]
        trained = [sweep for sweep in here if self.tail.sweep and sweep.id.startswith(self.tail.sweep[:SWEEP_LENGTH])]
        return next(iter(trained or ([] if self.experiment in self.tail.own else here)), None)


class View:
    """The store as the feeder sees it: which MLflow runs it asks for, and which of them are not level."""

    def __init__(self, folder: store.Store, uri: str) -> None:
        self.store, self.uri = folder, uri
        self.created: dict[str, int] = {}  # of the experiments looked up: another time is another database
        self.experiments: set[str] = set()
        self._tails: dict[str, Tail] = {}
        self._sweeps: dict[Path, Sweep] = {}
        self._members: dict[str, list[Sweep]] = {}

    def unsettle(self) -> None:
        for tail in self._tails.values():
            tail.settled = False

    def jobs(self, only: Collection[str] | None = None, *, alone: bool = False) -> list[Job]:
        """What is to be fed, parents first; of these run ids and their sweeps only, if given.

        `alone`: no client lives, so that no sweep is being driven.
        """
        self._read_sweeps()
        wanted = [s for s in self._sweeps.values() if only is None or not self._cells(s).isdisjoint(only)]
        jobs = [job for sweep in wanted for job in self._parent(sweep, alone)]
        for tail in self._changed(only):
            jobs += self._children(tail)
        return jobs

    def _read_sweeps(self) -> None:
        files = [f for f in self.store.sweeps.glob("*.json") if len(f.stem) == store.ID_LENGTH]
        versions = {file: file.stat().st_mtime_ns for file in files}
        if versions == {file: sweep.version for file, sweep in self._sweeps.items()}:
            return
        known = self._sweeps
        for file, version in versions.items():
            if file not in known or known[file].version != version:
                known[file] = Sweep(read_json(file), version)
        self._sweeps = dict(sorted(known.items(), key=lambda item: float(item[1].manifest["time"])))
        self._members = {}
        for sweep in self._sweeps.values():
            for run_id in self._cells(sweep):
                self._members.setdefault(run_id, []).append(sweep)
        self.unsettle()

    @staticmethod
    def _cells(sweep: Sweep) -> set[str]:
        return {str(cell["fingerprint"])[: store.ID_LENGTH] for cell in sweep.manifest["cells"]}

    def _changed(self, only: Collection[str] | None) -> Iterator[Tail]:
        """The runs that have to be looked at; an idle one costs a stat."""
        with os.scandir(self.store.root) as found:
            names = [e.name for e in found if len(e.name) == store.ID_LENGTH and (only is None or e.name in only)]
        for name in names:
            tail = self._tails.setdefault(name, Tail(store.Run(self.store.root / name)))
            try:
                if tail.read() or not tail.settled:
                    yield tail
            except FileNotFoundError:  # not begun, or cleaned away
                del self._tails[name]

    def _children(self, tail: Tail) -> list[Job]:
        sweeps = self._members.get(tail.run.id, [])
        wanted = {**tail.own, **tail.tracked, **dict.fromkeys(s.experiment for s in sweeps if s.experiment)}
        tail.settled = not wanted
        if not wanted or not tail.lines:
            return []
        record, jobs = entries(tail.run.mlflow_file, self.uri), []
        for experiment in wanted:
            entry = self._valid(record, experiment)
            status = self._status(tail, entry.get("fed", {}))
            goal = {"lines": tail.lines, "status": status, "sweeps": [s.tag for s in sweeps]}
            goal["files"] = {} if status == RUNNING else stamps(tail.run.folder)
            if entry.get("fed") != goal:
                jobs.append(Job(tail.run.id, tail.run.mlflow_file, experiment, entry, goal, sweeps, tail))
        # Files may still come while the run is held.
        tail.settled = (
            not jobs
            and status != RUNNING
            and (time.time() - tail.run.journal.path.stat().st_mtime > 60 or not tail.run.claimed)
        )
        return jobs

    @staticmethod
    def _status(tail: Tail, fed: Node) -> str:
        if tail.ended:
            return tail.ended
        if fed.get("status") == KILLED and fed.get("lines") == tail.lines:
            return KILLED  # found dead before; a look at its lock could stand in the way of who resumes it now
        alive = tail.run.claimed
        if tail.read():  # it may have ended, and let go of its lock, since the journal was read
            return tail.ended or RUNNING
        return RUNNING if alive else KILLED

    def _parent(self, sweep: Sweep, alone: bool) -> list[Job]:
        if not sweep.experiment:
            return []
        file = sweep_record(self.store, sweep.id)
        entry = self._valid(entries(file, self.uri), sweep.experiment)
        goal = {"status": STATUS[sweep.manifest["status"]], "version": sweep.version}
        dead = {**goal, "status": KILLED}
        if goal["status"] == RUNNING and (alone or entry.get("fed") == dead):
            goal = dead  # until the manifest is written again
        return [] if entry.get("fed") == goal else [Job(sweep.id, file, sweep.experiment, entry, goal, [sweep])]

    def _valid(self, record: Mapping[str, Node], experiment: str) -> Node:
        """What is recorded of an experiment, unless the server has another one of that name now."""
        self.experiments.add(experiment)
        entry = record.get(experiment, {})
        return entry if self.created.get(experiment, entry.get("created")) == entry.get("created") else {}


def stamps(folder: Path) -> dict[str, list[int]]:
    """The files that go to MLflow when a run has ended -> [size, time of change]."""
    files = [folder / name for name in FILES] + sorted(p for p in folder.glob("profile/**/*") if p.is_file())
    stats = {f.relative_to(folder).as_posix(): f.stat() for f in files if f.exists()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
