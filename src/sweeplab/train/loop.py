"""The training loop. It knows tensors, a network, a loss and an optimizer, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
from sweeplab.train.reduction import Reduction
from sweeplab.train.step import Accumulated, add_gradients, update_parts, update_whole
from sweeplab.train.step_result import StepAverager
from sweeplab.train.train_state import Batch, TrainState, checked_output


class Trained(NamedTuple):
    """The training part of an epoch: its metrics, over how many examples, in how many seconds."""

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
        trained = train_epoch(state, train(number))
        yield finish_epoch(state, number, trained, valid())


def train_epoch(state: TrainState, batches: Iterable[Batch]) -> Trained:
    """Train on each batch once; the averages are of the outputs as they were before each step.

    A loss whose reduction is unknown is taken for a mean over the examples of a batch. With a
    user's own step, `batches` yields each batch together with its number of examples.
    """
    started = time.perf_counter()
    state.train()
    for updater in state.updaters.values():
        updater.checked_rates()
    averager: MetricAverager | StepAverager
    if state.step is not None:
        averager = _train_with_own_step(state, batches)
    else:
        averager = state.new_averager()
        accumulated = Accumulated(state)
        for inputs, targets in batches:
            if state.accumulate == 1:
                loss, output = train_step(state, inputs, targets)
            else:
                loss, output = accumulated.add(inputs, targets)
            averager.update(loss, output, targets)
    means = averager.means()  # which waits for the device
    return Trained(means, averager.examples, time.perf_counter() - started)


def train_step(state: TrainState, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Compute gradients, clip, update; returns the loss, a scalar, and the outputs.

    Nothing here waits for the device.
    """
    first_outputs: list[Tensor] = []  # before the update; LBFGS calls the closure several times
    compute_gradients = state.captured or add_gradients

    def closure() -> Tensor:
        loss, output = compute_gradients(state, inputs, targets)
        if not first_outputs:
            first_outputs.append(output)
        return loss

    loss = state.updater.step_by(closure)
    state.average()
    return loss, first_outputs[0]


def _train_with_own_step(state: TrainState, batches: Iterable[tuple[Any, int]]) -> StepAverager:
    averager = StepAverager(state.kind, state.unit)
    accumulated = Accumulated(state)
    for batch, examples in batches:
        if state.is_in_parts:
            result = update_parts(state, batch)
        elif state.accumulate == 1:
            result = update_whole(state, batch)
        else:
            result = accumulated.add_step(batch, examples)
        averager.update(result, examples)
    return averager


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


@torch.no_grad()
def evaluate(state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
    """Compute loss, accuracy (or mae) and the further metrics over all batches, in eval mode.

    The loss is that of the whole set, and does not depend on the size of the batches. Where it is
    not known how a loss reduces, as for a user's own, all outputs are kept, and it is computed of
    them at once.
    """
    state.eval()
    if state.step is not None:
        return _evaluate_with_own_step(state, batches)
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
        means |= _loss_of_whole_set(state, kept)
    numbers, state.others = metric_values.compute(state.metrics)
    return means | numbers


def _loss_of_whole_set(state: TrainState, kept: list[Batch]) -> dict[str, float]:
    """Compute the loss of all outputs at once; none in the processes that gather nothing."""
    gathered = state.gather(kept)
    if not gathered:
        return {}
    outputs, targets = zip(*gathered, strict=True)
    return {LOSS: float(state.loss(torch.cat(outputs), torch.cat(targets)))}


def _evaluate_with_own_step(
    state: TrainState, batches: Iterable[tuple[Any, int]]
) -> dict[str, float]:
    """Average the numbers of a step over all batches; of other results keep the first batch's."""
    averager = StepAverager(state.kind, state.unit)
    others: dict[str, Any] | None = None
    for metric in state.metrics.values():
        metric.reset()
    for batch, examples in batches:
        result = state.compute(state.evaluated, batch)
        averager.update(result, examples)
        for metric in state.metrics.values():
            metric.update(result.output, result.target)
        if others is None:
            others = result.others
    numbers, state.others = metric_values.compute(state.metrics)
    state.others |= others or {}
    return averager.means() | numbers
