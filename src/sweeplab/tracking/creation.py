"""The MLflow run of a job: the recorded one, one that is found by its tags, or a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sweeplab.tracking import address, causes, terms
from sweeplab.tracking.connection import Connection, created_at
from sweeplab.tracking.existing import ExistingRuns
from sweeplab.tracking.goals import STORE_ID, SWEEP_LENGTH, FeedJob, SweepManifest
from sweeplab.tracking.records import (
    AHEAD,
    RENAMED,
    Node,
    entries,
    is_valid,
    made,
    note_made,
    sweep_record,
    write_entry,
)

DOUBT = 60.0  # seconds in which a server may still do what it has not answered to


class DeletedError(Exception):
    """Somebody deleted the MLflow run of this id, of which there is no record."""


class MlflowRuns:
    """The MLflow runs of a store: finds or creates them, and notes which they are."""

    def __init__(self, connection: Connection) -> None:
        self.existing = ExistingRuns(connection)
        self._connection = connection
        self._store = connection.store

    def note(self, job: FeedJob, run_id: str | None, fed: Node, **more: float | str) -> None:
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
        write_entry(job.record, self._connection.uri, job.experiment, entry)

    def ensure(self, job: FeedJob, tags: Mapping[str, str]) -> tuple[str, bool]:
        """Return the id of the job's MLflow run, and whether it is a new one, which has all `tags`.

        A run that began at another time than the journal is of a run that was cleaned out of the
        store: it is deleted if this very folder made it. Raises DeletedError if somebody deleted
        the run in MLflow.
        """
        if recorded := job.entry.get("run"):
            return str(recorded), False
        experiment_id = self._connection.experiment_id(job.experiment)
        existing = self.existing.find(job, experiment_id)
        active = [run.run_id for run in existing if not run.is_deleted]
        same = [run for run in existing if job.followed is None or run.start == job.start]
        same_active = [run.run_id for run in same if not run.is_deleted]
        if same and not same_active:
            raise DeletedError(same[-1].run_id)
        self._delete_own([run_id for run_id in active if run_id not in same_active[-1:]])
        if same_active:
            run_id = same_active[-1]
        else:
            run_id = self._create(job, tags)
            note_made(self._store, run_id)
        self.existing.add(job, experiment_id, run_id)
        self.note(job, run_id, {})
        return run_id, not same_active

    def _delete_own(self, run_ids: Sequence[str]) -> None:
        """Delete those of these MLflow runs that this very folder made."""
        own = made(self._store) if run_ids else set()
        for run_id in run_ids:
            if run_id in own:
                self._connection.client.delete_run(run_id)

    def _create(self, job: FeedJob, tags: Mapping[str, str]) -> str:
        """Create an MLflow run.

        A server that is too slow to answer may create it all the same, and later. So another
        attempt waits until that is settled.
        """
        if time.time() - job.entry.get("asked", 0) < DOUBT:
            problem = "the server did not say in time whether it made this run"
            raise ValueError(f"{problem}; it is asked again in a minute")
        client = self._connection.client
        experiment = self._connection.experiment(job.experiment)
        tag, value = job.tag
        all_tags = {**tags, tag: value, STORE_ID: self._store.id}
        try:
            run = client.create_run(experiment.experiment_id, job.start, tags=terms.tags(all_tags))
        except Exception as error:
            location = str(experiment.artifact_location)
            if causes.is_too_long(error) and len(location) > address.LOCATION_LENGTH:
                raise address.too_long(location) from error
            if address.served(self._connection.uri) and "Read timed out" in str(error):
                self.note(job, None, {}, asked=time.time())
            raise
        return str(run.info.run_id)

    def parent_id(self, sweep: SweepManifest, experiment: str) -> str:
        """Return the id of a sweep's MLflow run. Raises ValueError if there is none yet."""
        record = sweep_record(self._store, sweep.id)
        entry = entries(record, self._connection.uri).get(experiment, {})
        created = created_at(self._connection.experiment(experiment))
        if not is_valid(entry, self._store, created) or not entry.get("run"):
            raise ValueError(f"the parent run of sweep {sweep.id[:SWEEP_LENGTH]} is not made yet")
        return str(entry["run"])
