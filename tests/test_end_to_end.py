"""The real command line on real MNIST, in processes of its own, counted in a real MLflow database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from sweeplab.store import Store


def rows(root: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(root / "mlflow.db") as database:
        found = database.execute(query).fetchall()
    database.close()
    return found


@pytest.mark.mnist
def test_two_widths_on_mnist_are_two_child_runs_of_one_parent(
    command: Command, root: Path, mnist_root: Path
) -> None:
    ended = command(
        "train.py", "-m", "model.hidden=392,256", "trainer.epochs=1", "trainer.threads=1", f"data.root={mnist_root}",
        "tracking.wait=120", timeout=400, loaded=True,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert "in MLflow, while sweeplab ui serves it:" in ended.out
    parents = "select run_uuid from runs where run_uuid not in (select run_uuid from tags where key='mlflow.parentRunId')"
    ((parent,),) = rows(root, parents)
    children = rows(root, "select run_uuid, value from tags where key = 'mlflow.parentRunId'")
    assert [value for _, value in children] == [parent, parent]
    assert rows(root, "select name from runs order by name") == [
        ("hidden=256",),
        ("hidden=392",),
        (
            "model.hidden=392,256 trainer.epochs=1 trainer.threads=1 data.root="
            + str(mnist_root)
            + " tracking.wait=120",
        ),
    ]
    assert rows(root, "select value from params where key = 'model.hidden' order by value") == [
        ("256",),
        ("392",),
    ]
    for name in ("train/loss", "train/accuracy", "train/lr", "valid/loss", "valid/accuracy"):
        assert rows(root, f"select step from metrics where key = '{name}' order by step") == [
            (1,),
            (1,),
        ]
    assert rows(root, "select value from metrics where key = 'early_stop_epoch'") == [
        (1.0,),
        (1.0,),
    ]
    assert rows(root, "select distinct status from runs") == [("FINISHED",)]
    assert all(
        value > 0.95
        for (value,) in rows(root, "select value from metrics where key = 'test/accuracy'")
    )
    tags = dict(rows(root, f"select key, value from tags where run_uuid = '{children[0][0]}'"))
    assert tags["stop_reason"] == "max_epochs"
    assert tags["device"] == "cpu"
    assert tags["version.torch"]
    assert len(tags["fingerprint"]) == 64
    assert rows(root, "select name from datasets") == [("mnist",)]
    folder = root / "mlruns" / "sweeplab" / children[0][0] / "artifacts"
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml",
        "journal.jsonl",
        "result.json",
        "weights.safetensors",
    }


REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow":
            raise RuntimeError("mlflow was imported")

sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.long
def test_two_fresh_processes_in_two_empty_roots_give_the_same_bits_and_import_no_mlflow(
    command: Command, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (customized := tmp_path_factory.mktemp("customized") / "sitecustomize.py").write_text(REFUSE)
    found = []
    for folder, seed, loaded in (("a", 0, False), ("b", 0, False), ("c", 1, True)):
        (root / folder).mkdir()
        ended = command(
            "train.py", "data=digits", "trainer.epochs=2", f"seed={seed}", "tracking=off", "trainer.threads=1",
            SWEEPLAB_ROOT=str(root / folder), PYTHONPATH=str(customized.parent), loaded=loaded,
        )  # fmt: skip
        assert ended.code == 0, ended.err
        (run,) = Store(root / folder / "runs").runs()
        result = run.result()
        assert result is not None
        found.append(result.weights_sha256)
    assert found[0] == found[1] != found[2]
    assert sorted(p.name for p in root.iterdir()) == ["a", "b", "c"]


@pytest.mark.full
def test_a_server_that_is_away_is_said_once_and_loses_nothing(command: Command, root: Path) -> None:
    ended = command(
        "train.py", "data=digits", "trainer.epochs=2", MLFLOW_TRACKING_URI="http://127.0.0.1:1"
    )
    assert ended.code == 1
    assert (
        ended.err.count(
            "MLflow lags behind by 1 run: MLflow at http://127.0.0.1:1 cannot be reached"
        )
        == 1
    )
    assert "bring it level with: sweeplab sync" in ended.err
    (result,) = root.glob("runs/*/result.json")
    assert json.loads(result.read_text())["status"] == "finished"
    lagging = command("sweeplab", "sync", loaded=True, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert lagging.code == 1
    assert "1 run lags behind in MLflow:" in lagging.err
    level = command("sweeplab", "sync", loaded=True)
    assert (level.code, level.out) == (0, "MLflow is level with the store\n")
    assert rows(root, "select status from runs") == [("FINISHED",)]
