"""What is done with a batch: its gradients, several batches as one, and steps of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sweeplab.train.reduction import Reduction, batch_weight
from sweeplab.train.step_result import StepResult, Updates
from sweeplab.train.train_state import TrainState, checked_loss, checked_output


def add_gradients(
    state: TrainState, inputs: Tensor, targets: Tensor, share: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to the parameters'; returns the loss and the outputs, detached.

    The gradients are multiplied by `share`, if there is one.
    """
    if state.compile:
        return _add_compiled_gradients(state, inputs, targets, share)
    with state.autocast():
        output = checked_output(state.model(inputs), len(inputs), state.outputs)
    loss = checked_loss(state.loss(output.float(), targets))
    state.updater.scaled(loss if share is None else loss * share).backward()
    return loss.detach(), output.detach()


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
        self._begin()
        share = None if self._share_of is None else self._share_of(targets)
        loss, output = add_gradients(self._state, inputs, targets, share)
        self._end(1.0 if share is None else share)
        return loss, output

    def add_step(self, batch: Any, examples: int) -> StepResult:
        """Add a batch by a step of one's own, and update if it is the last of its group."""
        self._begin()
        result = self._state.compute(self._state.model, batch)
        share = examples if result.count is None else result.count
        self._state.updater.scaled(result.loss * share).backward()
        self._end(share)
        return result

    def _begin(self) -> None:
        if self._batches == 0:
            self._state.updater.clear_gradients()
            self._shares = 0.0

    def _end(self, share: Tensor | float) -> None:
        state, updater = self._state, self._state.updater
        self._batches += 1
        self._shares += share
        if self._batches < state.accumulate:
            return
        self._batches = 0
        if state.step is not None or state.reduction is not Reduction.SUM:
            updater.scale_gradients(_inverse(self._shares))
        updater.step()
        state.average()


def _inverse(shares: Tensor | float) -> Tensor | float:
    """Return 1 / shares; 0 where nothing counts, and so no gradient does."""
    if isinstance(shares, Tensor):
        return torch.where(shares == 0, 0.0, 1 / shares)
    return 1 / shares if shares else 0.0


# --- A step of one's own ---------------------------------------------------------------------------


def update_whole(state: TrainState, batch: Any) -> StepResult:
    """Compute a step's gradients, and update; returns what it computed before the update."""
    results: list[StepResult] = []

    def look() -> Tensor:
        result = state.compute(state.model, batch)
        state.updater.scaled(result.loss).backward()
        results.append(result)
        return result.loss

    state.updater.step_by(look)
    state.average()
    return results[0]


def update_parts(state: TrainState, batch: Any) -> StepResult:
    """Update the parts of the network in the order in which the step yields them."""
    result = state.compute(state.model, batch, Updates(state.updaters))
    for updater in state.updaters.values():
        updater.step_schedule()
    state.average()
    return result
