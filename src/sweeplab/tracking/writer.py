"""Brings one MLflow run level with the store, and says in one line why it cannot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sweeplab import config, store
from sweeplab.tracking import address, causes, database, experiments, library, places, relocation, sender, terms
from sweeplab.tracking.existing import EVERYTHING, FINGERPRINT, STORE_ID, SWEEP_ID, Existing
from sweeplab.tracking.records import (
    AHEAD,
    DELETED,
    RENAMED,
    RUN,
    Node,
    entries,
    is_ours,
    made,
    note_made,
    sweep_record,
    write_entry,
)
from sweeplab.tracking.view import RUNNING, SWEEP_LENGTH, Job, Sweep, Tail

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

DOUBT = 60.0  # seconds in which a server may still do what it has not answered to


class AwayError(Exception):
    """The server, or the database, does not answer."""


class DeletedError(Exception):
    """Somebody deleted the MLflow run of this id, of which there is no record."""


class Writer:
    """What is done to MLflow; everything may be done twice."""

    def __init__(self, folder: store.Store, uri: str) -> None:
        self.store, self.uri = folder, uri
        self._experiments: dict[str, Experiment] = {}
        self.existing = Existing(folder)

    @cached_property
    def client(self) -> MlflowClient:
        library.quieten()
        from mlflow import MlflowClient

        with database.alone_at(self.uri):
            database.ensure_readable(self.uri)
            database.make(self.uri)
            relocation.bring_along(self.uri, self.store)
            return MlflowClient(tracking_uri=self.uri)

    def created(self, experiment: str) -> int:
        """When the server's experiment of this name was created (milliseconds); 0 if there is none."""
        return experiments.created_at(experiments.find(self.client, self.store, self.uri, experiment))

    def check(self) -> None:
        """Raise AwayError unless the server answers."""
        self._experiments.clear()
        self.existing.forget()
        try:
            self.client.search_experiments(max_results=1)
        except Exception as error:
            self.__dict__.pop("client", None)  # a database that was being made by another needs a new start
            raise AwayError(self.told(error)) from error

    def told(self, error: BaseException) -> str:
        """That the server cannot be reached, and why."""
        return f"MLflow at {address.public(self.uri)} cannot be reached: {self.in_short(error)}"

    def in_short(self, error: BaseException) -> str:
        """One line, without what is secret in the URI."""
        return causes.in_short(error, self.uri)

    def _experiment(self, name: str) -> Experiment:
        if name not in self._experiments:
            self._experiments[name] = experiments.ensure(self.client, self.store, self.uri, name)
        return self._experiments[name]

    def _place(self, name: str) -> str:
        """The id of an experiment."""
        return str(self._experiment(name).experiment_id)

    def _ensure_room(self, experiment: str) -> None:
        """Raise UserError if it is where the experiment keeps its files that is too long for a database."""
        place = str(self._experiment(experiment).artifact_location)
        if len(place) > address.LOCATION_LENGTH:
            raise address.too_long(place)

    def feed(self, job: Job) -> None:
        """Bring one MLflow run level, then note that it is."""
        self._experiment(job.experiment)  # what is wrong with it shows before anything is written
        try:
            run_id = self._feed_parent(job) if job.tail is None else self._feed_run(job, job.tail)
        except DeletedError as error:
            self._note(job, str(error), job.fed, deleted=RUN)
        else:
            self._note(job, run_id, job.goal)

    def _note(self, job: Job, run_id: str | None, fed: Node, **more: float | str) -> None:
        known = self._experiment(job.experiment)
        entry = {
            "experiment": known.experiment_id,
            "created": experiments.created_at(known),
            "run": run_id,
            "fed": fed,
            "store": self.store.id,
            **more,
        }
        if job.entry.get(AHEAD):
            entry[AHEAD] = True
        if known.name != terms.experiment(job.experiment):
            entry[RENAMED] = known.name
        job.entry = entry
        write_entry(job.file, self.uri, job.experiment, entry)

    def failed(self, job: Job, error: Exception) -> str | None:
        """Why the job could not be done; None if nothing is to be done. Raises AwayError if the server is away.

        A run that somebody deleted in MLflow stays deleted; one that is gone is made anew by the next attempt.
        """
        self.check()
        run_id = job.entry.get("run")
        try:
            place = self._place(job.experiment)
            if run_id and not self._is_active(job, place, str(run_id)):
                return None
        except Exception as other:  # for example that the whole experiment was deleted
            return self.in_short(other)
        return self.in_short(error)

    def _is_active(self, job: Job, place: str, run_id: str) -> bool:
        """Whether MLflow has the run; noted if it has not."""
        found = self.client.search_runs([place], f"attributes.run_id = '{run_id}'", run_view_type=EVERYTHING)
        if not found:
            self._note(job, None, {})
        elif found[0].info.lifecycle_stage == DELETED:
            self._note(job, run_id, job.fed, deleted=RUN)
            return False
        return True

    def _run_id(self, job: Job, tag: str, value: str, start: float | None, tags: Mapping[str, str]) -> tuple[str, bool]:
        """The MLflow run with this tag: recorded, found, or created; and whether it has all these tags already.

        One that began at another time than the journal (`start`, if given) is of a run that was cleaned out of the
        store; it makes room, if it was made by this very folder.
        """
        if recorded := job.entry.get("run"):
            return str(recorded), False
        place = self._place(job.experiment)
        found = self.existing.find(self.client, job, place, tag, value)
        active = [(run_id, began) for run_id, began, gone in found if not gone]
        same = [run_id for run_id, began in active if start is None or began == terms.ms(start)]
        if not same and (left := [run_id for run_id, began, _ in found if start is None or began == terms.ms(start)]):
            raise DeletedError(left[-1])
        mine = made(self.store) if len(active) > len(same[-1:]) else set()
        for other, _ in active:
            if other not in same[-1:] and other in mine:
                self.client.delete_run(other)
        at = terms.ms(job.sweeps[0].manifest["time"] if start is None else start)
        run_id = same[-1] if same else self._create_run(job, at, {**tags, tag: value, STORE_ID: self.store.id})
        self.existing.add(place, tag, value, run_id, at)
        if not same:
            note_made(self.store, run_id)
        self._note(job, run_id, {})
        return run_id, not same

    def _create_run(self, job: Job, start: int, tags: dict[str, str]) -> str:
        """A server that is too slow to answer may make the run all the same, and later: a second one waits for that."""
        if time.time() - job.entry.get("asked", 0) < DOUBT:
            raise ValueError("the server did not say in time whether it made this run; it is asked again in a minute")
        try:
            place = self._place(job.experiment)
            return str(self.client.create_run(place, start, terms.tags(tags)).info.run_id)
        except Exception as error:
            if causes.is_too_long(error):
                self._ensure_room(job.experiment)
            if address.served(self.uri) and "Read timed out" in str(error):
                self._note(job, None, {}, asked=time.time())
            raise

    def _set_status(self, job: Job, run_id: str, end: float | None) -> None:
        if job.fed.get("status") == job.goal["status"]:
            return
        if job.goal["status"] == RUNNING:
            self.client.update_run(run_id, RUNNING)
        else:
            self.client.set_terminated(run_id, job.goal["status"], terms.ms(end or time.time()))

    def _feed_parent(self, job: Job) -> str:
        sweep = job.sweeps[0]
        tags = terms.origin(
            sweep.manifest["name"]
        )  # without the sweep's tag: the UI folds children away below a parent it shows
        run_id, _ = self._run_id(job, SWEEP_ID, sweep.id, None, tags)
        self._set_status(job, run_id, sweep.manifest.get("ended"))
        if self._upload(job, run_id, self.store.sweeps, sweep=True):
            self._summarise(run_id, self.store.summary(sweep.id))
        return run_id

    def _summarise(self, run_id: str, summary: Node) -> None:
        """Tell what came out of a sweep: its description, and those metrics that MLflow has not, or has otherwise.

        A summary is written anew when a sweep is issued again; each value is to be there once. The step is the number
        of finished runs, so that the latest value is that of the most runs.
        """
        known = self.client.get_run(run_id).data.metrics
        at, step = terms.ms(summary.get("time", 0)), int(summary.get("runs", 0))
        values = store.numbers(summary.get("metrics", {}))
        rows = [(name, value, at, step) for name, value in values.items() if known.get(terms.key(name)) != value]
        sender.log(self.client, run_id, rows, {}, {"mlflow.note.content": summary.get("description", "")})

    def _upload(self, job: Job, run_id: str, folder: Path, *, sweep: bool = False) -> bool:
        """The goal's files that have changed; whether there were any."""
        before = job.fed.get("files", {})
        changed = [name for name, stamp in job.goal["files"].items() if before.get(name) != stamp]
        heavy = [name for name in changed if name in store.WEIGHTS]
        there = places.local(self.client.get_run(run_id).info.artifact_uri) if heavy else None
        for name in changed:
            if name in heavy and there is not None and places.link(folder / name, there / name):
                continue
            self.client.log_artifact(
                run_id, str(folder / name), places.name(name, sweep=sweep).rpartition("/")[0] or None
            )
        return bool(changed)

    def _feed_run(self, job: Job, tail: Tail) -> str:
        history, fed = tail.history.until(job.goal["lines"]), job.fed.get("lines", 0)
        start = history.first_start
        tags = self._tags(job, history)
        run_id, tagged = self._run_id(job, FINGERPRINT, tail.fingerprint, start["time"], tags)
        only_numbers = {line["event"] for line in history.lines[fed:]} <= {store.Event.EPOCH, store.Event.SYSTEM}
        changed = job.fed.get("sweeps") != job.goal["sweeps"] or not only_numbers
        rows = terms.values(history.lines, fed)
        if job.entry.get(AHEAD):
            rows = sender.new_rows(self.client, run_id, rows)
        # Params and data set are of the first start: how a run is computed may change when it is resumed.
        params = {} if job.fed else self._params(start, run_id, fresh=tagged)
        sender.log(self.client, run_id, rows, params, tags if changed and not tagged else {})
        if not job.fed and (data := start.get("data")):
            sender.log_data(self.client, run_id, data)
        at_work = set(store.Event) - {store.Event.TRACK, store.Event.MODEL}
        self._set_status(job, run_id, history.latest(*at_work)["time"])
        self._upload(job, run_id, tail.run.folder)
        if job.goal.get("model") and not job.fed.get("model"):
            place = self._place(job.experiment)
            sender.log_model(self.client, place, run_id, tail.run.folder / store.MODEL)
        if job.goal["status"] != RUNNING:
            tail.history.forget()
        return run_id

    def _params(self, start: Node, run_id: str, *, fresh: bool) -> dict[str, str]:
        """Those that MLflow has not: it refuses another value, as an earlier version may have cut it otherwise."""
        known = {} if fresh else self.client.get_run(run_id).data.params
        return {name: value for name, value in terms.params(start).items() if terms.key(name) not in known}

    def _tags(self, job: Job, history: store.History) -> dict[str, str]:
        assert job.tail is not None
        start, parent = history.start, job.parent
        provenance = start.get("provenance") or {}
        git = provenance.get("git") or {}
        found = {"question": start.get("question"), "git.commit": git.get("commit"), "git.dirty": git.get("dirty")}
        found |= {f"version.{name}": version for name, version in (provenance.get("versions") or {}).items()}
        found |= {name: provenance.get(name) for name in ("device", "threads")}
        found["stop_reason"] = history.latest(store.Event.END).get("stop_reason")
        found["mlflow.source.git.commit"] = git.get("commit")
        found |= dict.fromkeys(job.goal["sweeps"], "1")
        name = parent.names.get(job.tail.fingerprint) if parent else None
        if parent:
            found["mlflow.parentRunId"] = self._parent_id(parent, job.experiment)
        return terms.origin(name or start["name"]) | {
            k: config.yaml_str(value) for k, value in found.items() if value is not None
        }

    def _parent_id(self, sweep: Sweep, experiment: str) -> str:
        entry = entries(sweep_record(self.store, sweep.id), self.uri).get(experiment, {})
        here = entry.get(DELETED) or entry.get("created") == experiments.created_at(self._experiment(experiment))
        known = here and is_ours(entry, self.store)
        if not known or not entry.get("run"):
            raise ValueError(f"the parent run of sweep {sweep.id[:SWEEP_LENGTH]} is not made yet")
        return str(entry["run"])
