"""`data.batch_transform`: whole training batches changed on the device, with every promise of a run kept."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from sets import config
from stored import facts, only
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from sweeplab import data
from sweeplab.config import compose
from sweeplab.data import Batches, BatchTransform, seeding
from sweeplab.runs.weights import load_weights
from sweeplab.targets import instantiate
from sweeplab.train.random_state import seed_stream

HERE = "test_batch_transform"
LINEAR = ("data=digits", "model=linear", "scheduler=constant", "trainer.epochs=3", "trainer.threads=1",
          "trainer.patience=null", "trainer.limit_batches=3")  # fmt: skip
MIX = "data.batch_transform._target_=own.mix"
MIXUP = ("data.flatten=false", "data.batch_transform._target_=torchvision.transforms.v2.MixUp",
         "+data.batch_transform.num_classes=10")  # fmt: skip
Pair = tuple[Tensor, Tensor]


class Flat(nn.Linear):
    """A linear layer on pictures."""

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures.flatten(1))


def noise(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs.add_(torch.rand(()) + random.random() + float(np.random.rand())), targets


def noisy_rows(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**batch, "x": batch["x"] + torch.rand(())}


def rows() -> list[dict[str, Any]]:
    return [{"x": torch.full((2,), float(i)), "y": i} for i in range(24)]


def only_inputs(inputs: Tensor, targets: Tensor) -> Tensor:
    return inputs


def halved(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs[:, :32], targets


def doubled(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs.double(), targets


class Growing:
    """Multiplies by the number of its calls."""

    calls = 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> Pair:
        self.calls += 1
        return inputs * self.calls, targets


def with_own_generator(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs + torch.rand((), generator=OWN), targets


def of_one(inputs: Tensor) -> Tensor:
    return inputs


OWN = torch.Generator()


def counted(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    inputs, targets = batch
    return {"loss": loss(model(inputs), targets), "soft": float(targets.is_floating_point())}


# --- Batches --------------------------------------------------------------------------------------


def inputs_of(split: data.Split, epoch: int, seed: int = 0, **changes: Any) -> list[Tensor]:
    transform = BatchTransform(config(batch_transform={"_target_": f"{HERE}.noise"}, **changes))
    return [x for x, _ in Batches(split, 8, device="cpu", seed=seed, transform=transform).epoch(epoch)]  # fmt: skip


@pytest.mark.parametrize("memory", [2048, 0])
def test_what_a_batch_draws_is_a_function_of_seed_epoch_and_number(memory: int) -> None:
    split = data.load(config("sets.Listed", memory=memory, version="1")).train
    plain = [x for x, _ in Batches(split, 8, device="cpu", seed=0).epoch(1)]
    before = seeding.states()
    changed = inputs_of(split, 1)
    assert seeding.states() == before
    for number, (old, new) in enumerate(zip(plain, changed, strict=True)):
        with seeding.preserved():
            seeding.seed(f"0/batch_transform/1/{number}")
            drawn = torch.rand(()) + random.random() + float(np.random.rand())
        assert torch.equal(new, old + drawn)
    assert all(map(torch.equal, changed, inputs_of(split, 1)))
    drawn_elsewhere = [inputs_of(split, 2), inputs_of(split, 1, seed=1)]
    assert not any(torch.equal(changed[0], other[0]) for other in drawn_elsewhere)


def test_batches_of_any_form_are_changed_as_a_whole() -> None:
    settings = config(f"{HERE}.rows", task="any", batch_transform={"_target_": f"{HERE}.noisy_rows"})  # fmt: skip
    split = data.load(settings).train
    transform = data.batch_transform(settings)
    (plain, *_), (changed, *_) = (
        Batches(split, 8, device="cpu", seed=0, transform=each).epoch(1) for each in (None, transform)
    )  # fmt: skip
    assert torch.equal(plain["y"], changed["y"])
    with seeding.preserved():
        seeding.seed("0/batch_transform/1/0")
        assert torch.equal(changed["x"], plain["x"] + torch.rand(()))


# --- Runs -----------------------------------------------------------------------------------------


def test_mixup_has_the_weights_and_the_curve_of_a_bare_loop(train: Command, root: Path) -> None:
    own = (f"model._target_={HERE}.Flat", "optimizer=sgd", "optimizer.lr=0.1", "trainer.epochs=1")
    assert train(*LINEAR, *MIXUP, *own).code == 0
    settings = compose([*LINEAR, *MIXUP, *own])
    batches = Batches(data.load(settings.data).train, 128, device="cpu", seed=0, drop_last=True, limit=3)  # fmt: skip
    seed_stream(0, "initialisation")
    model = Flat(64, 10)
    optimizer = instantiate(settings.optimizer, model.parameters())
    losses, right = [], 0
    for number, (inputs, targets) in enumerate(batches.epoch(1)):
        seeding.seed(f"0/batch_transform/1/{number}")
        inputs, shares = v2.MixUp(num_classes=10)(inputs, targets)
        output = model(inputs)
        loss = cross_entropy(output, shares)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right += int((output.argmax(1) == shares.argmax(1)).sum())
    weights = load_weights(only(root).weights_file)
    assert torch.allclose(weights["weight"], model.weight, atol=1e-6)
    measured = only(root).epochs()[1]
    assert measured["train/loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert measured["train/accuracy"] == right / 384, "by the class with the largest share"


def test_a_killed_run_resumes_to_the_same_bits(
    train: Command, replay: Command, root: Path, die_at: Callable[[int], None]
) -> None:
    how = (*LINEAR, MIX, "trainer.accumulate=3")
    assert train(*how, "store.root=whole").code == 0
    die_at(2)
    assert train(*how).code == 130
    assert "goes on after epoch 1" in train(*how).out
    assert facts(only(root)) == facts(only(root, "whole"))
    train(*LINEAR, "trainer.accumulate=3", "store.root=plain")
    assert only(root, "plain").id != only(root).id
    assert only(root, "plain").epochs()[1]["train/loss"] != only(root).epochs()[1]["train/loss"]
    again = replay(only(root).id, "--trust", "own")
    assert (again.code, "identical: " in again.out) == (0, True), again.err


def test_a_step_gets_changed_batches_in_training_only(train: Command, root: Path) -> None:
    step = f"step._target_={HERE}.counted"
    assert train(*LINEAR, MIX, step, "trainer.epochs=1").code == 0
    measured = only(root).epochs()[1]
    assert (measured["train/soft"], measured["valid/soft"]) == (1, 0)


FAILS = r"fails on a tensor of shape \[2, 64\] \(torch.float32\) and a tensor of shape \[2\] \(torch.int64\): "


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_transform._target_=own.mixx"], r"data\.batch_transform\._target_=.*did you mean 'own\.mix'\?"),
        ([MIX, "+data.batch_transform.klasses=3"], r"data\.batch_transform\.klasses=3: .* did you mean 'classes'\?"),
        ([f"data.batch_transform._target_={HERE}.of_one"], r"data\.batch_transform\._target_=.*\.of_one: takes \(inputs\), and is called with \(inputs, targets\)"),
        ([f"data.batch_transform._target_={HERE}.only_inputs"], r"data\.batch_transform=.*: returns a tensor of shape \[2, 64\] \(torch\.float32\); it must return a pair of tensors, inputs and targets$"),
        ([f"data.batch_transform._target_={HERE}.with_own_generator"], r"data\.batch_transform=.*: gives another batch each time, though the global generators"),
        ([f"data.batch_transform._target_={HERE}.halved"], r"model=torch\.nn\.Linear: does not take inputs of shape \[B, 32\]"),
        ([f"data.batch_transform._target_={HERE}.doubled"], r"model=torch\.nn\.Linear: does not take inputs of shape \[B, 64\] .*Double"),
        ([f"data.batch_transform._target_={HERE}.Growing"], r"data\.batch_transform=.*: gives another batch each time"),
        ([MIX, "+data.batch_transform.classes=12"], r"loss=torch\.nn\.CrossEntropyLoss: does not fit the targets that data\.batch_transform makes, \[B, 12\] \(torch\.float32\): "),
        ([MIX, "loss=nll"], r"loss=sweeplab\.models\.NLLLoss: does not fit the targets that data\.batch_transform makes, \[B, 10\]"),
        ([*MIXUP, "data.flatten=true"], rf"data\.batch_transform=torchvision\.transforms\.v2\.MixUp: {FAILS}.*; data\.flatten=false keeps the shape of pictures"),
        (["data.batch_transforn=null"], r"data\.batch_transforn.*did you mean 'data\.batch_transform=null'"),
        ([f"data.batch_transform._target_={HERE}.halved", f"step._target_={HERE}.counted"], r"step=.*: training fails on a batch of 2 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    refused = train(*LINEAR, *overrides)
    assert refused.code == 2
    assert re.match(message, refused.err), refused.err
    assert not list(root.glob("runs/*/journal.jsonl"))
