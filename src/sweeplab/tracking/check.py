"""Check whether MLflow still has what it was fed.

A database may be restored, cleaned by `mlflow gc`, or be another one now. One search for an
experiment's runs tells of each whether it is gone (it is made anew), behind (it is fed anew, which
makes the same rows again), or was deleted by somebody in MLflow (it stays deleted, until it is
restored there).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sweeplab import store
from sweeplab.tracking import places, records, showcase, terms
from sweeplab.tracking.connection import AwayError, Connection, created_at
from sweeplab.tracking.goals import FollowedRun, TrackedRun
from sweeplab.tracking.records import AHEAD, DELETED, RENAMED, Node
from sweeplab.tracking.view import View

if TYPE_CHECKING:
    from mlflow.entities import Experiment, RunInfo
    from mlflow.entities import Run as MlflowRun
    from mlflow.store.entities import PagedList

T = TypeVar("T")

PAGE = 500  # runs; a server answers for so many within its time
PARENT = "mlflow.parentRunId"
UNREADABLE = (ValueError, LookupError, TypeError)  # the view reports damaged files


@dataclass
class Contents:
    """What MLflow has of the store's runs in an experiment."""

    home: store.Store
    experiment: Experiment | None  # None: there is no such experiment
    runs: dict[str, MlflowRun] = field(default_factory=dict)  # deleted ones included
    oldest: int = 0  # all runs that began then (milliseconds) or later have been read
    models: set[str] = field(default_factory=set)  # the runs whose model is ready
    gone: set[str] = field(default_factory=set)  # runs that MLflow turned out not to have


class CheckedView:
    """The view of the store, by records that have been checked against MLflow.

    They are checked when an experiment is first seen, and whenever somebody asks for it, as `sync`
    does.
    """

    def __init__(self, view: View, connection: Connection, *, whole: bool) -> None:
        self.view = view
        self.asked = records.asked(view.store)  # the latest request for a check that was seen
        self.seconds = 0.0  # that the last look at the store took
        self.refused: dict[str, str] = {}  # why the user may not write to an experiment, by name
        self._connection = connection
        self._whole = whole  # whether all that MLflow has is checked, or the latest runs only

    def jobs(self, *, has_clients: bool) -> list[TrackedRun]:
        """List what is to be fed; `refused` then says of which experiments nothing can be.

        Raises AwayError if the records cannot be checked, or are all that a refusal leaves open.
        """
        latest = records.asked(self.view.store)
        if latest != self.asked:
            self.asked, self._whole = latest, True
            self.view.created.clear()
        began = time.monotonic()
        jobs = self.view.jobs(has_clients=has_clients)
        self.seconds = time.monotonic() - began
        unchecked = self.view.experiments - self.view.created.keys()
        self.refused = {}
        for name in unchecked:
            try:
                self._check(name)
            except Exception as error:
                self.view.created.pop(name, None)  # its records are still to be checked
                self._connection.check()
                refusal = self._connection.refusal(error, name)
                if refusal is None:
                    raise self._connection.away(error) from error  # the server answers again by now
                self.refused[name] = refusal
        if unchecked & self.view.created.keys():
            self.view.unsettle()
            jobs = self.view.jobs(has_clients=has_clients)
        if self.refused and not jobs:
            raise AwayError(next(iter(self.refused.values())))
        return jobs

    def note_created(self, job: TrackedRun) -> None:
        """Note which experiment the records are of; a new one of the same name makes them void."""
        if self.view.created.get(job.experiment) != job.entry["created"]:
            self.view.created[job.experiment] = job.entry["created"]
            self.view.unsettle()

    def _check(self, name: str) -> None:
        """Correct the records of an experiment by what MLflow has of all runs, or of the latest."""
        experiment = self._connection.find(name)
        self.view.created[name] = created_at(experiment)
        recorded = self.view.recorded(name)
        contents = Contents(self.view.store, experiment)
        if experiment is not None:
            self._read_runs(contents, experiment.experiment_id)
            if any(run.fed.get("model") for run in recorded):
                search = self._connection.client.search_logged_models
                for page in _pages(partial(search, [experiment.experiment_id])):
                    ready = [model for model in page if str(model.status) == "READY"]
                    contents.models |= {str(model.source_run_id) for model in ready}
        if not contents.oldest:
            self._connection.known_runs[name] = _by_tag(contents.runs.values())
        for run in recorded:  # the parents first
            entry = _corrected(run, contents)
            if entry != run.entry:
                records.write_entry(run.source.record, self.view.uri, name, entry)

    def _read_runs(self, contents: Contents, experiment_id: str) -> None:
        """Read the store's runs in an experiment, or the latest page of them."""
        order = ["attributes.start_time DESC"]
        search = partial(self._connection.search, experiment_id, max_results=PAGE, order_by=order)
        for page in _pages(search):
            contents.runs |= {run.info.run_id: run for run in page}
            if page.token and not self._whole:
                contents.oldest = page[-1].info.start_time + 1
                return


def _pages(search: Callable[..., PagedList[T]]) -> Iterator[PagedList[T]]:
    """Go through all pages of a search."""
    page = search()
    yield page
    while page.token:
        page = search(page_token=page.token)
        yield page


def _by_tag(runs: Iterable[MlflowRun]) -> dict[tuple[str, str], list[RunInfo]]:
    """Map the tag by which a run is known to the runs that have it."""
    known: dict[tuple[str, str], list[RunInfo]] = {}
    for run in runs:
        for tag in {records.FINGERPRINT, records.SWEEP_ID} & run.data.tags.keys():
            known.setdefault((tag, run.data.tags[tag]), []).append(run.info)
    return known


def _corrected(run: TrackedRun, contents: Contents) -> Node:
    """Return the record of a run as it should be by what MLflow has."""
    experiment = contents.experiment
    mlflow_run = contents.runs.get(str(run.run_id))
    if mlflow_run is not None:
        entry = _present(run, mlflow_run, contents)
    elif run.source.start < contents.oldest:  # it was not read
        return run.entry
    elif run.entry.get(DELETED):
        entry = {**run.entry, DELETED: records.FOR_GOOD}
    else:  # the run is made anew
        contents.gone.add(str(run.run_id))
        entry = {**run.entry, "run": None, "fed": {}}
    entry.pop(RENAMED, None)
    if entry.get("view") and not (
        experiment and showcase.view_tag(run.source.id) in experiment.tags
    ):
        entry["view"] = None
    if experiment is not None and experiment.name != terms.experiment(run.experiment):
        entry[RENAMED] = experiment.name
    return entry


def _present(run: TrackedRun, mlflow_run: MlflowRun, contents: Contents) -> Node:
    """Return the record of a run that MLflow has; what it lacks of it is fed anew."""
    entry = dict(run.entry)
    if mlflow_run.info.lifecycle_stage == DELETED:
        assert contents.experiment is not None
        is_whole = contents.experiment.lifecycle_stage == DELETED
        entry[DELETED] = records.EXPERIMENT if is_whole else records.RUN
        return entry
    entry.pop(DELETED, None)
    is_ahead = not entry.get(AHEAD) and _is_ahead(run, mlflow_run)
    if is_ahead:
        entry[AHEAD] = True
    is_orphan = mlflow_run.data.tags.get(PARENT) in contents.gone
    if is_ahead or is_orphan or _is_behind(run, mlflow_run, contents):
        entry["fed"] = {}
    elif _lacks_files(run, mlflow_run):
        entry["fed"] = {**run.fed, "files": {}}
    return entry


def _is_behind(run: TrackedRun, mlflow_run: MlflowRun, contents: Contents) -> bool:
    """Tell whether MLflow has less than was fed, as after an older backup of it was restored."""
    if not run.fed:
        return False
    if mlflow_run.info.status != run.fed.get("status"):
        return True
    if run.fed.get("model") and run.run_id not in contents.models:
        return True
    try:
        if isinstance(run.source, FollowedRun):
            return _lacks_lines(run, run.source.history, mlflow_run)
        summary = contents.home.summary(run.source.id) if run.fed.get("files") else {}
        return _lacks_summary(summary, mlflow_run)
    except UNREADABLE:
        return False


def _is_ahead(run: TrackedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether MLflow's latest row of a metric is not in the journal.

    So it is after an older backup of the store was restored.
    """
    if not isinstance(run.source, FollowedRun):
        return False
    try:
        rows = terms.values(run.source.history.lines, 0)
    except UNREADABLE:
        return False
    times = {(terms.key(row.name), row.time) for row in rows}
    keys = {key for key, _ in times}
    latest = [(metric.key, metric.timestamp) for metric in mlflow_run.data._metric_objs]
    return any(key in keys and (key, at) not in times for key, at in latest)


def _lacks_lines(run: TrackedRun, whole: store.History, mlflow_run: MlflowRun) -> bool:
    """Tell whether MLflow lacks something that the journal's lines tell of.

    It may have more than that, of an earlier version.
    """
    history = whole.until(run.fed.get("lines", 0))
    whole.forget()
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


def _lacks_summary(summary: Node, mlflow_run: MlflowRun) -> bool:
    """Tell whether the run of a sweep lacks the metrics that came out of it."""
    known, values = mlflow_run.data.metrics, store.numbers(summary.get("metrics", {}))
    return any(known.get(terms.key(name)) != value for name, value in values.items())


def _lacks_files(run: TrackedRun, mlflow_run: MlflowRun) -> bool:
    """Tell whether a file that was fed is gone, where this machine can look at it."""
    folder, names = places.local(mlflow_run.info.artifact_uri), run.fed.get("files")
    if folder is None or not names or (folder.exists() and not os.access(folder, os.X_OK)):
        return False
    is_sweep = not isinstance(run.source, FollowedRun)
    return any(not (folder / places.name(name, sweep=is_sweep)).exists() for name in names)
