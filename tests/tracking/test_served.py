"""`tracking.log_model`: the network of a run as an MLflow model, which loads and is served without its class."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command

import sweeplab as library
from sweeplab import config, tracking
from sweeplab.store import Store

pytestmark = [
    # mlflow's own code, and libraries that it calls: nothing of ours.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

DIGITS = ("data=digits", "model.hidden=8", "trainer.epochs=1", "trainer.threads=1")


@pytest.fixture(autouse=True)
def _no_feeder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` feeds instead, in this process, which imports mlflow once."""
    monkeypatch.setattr(tracking, "feeding", lambda *_: nullcontext(tracking.Client()))


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root}/mlflow.db"


def sync(root: Path, uri: str) -> None:
    assert tracking.sync(Store(root / "runs"), config.Tracking(uri=uri), lambda *_: None) == []


def models(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_logged_models([e.experiment_id for e in client.search_experiments()]))


@pytest.mark.full
def test_the_logged_model_predicts_what_the_network_does(
    train: Command, root: Path, uri: str
) -> None:
    assert train(*DIGITS, tracking=True).code == 0
    (trained,) = Store(root / "runs").runs()
    sync(root, uri)
    assert models(uri) == []
    assert not (trained.folder / "model").exists()

    again = train(*DIGITS, "tracking.log_model=true", tracking=True)
    assert (again.code, again.err) == (0, "")
    assert "is finished already: reused" in again.out
    sync(root, uri)
    (model,) = models(uri)
    (place,) = tracking.run_places(trained, uri)
    assert (model.name, str(model.status), model.source_run_id) == ("model", "READY", place.run_id)

    import mlflow

    mlflow.set_tracking_uri(uri)
    network, batch = library.load_model(trained.folder), torch.rand(5, 64)
    expected = network(batch).detach()
    logged = mlflow.pyfunc.load_model(f"runs:/{place.run_id}/model")
    assert torch.allclose(torch.from_numpy(logged.predict(batch.numpy())), expected, atol=1e-6)
    assert torch.allclose(mlflow.pytorch.load_model(model.model_uri)(batch), expected, atol=1e-6)
    about = logged.metadata
    shapes = [
        spec.shape
        for side in (about.signature.inputs, about.signature.outputs)
        for spec in side.inputs
    ]
    assert shapes == [(-1, 64), (-1, 10)]
    assert about.load_input_example().shape == (2, 64)
    assert (about.model_id, about.run_id) == (model.model_id, place.run_id)
    assert about.metadata == {"run": trained.id, "data": "digits", "mean": 0.0, "std": 16.0}

    trained.mlflow_file.unlink()  # what was fed is forgotten, and fed again: it is there once
    sync(root, uri)
    assert [m.model_id for m in models(uri)] == [model.model_id]
    outputs = mlflow.MlflowClient(uri).get_run(place.run_id).outputs
    assert [o.model_id for o in outputs.model_outputs] == [model.model_id]


def test_a_network_that_cannot_be_exported_is_trained_all_the_same(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr(tracking, "save_model", refuse)
    ended = train(*DIGITS, "tracking.log_model=true", tracking=True)
    (trained,) = Store(root / "runs").runs()
    assert (ended.code, trained.status) == (0, "finished")
    assert ended.err == (
        f"tracking.log_model=true: run {trained.id} cannot be exported: RuntimeError: data-dependent control flow\n"
    )
