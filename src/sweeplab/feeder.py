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
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from sweeplab import config, database, metrics, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

T = TypeVar("T")
Node = dict[str, Any]

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what fails is said by us, in one line
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # it has one where tqdm is installed
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Our own loop tries again, and looks before it creates; mlflow's retries could create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "PGCONNECT_TIMEOUT": "5",
}
MEMORY = "/dev/shm"  # noqa: S108  # a private folder in it; a new database is written hundreds of times over, and waits
PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two looks at the store; with the server away
GRACE = 4.0  # seconds to drain in after the last client has gone
DOUBT = 60.0  # seconds in which a server may still do what it has not answered to

RUNNING, KILLED = "RUNNING", "KILLED"
STATUS = {
    store.FINISHED: "FINISHED",
    store.FAILED: "FAILED",
    store.INTERRUPTED: KILLED,
    store.PRUNED: KILLED,
    "running": RUNNING,
}
FILES = ("config.yaml", "overrides.yaml", "journal.jsonl", "result.json", "weights.safetensors")
SWEEP_LENGTH = 12  # hex digits of a sweep's id in its tag
CAUSES = (  # of what libraries wrap around them
    r"\[Errno -?\d+\] ([^')\"\]]+)",
    r"(?i)\b((?:read |connection )?timed out|Connection aborted|connection timeout expired)",
    r"failed with error code (401)\b",
    r"failed with error code (\d+ .*)",
    r"failed: ((?:FATAL|ERROR|[Cc]onnection refused).*)",
)
REFUSED = (
    "it refuses the user or the password; they come from the URI (http://USER:PASSWORD@HOST), or from "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
NOTE_LENGTH = 8000  # characters that MLflow takes as a run's description


class AwayError(Exception):
    """The server, or the database, does not answer."""


def public(uri: str) -> str:
    """The URI as it may be written down."""
    return str(config.redact(uri)).partition("?")[0]


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
        self.model = False
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
            self.ended, self.model = "", False
        if event["event"] == store.MODEL:
            self.model = True
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
        here = [sweep for sweep in self.sweeps if sweep.experiment == self.experiment]
        trained = [sweep for sweep in here if self.tail.sweep and sweep.id.startswith(self.tail.sweep[:SWEEP_LENGTH])]
        return next(iter(trained or ([] if self.experiment in self.tail.own else here)), None)


class View:
    """The store as the feeder sees it: which MLflow runs it asks for, and which of them are not level."""

    def __init__(self, folder: store.Store, uri: str) -> None:
        self.store, self.uri = folder, uri
        self.created: dict[str, int] = {}  # of the experiments looked up: another time is another database
        self.experiments: set[str] = set()  # all that the store asks for
        self.damaged: dict[str, str] = {}  # run id -> what is wrong with its journal
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
        wanted = [s for s in self._sweeps.values() if only is None or not s.runs.isdisjoint(only)]
        jobs = [job for sweep in wanted for job in self._parent(sweep, alone)]
        with os.scandir(self.store.root) as found:
            names = [e.name for e in found if len(e.name) == store.ID_LENGTH and (only is None or e.name in only)]
        return jobs + [job for name in names for job in self._look(name)]

    def lagging(self, only: Collection[str] | None) -> set[str]:
        """The run and sweep ids that are not level."""
        return {job.id for job in self.jobs(only)} | {name for name in self.damaged if only is None or name in only}

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
        except (ValueError, KeyError) as error:
            self.damaged[name] = f"its journal cannot be read: {error!r}"
        return []

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
            if tail.model:  # else not named: what was fed before there were models stays level
                goal["model"] = True
            if entry.get("fed") != goal:
                jobs.append(Job(tail.run.id, tail.run.mlflow_file, experiment, entry, goal, sweeps, tail))
        tail.settled = not jobs and status != RUNNING and not tail.run.claimed  # files may come while it is held
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
        goal["files"] = _stamped(self.store.report_folder(sweep.id).glob("*"), self.store.sweeps)
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
    return _stamped([*(folder / name for name in FILES), *folder.glob("profile/**/*")], folder)


def _stamped(files: Iterable[Path], folder: Path) -> dict[str, list[int]]:
    """Those that are there, but not the temporary ones of `write_atomic`; named from `folder` on."""
    found = sorted(file for file in files if file.is_file() and not file.name.startswith("."))
    stats = {file.relative_to(folder).as_posix(): file.stat() for file in found}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def quieten() -> None:
    """Set what MLflow reads when it is imported, unless the user has."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class Writer:
    """What is done to MLflow; everything may be done twice."""

    def __init__(self, folder: store.Store, uri: str) -> None:
        self.store, self.uri = folder, uri
        self._experiments: dict[str, tuple[str, int]] = {}  # name -> (id, time of creation)

    @cached_property
    def client(self) -> MlflowClient:
        quieten()
        from mlflow import MlflowClient

        with database.alone_at(self.uri):
            database.make(self.uri)
            return MlflowClient(tracking_uri=self.uri)

    def created(self, experiment: str) -> int:
        """When the server's experiment of this name was created (milliseconds); 0 if there is none."""
        found = self.client.get_experiment_by_name(experiment)
        return 0 if found is None else int(found.creation_time or 0)

    def check(self) -> None:
        """Raise AwayError unless the server answers."""
        self._experiments.clear()
        try:
            self.client.search_experiments(max_results=1)
        except Exception as error:
            self.__dict__.pop("client", None)  # a database that was being made by another needs a new start
            raise AwayError(self.told(error)) from error

    def told(self, error: BaseException) -> str:
        """That the server cannot be reached, and why."""
        return f"MLflow at {public(self.uri)} cannot be reached: {self.in_short(error)}"

    def in_short(self, error: BaseException) -> str:
        """One line, without what is secret in the URI."""
        text = str(error).replace(self.uri, public(self.uri))
        known = next((found for pattern in CAUSES if (found := re.search(pattern, text))), None)
        line = next(iter((known[1] if known else text).splitlines()), "") or type(error).__name__
        return REFUSED if line == "401" else str(config.redact(line))[:300]

    def _experiment(self, name: str) -> tuple[str, int]:
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name) or self._create_experiment(name)
            if found.lifecycle_stage == "deleted":
                raise ValueError(
                    f"MLflow experiment '{name}' was deleted: restore it (mlflow experiments restore -x "
                    f"{found.experiment_id}) or choose another tracking.experiment"
                )
            self._experiments[name] = (found.experiment_id, int(found.creation_time or 0))
        return self._experiments[name]

    def _create_experiment(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_experiment(name, artifact_location=artifact_location(self.uri, name))
        except MlflowException:
            if self.client.get_experiment_by_name(name) is None:  # else another feeder was faster
                raise
        return self.client.get_experiment_by_name(name)

    def feed(self, job: Job) -> None:
        """Bring one MLflow run level, then note that it is."""
        run_id = self._feed_parent(job) if job.tail is None else self._feed_run(job, job.tail)
        self._note(job, run_id, job.goal)

    def _note(self, job: Job, run_id: str | None, fed: Node, **more: float) -> None:
        experiment_id, created = self._experiment(job.experiment)
        entry = {"experiment": experiment_id, "created": created, "run": run_id, "fed": fed, **more}
        job.entry = entry
        record = read_json(job.file)
        record.setdefault(public(self.uri), {})[job.experiment] = entry
        store.write_json(job.file, record)

    def failed(self, job: Job, error: Exception) -> str:
        """Why the job could not be done. Raises AwayError if that is the server's absence.

        A run that someone deleted in MLflow is forgotten, and so made anew by the next attempt.
        """
        self.check()
        run_id = job.entry.get("run")
        try:
            if run_id and not self._search(job, f"attributes.run_id = '{run_id}'"):
                self._note(job, None, {})
        except Exception as other:  # for example that the whole experiment was deleted
            return self.in_short(other)
        return self.in_short(error)

    def _search(self, job: Job, condition: str) -> list[MlflowRun]:
        return list(self.client.search_runs([self._experiment(job.experiment)[0]], condition))

    def _run_id(self, job: Job, identity: Mapping[str, str], start: float | None, tags: Mapping[str, str]) -> str:
        """The MLflow run of this identity: recorded, found, or created.

        One that began at another time than the journal (`start`, if given) is of a run that was cleaned out of the
        store; it makes room.
        """
        if recorded := job.entry.get("run"):
            return str(recorded)
        identity = {**identity, "store.id": self.store.id}
        found = self._search(job, " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items()))
        same = [run for run in found if start is None or run.info.start_time == _ms(start)]
        for other in found:
            if other not in same[-1:]:
                self.client.delete_run(other.info.run_id)
        at = _ms(job.sweeps[0].manifest["time"] if start is None else start)
        run = same[-1] if same else self._create_run(job, at, {**tags, **identity})
        self._note(job, run.info.run_id, {})
        return str(run.info.run_id)

    def _create_run(self, job: Job, start: int, tags: dict[str, str]) -> MlflowRun:
        """A server that is too slow to answer may make the run all the same, and later: a second one waits for that."""
        if time.time() - job.entry.get("asked", 0) < DOUBT:
            raise ValueError("the server did not say in time whether it made this run; it is asked again in a minute")
        try:
            return self.client.create_run(self._experiment(job.experiment)[0], start, tags)
        except Exception as error:
            if database.served(self.uri) and "Read timed out" in str(error):
                self._note(job, None, {}, asked=time.time())
            raise

    def _set_status(self, job: Job, run_id: str, end: float | None) -> None:
        if job.fed.get("status") == job.goal["status"]:
            return
        if job.goal["status"] == RUNNING:
            self.client.update_run(run_id, RUNNING)
        else:
            self.client.set_terminated(run_id, job.goal["status"], _ms(end or time.time()))

    def _feed_parent(self, job: Job) -> str:
        sweep = job.sweeps[0]
        tags = _origin(
            sweep.manifest["name"]
        )  # without the sweep's tag: the UI folds children away below a parent it shows
        run_id = self._run_id(job, {"sweep.id": sweep.id}, None, tags)
        self._set_status(job, run_id, sweep.manifest.get("ended"))
        if self._upload(job, run_id, self.store.sweeps, "comparison"):
            summary = read_json(self.store.report_folder(sweep.id) / store.SUMMARY)
            at = _ms(summary.get("time", 0))
            rows = [(name, value, at, 0) for name, value in store.numbers(summary.get("metrics", {})).items()]
            self._log(run_id, rows, {}, {"mlflow.note.content": summary.get("description", "")[:NOTE_LENGTH]})
        return run_id

    def _upload(self, job: Job, run_id: str, folder: Path, place: str | None = None) -> bool:
        """The goal's files that have changed; whether there were any."""
        before = job.fed.get("files", {})
        changed = [name for name, stamp in job.goal["files"].items() if before.get(name) != stamp]
        for name in changed:
            self.client.log_artifact(run_id, str(folder / name), place or name.rpartition("/")[0] or None)
        return bool(changed)

    def _feed_run(self, job: Job, tail: Tail) -> str:
        events = tail.events()[: job.goal["lines"]]
        first = next(e for e in events if e["event"] == store.START)
        tags = self._tags(job, events)
        run_id = self._run_id(job, {"fingerprint": tail.fingerprint}, first["time"], tags)
        new = events[job.fed.get("lines", 0) :]
        changed = job.fed.get("sweeps") != job.goal["sweeps"] or any(
            e["event"] not in (store.EPOCH, store.SYSTEM) for e in new
        )
        rows = values(events, job.fed.get("lines", 0))
        # Params and data set are of the first start: how a run is computed may change when it is resumed.
        self._log(run_id, rows, {} if job.fed else params(first["config"]), tags if changed else {})
        if not job.fed and (data := first.get("data")):
            self._log_data(run_id, data)
        self._set_status(job, run_id, [e["time"] for e in events if e["event"] not in (store.TRACK, store.MODEL)][-1])
        self._upload(job, run_id, tail.run.folder)
        if job.goal.get("model") and not job.fed.get("model"):
            self._log_model(job, run_id, tail.run.folder / store.MODEL)
        if job.goal["status"] != RUNNING:
            tail.forget()
        return run_id

    def _log(
        self,
        run_id: str,
        rows: Sequence[tuple[str, float, int, int]],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """All in one call if it is not too much for one: each is a transaction of its own."""
        from mlflow.entities import Metric, Param, RunTag

        parts = zip_longest(
            batched([Metric(_key(name), value, at, step) for name, value, at, step in rows], 800),
            batched([Param(_key(name), value) for name, value in params.items()], 100),
            batched([RunTag(_key(name), value) for name, value in tags.items()], 100),
            fillvalue=(),
        )
        for some_metrics, some_params, some_tags in parts:
            self.client.log_batch(run_id, metrics=some_metrics, params=some_params, tags=some_tags)

    def _log_data(self, run_id: str, data: Node) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        sizes = {name: data[name] for name in (metrics.TRAIN, metrics.VALID, metrics.TEST) if name in data}
        source = json.dumps({"name": data["name"], "sha256": data["digest"]})
        entity = Dataset(data["name"], str(data["digest"])[:36], "local", source, profile=json.dumps(sizes))
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _log_model(self, job: Job, run_id: str, folder: Path) -> None:
        """The folder as a model of this run, `runs:/<run>/model`, which knows where it is; READY when all is there."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model
        from mlflow.models.model import MLMODEL_FILE_NAME

        place = self._experiment(job.experiment)[0]
        found = self.client.search_logged_models([place], f"source_run_id = '{run_id}'")
        model = found[0] if found else self.client.create_logged_model(place, store.MODEL, run_id)
        if model.status == LoggedModelStatus.READY:
            return
        self.client.log_model_artifacts(model.model_id, str(folder))
        with tempfile.TemporaryDirectory() as scratch:
            about = Model.load(str(folder))
            about.model_id, about.run_id, about.artifact_path = model.model_id, run_id, model.artifact_location
            about.save(f"{scratch}/{MLMODEL_FILE_NAME}")
            self.client.log_model_artifact(model.model_id, f"{scratch}/{MLMODEL_FILE_NAME}")
        outputs = self.client.get_run(run_id).outputs
        if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    def _tags(self, job: Job, events: Sequence[Node]) -> dict[str, str]:
        assert job.tail is not None
        start = [e for e in events if e["event"] == store.START][-1]
        ends = [e for e in events if e["event"] == store.END]
        provenance, parent = start.get("provenance") or {}, job.parent
        git = provenance.get("git") or {}
        found = {"question": start.get("question"), "git.commit": git.get("commit"), "git.dirty": git.get("dirty")}
        found |= {f"version.{name}": version for name, version in (provenance.get("versions") or {}).items()}
        found |= {name: provenance.get(name) for name in ("device", "threads")}
        found["stop_reason"] = ends[-1].get("stop_reason") if ends else None
        found["mlflow.source.git.commit"] = git.get("commit")
        found |= dict.fromkeys(job.goal["sweeps"], "1")
        name = parent.names.get(job.tail.fingerprint) if parent else None
        if parent:
            found["mlflow.parentRunId"] = self._parent_id(parent)
        return _origin(name or start["name"]) | {k: _text(value) for k, value in found.items() if value is not None}

    def _parent_id(self, sweep: Sweep) -> str:
        entry = entries(sweep_record(self.store, sweep.id), self.uri).get(sweep.experiment, {})
        if entry.get("created") != self._experiment(sweep.experiment)[1] or not entry.get("run"):
            raise ValueError(f"the parent run of sweep {sweep.id[:SWEEP_LENGTH]} is not made yet")
        return str(entry["run"])


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`rows` in parts as large as one call of MLflow takes."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _key(name: str) -> str:
    """The name in the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _text(value: object) -> str:
    """`value` as it is typed on the command line."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _origin(name: str) -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return {
        "mlflow.runName": name,
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user,
    }


def params(resolved: Mapping[str, Any]) -> dict[str, str]:
    """The config as MLflow parameters: dotted keys, and not where the run is kept."""
    kept = {k: v for k, v in resolved.items() if k not in ("tracking", "store", "sweep")}
    return {name: _text(value)[:6000] for name, value in config.flat(kept).items()}


def values(events: Sequence[Node], fed: int) -> list[tuple[str, float, int, int]]:
    """(metric, value, milliseconds, step) of the lines after the first `fed`.

    Of a repeated epoch the first line counts. The final metrics are those of the `finished` end: an interrupted run
    goes on, and would have each of them twice. The step of a look at the machine is its number, as MLflow has it.
    """
    first: dict[int, int] = {}  # epoch -> its first line
    rows: list[tuple[int, int, Node]] = []  # (line, step, event)
    for line, event in enumerate(events):
        if event["event"] == store.EPOCH and first.setdefault(event["epoch"], line) == line:
            rows.append((line, event["epoch"], event))
    looks = [line for line, event in enumerate(events) if event["event"] == store.SYSTEM]
    rows += [(line, step, events[line]) for step, line in enumerate(looks)]
    ends = [n for n, e in enumerate(events) if e["event"] == store.END and e["status"] == store.FINISHED]
    rows += [(line, max(first, default=0), events[line]) for line in ends[:1]]
    return [
        (name, value, _ms(event["time"]), step)
        for line, step, event in rows
        if line >= fed
        for name, value in store.numbers(event["metrics"]).items()
    ]


def artifact_location(uri: str, experiment: str) -> str | None:
    """Beside an SQLite database, for other databases in the root; a server decides by itself."""
    if database.served(uri):
        return None
    folder = database.folder(uri) or config.root()
    return (folder / "mlruns" / re.sub(r"[^\w.-]+", "_", experiment)).as_uri()


class Feeder:
    """Looks at the store again and again, and brings MLflow level."""

    def __init__(self, folder: store.Store, uri: str, lock: FileLock, *, log: bool = True) -> None:
        self.store, self.uri, self._lock, self._log = folder, uri, lock, log
        self.view, self.writer = View(folder, uri), Writer(folder, uri)
        self._alone = threading.Event()
        self._idle = False
        self._look = 0.0  # seconds that the last look at the store took
        self._state: Node = {}

    def report(self, error: str | None = None, lag: Mapping[str, str] | None = None) -> None:
        """Tell the clients, by a file, what stands in the way."""
        state = {"pid": os.getpid(), "uri": public(self.uri), "error": error, "lag": dict(lag or {})}
        if state != self._state:
            store.write_json(state_file(self.store), state)
            if self._log:
                print(time.strftime("%F %T"), error or lag or "at work", flush=True)
        self._state = state

    def once(self, *, alone: bool = False, done: Callable[[int, int], None] = lambda *_: None) -> bool | None:
        """One pass over the store; whether nothing was left to do, None if something cannot be done now."""
        try:
            lag = self._pass(alone, done)
        except AwayError as error:
            self.report(str(error))
            return None
        self.report(lag=lag)
        return None if lag else self._idle

    def _pass(self, alone: bool, done: Callable[[int, int], None]) -> dict[str, str]:
        """Feed all that is not level; run or sweep id -> what went wrong."""
        jobs = self._jobs(alone)
        self._idle, lag = not jobs, dict(self.view.damaged)
        for number, job in enumerate(jobs, start=1):
            try:
                self.writer.feed(job)
                self._seen(job)
            except Exception as error:  # one run's trouble, of whatever kind, must not stop the others
                lag[job.id] = self.writer.failed(job, error)
            done(number, len(jobs))
        return lag

    def _seen(self, job: Job) -> None:
        """Note which experiment the records are of; a new one of the same name makes older records void."""
        if self.view.created.get(job.experiment) != job.entry["created"]:
            self.view.created[job.experiment] = job.entry["created"]
            self.view.unsettle()

    def _jobs(self, alone: bool) -> list[Job]:
        """What the store asks for, its records checked against the server the first time an experiment is seen."""
        began = time.monotonic()
        jobs = self.view.jobs(alone=alone)
        self._look = time.monotonic() - began
        unknown = self.view.experiments - self.view.created.keys()
        for experiment in unknown:
            try:
                self.view.created[experiment] = self.writer.created(experiment)
            except Exception as error:
                self.writer.check()
                raise AwayError(self.writer.told(error)) from error  # it is back already
        if unknown:
            self.view.unsettle()
            jobs = self.view.jobs(alone=alone)
        return jobs

    def run(self) -> None:
        """Feed while there are clients; then drain, mark what died, and leave."""
        threading.Thread(target=self._watch, daemon=True).start()
        self.report()
        try:  # importing mlflow and opening the store takes seconds, as does a server that does not answer
            self.writer.check()
        except AwayError as error:
            self.report(str(error))
        pause = PAUSE
        while self.store.root.exists():
            alone = self._alone.is_set()
            level = self.once(alone=alone)
            away = self._state["error"] is not None
            if alone and (level or away) and self._leave():
                return
            pause = min(2 * pause, LONGEST_PAUSE) if level is None else PAUSE
            if not alone:
                self._alone.wait(max(pause, 10 * self._look))
            elif level is None:
                time.sleep(PAUSE)

    def _watch(self) -> None:
        """See the last client go; a feeder that cannot drain in time then leaves as it is: any later one goes on."""
        since: float | None = None
        while True:
            time.sleep(0.25)
            if not nobody(self.store):
                since = None
                self._alone.clear()
                continue
            since = since or time.monotonic()
            self._alone.set()
            if time.monotonic() - since > GRACE and self._leave():
                os._exit(0)

    def _leave(self) -> bool:
        """Give the feeder's lock back while no client can come; False if one has come."""
        return nobody(self.store, self._lock.release)


def give_way(process: int, level: int = 10) -> None:
    """Let what trains go before this feeder: its threads wait for one another, so all wait when one has lost its core.

    `level` as of nice, of an autogroup: Linux shares the cores between these first, and a feeder has one of its own.
    """
    with suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(level))


def main() -> None:
    """`python -m sweeplab.feeder`: loads MLflow, and feeds the store that a line on stdin names, if one comes.

    The line is JSON: `store`, `uri`, `root`. On stdin, because a command line shows in `ps`. With the argument `fresh`,
    an empty database is made meanwhile, too, to be copied to where there is none.
    """
    quieten()
    sys.modules["pandas"] = None  # type: ignore[assignment]  # MLflow does without, and is there a third of a second sooner
    import mlflow.store.tracking.sqlalchemy_store  # takes a second, in which who asks for it loads PyTorch

    del mlflow
    with tempfile.TemporaryDirectory(prefix="sweeplab-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as here:
        made = database.make_empty(Path(here) / "mlflow.db") if "fresh" in sys.argv else None
        order = json.loads(sys.stdin.readline() or "{}")
        if not order:
            return
        os.nice(10)  # where there are no autogroups
        give_way(os.getpid())
        if made:
            with database.alone_at(order["uri"]):
                database.make(order["uri"], made)
    folder, os.environ["SWEEPLAB_ROOT"] = store.Store(order["store"]), order["root"]
    with (folder.root / "feeder.log").open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    lock = FileLock(lock_file(folder), thread_local=False)  # the watching thread may give it back
    try:
        lock.acquire(timeout=1)  # longer than a client's look at the lock
    except Timeout:
        return
    Feeder(folder, order["uri"], lock).run()


if __name__ == "__main__":
    main()
