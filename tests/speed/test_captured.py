"""A captured step: when there is one, and what becomes of a step where it is not as it was without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from sweeplab.models import MLP
from sweeplab.speed import captured, tape
from sweeplab.speed.captured import CapturedGradients
from sweeplab.speed.tape import Tape
from sweeplab.train.loop import train_epoch
from sweeplab.train.step import add_gradients
from sweeplab.train.train_state import TrainState

CUDA, CPU, META = torch.device("cuda"), torch.device("cpu"), torch.device("meta")
Batches = list[tuple[Tensor, Tensor]]


class Own(nn.Linear):
    """A class that is neither torch's nor ours."""


class TwoBiases(nn.Linear):
    """A layer of which two parameters have the same gradient."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.further = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias + self.further)


class Counting(nn.Linear):
    """A layer that computes something else in each step."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return super().forward(x) * self.steps


class Failing(Counting):
    """A layer that is not computed a second time."""

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        if self.steps == 4:  # the third step's trial
            raise TypeError("once only")
        return nn.Linear.forward(self, x)


class Looking(nn.Linear):
    """A layer whose operations depend on the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


def batches(count: int = 12, size: int = 8) -> Batches:
    torch.manual_seed(1)
    return [(torch.randn(size, 6), torch.randn(size, 3)) for _ in range(count)]


def state(network: Callable[[], nn.Module] = lambda: MLP(6, 3, 5), **changes: Any) -> TrainState:
    torch.manual_seed(0)
    return tiny.train_state(network(), **changes)


def trained(its: TrainState, given: Batches) -> tuple[Any, ...]:
    torch.manual_seed(2)
    means = train_epoch(its, given).metrics
    return means, {name: value.tolist() for name, value in its.model.state_dict().items()}


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Every tape, once for each time that it was replayed."""
    seen: list[Tape] = []
    replay = Tape.replay

    def counted(this: Tape, inputs: Tensor, targets: Tensor) -> tape.Result:
        seen.append(this)
        return replay(this, inputs, targets)

    monkeypatch.setattr(Tape, "replay", counted)
    return seen


def test_a_step_is_captured_of_modules_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = nn.MSELoss()
    assert captured.pays_off(CUDA, MLP(6, 3, 5), loss)
    assert captured.pays_off(CPU, MLP(6, 3, 5), loss)
    assert not captured.pays_off(META, MLP(6, 3, 5), loss)
    assert not captured.pays_off(CPU, nn.Sequential(Own(2, 2)), loss)
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    assert not captured.pays_off(CPU, MLP(6, 3, 5), loss)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLP(6, 3, [5, 4]),
    "dropout": lambda: MLP(6, 3, 5, dropout=0.5),
    "no bias": lambda: nn.Linear(6, 3, bias=False),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.GELU(), nn.Flatten(), nn.Linear(6, 3)
    ),
    "norms": lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.PReLU(), nn.Linear(4, 3)),
    "frozen": lambda: nn.Sequential(nn.Linear(6, 4).requires_grad_(False), nn.Tanh(), nn.Linear(4, 3)),
    "used twice": lambda: nn.Sequential(layer := nn.Linear(6, 6), nn.ReLU(), layer, nn.Linear(6, 3)),
}  # fmt: skip
UPDATES: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "SGD": lambda _: {},
    "momentum": lambda its: {"optimizer": SGD(its.parameters(), 0.1, momentum=0.9)},
    "Adam, clipped": lambda its: {
        "optimizer": Adam(its.parameters(), fused=True),
        "clip_norm": 0.1,
    },
    "bf16": lambda _: {"autocast": lambda: torch.autocast("cpu", torch.bfloat16)},
}


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_captured_step_has_the_bits_that_it_has_without(
    replays: list[Tape], network: str, update: str
) -> None:
    results = []
    for given in (None, CapturedGradients(add_gradients)):
        torch.manual_seed(0)
        model = NETWORKS[network]()
        changes = UPDATES[update](model)
        results.append(trained(tiny.train_state(model, captured=given, **changes), batches()))
    assert results[0] == results[1]
    assert len(replays) == 10, "three for the proof, and the seven steps after it"


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: Counting(6, 3), "a captured step has other bits: computed without"),
        (lambda: TwoBiases(6, 3), "gradients of a captured step share memory: computed without"),
        (lambda: Failing(6, 3), "a step cannot be captured: once only"),
        (
            lambda: Looking(6, 3),
            "a step cannot be captured: aten._local_scalar_dense.default gives",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, momentum=None)),
            "a step cannot be captured: aten._local_scalar_dense.default gives",
        ),
    ],
)
def test_without_proof_nothing_is_captured(
    caplog: pytest.LogCaptureFixture, network: Callable[[], nn.Module], said: str
) -> None:
    caplog.set_level(logging.INFO, logger="sweeplab.speed.captured")
    its = state(network, captured=CapturedGradients(add_gradients))
    without = state(network)
    found = trained(its, batches(2))
    assert not caplog.messages, "the third step is the first that is tried"
    assert found == trained(without, batches(2))
    found = trained(its, batches(1))
    if not isinstance(its.model, Counting):  # whose trial is a step more
        assert found == trained(without, batches(1))
    assert [message[: len(said)] for message in caplog.messages] == [said]
    assert its.captured is not None
    assert its.captured._captured is None


def test_other_batches_are_computed_without(replays: list[Tape]) -> None:
    its = state(captured=CapturedGradients(add_gradients))
    train_epoch(its, batches(6))
    assert len(replays) == 4
    train_epoch(its, batches(2, size=4))
    assert len(replays) == 4
    train_epoch(its, batches(1))
    assert len(replays) == 5


def test_a_tape_follows_weights_that_are_loaded(replays: list[Tape]) -> None:
    its, without = state(captured=CapturedGradients(add_gradients)), state()
    for one in (its, without):
        start = {name: value.clone() for name, value in one.model.state_dict().items()}
        train_epoch(one, batches(8))
        one.model.load_state_dict(start)
    assert trained(its, batches(4)) == trained(without, batches(4))
    assert len(replays) == 10
