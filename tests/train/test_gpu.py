"""What is promised of a CPU, on a GPU: `pytest --gpu`."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from conftest import PROJECT, Command
from stored import facts, only
from torch.optim import Adam

from sweeplab.data import Batches, InMemorySplit
from sweeplab.metrics import CLASSIFICATION
from sweeplab.models import MLP
from sweeplab.runs.training import Training
from sweeplab.speed import cuda_graph
from sweeplab.store import Store
from sweeplab.train import fused
from sweeplab.train.loop import train_epoch
from sweeplab.train.random_state import RandomStreams
from sweeplab.train.train_state import TrainState

pytestmark = pytest.mark.gpu

CUDA = ("data=digits", "trainer.device=cuda", "trainer.epochs=4", "trainer.patience=null")
KINDS = {
    "fp32": ("model.dropout=0.2", "scheduler=one_cycle"),
    "bf16": ("model.dropout=0.2", "trainer.precision=bf16"),
    "fp16": ("model.dropout=0.2", "trainer.precision=fp16", "trainer.clip_norm=1"),
    "cnn": ("model=cnn", "data.flatten=false", "trainer.shift=1"),
    "mixed": ("data.batch_transform._target_=own.mix",),
    "clipped": ("trainer.clip_norm=0.5", "optimizer=sgd"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_has_the_same_bits_again_and_when_resumed(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    how = (*CUDA, *KINDS[kind])
    for folder in ("whole", "again"):
        ended = train(*how, f"store.root={folder}")
        assert ended.code == 0, ended.err
    assert facts(only(root, "again")) == facts(only(root, "whole"))
    save = Training._save

    def die(training: Training) -> None:
        if training.epoch == 3:
            raise KeyboardInterrupt
        save(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_save", die)
        assert train(*how).code == 130
    assert "goes on after epoch 2" in train(*how).out
    assert facts(only(root)) == facts(only(root, "whole"))
    assert "differs" not in [event["event"] for event in only(root).journal.events()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_as_a_graph_has_the_bits_that_it_has_without(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    graphs: list[object] = []
    replay = cuda_graph.Graph.replay

    def counted(*arguments: Any) -> Any:
        graphs.append(arguments[0])
        return replay(*arguments)

    monkeypatch.setattr(cuda_graph.Graph, "replay", counted)
    assert train(*CUDA, *KINDS[kind]).code == 0
    assert len(graphs) > 20, "of 40 steps, none of the first ones and one for the proof"
    count = len(graphs)
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    assert train(*CUDA, *KINDS[kind], "store.root=plain").code == 0
    assert len(graphs) == count
    assert facts(only(root)) == facts(only(root, "plain"))


GALLERY = PROJECT / "examples" / "gallery" / "experiments"
PROGRAMS = sorted(file.stem for file in GALLERY.glob("*.yaml"))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_of_ones_own_has_the_same_bits_again(
    command: Command, root: Path, program: str, precision: str
) -> None:
    if program == "resnet":
        subprocess.run([sys.executable, GALLERY.parent / "resnet.py"], cwd=root, check=True)
    how = (
        f"experiment={program}",
        "hydra.mode=RUN",
        "trainer.device=cuda",
        "trainer.epochs=2",
        "tracking=off",
    )
    for folder in ("one", "two"):
        ended = command(
            "examples/gallery/train.py",
            *how,
            f"trainer.precision={precision}",
            f"store.root={root / folder}",
        )
        assert ended.code == 0, ended.out + ended.err
    assert facts(only(root, "one")) == facts(only(root, "two"))


def test_a_record_is_replayed(command: Command, root: Path) -> None:
    ended = command("train.py", *CUDA, "tracking=off")
    assert ended.code == 0, ended.err
    run = only(root)
    assert run.journal.events()[0]["provenance"]["device"].startswith("cuda")
    ended = command("sweeplab", "replay", run.id)
    assert ended.code == 0, ended.out + ended.err


def facts_of_all(store: Path) -> dict[str, Any]:
    return {run.id: facts(run) for run in Store(store).runs()}


def test_four_jobs_of_a_sweep_share_a_gpu(command: Command, root: Path) -> None:
    jobs = ("-m", "seed=range(4)", *CUDA, "tracking=off")
    for folder, share in (("whole", "null"), ("shares", "0.25")):
        ended = command(
            "train.py", *jobs, f"store.root={folder}", f"sweep.gpus_per_worker={share}", timeout=240
        )
        assert ended.code == 0, ended.out + ended.err
    whole = facts_of_all(root / "whole")
    assert len(whole) == 4
    assert facts_of_all(root / "shares") == whole


def test_runs_that_share_a_process_have_the_bits_that_they_have_alone(
    command: Command, root: Path
) -> None:
    jobs = ("-m", "seed=0,1", "optimizer.lr=0.01,0.001", "model.hidden=16,[392,196]", *CUDA)
    for folder, share in (("alone", "false"), ("together", "true")):
        how = (f"store.root={folder}", f"sweep.fuse={share}", "tracking=off")
        ended = command("train.py", *jobs, *how, timeout=240)
        assert ended.code == 0, ended.out + ended.err
    alone = facts_of_all(root / "alone")
    assert len(alone) == 8
    assert facts_of_all(root / "together") == alone
    starts = [run.journal.events()[0]["provenance"] for run in Store(root / "together").runs()]
    as_one = [start.get("fused", 1) for start in starts]
    assert sorted(as_one) == [1] * 4 + [2] * 4, "those of 105,654 parameters only share it"


@pytest.mark.parametrize("visible", ["0,1", "0,-1", "{uuid}", "{uuid},1"])
def test_all_jobs_of_a_sweep_have_the_gpu_that_there_is(
    command: Command, root: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible.format(uuid=uuid))
    ended = command("train.py", "-m", "seed=0,1", *CUDA, "trainer.device=auto", "tracking=off")
    assert ended.code == 0, ended.out + ended.err
    starts = [
        run.journal.events()[0]["provenance"]["device"] for run in Store(root / "runs").runs()
    ]
    assert len(starts) == 2
    assert all(device.startswith("cuda") for device in starts), starts


def test_runs_that_are_trained_as_one_have_the_bits_that_they_have_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 784, generator=generator)
    targets = torch.randint(10, (512,), generator=generator)
    batches = Batches(InMemorySplit(inputs, targets), 32, device="cuda", seed=0)
    torch.manual_seed(0)
    model = MLP(784, 10, 32).cuda()
    one, other = ([_state(copy.deepcopy(model), lr) for lr in (0.1, 0.01)] for _ in range(2))
    fused.train_epoch(one, [batches.epoch(1) for _ in one], [RandomStreams() for _ in one])
    for state in other:
        train_epoch(state, batches.epoch(1))
    for mine, its in zip(one, other, strict=True):
        for name, value in its.model.state_dict().items():
            assert torch.equal(mine.model.state_dict()[name], value), name


def _state(model: MLP, lr: float) -> TrainState:
    optimizer = Adam(model.parameters(), lr, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    return tiny.train_state(model, loss, optimizer=optimizer, kind=CLASSIFICATION)


def test_a_metric_of_torchmetrics_is_computed_there(train: Command, root: Path) -> None:
    pytest.importorskip("torchmetrics")
    node = {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 10}
    text = json.dumps(node).replace('"', "").replace(" ", "")
    ended = train(*CUDA, f"+metrics.f1={text}")
    assert ended.code == 0, ended.err
    assert all("valid/f1" in values for values in only(root).epochs().values())
