"""What the runs of a folder came to, asked of where they are kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sweeplab.store import Event, Store


def our_metric(root: Path, name: str) -> list[float]:
    """Of each finished run."""
    results = (run.result() for run in Store(root / "runs").runs())
    return [
        result.metrics[name] for result in results if result is not None and name in result.metrics
    ]


def our_epochs(root: Path) -> list[float]:
    """The seconds of each epoch, validation and all, of the one run there is."""
    (run,) = Store(root / "runs").runs()
    return [
        float(event["seconds"]) for event in run.journal.events() if event["event"] == Event.EPOCH
    ]


def lightning_metric(root: Path, name: str) -> list[float]:
    """Of each run in the MLflow database."""
    return [row[0] for row in _query(root, "select value from latest_metrics where key = ?", name)]


def first_run_began(root: Path) -> float:
    """When the first run in the MLflow database was made, in seconds since 1970."""
    return float(_query(root, "select min(start_time) from runs")[0][0]) / 1000


def _query(root: Path, words: str, *values: str) -> list[tuple[float]]:
    connection = sqlite3.connect(root / "mlflow.db", timeout=30)
    try:
        return connection.execute(words, values).fetchall()
    finally:
        connection.close()
