"""A step of one's own: what is computed of a batch, by `step(model, loss, batch)`.

It returns the loss, or a mapping of `loss` and whatever else is to be recorded: further numbers, by
their names; `output` and `target`, for accuracy and metrics; `count`, if the batch counts otherwise
than by its examples; and anything else, which is kept as a file when the network is evaluated.

A step that updates parts of the network in turn is a generator: it yields (part, loss) each time
that the optimizer of a part is to take its step, and returns as any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sweeplab.errors import a_or_an
from sweeplab.metrics import ACCURACY, CLASSIFICATION, LOSS, MAE, REGRESSION
from sweeplab.train import metric_values
from sweeplab.train.updater import Updater

Step = Callable[[nn.Module, nn.Module, Any], Any]
Autocast = Callable[[], AbstractContextManager[Any]]
Update = Callable[[str, Tensor], None]

OUTPUT, TARGET, COUNT = "output", "target", "count"
NO_WEIGHT = f"'{COUNT}' that is not a finite number >= 0: how much the batch counts"


@dataclass(kw_only=True, slots=True)
class StepResult:
    """What a step computed of a batch."""

    loss: Tensor  # one number
    numbers: dict[str, Tensor | float] = field(default_factory=dict)
    count: Tensor | float | None = None  # how much the batch counts; None: by its examples
    output: Any = None
    target: Any = None
    others: dict[str, Any] = field(default_factory=dict)  # no numbers: tensors, figures, texts

    @classmethod
    def of(cls, returned: Any) -> StepResult:
        """Read what a step returned. Raises ValueError if that is not as the module says."""
        if not isinstance(returned, Mapping):
            return cls(loss=_loss(returned, "the step's return value"))
        if LOSS not in returned:
            names = ", ".join(map(str, returned)) or "nothing"
            raise ValueError(f"the step must return a mapping with 'loss', not of {names}")
        result = cls(
            loss=_loss(returned[LOSS], "'loss'"),
            count=_count(returned.get(COUNT)),
            output=returned.get(OUTPUT),
            target=returned.get(TARGET),
        )
        for name, value in returned.items():
            if name in (LOSS, COUNT, OUTPUT, TARGET):
                continue
            if not isinstance(name, str):
                raise TypeError(f"the step returned the key {name!r}: names must be texts")
            if _is_number(value):
                result.numbers[name] = _number(value)
            else:
                result.others[name] = value
        return result


def _loss(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise TypeError(f"{what} must be the loss, a tensor of one number, not {a_or_an(kind)}")
    if value.numel() != 1:
        raise ValueError(f"{what} must be one number, not of shape {list(value.shape)}")
    one = value.reshape(())
    return one.float() if one.dtype in (torch.bfloat16, torch.float16) else one  # of autocast


def _count(value: Any) -> Tensor | float | None:
    """Return how much a batch counts. Raises TypeError if that is not one number."""
    if value is None:
        return None
    if not _is_number(value):
        wanted = f"'{COUNT}' must be one number, how much the batch counts"
        raise TypeError(f"{wanted}, not {metric_values.describe(value)}")
    return _number(value)


def _is_weight(count: Tensor | float) -> Tensor:
    """Tell on its device whether a batch may count so much: a finite number >= 0."""
    number = torch.as_tensor(count)
    return (number >= 0) & torch.isfinite(number)


def ensure_counted(result: StepResult) -> StepResult:
    """Return the result of a step. Raises ValueError if its batch counts by no weight."""
    if result.count is not None and not _is_weight(result.count):
        raise ValueError(f"it gives a {NO_WEIGHT}")
    return result


def _number(value: Any) -> Tensor | float:
    """Return a tensor as it is, which waits for no device, and anything else as Python's."""
    if isinstance(value, Tensor):
        return value.detach()
    number = metric_values.to_number(value)
    assert number is not None, "asked before"
    return number


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return metric_values.to_number(value) is not None


# --- Calling it -----------------------------------------------------------------------------------


def compute(
    step: Step, model: nn.Module, loss: nn.Module, batch: Any, autocast: Autocast, update: Update
) -> StepResult:
    """Call a step on a batch; `update` is called with each part and loss that it yields."""
    with autocast():
        returned = step(model, loss, batch)
    if not inspect.isgenerator(returned):
        return StepResult.of(returned)
    losses: dict[str, Tensor] = {}
    while True:
        try:
            with autocast():
                item = next(returned)
        except StopIteration as end:
            return _result_of_parts(end.value, losses)
        part, value = _part_and_loss(item)
        losses[part] = value.detach()
        update(part, value)


def _part_and_loss(item: Any) -> tuple[str, Tensor]:
    """Read what a generator yielded. Raises ValueError unless it is a part and its loss."""
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
        raise ValueError(f"the step must yield (part, loss), not {a_or_an(type(item).__name__)}")
    part, value = item
    return part, _loss(value, f"what the step yields for {part}")


def _result_of_parts(returned: Any, losses: Mapping[str, Tensor]) -> StepResult:
    """Read what a generator returned; its loss is the sum of those of its parts, unless it says."""
    if not losses:
        raise ValueError("the step is a generator and yielded no (part, loss)")
    named = {f"{LOSS}_{part}": value for part, value in losses.items()}
    total = torch.stack(list(losses.values())).sum()
    if returned is None:
        return StepResult.of({LOSS: total, **named})
    if isinstance(returned, Mapping):
        return StepResult.of({LOSS: total, **named, **returned})
    return StepResult.of({LOSS: returned, **named})


class Updates:
    """Carry out the updates that a generator asks for."""

    def __init__(self, updaters: Mapping[str, Updater]) -> None:
        self._updaters = updaters

    def __call__(self, part: str, loss: Tensor) -> None:
        """Update a part by the gradients of this loss; the gradients of other parts stay away."""
        if part not in self._updaters:
            known = ", ".join(self._updaters) if "" not in self._updaters else "none by part"
            raise ValueError(f"the step yields the part '{part}', of the optimizers: {known}")
        updater = self._updaters[part]
        updater.clear_gradients()
        # What is still needed of the graph lives as long as the step holds it
        scaled = updater.scaled(loss)
        torch.autograd.backward(scaled, inputs=updater.trained, retain_graph=True)
        updater.update()


def no_update(part: str, loss: Tensor) -> None:
    """Update nothing, as when the network is evaluated."""


# --- Averaging ------------------------------------------------------------------------------------


class StepAverager:
    """Means of what a step computed, over examples or by its counts, summed on the device."""

    def __init__(self, task: str, unit: float = 1.0) -> None:
        """Start with no batches; `unit` is what the targets of a regression were divided by."""
        self._task = task
        self._unit = unit
        self._sums: dict[str, Tensor] = {}
        self._shares: dict[str, Tensor] = {}
        self._counts_fit: Tensor | None = None
        self.examples = 0

    def update(self, result: StepResult, examples: int) -> None:
        """Add a batch of so many examples."""
        self.examples += examples
        share = examples if result.count is None else result.count
        if result.count is not None:
            fits = _is_weight(result.count)
            self._counts_fit = fits if self._counts_fit is None else self._counts_fit & fits
        self._add(LOSS, result.loss, share)
        for name, value in result.numbers.items():
            self._add(name, value, share)
        score = task_score(self._task, result, self._unit)
        if score is not None:
            self._add(*score, examples)

    def _add(self, name: str, value: Tensor | float, share: Tensor | float) -> None:
        number = torch.as_tensor(value).detach().reshape(())
        exact = torch.float32 if number.device.type == "mps" else torch.float64
        weight = torch.as_tensor(share, device=number.device).detach().reshape(()).to(exact)
        weighted = (number.to(exact) * weight).where(weight != 0, 0.0)
        self._sums[name] = self._sums.get(name, 0.0) + weighted
        self._shares[name] = self._shares.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """Return the mean of each number, over the batches that gave it; waits for the device.

        Raises ValueError if a batch counted by no weight.
        """
        if self._counts_fit is not None and not self._counts_fit:
            raise ValueError(f"the step gave a {NO_WEIGHT}")
        return {name: float(total / self._shares[name]) for name, total in self._sums.items()}


def task_score(task: str, result: StepResult, unit: float = 1.0) -> tuple[str, Tensor] | None:
    """Return accuracy or mean absolute error of a batch's output and target, if the step gave both.

    Of a classification the classes of an output are its second dimension, [B, C] or [B, C, H, W].
    """
    output, target = result.output, result.target
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return None
    if task == CLASSIFICATION:
        if output.dim() > 1 and output.shape == target.shape:  # shares of the classes
            target = target.argmax(dim=1)
        return ACCURACY, (output.argmax(dim=1) == target).double().mean()
    if task == REGRESSION:
        return MAE, (output - target).abs().double().mean() * unit
    return None
