"""Where a run was computed: a bad node can be found, by the store and in MLflow."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from stored import only

from sweeplab.tracking import terms

RUN = ("data=digits", "trainer.threads=1", "model.hidden=8", "trainer.epochs=3")
SLURM = {
    "SLURM_JOB_ID": "39",
    "SLURM_ARRAY_JOB_ID": "38",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURMD_NODENAME": "node7",
}


def test_a_run_tells_host_job_and_node_of_the_process_that_took_it_up_last(
    train: Command,
    command: Command,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    die_at: Callable[[int], None],
) -> None:
    die_at(3)
    with monkeypatch.context() as patch:
        for name, value in SLURM.items():
            patch.setenv(name, value)
        patch.setattr(platform, "node", lambda: "elsewhere")
        assert train(*RUN).code == 130
    _, history = only(root).history()
    there = {
        "host": "elsewhere",
        "slurm.job": "39",
        "slurm.array_job": "38",
        "slurm.array_task": "1",
        "slurm.node": "node7",
    }
    assert history.whereabouts == there
    assert terms.run_tags(history).items() >= there.items()
    monkeypatch.setenv("RAY_NODE_ID", "c0ffee")
    assert train(*RUN).code == 0
    _, history = only(root).history()
    here = {"host": platform.node(), "ray.node": "c0ffee"}
    assert history.whereabouts == here
    assert terms.run_tags(history).items() >= here.items()
    assert "slurm.job" not in terms.run_tags(history)
    assert history.first_start["provenance"]["slurm"]["node"] == "node7"
    (row,) = json.loads(command("sweeplab", "runs", "--json").out)["runs"]
    assert row["where"] == here
