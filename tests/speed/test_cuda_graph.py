"""A step as a CUDA graph: when one is made, and what becomes of the step where it is not as it was without."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from sweeplab.models import MLP
from sweeplab.speed import cuda_graph
from sweeplab.speed.cuda_graph import GraphedGradients
from sweeplab.train.loop import train_epoch
from sweeplab.train.step import add_gradients
from sweeplab.train.train_state import TrainState

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
Batches = list[tuple[Tensor, Tensor]]


class Own(nn.Linear):
    """A class that is neither torch's nor ours."""


class OnCpu(cuda_graph._Graph):
    """What a graph computes, computed at each replay."""

    def __init__(
        self, state: Any, buffers: Sequence[Tensor], inputs: Tensor, targets: Tensor
    ) -> None:
        self._passes, self._trained = state.passes, state.updater.trained
        self._held = [*state.model.parameters(), *buffers]
        self._addresses = self._locate()
        self._inputs, self._targets = inputs.clone(), targets.clone()
        self.replays = 0

    def replay(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.replays += 1
        loss, output, self.gradients = self._passes(inputs, targets)
        for parameter, gradient in zip(self._trained, self.gradients, strict=True):
            parameter.grad = gradient
        return loss, output


class Wrong(OnCpu):
    """A graph that computes something else."""

    def replay(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, output = super().replay(inputs, targets)
        return loss + 1, output


class Uncapturable(OnCpu):
    """A network of which no graph can be made."""

    def __init__(self, *_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Have graphs of this class, and no GPU."""

    def use(kind: type) -> None:
        monkeypatch.setattr(cuda_graph, "_Graph", kind)
        monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
        monkeypatch.setattr(torch.cuda, "set_stream", lambda _: None)
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _: torch.zeros(1))
        monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: None)

    return use


def batches(count: int = 8) -> Batches:
    torch.manual_seed(1)
    return [(torch.randn(8, 6), torch.randn(8, 3)) for _ in range(count)]


def state(**changes: Any) -> TrainState:
    torch.manual_seed(0)
    return tiny.train_state(MLP(6, 3, 5), **changes)


def trained(its: TrainState, given: Batches) -> tuple[Any, ...]:
    means = train_epoch(its, given).metrics
    return means, {name: value.tolist() for name, value in its.model.state_dict().items()}


def test_a_graph_is_tried_on_a_gpu_of_modules_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss = nn.MSELoss()
    assert cuda_graph.pays_off(CUDA, MLP(6, 3, 5), loss)
    assert not cuda_graph.pays_off(CPU, MLP(6, 3, 5), loss)
    assert not cuda_graph.pays_off(CUDA, nn.Sequential(Own(2, 2)), loss)
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    assert not cuda_graph.pays_off(CUDA, MLP(6, 3, 5), loss)


def test_a_proven_graph_takes_the_place_of_the_passes(capture: Callable[[type], None]) -> None:
    capture(OnCpu)
    graphed = GraphedGradients(add_gradients)
    assert trained(state(graphed=graphed), batches()) == trained(state(), batches())
    assert isinstance(graphed._graph, OnCpu)
    assert graphed._graph.replays == 6, "one for the proof, and the five steps after it"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Wrong, "a step as a CUDA graph has other bits: computed without"),
        (
            Uncapturable,
            "a step cannot be a CUDA graph: operation not permitted when stream is capturing",
        ),
    ],
)
def test_without_proof_there_is_no_graph(
    capture: Callable[[type], None], caplog: pytest.LogCaptureFixture, kind: type, said: str
) -> None:
    capture(kind)
    caplog.set_level(logging.INFO, logger="sweeplab.speed.cuda_graph")
    graphed = GraphedGradients(add_gradients)
    assert trained(state(graphed=graphed), batches()) == trained(state(), batches())
    assert graphed._graph is None
    assert caplog.messages == [said]


def test_a_network_that_draws_on_the_cpu_is_not_captured(capture: Callable[[type], None]) -> None:
    capture(OnCpu)
    graphed = GraphedGradients(add_gradients)
    its = tiny.train_state(nn.Sequential(nn.Linear(6, 3), nn.Dropout()), graphed=graphed)
    train_epoch(its, batches())
    assert graphed._graph is None


def test_other_batches_and_moved_weights_are_computed_without(
    capture: Callable[[type], None],
) -> None:
    capture(OnCpu)
    graphed = GraphedGradients(add_gradients)
    its = state(graphed=graphed)
    train_epoch(its, batches(3))
    graph = graphed._graph
    assert isinstance(graph, OnCpu)
    train_epoch(its, [(torch.randn(4, 6), torch.randn(4, 3))])
    assert graph.replays == 1
    train_epoch(its, batches(1))
    assert graph.replays == 2
    for parameter in its.model.parameters():
        parameter.data = parameter.data.clone()
    train_epoch(its, batches(1))
    assert graph.replays == 2
