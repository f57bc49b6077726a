"""Check whether MLflow still has what it was fed.

A database may be restored, cleaned by `mlflow gc`, or be another one now. One search for an
experiment's runs tells of each whether it is gone (it is made anew), behind (it is fed anew, which
makes the same rows again), or was deleted by somebody in MLflow (it stays deleted, until it is
restored there).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.tracking import existing, places, terms
from sweeplab.tracking.connection import created_at
from sweeplab.tracking.goals import FeedJob, FollowedRun
from sweeplab.tracking.records import (
    AHEAD,
    DELETED,
    EXPERIMENT,
    FOR_GOOD,
    RENAMED,
    RUN,
    Node,
    asked,
    write_entry,
)
from sweeplab.tracking.view import RecordedRun, View
from sweeplab.tracking.writer import Writer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"
UNREADABLE = (store.DamagedError, ValueError, LookupError, TypeError)  # the view tells of it


@dataclass(kw_only=True)
class Contents:
    """What MLflow has of an experiment."""

    experiment: Experiment | None = None  # None: there is no such experiment
    runs: dict[str, MlflowRun] = field(default_factory=dict)  # deleted ones included
    oldest: float = 0.0  # all runs that began then (milliseconds) or later have been read
    models: set[str] = field(default_factory=set)  # the runs whose model is ready
    gone: set[str] = field(default_factory=set)  # runs that MLflow turned out not to have


class CheckedView:
    """The view of the store, by records that have been checked against the server.

    They are checked when an experiment is first seen, and whenever somebody asks for it, as `sync`
    does.
    """

    def __init__(self, view: View, writer: Writer, *, whole: bool) -> None:
        self.view = view
        self.asked = asked(view.store)  # the latest request for a check that was seen
        self.seconds = 0.0  # that the last look at the store took
        self._writer = writer
        self._whole = whole  # whether all that MLflow has is checked, or the latest runs only

    def jobs(self, *, has_clients: bool) -> list[FeedJob]:
        """List what is to be fed. Raises AwayError if the records cannot be checked."""
        latest = asked(self.view.store)
        if latest != self.asked:
            self.asked, self._whole = latest, True
            self.view.created.clear()
        began = time.monotonic()
        jobs = self.view.jobs(has_clients=has_clients)
        self.seconds = time.monotonic() - began
        unchecked = self.view.experiments - self.view.created.keys()
        if not unchecked:
            return jobs
        for name in unchecked:
            self._check(name)
        self.view.unsettle()
        return self.view.jobs(has_clients=has_clients)

    def _check(self, name: str) -> None:
        connection = self._writer.connection
        try:
            experiment = connection.find(name)
            self.view.created[name] = created_at(experiment)
            check(connection.client, self.view, name, experiment, whole=self._whole)
        except Exception as error:
            self.view.created.pop(name, None)  # its records are still to be checked
            self._writer.check()
            raise connection.away(error) from error  # it is back already

    def note_created(self, job: FeedJob) -> None:
        """Note which experiment the records are of; a new one of the same name makes them void."""
        if self.view.created.get(job.experiment) != job.entry["created"]:
            self.view.created[job.experiment] = job.entry["created"]
            self.view.unsettle()


def check(
    client: MlflowClient,
    view: View,
    name: str,
    experiment: Experiment | None,
    *,
    whole: bool,
) -> None:
    """Correct the records of an experiment by what MLflow has of all runs, or of the latest."""
    recorded = list(view.recorded(name))
    if not recorded:
        return
    contents = Contents()
    if experiment is not None:
        contents = _read_runs(client, experiment, view.store.id, whole=whole)
        if any(run.fed.get("model") for run in recorded):
            contents.models = _read_models(client, experiment)
    for run in recorded:  # the parents first
        mlflow_run = contents.runs.get(run.run_id)
        if mlflow_run is None and run.start < contents.oldest:  # it was not read
            continue
        entry = _gone(run, contents) if mlflow_run is None else _present(run, mlflow_run, contents)
        entry.pop(RENAMED, None)
        if experiment is not None and experiment.name != terms.experiment(name):
            entry[RENAMED] = experiment.name
        if entry != run.entry:
            write_entry(run.record, view.uri, name, entry)
    view.unsettle()


def _gone(run: RecordedRun, contents: Contents) -> Node:
    """Return the record of a run that MLflow has no more.

    It is made anew, unless it is known that somebody deleted it.
    """
    if run.entry.get(DELETED):
        return {**run.entry, DELETED: FOR_GOOD}
    contents.gone.add(run.run_id)
    return {**run.entry, "run": None, "fed": {}}


def _present(run: RecordedRun, mlflow_run: MlflowRun, contents: Contents) -> Node:
    """Return the record of a run that MLflow has; what it lacks of it is fed anew."""
    entry = dict(run.entry)
    if mlflow_run.info.lifecycle_stage == DELETED:
        assert contents.experiment is not None
        is_whole = contents.experiment.lifecycle_stage == DELETED
        entry[DELETED] = EXPERIMENT if is_whole else RUN
        return entry
    entry.pop(DELETED, None)
    is_ahead = not entry.get(AHEAD) and _is_ahead(run, mlflow_run)
    if is_ahead:
        entry[AHEAD] = True
    is_orphan = mlflow_run.data.tags.get(PARENT) in contents.gone
    if is_ahead or is_orphan or _is_behind(run, mlflow_run, contents.models):
        entry["fed"] = {}
    elif _lacks_files(run, mlflow_run):
        entry["fed"] = {**run.fed, "files": {}}
    return entry


def _read_runs(
    client: MlflowClient,
    experiment: Experiment,
    store_id: str,
    *,
    whole: bool,
) -> Contents:
    """Read the store's runs in an experiment; without `whole`, the latest page of them."""
    contents = Contents(experiment=experiment)
    for page in existing.pages(client, experiment.experiment_id, store_id):
        contents.runs |= {run.info.run_id: run for run in page}
        if page.token and not whole:
            contents.oldest = float(page[-1].info.start_time) + 1
            break
    return contents


def _read_models(client: MlflowClient, experiment: Experiment) -> set[str]:
    """Return the ids of the runs whose model is ready."""
    ready: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_logged_models([experiment.experiment_id], page_token=token)
        ready |= {str(model.source_run_id) for model in page if str(model.status) == "READY"}
        token = page.token
        if not token:
            return ready


def _is_behind(run: RecordedRun, mlflow_run: MlflowRun, models: set[str]) -> bool:
    """Tell whether MLflow has less than was fed, as after an older backup of it was restored."""
    if not run.fed:
        return False
    if mlflow_run.info.status != run.fed.get("status"):
        return True
    if run.fed.get("model") and run.run_id not in models:
        return True
    try:
        if run.followed is None:
            return _lacks_summary(run, mlflow_run)
        return _lacks_lines(run, run.followed, mlflow_run)
    except UNREADABLE:
        return False


def _is_ahead(run: RecordedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether MLflow's latest row of a metric is not in the journal.

    So it is after an older backup of the store was restored.
    """
    if run.followed is None:
        return False
    try:
        rows = terms.values(run.followed.history.lines, 0)
    except UNREADABLE:
        return False
    times = {(terms.key(row.name), row.time) for row in rows}
    keys = {key for key, _ in times}
    latest = [(metric.key, metric.timestamp) for metric in mlflow_run.data._metric_objs]
    return any(key in keys and (key, at) not in times for key, at in latest)


def _lacks_lines(run: RecordedRun, followed: FollowedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether MLflow lacks something that the journal's lines tell of.

    It may have more than that, of an earlier version.
    """
    history = followed.history.until(run.fed.get("lines", 0))
    followed.history.forget()
    start, data = history.first_start, mlflow_run.data
    params = {terms.key(name) for name in terms.params(start)} if start else set()
    rows = terms.values(history.lines, 0)
    if run.entry.get(AHEAD):  # MLflow has the same steps, of other times
        rows = [row._replace(time=0) for row in rows]
    expected = _latest((terms.key(row.name), row.step, row.time) for row in rows)
    known = _latest((metric.key, metric.step, metric.timestamp) for metric in data._metric_objs)
    has_tags = data.tags.keys() >= set(run.fed.get("sweeps", []))
    has_params = data.params.keys() >= params
    has_data = not start.get("data") or bool(mlflow_run.inputs and mlflow_run.inputs.dataset_inputs)
    has_rows = all(known.get(key, (-1, 0)) >= latest for key, latest in expected.items())
    return not (has_tags and has_params and has_data and has_rows)


def _latest(rows: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """Return the latest step of each metric, and its time, from (metric, step, time)."""
    latest: dict[str, tuple[int, int]] = {}
    for key, step, at in rows:
        latest[key] = max(latest.get(key, (step, at)), (step, at))
    return latest


def _lacks_summary(run: RecordedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether the run of a sweep lacks the metrics that came out of it."""
    if not run.fed.get("files") or run.summary is None:
        return False
    known = mlflow_run.data.metrics
    values = store.numbers(run.summary.get("metrics", {}))
    return any(known.get(terms.key(name)) != value for name, value in values.items())


def _lacks_files(run: RecordedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether a file that was fed is gone, where this machine can look at it."""
    folder, names = places.local(mlflow_run.info.artifact_uri), run.fed.get("files")
    if folder is None or not names or (folder.exists() and not os.access(folder, os.X_OK)):
        return False
    is_sweep = run.followed is None
    return any(not (folder / places.name(name, sweep=is_sweep)).exists() for name in names)
