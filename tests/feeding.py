"""Hand-made journals, fed to a real SQLite MLflow in this process; nothing is trained."""

from __future__ import annotations

import shutil
import sqlite3
from typing import Any

from filelock import FileLock

from sweeplab import tracking
from sweeplab.store import Run, Store, write_json
from sweeplab.tracking import feeder, records

SWEEP = "5" * 64


def make(
    store: Store,
    number: int = 1,
    *,
    epochs: int = 2,
    end: str | None = "finished",
    experiment: str | None = "demo",
    sweep: str | None = None,
) -> Run:
    """A run as training leaves it."""
    run = store.run(f"{number:064x}"[::-1])
    run.folder.mkdir(exist_ok=True)
    run.write_config({"seed": 0}, ["seed=0"])
    resolved = {
        "model": {"hidden": [392, 196]},
        "seed": 0,
        "sweep": {"id": sweep},
        "tracking": {"uri": "x"},
        "store": {"root": "y"},
    }
    run.journal.append(
        "start",
        config=resolved,
        fingerprint=f"{number:064x}"[::-1],
        question="q" * 64,
        overrides=[],
        experiment=experiment,
        sweep=sweep,
        name=f"run {number}",
        data={"name": "digits", "digest": "d" * 64, "train": 1150, "valid": 287, "test": 360},
        provenance={
            "git": {"commit": "abc", "dirty": True},
            "versions": {"torch": "2.15.0"},
            "device": "cpu",
            "threads": 1,
        },
    )
    for epoch in range(1, epochs + 1):
        add_epoch(run, epoch)
    if end:
        finish(run, end)
    return run


def add_epoch(run: Run, epoch: int) -> None:
    run.journal.append(
        "epoch", epoch=epoch, metrics={"train/loss": 1 / epoch, "valid/accuracy": 0.5}, seconds=0.1
    )


def finish(run: Run, status: str = "finished") -> None:
    final = {"test/accuracy": 0.97, "early_stop_epoch": 2, "seconds": 1.5}
    run.weights_file.write_bytes(b"weights")
    write_json(run.result_file, {"status": status})
    run.journal.append("end", status=status, stop_reason="max_epochs", metrics=final)


def manifest(
    store: Store, runs: list[Run], *, status: str = "running", experiment: str | None = "demo"
) -> None:
    cells = [
        {"fingerprint": f"{r.id:0<64}", "name": f"hidden={n}", "overrides": []}
        for n, r in enumerate(runs)
    ]
    ended = None if status == "running" else 2000.5
    store.write_manifest({
        "id": SWEEP, "time": 1000.25, "experiment": experiment, "name": "a sweep", "overrides": [], "cells": cells,
        "status": status, "ended": ended,
    })  # fmt: skip


def feed(store: Store, uri: str, *, has_clients: bool = False) -> feeder.Feeder:
    """Passes in this process, until level."""
    worker = feeder.Feeder(store, uri, FileLock(records.lock_file(store)), log=False)
    while worker.once(has_clients=has_clients) is False:
        pass
    return worker


def state(store: Store) -> dict[str, Any]:
    return records.read_json(records.state_file(store))


def rows(uri: str, query: str, *values: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=10)
    try:
        return list(connection.execute(query, values))
    finally:
        connection.close()


def counts(uri: str) -> tuple[int, int]:
    """(runs, metric rows)"""
    return rows(uri, "select count(*) from runs")[0][0], rows(uri, "select count(*) from metrics")[
        0
    ][0]


def statuses(uri: str) -> list[str]:
    return [status for (status,) in rows(uri, "select status from runs order by start_time, name")]


def mlflow_run(run: Run, uri: str, experiment: str = "demo") -> Any:
    from mlflow import MlflowClient

    place = next(p for p in tracking.run_places(run, uri) if p.experiment == experiment)
    return MlflowClient(uri).get_run(place.run_id)


def begin_anew(run: Run, number: int, store: Store, end: str = "finished") -> None:
    """Clean a run out of the store, and train it again."""
    shutil.rmtree(run.folder)
    make(store, number, end=end)
