"""The training loop. It knows tensors, a network, a loss and an optimizer, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sweeplab.metrics import (
    LOSS,
    TRAIN,
    VALID,
    EpochResult,
    MetricAverager,
    learning_rates,
    with_prefix,
)
from sweeplab.train import metric_values
from sweeplab.train.metric_values import Metric
from sweeplab.train.reduction import Reduction, batch_weight, reduction
from sweeplab.train.updater import Updater

Batch = tuple[Tensor, Tensor]


@dataclass(kw_only=True)
class TrainState:
    """What is trained, and with what: the parts of a step, in the order in which it uses them."""

    model: nn.Module
    loss: nn.Module
    updaters: Mapping[str, Updater]  # by the part of the network that they update; "" is the whole
    kind: str  # classification | regression
    monitor: str  # the metric that a ReduceLROnPlateau is given
    accumulate: int = 1  # batches whose gradients make up one update
    averaged: AveragedModel | None = None  # the network with the mean of its weights over time
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)  # what these last computed, no numbers
    averager: Callable[..., MetricAverager] = MetricAverager
    gather: Callable[[list[Batch]], list[Batch]] = list  # of this rank -> of all ranks
    compile: bool = False  # forward and backward pass as one graph
    unit: float = 1.0  # what the targets of a regression were divided by
    outputs: int | None = None  # numbers that the network gives for an example; None: not checked

    @property
    def updater(self) -> Updater:
        """The only updater: that of the whole network."""
        return self.updaters[""]

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one, if there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of network and loss, frozen ones included, each once."""
        return list(dict.fromkeys([*self.model.parameters(), *self.loss.parameters()]))

    @cached_property
    def compiled(
        self,
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Sequence[Tensor | None]]]:
        """Forward and backward pass compiled as one graph: a batch -> (loss, outputs, gradients).

        As two graphs, which `model.compile()` gives, a step of a small network takes a quarter
        longer.
        """
        model, loss, autocast = self.model, self.loss, self.autocast
        trained, outputs = self.updater.trained, self.outputs

        def passes(
            inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            with autocast():
                output = checked_output(model(inputs), len(inputs), outputs)
            value = checked_loss(loss(output.float(), targets))
            gradients = torch.autograd.grad(value, trained, allow_unused=True)
            return value.detach(), output.detach(), gradients

        if hasattr(torch._dynamo.config, "trace_autograd_ops"):  # an older PyTorch makes two graphs
            torch._dynamo.config.trace_autograd_ops = True
        return torch.compile(passes)

    @cached_property
    def reduction(self) -> Reduction:
        """How the loss of a set follows from those of its batches."""
        return reduction(self.loss)

    def new_averager(self) -> MetricAverager:
        """Start to add up batches."""
        is_sum = self.reduction is Reduction.SUM
        return self.averager(self.kind, batch_weight(self.loss), total=is_sum, unit=self.unit)

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


class Trained(NamedTuple):
    """The training part of an epoch: loss and score over how many examples, in how many seconds."""

    metrics: dict[str, float]
    examples: int
    seconds: float


def epochs(
    state: TrainState,
    train: Callable[[int], Iterable[Batch]],
    valid: Callable[[], Iterable[Batch]],
    first: int = 1,
) -> Iterator[EpochResult]:
    """Train epoch after epoch, from number `first`, for as long as the caller asks for another one.

    `train(number)` gives the batches of an epoch in its order, `valid()` those of the validation
    set.
    """
    for number in count(first):
        trained = timed_epoch(state, train(number))
        yield finish_epoch(state, number, trained, valid())


def timed_epoch(state: TrainState, batches: Iterable[Batch]) -> Trained:
    """Train on the batches of an epoch, and take the time."""
    started = time.perf_counter()
    averager = train_epoch(state, batches)
    means = averager.means()  # which waits for the device
    return Trained(means, averager.examples, time.perf_counter() - started)


def finish_epoch(
    state: TrainState, number: int, trained: Trained, valid: Iterable[Batch]
) -> EpochResult:
    """Validate, and step a scheduler that counts epochs."""
    started = time.perf_counter()
    metrics = with_prefix(TRAIN, trained.metrics)
    for part, updater in state.updaters.items():
        metrics |= learning_rates(updater.last_rates(), part)
    metrics |= with_prefix(VALID, evaluate(state, valid))
    metrics.setdefault(state.monitor, math.nan)  # a dict of a metric may lack it at times
    for updater in state.updaters.values():
        updater.end_epoch(metrics[state.monitor])
    return EpochResult(
        epoch=number,
        metrics=metrics,
        examples=trained.examples,
        train_seconds=trained.seconds,
        seconds=trained.seconds + time.perf_counter() - started,
    )


def train_epoch(state: TrainState, batches: Iterable[Batch]) -> MetricAverager:
    """Train on each batch once; the averages are of the outputs as they were before each step.

    A user's own loss, of which no more is known, is summed as a mean over examples.
    """
    state.train()
    averager = state.new_averager()
    accumulated = Accumulated(state)
    for inputs, targets in batches:
        if state.accumulate == 1:
            loss, output = train_step(state, inputs, targets)
        else:
            loss, output = accumulated.add(inputs, targets)
        averager.update(loss, output, targets)
    return averager


def train_step(state: TrainState, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Compute gradients, clip, update; returns the loss, a scalar, and the outputs.

    Nothing here waits for the device.
    """
    updater = state.updater
    first_outputs: list[Tensor] = []  # before the update; LBFGS looks several times

    def look() -> Tensor:
        updater.clear_gradients()
        loss, output = add_gradients(state, inputs, targets)
        if not first_outputs:
            first_outputs.append(output)
        updater.clip()
        return loss

    # A tensor, as torch's own examples return
    loss = updater.optimizer.step(look)  # type: ignore[arg-type]
    updater.step_schedule()
    state.average()
    return loss, first_outputs[0]  # type: ignore[return-value]


def add_gradients(
    state: TrainState, inputs: Tensor, targets: Tensor, share: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to the parameters'; returns the loss and the outputs.

    The gradients are multiplied by `share`, if there is one.
    """
    if state.compile:
        return _add_compiled_gradients(state, inputs, targets, share)
    with state.autocast():
        output = checked_output(state.model(inputs), len(inputs), state.outputs)
    loss = checked_loss(state.loss(output.float(), targets))
    (loss if share is None else loss * share).backward()
    return loss, output


def _add_compiled_gradients(
    state: TrainState, inputs: Tensor, targets: Tensor, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    loss, output, gradients = state.compiled(inputs, targets)
    for parameter, gradient in zip(state.updater.trained, gradients, strict=True):
        if gradient is not None and share is not None:
            gradient = gradient * share
        if parameter.grad is None or gradient is None:
            parameter.grad = gradient
        else:
            parameter.grad += gradient
    return loss, output


class Accumulated:
    """Add up the gradients of several batches to those of one large batch, then update."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._share_of = batch_weight(state.loss)
        self._batches = 0
        self._shares: Tensor | float = 0.0

    def add(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch, and update if it is the last of its group; returns loss and outputs."""
        state, updater = self._state, self._state.updater
        if self._batches == 0:
            updater.clear_gradients()
            self._shares = 0.0
        share = None if self._share_of is None else self._share_of(targets)
        loss, output = add_gradients(state, inputs, targets, share)
        self._batches += 1
        self._shares += 1.0 if share is None else share
        if self._batches == state.accumulate:
            self._batches = 0
            if state.reduction is not Reduction.SUM:
                updater.scale_gradients(1 / self._shares)
            updater.step()
            state.average()
        return loss.detach(), output.detach()


def checked_output(output: Tensor, examples: int, outputs: int | None) -> Tensor:
    """Return the output, [examples, outputs].

    Raises ValueError for another shape, which a loss may broadcast silently.
    """
    shape = getattr(output, "shape", None)
    if outputs is not None and shape != (examples, outputs):
        got = f"is a {type(output).__name__}" if shape is None else f"has the shape {list(shape)}"
        raise ValueError(f"the network's output {got}, but [{examples}, {outputs}] is needed")
    return output


def checked_loss(loss: Tensor) -> Tensor:
    """Return the loss of a batch. Raises ValueError if it is not one number."""
    if loss.dim() > 0:
        raise ValueError(f"the loss of a batch must be one number, not of shape {list(loss.shape)}")
    return loss


@torch.no_grad()
def evaluate(state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
    """Compute loss, accuracy (or mae) and the further metrics over all batches, in eval mode.

    The loss is that of the whole set, and does not depend on the size of the batches. Where a loss
    does not say how that follows from the batches', as one of a user's own, all outputs are kept,
    and it is computed of them at once.
    """
    state.eval()
    averager = state.new_averager()
    kept: list[Batch] = []
    for metric in state.metrics.values():
        metric.reset()
    for inputs, targets in batches:
        with state.autocast():
            output = checked_output(state.evaluated(inputs), len(inputs), state.outputs)
        output = output.float()
        if state.reduction is Reduction.WHOLE:
            kept.append((output, targets))
            loss = output.new_zeros(())
        else:
            loss = state.loss(output, targets)
        averager.update(loss, output, targets)
        for metric in state.metrics.values():
            metric.update(output, targets)
    means = averager.means()
    if state.reduction is Reduction.WHOLE:
        gathered = state.gather(kept)
        if gathered:
            outputs, all_targets = zip(*gathered, strict=True)
            means[LOSS] = float(state.loss(torch.cat(outputs), torch.cat(all_targets)))
    numbers, state.others = metric_values.compute(state.metrics)
    return means | numbers
