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
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sweeplab.metrics import (
    LOSS,
    TRAIN,
    VALID,
    EpochResult,
    MetricAverager,
    learning_rates,
    with_prefix,
)
from sweeplab.train import metric_values, schedule
from sweeplab.train.metric_values import Metric
from sweeplab.train.reduction import Reduction, batch_weight, reduction

Batch = tuple[Tensor, Tensor]


@dataclass(kw_only=True)
class TrainState:
    """What is trained, and with what: the parts of a step, in the order in which it uses them."""

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    kind: str  # classification | regression
    monitor: str  # the metric that a ReduceLROnPlateau is given
    interval: str = "auto"  # when the scheduler steps: step | epoch | auto
    clip_norm: float | None = None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)  # what these last computed, no numbers
    averager: Callable[..., MetricAverager] = MetricAverager
    gather: Callable[[list[Batch]], list[Batch]] = list  # of this rank -> of all ranks
    compile: bool = False  # forward and backward pass as one graph
    unit: float = 1.0  # what the targets of a regression were divided by
    outputs: int | None = None  # numbers that the network gives for an example; None: not checked
    rates: Sequence[float] = ()  # the parameter groups' learning rates in the last batch

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of network and loss, frozen ones included, each once."""
        return list(dict.fromkeys([*self.model.parameters(), *self.loss.parameters()]))

    @cached_property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters if parameter.requires_grad]

    @cached_property
    def compiled(
        self,
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Sequence[Tensor | None]]]:
        """Forward and backward pass compiled as one graph: a batch -> (loss, outputs, gradients).

        As two graphs, which `model.compile()` gives, a step of a small network takes a quarter
        longer.
        """
        model, loss, autocast = self.model, self.loss, self.autocast
        trained, outputs = self.trained, self.outputs

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

    @cached_property
    def steps_each_batch(self) -> bool:
        """Whether the scheduler steps after each batch, and not after each epoch."""
        return schedule.steps_by_batch(self.interval, self.scheduler)

    def new_averager(self) -> MetricAverager:
        """Start to add up batches."""
        is_sum = self.reduction is Reduction.SUM
        return self.averager(self.kind, batch_weight(self.loss), total=is_sum, unit=self.unit)

    def train(self) -> None:
        """Switch network and loss to training."""
        self.model.train()
        self.loss.train()

    def eval(self) -> None:
        """Switch network and loss to evaluation."""
        self.model.eval()
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
    if not state.steps_each_batch:
        state.rates = schedule.rates(state.optimizer)
    metrics = with_prefix(TRAIN, trained.metrics) | learning_rates(state.rates)
    metrics |= with_prefix(VALID, evaluate(state, valid))
    metrics.setdefault(state.monitor, math.nan)  # a dict of a metric may lack it at times
    step_epoch(state, metrics)
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
    for inputs, targets in batches:
        loss, output = train_step(state, inputs, targets)
        averager.update(loss, output, targets)
    return averager


def train_step(state: TrainState, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Compute gradients, clip, update; returns the loss, a scalar, and the outputs.

    Nothing here waits for the device.
    """
    first_outputs: list[Tensor] = []  # before the update; LBFGS looks several times
    compute_gradients = compiled_gradients if state.compile else eager_gradients

    def look() -> Tensor:
        loss, output = compute_gradients(state, inputs, targets)
        if not first_outputs:
            first_outputs.append(output)
        _clip(state)
        return loss

    # A tensor, as torch's own examples return
    loss = state.optimizer.step(look)  # type: ignore[arg-type]
    _step_schedule(state)
    return loss, first_outputs[0]  # type: ignore[return-value]


def eager_gradients(state: TrainState, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Leave the gradients of a batch in the parameters; returns the loss and the outputs."""
    for parameter in state.parameters:  # quicker than zero_grad by 1 % of a step
        parameter.grad = None
    with state.autocast():
        output = checked_output(state.model(inputs), len(inputs), state.outputs)
    loss = checked_loss(state.loss(output.float(), targets))
    loss.backward()
    return loss, output


def compiled_gradients(state: TrainState, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Do the same by the compiled graph."""
    loss, output, gradients = state.compiled(inputs, targets)
    for parameter, gradient in zip(state.trained, gradients, strict=True):
        parameter.grad = gradient
    return loss, output


def apply_gradients(state: TrainState) -> None:
    """Do the part of a step that follows the gradients, for an optimizer that looks once."""
    _clip(state)
    state.optimizer.step()
    _step_schedule(state)


def _clip(state: TrainState) -> None:
    if state.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.parameters, state.clip_norm)


def _step_schedule(state: TrainState) -> None:
    if state.steps_each_batch:
        state.rates = schedule.rates(state.optimizer)
        # No ReduceLROnPlateau here: it needs a metric
        state.scheduler.step()  # type: ignore[call-arg]


def step_epoch(state: TrainState, metrics: Mapping[str, float]) -> None:
    """Step a scheduler after an epoch, if it does not step with the batches."""
    if isinstance(state.scheduler, ReduceLROnPlateau):
        state.scheduler.step(metrics[state.monitor])
    elif not state.steps_each_batch:
        state.scheduler.step()


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
            output = checked_output(state.model(inputs), len(inputs), state.outputs)
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
