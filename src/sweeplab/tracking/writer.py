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
    """Feeds MLflow runs.

    What was fed is noted last: whatever kills the process, a step may be done twice, and none is
    left out.
    """

    def __init__(self, home: store.Store, uri: str) -> None:
        self.store = home
        self.connection: Connection = Connection(home, uri)
        self.runs: MlflowRuns = MlflowRuns(self.connection)

    def feed(self, tracked: TrackedRun) -> None:
        """Feed one MLflow run, then note that it has reached its goal."""
        # What is wrong with the experiment is to show before anything is written.
        self.connection.experiment(tracked.experiment)
        if isinstance(tracked.source, FollowedRun):
            self.runs.note(tracked, self._feed_run(tracked, tracked.source), tracked.goal)
        else:
            run_id = self._feed_sweep(tracked, tracked.source)
            view = showcase.show(self.connection, tracked, tracked.source, run_id)
            self.runs.note(tracked, run_id, tracked.goal, view=view)

    def failed(self, tracked: TrackedRun, error: Exception) -> str | None:
        """Say why a run could not be fed; None if nothing is left to do.

        Raises AwayError if the server is away. A run that somebody deleted in MLflow stays
        deleted; one that is gone is made anew by the next attempt.
        """
        self.connection.check()
        try:
            experiment = self.connection.experiment(tracked.experiment)
            if tracked.run_id and self._is_deleted(
                tracked, experiment.experiment_id, tracked.run_id
            ):
                return None
        except Exception as other:  # for example that the whole experiment was deleted
            error = other
        return self.connection.refusal(error, tracked.experiment) or self.connection.in_short(error)

    def _is_deleted(self, tracked: TrackedRun, experiment_id: str, run_id: str) -> bool:
        """Tell whether somebody deleted the run in MLflow; note that, and note if it is gone."""
        runs = self.connection.search(experiment_id, f" and attributes.run_id = '{run_id}'")
        if not runs:
            self.runs.note(tracked, None, {})
        elif runs[0].info.lifecycle_stage == DELETED:
            self.runs.note(tracked, run_id, tracked.fed, deleted=RUN)
            return True
        return False

    def _feed_sweep(self, tracked: TrackedRun, sweep: SweepManifest) -> str:
        """Feed the parent run of a sweep; return its id.

        It lacks the sweep's own tag: the UI folds children away below a parent that it shows.
        """
        run_id, _ = self.runs.ensure(tracked, terms.origin(sweep.manifest["name"]))
        self._set_status(tracked, run_id, sweep.manifest.get("ended"))
        if self._upload(tracked, run_id, self.store.sweeps):
            sender.log_summary(self.connection.client, run_id, self.store.summary(sweep.id))
        return run_id

    def _feed_run(self, tracked: TrackedRun, followed: FollowedRun) -> str:
        """Feed the MLflow run of a run; return its id."""
        client, run = self.connection.client, followed.run
        history = followed.history.until(tracked.goal["lines"])
        start, fed_lines = history.first_start, tracked.fed.get("lines", 0)
        tags = self._tags(tracked, followed, history)
        run_id, is_new = self.runs.ensure(tracked, tags)
        new = history.lines[fed_lines:]
        rows = terms.values(history.lines, fed_lines)
        if tracked.entry.get(AHEAD):
            rows = sender.new_rows(client, run_id, rows)
        # How a run is computed may change when it is resumed; its params and data set tell of the
        # first start.
        params = {} if tracked.fed else self._missing_params(start, run_id, is_new=is_new)
        if is_new or not _has_new_tags(tracked, new):
            tags = {}
        sender.log(client, run_id, rows, params, tags)
        if not tracked.fed and (data := start.get("data")):
            sender.log_data(client, run_id, data)
        self._set_status(tracked, run_id, history.latest(*AT_WORK)["time"])
        self._upload(tracked, run_id, run.folder)
        if tracked.goal.get("model") and not tracked.fed.get("model"):
            experiment_id = self.connection.experiment_id(tracked.experiment)
            sender.log_model(client, experiment_id, run_id, run.folder / store.MODEL)
        if tracked.goal["status"] != RUNNING:
            followed.history.forget()
        return run_id

    def _tags(
        self, tracked: TrackedRun, followed: FollowedRun, history: store.History
    ) -> dict[str, str]:
        """Return the tags of a run: what its journal tells, its sweeps, and its parent run."""
        name = history.start["name"]
        tags: Node = dict.fromkeys(tracked.goal["sweeps"], "1")
        if parent := followed.parent(tracked.experiment):
            name = parent.names.get(followed.known_by[1]) or name
            tags["mlflow.parentRunId"] = self.runs.parent_id(parent, tracked.experiment)
        return terms.origin(name) | terms.run_tags(history) | tags

    def _missing_params(self, start: Node, run_id: str, *, is_new: bool) -> dict[str, str]:
        """Return the params that MLflow lacks.

        It refuses another value of those that it has, which an earlier version may have cut
        otherwise.
        """
        params = terms.params(start)
        if is_new:
            return params
        known = self.connection.client.get_run(run_id).data.params
        return {name: value for name, value in params.items() if terms.key(name) not in known}

    def _set_status(self, tracked: TrackedRun, run_id: str, end: float | None) -> None:
        """Set the status of the goal, and when the run ended (Unix seconds; None: now)."""
        status = tracked.goal["status"]
        if tracked.fed.get("status") == status:
            return
        if status == RUNNING:
            self.connection.client.update_run(run_id, RUNNING)
        else:
            end_time = terms.ms(end or time.time())
            self.connection.client.set_terminated(run_id, status, end_time)

    def _upload(self, tracked: TrackedRun, run_id: str, folder: Path) -> bool:
        """Upload the files that have changed since they were fed; return whether there were any."""
        client, fed = self.connection.client, tracked.fed.get("files", {})
        changed = [name for name, stamp in tracked.goal["files"].items() if fed.get(name) != stamp]
        artifacts = None
        if any(name in store.WEIGHTS for name in changed):
            artifacts = places.local(client.get_run(run_id).info.artifact_uri)
        for name in changed:
            if artifacts and name in store.WEIGHTS and places.link(folder / name, artifacts / name):
                continue
            target = places.name(name, sweep=isinstance(tracked.source, SweepManifest))
            client.log_artifact(run_id, str(folder / name), target.rpartition("/")[0] or None)
        return bool(changed)


def _has_new_tags(tracked: TrackedRun, new: list[store.Line]) -> bool:
    """Tell whether a tag of a run has changed: by its sweeps, or by these new lines."""
    if tracked.fed.get("sweeps") != tracked.goal["sweeps"]:
        return True
    return not {line["event"] for line in new} <= NUMBERS
