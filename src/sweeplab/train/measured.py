"""What further metrics compute, sorted into numbers, which are metrics of the run, and all else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Metric(Protocol):
    """A further metric, as torchmetrics has it."""

    def update(self, output: Tensor, target: Tensor) -> None: ...
    def compute(self) -> Any: ...
    def reset(self) -> None: ...


def moved(metric: Any, device: torch.device) -> Any:
    """The metric on this device, if it can be moved."""
    if not callable(getattr(metric, "to", None)):
        return metric
    there = metric.to(device)
    return metric if there is None else there


def read(metrics: Mapping[str, Metric]) -> tuple[dict[str, float], dict[str, Any]]:
    """Compute all metrics: the numbers by their names, and by the metrics' names what is no number."""
    numbers: dict[str, float] = {}
    others: dict[str, Any] = {}
    for name, metric in metrics.items():
        found, other = sort(name, metric.compute())
        for key, value in found:
            numbers[_free(key, numbers)] = value
        if other is not None:
            others[name] = other
    return numbers, others


def _free(name: str, taken: Mapping[str, float]) -> str:
    """The name, with a number after it where another metric has it."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def sort(name: str, value: Any) -> tuple[list[tuple[str, float]], Any]:
    """(the numbers in what a metric computed, under its name; the rest, None if there is none).

    Those of a dict are `name_key`.
    """
    number = _number(value)
    if number is not None:
        return [(name, number)], None
    if not isinstance(value, Mapping):
        return [], "null" if value is None else value
    numbers, rest = [], {}
    for key, item in value.items():
        found, other = sort(f"{name}_{key}", item)
        numbers += found
        if other is not None:
            rest[str(key)] = other
    return numbers, rest or None


def _number(value: Any) -> float | None:
    """The value as a number, if it is one: also a tensor or an array of one."""
    if isinstance(value, str | bytes | Mapping | list | tuple):
        return None
    if isinstance(value, Tensor | np.ndarray) and (value.size if isinstance(value, np.ndarray) else value.numel()) == 1:
        value = value.item()
    if isinstance(value, complex | Tensor | np.ndarray) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def is_of(name: str, metrics: Sequence[str]) -> bool:
    """Whether a number of this name may come from one of these metrics: a dict's are named `metric_key`."""
    return any(name == metric or name.startswith(f"{metric}_") for metric in metrics)


def described(value: Any) -> str:
    """Say in words what is no number."""
    if isinstance(value, Tensor | np.ndarray):
        return f"a {type(value).__name__.lower()} of shape {list(value.shape)}"
    return "nothing" if value is None or value == "null" else f"a {type(value).__name__}"


def leaves(value: Any) -> Iterator[Any]:
    """All that lies in dicts, lists and tuples."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from leaves(item)
