"""Whether MLflow still has what it was fed: a database may be restored, cleaned by `mlflow gc`, or be another one now.

One search for an experiment's runs tells of each whether it is gone (it is made anew), behind (it is fed anew, which
makes the same rows again), or was deleted by somebody in MLflow (it stays deleted, until it is restored there).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.tracking import experiments, places, terms
from sweeplab.tracking.existing import EVERYTHING, PAGE, STORE_ID
from sweeplab.tracking.records import AHEAD, DELETED, EXPERIMENT, FOR_GOOD, RENAMED, RUN, Node, write_entry
from sweeplab.tracking.view import Tail, View, Written

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"


def check(client: MlflowClient, view: View, name: str, *, whole: bool) -> None:
    """Correct the records of an experiment by what MLflow has of it; `whole`: of all its runs, not of the latest."""
    written = list(view.written(name))
    if not written:
        return
    experiment = experiments.find(client, view.store, view.uri, name)
    found, oldest = _search(client, experiment, view.store.id, whole=whole) if experiment else ({}, 0.0)
    models = _models(client, experiment) if experiment and any(one.fed.get("model") for one in written) else set()
    gone: set[str] = set()
    for one in written:  # the parents first
        run = found.get(one.run_id)
        if run is None and one.start < oldest:  # not asked for
            continue
        entry = _gone(one, gone) if run is None or experiment is None else _there(one, run, experiment, gone, models)
        if experiment is not None and experiment.name != terms.experiment(name):
            entry[RENAMED] = experiment.name
        else:
            entry.pop(RENAMED, None)
        if entry != one.entry:
            write_entry(one.file, view.uri, name, entry)
    view.unsettle()


def _gone(one: Written, gone: set[str]) -> Node:
    """The record of a run that MLflow has no more: it is made anew, unless it is known that somebody deleted it."""
    if one.entry.get(DELETED):
        return {**one.entry, DELETED: FOR_GOOD}
    gone.add(one.run_id)
    return {**one.entry, "run": None, "fed": {}}


def _there(one: Written, run: MlflowRun, experiment: Experiment, gone: set[str], models: set[str]) -> Node:
    """The record of a run that MLflow has; what it lacks of it is fed anew."""
    entry = dict(one.entry)
    if run.info.lifecycle_stage == DELETED:
        entry[DELETED] = EXPERIMENT if experiment.lifecycle_stage == DELETED else RUN
        return entry
    entry.pop(DELETED, None)
    is_ahead = not entry.get(AHEAD) and _is_ahead(one, run)
    if is_ahead:
        entry[AHEAD] = True
    if is_ahead or run.data.tags.get(PARENT) in gone or _is_behind(one, run, models):
        entry["fed"] = {}
    elif _lacks_files(one, run):
        entry["fed"] = {**one.fed, "files": {}}
    return entry


def _search(
    client: MlflowClient, experiment: Experiment, store_id: str, *, whole: bool
) -> tuple[dict[str, MlflowRun], float]:
    """This store's runs by their ids, deleted ones too; all that began (milliseconds) at the second value or later."""
    found: dict[str, MlflowRun] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{STORE_ID}` = '{store_id}'",
            run_view_type=EVERYTHING,
            max_results=PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            return found, 0
        if not whole:
            return found, float(page[-1].info.start_time) + 1


def _models(client: MlflowClient, experiment: Experiment) -> set[str]:
    """The runs whose model is there."""
    ready: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_logged_models([experiment.experiment_id], page_token=token)
        ready |= {str(model.source_run_id) for model in page if str(model.status) == "READY"}
        token = page.token
        if not token:
            return ready


def _is_behind(one: Written, run: MlflowRun, models: set[str]) -> bool:
    """Whether MLflow has less than was fed, as after the backup of an earlier time was restored."""
    fed = one.fed
    if not fed:
        return False
    if run.info.status != fed.get("status") or (fed.get("model") and one.run_id not in models):
        return True
    try:
        return _lacks_summary(one, run) if one.tail is None else _lacks_lines(one, one.tail, run)
    except (store.DamagedError, ValueError, LookupError, TypeError):  # the view tells of it
        return False


def _is_ahead(one: Written, run: MlflowRun) -> bool:
    """Whether MLflow's latest row of a metric is not in the journal: an earlier state of that was restored."""
    if one.tail is None:
        return False
    try:
        times = {(terms.key(key), at) for key, _, at, _ in terms.values(one.tail.history.lines, 0)}
    except (store.DamagedError, ValueError, LookupError, TypeError):  # the view tells of it
        return False
    keys = {key for key, _ in times}
    return any(row.key in keys and (row.key, row.timestamp) not in times for row in run.data._metric_objs)


def _lacks_lines(one: Written, tail: Tail, run: MlflowRun) -> bool:
    """Whether something that the journal's lines tell of is not there; there may be more, of an earlier version."""
    fed = one.fed
    history = tail.history.until(fed.get("lines", 0))
    start = history.first_start
    lacks_tags = not {*fed.get("sweeps", [])} <= {*run.data.tags}
    lacks_params = not {terms.key(key) for key in terms.params(start)} <= {*run.data.params} if start else False
    lacks_data = bool(start.get("data")) and not (run.inputs and run.inputs.dataset_inputs)
    tail.history.forget()
    rows = terms.values(history.lines, 0)
    if one.entry.get(AHEAD):  # the same steps, of other times
        rows = [(key, value, 0, step) for key, value, _, step in rows]
    expected = _latest((terms.key(key), at, step) for key, _, at, step in rows)
    known = _latest((metric.key, metric.timestamp, metric.step) for metric in run.data._metric_objs)
    lacks_rows = any(known.get(key, (-1, 0)) < latest for key, latest in expected.items())
    return lacks_tags or lacks_params or lacks_data or lacks_rows


def _latest(rows: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """Of each metric the last step, and when that was (milliseconds)."""
    latest: dict[str, tuple[int, int]] = {}
    for key, at, step in rows:
        latest[key] = max(latest.get(key, (step, at)), (step, at))
    return latest


def _lacks_summary(one: Written, run: MlflowRun) -> bool:
    """Whether the run of a sweep has not the metrics that came out of it."""
    if not one.fed.get("files") or one.summary is None:
        return False
    values = store.numbers(one.summary.get("metrics", {}))
    return any(run.data.metrics.get(terms.key(name)) != value for name, value in values.items())


def _lacks_files(one: Written, run: MlflowRun) -> bool:
    """Whether a file that was fed is gone, where it can be looked at."""
    folder = places.local(run.info.artifact_uri)
    if folder is None or not one.fed.get("files") or (folder.exists() and not os.access(folder, os.X_OK)):
        return False
    return any(not (folder / places.name(name, sweep=one.tail is None)).exists() for name in one.fed["files"])
