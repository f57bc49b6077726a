"""The state of a training: network, loss, updaters, metrics and the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sweeplab.errors import a_or_an
from sweeplab.metrics import MetricAverager
from sweeplab.speed.captured import CapturedGradients
from sweeplab.speed.tape import Passes
from sweeplab.train.metric_values import Metric
from sweeplab.train.reduction import Reduction, batch_weight, reduction
from sweeplab.train.step_result import Step, StepResult, Update, compute, no_update
from sweeplab.train.updater import Updater

Batch = tuple[Any, Any]
"""Inputs and targets; for a step of one's own a batch of any form, and its number of examples."""


@dataclass(kw_only=True)
class TrainState:
    """The parts of a training step, in the order in which it uses them."""

    model: nn.Module
    loss: nn.Module
    updaters: Mapping[str, Updater]  # by the part of the network that they update; "" is the whole
    kind: str  # classification | regression | any
    monitor: str  # the metric that a ReduceLROnPlateau reads
    accumulate: int = 1  # batches whose gradients make up one update
    averaged: AveragedModel | None = None  # the network with the mean of its weights over time
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)  # what these last computed, no numbers
    averager: Callable[..., MetricAverager] = MetricAverager
    gather: Callable[[list[Batch]], list[Batch]] = list  # of this rank -> of all ranks
    compile: bool = False  # forward and backward pass as one graph
    captured: CapturedGradients | None = None  # the same without autograd, once it is proven
    unit: float = 1.0  # what the targets of a regression were divided by
    step: Step | None = None  # of the user's own; None: the loss of outputs and targets
    outputs: int | None = None  # numbers that the network gives for an example; None: not checked

    @property
    def updater(self) -> Updater:
        """The only updater: that of the whole network."""
        return self.updaters[""]

    @property
    def is_in_parts(self) -> bool:
        """Whether parts of the network have updaters of their own, in the place of an only one."""
        return "" not in self.updaters

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one, if there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of network and loss, frozen ones included, each once."""
        return list(dict.fromkeys([*self.model.parameters(), *self.loss.parameters()]))

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that the only updater changes."""
        return self.updater.trained

    @property
    def buffers(self) -> list[Tensor]:
        """What network and loss keep beside parameters, as running statistics."""
        return [*self.model.buffers(), *self.loss.buffers()]

    @cached_property
    def passes(self) -> Passes:
        """Forward and backward pass as one function: a batch -> (loss, outputs, gradients)."""
        model, loss, autocast = self.model, self.loss, self.autocast
        updater, outputs = self.updater, self.outputs

        def passes(
            inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            with autocast():
                output = checked_output(model(inputs), len(inputs), outputs)
            value = checked_loss(loss(output.float(), targets))
            scaled = updater.scaled(value)
            gradients = torch.autograd.grad(scaled, updater.trained, allow_unused=True)
            return value.detach(), output.detach(), gradients

        return passes

    @cached_property
    def compiled(self) -> Passes:
        """Both passes compiled as one graph.

        As two graphs, which `model.compile()` gives, a step of a small network takes a quarter
        longer.
        """
        if hasattr(torch._dynamo.config, "trace_autograd_ops"):  # an older PyTorch makes two graphs
            torch._dynamo.config.trace_autograd_ops = True
        return torch.compile(self.passes)

    @cached_property
    def reduction(self) -> Reduction:
        """How the loss of a set follows from those of its batches."""
        return reduction(self.loss)

    def new_averager(self) -> MetricAverager:
        """Start to add up batches."""
        is_sum = self.reduction is Reduction.SUM
        return self.averager(self.kind, batch_weight(self.loss), total=is_sum, unit=self.unit)

    def compute(self, model: nn.Module, batch: Any, update: Update = no_update) -> StepResult:
        """Call the step of one's own on a batch."""
        assert self.step is not None
        return compute(self.step, model, self.loss, batch, self.autocast, update)

    def average(self) -> None:
        """Take the weights after an update into their mean over time, if there is one."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def train(self) -> None:
        """Switch network and loss to training."""
        self.model.train()
        self.loss.train()

    def eval(self) -> None:
        """Switch network and loss to evaluation."""
        self.evaluated.eval()
        self.loss.eval()


def checked_output(output: Tensor, examples: int, outputs: int | None) -> Tensor:
    """Return the output, [examples, outputs].

    Raises ValueError for another shape, which a loss may broadcast silently.
    """
    shape = getattr(output, "shape", None)
    if outputs is not None and shape != (examples, outputs):
        got = (
            f"is {a_or_an(type(output).__name__)}"
            if shape is None
            else f"has the shape {list(shape)}"
        )
        raise ValueError(f"the network's output {got}, but [{examples}, {outputs}] is needed")
    return output


def checked_loss(loss: Tensor) -> Tensor:
    """Return the loss of a batch. Raises ValueError if it is not one number."""
    if loss.dim() > 0:
        raise ValueError(f"the loss of a batch must be one number, not of shape {list(loss.shape)}")
    return loss
