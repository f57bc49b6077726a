"""Runs that differ in when they stop share their epochs, and each has the bits that it has alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kill_sweep
import numpy as np
import own
import pytest
from conftest import Command
from stored import facts
from sweeps import FAULTY, OURS

from sweeplab import config
from sweeplab.errors import RunFailed
from sweeplab.metrics import EpochResult
from sweeplab.runs import checkpoint
from sweeplab.runs.fused import train_fused
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.run import train as train_run
from sweeplab.runs.training import Training
from sweeplab.store import METRICS, Event, Result, Run, Status, Store
from sweeplab.train import loop

STOPS: tuple[dict[str, Any], ...] = (
    {"patience": 1, "min_delta": 0.9},  # 2 epochs: nothing gets so much better
    {"epochs": 3},
    {"epochs": 3, "target": 0.99},
    {"epochs": 4},
)
LONGEST, ALL = 4, 2 + 3 + 3 + 4  # epochs
COMMON = ("data=digits", "tracking=off", "trainer.threads=1", "trainer.patience=null")
SMALL = ("model.hidden=16", "model.dropout=0.2")
LINEAR = ("model=linear", "trainer.limit_batches=4")
GAN = (
    "model=own",
    "model._target_=steps.GAN",
    "step._target_=steps.gan",
    "loss=nll",
    "loss._target_=torch.nn.BCEWithLogitsLoss",
    "~optimizer",
    "+optimizer={netD:{_target_:torch.optim.Adam,lr:0.002},netG:{_target_:torch.optim.SGD,lr:0.1}}",
)
READ = ("data.dataset._target_=own.NoisyDigits", "+data.dataset.count=400", "data.memory=0")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "dropout": SMALL,
    "cnn": ("model=cnn", "trainer.limit_batches=2"),
    "averaged": (*SMALL, "trainer.ema=0.9", "trainer.accumulate=2", "trainer.keep_every=2"),
    "gan": GAN,
    "step that counts its calls": (*LINEAR, "step._target_=steps.Distilled"),
    "generator of a module": (*LINEAR, "+metrics.share._target_=own.ModuleShare"),
    "set that is read": (*LINEAR, *READ, "data.version=1"),
}


@cache
def composed(*words: str) -> config.Config:
    return config.compose([*COMMON, *words])


def jobs(folder: str, *words: str) -> list[Job]:
    """A job for each of STOPS."""
    settings = replace(composed(*words), store=config.StoreSection(root=folder))
    trainers = [replace(settings.trainer, **stop) for stop in STOPS]
    return [prepare(replace(settings, trainer=trainer), []) for trainer in trainers]


def outcomes(folder: str) -> dict[str, tuple[Any, ...]]:
    """Run -> bits, and the files of its weights and metrics."""
    return {run.id: (facts(run), files(run)) for run in Store(folder).runs()}


def files(run: Run) -> dict[str, bytes]:
    kept = [*run.weights_files, *run.kept.glob("*"), *(run.folder / METRICS).glob("*")]
    return {file.name: file.read_bytes() for file in kept if file.exists()}


def train_alone(*words: str) -> dict[str, tuple[Any, ...]]:
    """What each of the jobs comes to in a process of its own."""
    for job in jobs("alone", *words):
        forget()
        train_run(job, Store("alone").open())
    return outcomes("alone")


def train_together(*words: str) -> list[Result | BaseException]:
    planned = jobs("runs", *words)
    forget()
    return train_fused(planned, Store("runs").open())


def forget() -> None:
    """Have the module `own` be as it is in a new process."""
    own.rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    """What the small ones come to alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("alone"))
        return train_alone(*SMALL)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each epoch that is trained."""
    epochs: list[int] = []
    train_epoch = loop.train_epoch

    def counted(*given: Any) -> Any:
        epochs.append(1)
        return train_epoch(*given)

    monkeypatch.setattr(loop, "train_epoch", counted)
    return epochs


@pytest.mark.few(2)
@pytest.mark.parametrize("program", PROGRAMS)
def test_epochs_are_trained_once_and_each_has_the_bits_that_it_has_alone(
    root: Path, trained: list[int], program: str
) -> None:
    alone = train_alone(*PROGRAMS[program])
    assert len(trained) == ALL
    del trained[:]
    ended = train_together(*PROGRAMS[program])
    assert len(trained) == LONGEST
    assert outcomes("runs") == alone
    results = [result for result in ended if isinstance(result, Result)]
    assert [result.stop_reason for result in results] == ["patience", *["max_epochs"] * 3]
    assert [result.metrics["early_stop_epoch"] for result in results] == [2, 3, 3, 4]
    starts = [run.start()["provenance"] for run in Store("runs").runs()]
    assert [(start.get("fused"), start["shared"]) for start in starts] == [(None, 4)] * 4


def test_networks_that_are_computed_as_one_share_their_epochs_too(root: Path) -> None:
    rates = [("model.hidden=16", f"optimizer.lr={rate}") for rate in (0.001, 0.01)]
    home = Store("runs").open()
    train_fused([job for rate in rates for job in jobs("runs", *rate)], home)
    starts = [run.start()["provenance"] for run in home.runs()]
    assert [(start["fused"], start["shared"]) for start in starts] == [(2, 4)] * 8
    train_alone(*rates[0])
    assert outcomes("runs") == train_alone(*rates[1])


def test_a_loss_that_is_no_number_ends_all_alike(root: Path, trained: list[int]) -> None:
    broken = ("optimizer=sgd", "optimizer.lr=1e38", "scheduler=constant")
    ended = train_together(*LINEAR, *broken)
    assert [each.stop_reason for each in ended if isinstance(each, Result)] == ["diverged"] * 4
    assert len(trained) == 1


# --- What goes wrong ------------------------------------------------------------------------------


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Have the n-th epoch that any run takes raise."""
    take, taken = Training.take, [0]

    def failing(training: Training, result: EpochResult) -> bool:
        taken[0] += 1
        if taken[0] == number:
            raise error
        return take(training, result)

    monkeypatch.setattr(Training, "take", failing)


@pytest.mark.parametrize("taken", [3, 6, 10])  # of 4 + 4 + 3 + 1
def test_interrupted_anywhere_all_go_on_together(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    alone: dict[str, tuple[Any, ...]],
    trained: list[int],
    taken: int,
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, taken, KeyboardInterrupt())
        train_together(*SMALL)
    train_together(*SMALL)
    assert outcomes("runs") == alone
    assert len(trained) <= LONGEST + 1  # that of the interrupt, which not all had taken
    events = [event["event"] for run in Store("runs").runs() for event in run.journal.events()]
    assert Event.DIFFERS not in events


def test_one_that_has_no_room_on_its_disk_ends_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[str, tuple[Any, ...]]
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, 6, OSError(28, "No space left on device"))
        ended = train_together(*SMALL)
    assert [type(each) for each in ended].count(RunFailed) == 1
    found = {run.id: run.status for run in Store("runs").runs()}
    (unfinished,) = [run for run in found if found[run] == Status.INTERRUPTED]
    shutil.rmtree(Store("runs").run(unfinished).folder)
    assert outcomes("runs") == {run: alone[run] for run in found if run != unfinished}


def test_other_weights_of_the_same_epoch_are_not_taken_for_its_own(
    root: Path, alone: dict[str, tuple[Any, ...]]
) -> None:
    """As after another device: a run goes on with the weights that it had, and the others with theirs."""
    last = jobs("runs", *SMALL)[-1]
    home = Store("runs").open()
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train_run(last, home)
    run = home.run(last.fingerprint)
    saved = checkpoint.latest(run.checkpoints, last.fingerprint, pytest.fail)
    assert saved is not None
    saved.model["4.bias"] += 1
    checkpoint.save(run.checkpoints, saved)
    shutil.copytree("runs", "changed")
    train_run(jobs("changed", *SMALL)[-1], Store("changed").open())
    train_fused(jobs("runs", *SMALL), home)
    assert outcomes("runs") == alone | outcomes("changed")
    assert outcomes("changed")[run.id] != alone[run.id]


@pytest.mark.full
def test_a_sweep_that_is_killed_goes_on_together(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    stops = ("trainer.epochs=3,4", "trainer.patience=null,1", "trainer.min_delta=0.9")
    sweep = ("-m", *FAULTY, "+model.hidden=1", "+model.dropout=0.2", *stops)
    faults()
    assert train(*sweep, "sweep.fuse=false", "store.root=alone").code == 0
    sweep = (*sweep, OURS, "tracking.enabled=true", "tracking.wait=90")
    faults(h1="kill")
    assert train(*sweep, tracking=True).code == 1
    assert [max(run.epochs()) for run in Store("runs").runs()] == [1] * 4
    faults()
    assert train(*sweep, tracking=True).code == 0
    assert outcomes("runs") == outcomes("alone")
    kill_sweep.mlflow(root, 4)
    last_starts = [run.history()[1].provenance for run in Store("runs").runs()]
    assert [start["shared"] for start in last_starts] == [4] * 4
