"""Links into MLflow's UI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from sweeplab.store import Store
from sweeplab.tracking.address import databricks, public, served
from sweeplab.tracking.goals import SWEEP_LENGTH
from sweeplab.tracking.records import Place, run_places, sweep_places

# Sorted by time, the UI would fold children away.
FLAT = {"orderByKey": "metrics.`valid/loss`", "orderByAsc": "true"}
PORT = 5000  # of `sweeplab ui`
COMPARED = (
    32  # runs that can be looked at side by side; of more the page is slow, and its address long
)


def _link(base: str, page: str, **query: str) -> str:
    # Without workflowType the UI opens a page for language models, which shows no runs.
    query["workflowType"] = "machine_learning"
    text = urlencode(query, quote_via=quote, safe="[],")
    return f"{base.rstrip('/')}/#/{page}?{text}"


def sweep_link(base: str, experiment_id: str, sweep_id: str) -> str:
    """Link to charts of exactly the runs of a sweep."""
    page = f"experiments/{experiment_id}/runs"
    condition = f'tags.`sweep.{sweep_id[:SWEEP_LENGTH]}` = "1"'
    return _link(base, page, searchFilter=condition, compareRunsMode="CHART", **FLAT)


def view_link(base: str, experiment_id: str, view: str) -> str:
    """Link to the saved view of a sweep."""
    page = f"experiments/{experiment_id}/runs"
    return _link(base, page, viewStateShareKey=view, compareRunsMode="CHART")


def table_link(base: str, experiment_id: str) -> str:
    """Link to the table of an experiment's runs."""
    return _link(base, f"experiments/{experiment_id}/runs", **FLAT)


def compare_link(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Link to the page that lays these MLflow runs side by side."""
    runs = ",".join(f'"{run_id}"' for run_id in run_ids)
    return _link(base, "compare-runs", runs=f"[{runs}]", experiments=f'["{experiment_id}"]')


def run_link(base: str, experiment_id: str, run_id: str, tab: str = "model-metrics") -> str:
    """Link to a tab of one MLflow run, by default its curves."""
    return _link(base, f"experiments/{experiment_id}/runs/{run_id}/{tab}")


def links(home: Store, sweep: Mapping[str, Any], uri: str, base: str) -> dict[str, str]:
    """Link to what compares a sweep's configs, and to the page that lays its runs side by side.

    The first is the sweep's saved view, without one the charts of exactly its runs; the page is left
    out where there are too many runs. The links lead to the sweep's experiment, or to another one
    that has its runs. There are none if MLflow has none of the runs.
    """
    runs: list[Place] = []
    for cell in sweep["cells"][:COMPARED]:
        runs += run_places(home.run(cell["fingerprint"]), uri)
    parents = sweep_places(home, sweep["id"], uri)
    others = [place.experiment for place in [*parents, *runs]]
    for experiment in [sweep["experiment"], *others]:
        shown = [place for place in runs if place.experiment == experiment]
        if shown:
            experiment_id = shown[0].experiment_id
            run_ids = [place.run_id for place in shown]
            views = [place.view for place in parents if place.experiment == experiment]
            found = {"curves": sweep_link(base, experiment_id, sweep["id"])}
            if views and views[0]:
                found = {"configs": view_link(base, experiment_id, views[0])}
            if len(sweep["cells"]) <= COMPARED:
                found["side by side"] = compare_link(base, experiment_id, run_ids)
            return found
    return {}


def base_of(uri: str, port: int = PORT) -> str:
    """Return the address of the UI: the server's own, or where `sweeplab ui` serves a database."""
    if databricks(uri):
        return os.environ.get("DATABRICKS_HOST", uri).rstrip("/")
    if not served(uri):
        return f"http://127.0.0.1:{port}"
    return public(uri).replace("://***@", "://").rstrip("/")
