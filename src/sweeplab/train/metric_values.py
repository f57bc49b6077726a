"""What further metrics compute, sorted into numbers, which are metrics of the run, and all else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sweeplab.errors import a_or_an
from sweeplab.metrics import free_name


class Metric(Protocol):
    """A further metric, as torchmetrics has it."""

    def update(self, output: Tensor, target: Tensor) -> None: ...
    def compute(self) -> Any: ...
    def reset(self) -> None: ...


def to_device(metric: Any, device: torch.device) -> Any:
    """Move the metric to this device, if it can be moved."""
    if not callable(getattr(metric, "to", None)):
        return metric
    moved = metric.to(device)
    if moved is None:  # moved in place
        return metric
    return moved


def compute(metrics: Mapping[str, Metric]) -> tuple[dict[str, float], dict[str, Any]]:
    """Compute all metrics: numbers by their names, and what is no number by the metric's."""
    numbers: dict[str, float] = {}
    others: dict[str, Any] = {}
    for name, metric in metrics.items():
        named, other = split_numbers(name, metric.compute())
        for key, value in named:
            numbers[free_name(key, numbers, "_")] = value
        if other is not None:
            others[name] = other
    return numbers, others


def split_numbers(name: str, value: Any) -> tuple[list[tuple[str, float]], Any]:
    """Split what a metric computed into named numbers and the rest, which is None if there is none.

    A number alone has the metric's name, those of a dict are named `name_key`.
    """
    number = to_number(value)
    if number is not None:
        return [(name, number)], None
    if value is None:
        return [], "null"
    if not isinstance(value, Mapping):
        return [], value
    numbers, rest = [], {}
    for key, item in value.items():
        named, other = split_numbers(f"{name}_{key}", item)
        numbers += named
        if other is not None:
            rest[str(key)] = other
    return numbers, rest or None


def to_number(value: Any) -> float | None:
    """Return the value as a number, if it is one, or a tensor or an array of one."""
    if isinstance(value, str | bytes | Mapping | list | tuple):
        return None
    if isinstance(value, Tensor | np.ndarray):
        size = value.size if isinstance(value, np.ndarray) else value.numel()
        if size != 1:
            return None
        value = value.item()
    if isinstance(value, complex) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def comes_from(name: str, metrics: Sequence[str]) -> bool:
    """Tell whether a number of this name may come from one of these metrics."""
    return any(name == metric or name.startswith(f"{metric}_") for metric in metrics)


def describe(value: Any) -> str:
    """Say in words what is no number."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{a_or_an(type(value).__name__.lower())} of shape {list(value.shape)}"
    if value is None or value == "null":
        return "nothing"
    return a_or_an(type(value).__name__)


def leaves(value: Any) -> Iterator[Any]:
    """Yield all that lies in dicts, lists and tuples."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from leaves(item)
