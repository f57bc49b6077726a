"""The MLflow run of a job: the recorded one, one that is found by its tags, or a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeplab.tracking import address, causes, records, terms
from sweeplab.tracking.connection import Connection, created_at
from sweeplab.tracking.goals import SWEEP_LENGTH, SweepManifest, TrackedRun
from sweeplab.tracking.records import AHEAD, DELETED, RENAMED, Node

if TYPE_CHECKING:
    from mlflow.entities import RunInfo

DOUBT = 60.0  # seconds in which a server may still do what it has not answered to


class NoParentError(ValueError):
    """The MLflow run of a sweep is not made yet, below which a run is to be made."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(f"the parent run of sweep {sweep_id[:SWEEP_LENGTH]} is not made yet")
        self.sweep_id = sweep_id


class MlflowRuns:
    """The MLflow runs of a store: finds or creates them, and notes which they are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = connection.store

    def note(
        self, job: TrackedRun, run_id: str | None, fed: Node, **more: float | str | None
    ) -> None:
        """Write the record of a job: which MLflow run it is, and which goal that has reached."""
        experiment = self._connection.experiment(job.experiment)
        entry = {
            "experiment": experiment.experiment_id,
            "created": created_at(experiment),
            "run": run_id,
            "fed": fed,
            "store": self._store.id,
            **more,
        }
        if job.entry.get(AHEAD):
            entry[AHEAD] = True
        if experiment.name != terms.experiment(job.experiment):
            entry[RENAMED] = experiment.name
        job.entry = entry
        records.write_entry(job.source.record, self._connection.uri, job.experiment, entry)

    def ensure(self, job: TrackedRun, tags: Mapping[str, str]) -> tuple[str, bool]:
        """Return the id of the job's MLflow run, and whether it is a new one, which has all `tags`.

        A run that began at another time than the journal is of a run that was cleaned out of the
        store: it is deleted if this very folder made it. One that somebody deleted in MLflow is
        returned, too: it takes nothing, and `Writer.failed` finds out why.
        """
        if job.run_id:
            return job.run_id, False
        existing = self._find(job)
        active = [run for run in existing if run.lifecycle_stage != DELETED]
        is_sweep = isinstance(job.source, SweepManifest)
        same = [run for run in existing if is_sweep or run.start_time == job.source.start]
        chosen = ([run for run in same if run in active] or same)[-1:]
        if not chosen or chosen[0] in active:
            self._delete_own([run.run_id for run in active if run not in chosen])
        run = chosen[0] if chosen else self._create(job, tags)
        known = self._connection.known_runs.get(job.experiment)
        if known is not None:
            known[job.source.known_by] = [run]
        self.note(job, run.run_id, {})
        return run.run_id, not chosen

    def _find(self, job: TrackedRun) -> list[RunInfo]:
        """List the job's runs in MLflow, deleted ones included.

        MLflow searches all its runs for one, so what was read of all of them is consulted first.
        """
        known = self._connection.known_runs.get(job.experiment)
        # If a creation was not answered, it may have made a run since all were read.
        if known is not None and "asked" not in job.entry:
            return known.get(job.source.known_by, [])
        tag, value = job.source.known_by
        experiment_id = self._connection.experiment_id(job.experiment)
        runs = self._connection.search(experiment_id, f" and tags.`{tag}` = '{value}'")
        return [run.info for run in runs]

    def _delete_own(self, run_ids: Sequence[str]) -> None:
        """Delete those of these MLflow runs that this very folder made."""
        own = records.made(self._store) if run_ids else set()
        for run_id in run_ids:
            if run_id in own:
                self._connection.client.delete_run(run_id)

    def _create(self, job: TrackedRun, tags: Mapping[str, str]) -> RunInfo:
        """Create an MLflow run.

        A server that is too slow to answer may create it all the same, and later. So another
        attempt waits until that is settled.
        """
        if time.time() - job.entry.get("asked", 0) < DOUBT:
            problem = "the server did not say in time whether it made this run"
            raise ValueError(f"{problem}; it is asked again in a minute")
        client = self._connection.client
        experiment = self._connection.experiment(job.experiment)
        tag, value = job.source.known_by
        all_tags = {**tags, tag: value, records.STORE_ID: self._store.id}
        try:
            run = client.create_run(
                experiment.experiment_id, job.source.start, tags=terms.tags(all_tags)
            )
        except Exception as error:
            location = str(experiment.artifact_location)
            if causes.is_too_long(error) and len(location) > address.LOCATION_LENGTH:
                raise address.too_long(location) from error
            if address.served(self._connection.uri) and "Read timed out" in str(error):
                self.note(job, None, {}, asked=time.time())
            raise
        records.note_made(self._store, run.info.run_id)
        return run.info

    def parent_id(self, sweep: SweepManifest, experiment: str) -> str:
        """Return the id of a sweep's MLflow run. Raises NoParentError if there is none yet."""
        entry = records.entries(sweep.record, self._connection.uri).get(experiment, {})
        created = created_at(self._connection.experiment(experiment))
        if not records.is_valid(entry, self._store, created) or not entry.get("run"):
            raise NoParentError(sweep.id)
        return str(entry["run"])
