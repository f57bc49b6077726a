"""Weights take their room once, can be removed from finished runs, and are put back by a replay."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from feeding import feed, make, rows

import sweeplab as library
from sweeplab import config, tracking
from sweeplab.errors import UserError
from sweeplab.store import Run, Store
from sweeplab.tracking import places

pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own code
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

DIGITS = ("data=digits", "model.hidden=8", "trainer.epochs=1", "trainer.threads=1")


def sync(home: Store, uri: str) -> list[str]:
    return tracking.sync(home, config.Tracking(uri=uri), lambda *_: None)


def in_mlflow(root: Path, run: Run, uri: str, name: str = "weights.safetensors") -> Path:
    (place,) = tracking.run_places(run, uri)
    return root / "mlruns" / place.experiment / place.run_id / "artifacts" / name


# ---- once ----


def test_weights_have_two_names_and_take_their_room_once(home: Store, uri: str, root: Path) -> None:
    run = make(home)
    assert sync(home, uri) == []
    there = in_mlflow(root, run, uri)
    assert there.samefile(run.weights_file)
    assert not in_mlflow(root, run, uri, "journal.jsonl").samefile(run.journal.path), (
        "which is written on"
    )
    assert sorted(file.name for file in there.parent.iterdir()) == ["config.yaml", "journal.jsonl", "overrides.yaml", "result.json", "weights.safetensors"]  # fmt: skip
    (place,) = tracking.run_places(run, uri)
    tracking.download(uri, place.run_id, root / "fetched")
    assert (root / "fetched/weights.safetensors").read_bytes() == b"weights"


def test_of_two_names_each_can_be_replaced_or_deleted(home: Store, uri: str, root: Path) -> None:
    runs = [make(home, number) for number in (1, 2, 3)]
    assert sync(home, uri) == []
    first, second, third = (in_mlflow(root, run, uri) for run in runs)
    from sweeplab.store import write_atomic

    write_atomic(runs[0].weights_file, b"others")
    assert first.read_bytes() == b"weights"
    assert sync(home, uri) == []
    assert (first.read_bytes(), first.samefile(runs[0].weights_file)) == (b"others", True)
    second.unlink()
    assert runs[1].weights_file.read_bytes() == b"weights"
    assert sync(home, uri) == []
    assert second.samefile(runs[1].weights_file), "sent again"
    runs[2].weights_file.unlink()
    assert sync(home, uri) == []
    assert third.read_bytes() == b"weights"


def test_where_there_can_be_no_second_name_it_is_a_copy(
    home: Store, uri: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    run = make(home)
    feed(home, uri)
    there = in_mlflow(root, run, uri)
    assert (there.read_bytes(), there.samefile(run.weights_file)) == (b"weights", False)
    assert [file.name for file in there.parent.glob(".*")] == []


def test_a_name_that_is_there_already_is_taken_over(root: Path) -> None:
    (root / "a").write_text("new")
    (root / "b").write_text("old")
    assert places.link(root / "a", root / "b")
    assert places.link(root / "a", root / "b")
    assert ((root / "b").read_text(), (root / "a").stat().st_nlink) == ("new", 2)
    (root / "folder").mkdir()
    assert not places.link(root / "a", root / "folder")
    assert not places.link(root / "none", root / "c")
    assert sorted(file.name for file in root.iterdir()) == ["a", "b", "folder"]


# ---- removed, and put back ----


@pytest.fixture
def trained(train: Command, root: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with an exported model, in MLflow."""
    monkeypatch.setattr(
        tracking, "feeding", lambda *_: nullcontext(tracking.Client())
    )  # `sync` feeds instead
    ended = train(*DIGITS, "tracking.log_model=true", tracking=True)
    assert ended.code == 0, ended.err
    (run,) = Store(root / "runs").runs()
    assert sync(Store(root / "runs"), uri) == []
    return run


def large(folder: Path) -> int:
    """The bytes of weights below, each file once."""
    found = {
        f.stat().st_ino: f.stat().st_size
        for f in folder.rglob("*")
        if f.suffix in (".safetensors", ".pt2", ".pt")
    }
    return sum(found.values())


def cli(*words: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    from sweeplab.commands.cli import main

    capfd.readouterr()
    code = 0
    try:
        main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # PyTorch 2.11
def test_a_model_takes_its_room_once_too(trained: Run, root: Path, uri: str) -> None:
    import mlflow

    assert large(root) == large(root / "runs")
    mlflow.set_tracking_uri(uri)
    (place,) = tracking.run_places(trained, uri)
    network, batch = library.load_model(trained.folder), torch.rand(5, 64)
    logged = mlflow.pyfunc.load_model(f"runs:/{place.run_id}/model")
    assert torch.allclose(
        torch.from_numpy(logged.predict(batch.numpy())), network(batch).detach(), atol=1e-6
    )


@pytest.mark.full
def test_weights_are_removed_said_and_put_back(
    trained: Run, root: Path, uri: str, train: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(*DIGITS, "seed=2", f"trainer.init_from={trained.id}").code == 0
    before = trained.weights_file.read_bytes()
    result = trained.result_file.read_bytes()
    room = large(root)
    code, out, err = cli("runs", "--clean", "--weights", "--yes", capfd=capfd)
    assert (code, err) == (0, "")
    assert "removed the weights of 2 runs" in out
    assert room > 0 == large(root)
    assert (trained.result_file.read_bytes(), trained.status) == (result, "finished")
    assert not (trained.folder / "model").exists()
    gone = f"its weights were removed; sweeplab replay {trained.id} puts them back"
    with pytest.raises(UserError, match=gone):
        library.load_model(trained.id)
    asked = train(*DIGITS, "tracking.log_model=true", tracking=True)
    assert (asked.code, gone in asked.out) == (0, True)
    refused = train(*DIGITS, "seed=1", f"trainer.init_from={trained.id}")
    assert (refused.code, refused.err) == (
        2,
        f"trainer.init_from={trained.id}: {trained.folder}: {gone}\n",
    )
    assert (
        "is finished already: reused"
        in train(*DIGITS, "seed=2", f"trainer.init_from={trained.id}").out
    )
    home = Store(root / "runs")
    assert sync(home, uri) == []
    assert rows(
        uri, "select status, count(*) from runs where lifecycle_stage = 'active' group by 1"
    ) == [("FINISHED", 1)]
    (place,) = tracking.run_places(trained, uri)
    with pytest.raises(UserError, match=f"^{place.run_id}: {gone}$"):
        library.load_model(place.run_id)

    code, out, err = cli("replay", trained.id, "tracking=off", capfd=capfd)
    assert (code, err) == (0, "")
    assert f"its weights, which were missing, are in {trained.folder}" in out
    assert trained.weights_file.read_bytes() == before
    library.load_model(trained.id)
    assert train(*DIGITS, "tracking.log_model=true", tracking=True).code == 0
    assert sync(home, uri) == []
    assert in_mlflow(root, trained, uri).samefile(trained.weights_file)
    from mlflow import MlflowClient

    (model,) = MlflowClient(uri).search_logged_models([place.experiment_id])
    assert str(model.status) == "READY"
    code, out, _ = cli("replay", trained.id, "tracking=off", capfd=capfd)
    assert (code, "which were missing" in out) == (0, False)


def test_a_database_that_is_filled_anew_does_without_them(
    trained: Run, root: Path, uri: str, fresh_database: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli("runs", "--clean", "--weights", "--yes", capfd=capfd)[0] == 0
    (root / "mlflow.db").write_bytes(fresh_database)
    shutil.rmtree(root / "mlruns")
    assert sync(Store(root / "runs"), uri) == []
    assert in_mlflow(root, trained, uri, "result.json").exists()
    assert not in_mlflow(root, trained, uri).exists()


def runs(home: Store, *words: str, capfd: pytest.CaptureFixture[str]) -> str:
    code, out, err = cli("runs", *words, "tracking=off", capfd=capfd)
    assert (code, err) == (0, "")
    return out


def finished(home: Store, number: int, idle: float = 0.0) -> Run:
    import time

    run = make(home, number)
    values: dict[str, Any] = {
        "fingerprint": f"{number:064x}"[::-1],
        "question": "",
        "status": "finished",
        "stop_reason": None,
        "metrics": {},
    }
    from sweeplab.store import write_json

    write_json(run.result_file, values)
    os.utime(run.journal.path, (time.time() - idle,) * 2)
    return run


def test_only_finished_ones_so_old_that_are_not_at_work_lose_them(
    home: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new, held = finished(home, 1, 8 * 86400), finished(home, 2), finished(home, 3, 8 * 86400)
    failed = make(home, 4, end="failed")
    with held.claim():
        out = runs(home, "--clean", "--weights", "--yes", "--older-than", "7d", capfd=capfd)
    assert "removed the weights of 1 run, 7 B" in out
    assert f"kept, since they are at work: {held.id}" in out
    assert [run.weights_file.exists() for run in (old, new, held, failed)] == [
        False,
        True,
        True,
        True,
    ]
    listed = json.loads(runs(home, "--json", capfd=capfd))["runs"]
    assert listed[0]["status"] == "finished"
    runs(home, "--clean", "--weights", "--yes", capfd=capfd)
    assert [run.weights_file.exists() for run in (old, new, held, failed)] == [
        False,
        False,
        False,
        True,
    ]
    assert (
        runs(home, "--clean", "--weights", "--yes", capfd=capfd)
        == "no finished run holds weights: nothing to remove\n"
    )


def test_it_asks_first(
    home: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(home, 1)
    code, _, err = cli("runs", "--clean", "--weights", "tracking=off", capfd=capfd)
    assert (code, err) == (
        2,
        "nobody can be asked here whether to remove them; give --yes\n",
    )
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "n")
    assert "nothing was removed" in runs(home, "--clean", "--weights", capfd=capfd)
    assert asked == ["remove the weights of 1 run? [y/N] "]
    assert run.weights_file.exists()
    code, _, err = cli("runs", "--weights", capfd=capfd)
    assert (code, err) == (
        2,
        "--weights, --yes and --dry-run go with rm or --clean\n",
    )
