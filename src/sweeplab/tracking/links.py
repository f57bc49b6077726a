"""Links into MLflow's UI that show what they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from sweeplab.store import Store
from sweeplab.tracking.address import databricks, public, served
from sweeplab.tracking.records import run_places, sweep_places
from sweeplab.tracking.view import SWEEP_LENGTH

FLAT = {"orderByKey": "metrics.`valid/loss`", "orderByAsc": "true"}  # the UI folds children away if sorted by time
PORT = 5000  # of `sweeplab ui`
COMPARED = 100  # runs on the compare page at most: it is slow with more


def _link(base: str, page: str, **query: str) -> str:
    # Without workflowType the UI opens a page for language models, which shows no runs.
    words = urlencode({**query, "workflowType": "machine_learning"}, quote_via=quote, safe="[],")
    return f"{base.rstrip('/')}/#/{page}?{words}"


def sweep_link(base: str, experiment_id: str, sweep_id: str) -> str:
    """Charts of exactly the runs of a sweep."""
    page = f"experiments/{experiment_id}/runs"
    return _link(base, page, searchFilter=_filter(sweep_id), compareRunsMode="CHART", **FLAT)


def table_link(base: str, experiment_id: str, sweep_id: str | None = None) -> str:
    """The table of an experiment's runs, or of those of a sweep."""
    query = {"searchFilter": _filter(sweep_id)} if sweep_id else {}
    return _link(base, f"experiments/{experiment_id}/runs", **query, **FLAT)


def compare_link(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page that lays these MLflow runs side by side."""
    runs = ",".join(f'"{run_id}"' for run_id in run_ids)
    return _link(base, "compare-runs", runs=f"[{runs}]", experiments=f'["{experiment_id}"]')


def run_link(base: str, experiment_id: str, run_id: str) -> str:
    """The curves of one MLflow run."""
    return _link(base, f"experiments/{experiment_id}/runs/{run_id}/model-metrics")


def links(home: Store, sweep: Mapping[str, Any], uri: str, base: str) -> dict[str, str]:
    """The two links that matter of a sweep: the charts of exactly its runs, and these laid side by side.

    They lead to the sweep's experiment, or to another one that has its runs; none if MLflow has none of them.
    """
    cells = [home.run(cell["fingerprint"]) for cell in sweep["cells"][:COMPARED]]
    runs = [place for run in cells for place in run_places(run, uri)]
    others = [place.experiment for place in [*sweep_places(home, sweep["id"], uri), *runs]]
    for experiment in [sweep["experiment"], *others]:
        here = [place for place in runs if place.experiment == experiment]
        if here:
            return {
                "curves": sweep_link(base, here[0].experiment_id, sweep["id"]),
                "side by side": compare_link(base, here[0].experiment_id, [place.run_id for place in here]),
            }
    return {}


def base_of(uri: str, port: int = PORT) -> str:
    """The address of the UI: the server's own, else where `sweeplab ui` serves a database."""
    if databricks(uri):
        return os.environ.get("DATABRICKS_HOST", uri).rstrip("/")
    if not served(uri):
        return f"http://127.0.0.1:{port}"
    return public(uri).replace("://***@", "://").rstrip("/")


def _filter(sweep_id: str) -> str:
    return f'tags.`sweep.{sweep_id[:SWEEP_LENGTH]}` = "1"'
