"""The writer: feeds one MLflow run until it has reached its goal, and says why if it cannot."""

from __future__ import annotations

import time
from pathlib import Path

from sweeplab import store
from sweeplab.tracking import places, sender, showcase, terms
from sweeplab.tracking.connection import Connection
from sweeplab.tracking.creation import MlflowRuns
from sweeplab.tracking.goals import RUNNING, FollowedRun, SweepManifest, TrackedRun
from sweeplab.tracking.records import AHEAD, DELETED, RUN, Node

# Events that change no tag of a run
NUMBERS = {store.Event.EPOCH, store.Event.SYSTEM, store.Event.WEIGHTS}
AFTERWARDS = {store.Event.TRACK, store.Event.MODEL, store.Event.WEIGHTS}  # may follow the end
AT_WORK = set(store.Event) - AFTERWARDS  # events of a run's own process


class Writer:
    """Feeds MLflow runs. Each step may be done twice, since the record is written last."""

    def __init__(self, home: store.Store, uri: str) -> None:
        self.store = home
        self.connection = Connection(home, uri)
        self.runs = MlflowRuns(self.connection)

    def feed(self, job: TrackedRun) -> None:
        """Feed one MLflow run, then note that it has reached its goal."""
        # What is wrong with the experiment is to show before anything is written.
        self.connection.experiment(job.experiment)
        if isinstance(job.source, FollowedRun):
            self.runs.note(job, self._feed_run(job, job.source), job.goal)
        else:
            run_id = self._feed_sweep(job, job.source)
            view = showcase.show(self.connection, job, job.source, run_id)
            self.runs.note(job, run_id, job.goal, view=view)

    def failed(self, job: TrackedRun, error: Exception) -> str | None:
        """Say why a job failed; None if nothing is left to do.

        Raises AwayError if the server is away. A run that somebody deleted in MLflow stays
        deleted; one that is gone is made anew by the next attempt.
        """
        self.connection.check()
        try:
            experiment = self.connection.experiment(job.experiment)
            if job.run_id and self._is_deleted(job, experiment.experiment_id, job.run_id):
                return None
        except Exception as other:  # for example that the whole experiment was deleted
            return self.connection.in_short(other)
        return self.connection.in_short(error)

    def _is_deleted(self, job: TrackedRun, experiment_id: str, run_id: str) -> bool:
        """Tell whether somebody deleted the run in MLflow; note that, and note if it is gone."""
        runs = self.connection.search(experiment_id, f" and attributes.run_id = '{run_id}'")
        if not runs:
            self.runs.note(job, None, {})
        elif runs[0].info.lifecycle_stage == DELETED:
            self.runs.note(job, run_id, job.fed, deleted=RUN)
            return True
        return False

    def _feed_sweep(self, job: TrackedRun, sweep: SweepManifest) -> str:
        """Feed the parent run of a sweep; return its id.

        It has not the sweep's own tag: the UI folds children away below a parent that it shows.
        """
        run_id, _ = self.runs.ensure(job, terms.origin(sweep.manifest["name"]))
        self._set_status(job, run_id, sweep.manifest.get("ended"))
        if self._upload(job, run_id, self.store.sweeps):
            sender.log_summary(self.connection.client, run_id, self.store.summary(sweep.id))
        return run_id

    def _feed_run(self, job: TrackedRun, followed: FollowedRun) -> str:
        """Feed the MLflow run of a run; return its id."""
        client, run = self.connection.client, followed.run
        history = followed.history.until(job.goal["lines"])
        start, fed_lines = history.first_start, job.fed.get("lines", 0)
        tags = self._tags(job, followed, history)
        run_id, is_new = self.runs.ensure(job, tags)
        rows = terms.values(history.lines, fed_lines)
        if job.entry.get(AHEAD):
            rows = sender.new_rows(client, run_id, rows)
        # How a run is computed may change when it is resumed; its params and data set tell of the
        # first start.
        params = {} if job.fed else self._missing_params(start, run_id, is_new=is_new)
        events = {line["event"] for line in history.lines[fed_lines:]}
        has_new_tags = job.fed.get("sweeps") != job.goal["sweeps"] or not events <= NUMBERS
        sender.log(client, run_id, rows, params, tags if has_new_tags and not is_new else {})
        if not job.fed and (data := start.get("data")):
            sender.log_data(client, run_id, data)
        self._set_status(job, run_id, history.latest(*AT_WORK)["time"])
        self._upload(job, run_id, run.folder)
        if job.goal.get("model") and not job.fed.get("model"):
            experiment_id = self.connection.experiment_id(job.experiment)
            sender.log_model(client, experiment_id, run_id, run.folder / store.MODEL)
        if job.goal["status"] != RUNNING:
            followed.history.forget()
        return run_id

    def _tags(
        self, job: TrackedRun, followed: FollowedRun, history: store.History
    ) -> dict[str, str]:
        """Return the tags of a run: what its journal tells, its sweeps, and its parent run."""
        name = history.start["name"]
        tags: Node = dict.fromkeys(job.goal["sweeps"], "1")
        if parent := followed.parent(job.experiment):
            name = parent.names.get(followed.known_by[1]) or name
            tags["mlflow.parentRunId"] = self.runs.parent_id(parent, job.experiment)
        return terms.origin(name) | terms.run_tags(history) | tags

    def _missing_params(self, start: Node, run_id: str, *, is_new: bool) -> dict[str, str]:
        """Return the params that MLflow has not.

        It refuses another value of those that it has, which an earlier version may have cut
        otherwise.
        """
        params = terms.params(start)
        if is_new:
            return params
        known = self.connection.client.get_run(run_id).data.params
        return {name: value for name, value in params.items() if terms.key(name) not in known}

    def _set_status(self, job: TrackedRun, run_id: str, end: float | None) -> None:
        """Set the status of the goal, and when the run ended (Unix seconds; None: now)."""
        status = job.goal["status"]
        if job.fed.get("status") == status:
            return
        if status == RUNNING:
            self.connection.client.update_run(run_id, RUNNING)
        else:
            end_time = terms.ms(end or time.time())
            self.connection.client.set_terminated(run_id, status, end_time)

    def _upload(self, job: TrackedRun, run_id: str, folder: Path) -> bool:
        """Upload the files that have changed since they were fed; return whether there were any."""
        client, fed = self.connection.client, job.fed.get("files", {})
        changed = [name for name, stamp in job.goal["files"].items() if fed.get(name) != stamp]
        artifacts = None
        if any(name in store.WEIGHTS for name in changed):
            artifacts = places.local(client.get_run(run_id).info.artifact_uri)
        for name in changed:
            if artifacts and name in store.WEIGHTS and places.link(folder / name, artifacts / name):
                continue
            target = places.name(name, sweep=isinstance(job.source, SweepManifest))
            client.log_artifact(run_id, str(folder / name), target.rpartition("/")[0] or None)
        return bool(changed)
