"""The metrics of a config, tried once on made-up examples, before any work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sweeplab import targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError, did_you_mean, summary
from sweeplab.metrics import CLASSIFICATION, LOSS, TRAIN, VALID, score
from sweeplab.train import metric_values

PARTS = ("update", "compute", "reset")
MOST = 2**20  # numbers in the outputs of the trial


def check(config: Config, answers: tuple[Any, Any] | None = None) -> None:
    """Build each metric, update, compute and reset it, and look at what it returns.

    `answers` are output and target of a step of one's own; by default they are made up.

    Raises UserError for what a metric refuses, for two numbers of one name, and if the monitored
    metric is not among them.
    """
    owners: dict[str, str] = {}
    others: dict[str, str] = {}  # metric -> what it gives besides numbers
    unknown: list[str] = []
    for name in config.metrics:
        try:
            numbers, other = metric_values.split_numbers(
                name, _tried(config, name, *(answers or _examples(config)))
            )
        except ArithmeticError:  # of these examples; a division by zero, for one
            unknown.append(name)
            continue
        for key, _ in numbers:
            if key in owners:
                raise UserError(
                    f"metrics.{name}: gives '{key}', and so does metrics.{owners[key]}; rename one of them"
                )
            owners[key] = name
        if other is not None:
            others[name] = metric_values.describe(other)
    if config.metrics or answers is None:
        _check_monitor(config, list(owners), others, unknown)


def _check_mode(config: Config, name: str, metric: object) -> None:
    """Raise UserError if the metric itself, as torchmetrics' do, says that another mode is right."""
    higher = getattr(metric, "higher_is_better", None)
    if (
        config.monitor != f"{VALID}/{name}"
        or not isinstance(higher, bool)
        or higher == (config.mode == "max")
    ):
        return
    mode, better = ("max", "larger") if higher else ("min", "smaller")
    said = f"metrics.{name} says of itself that it is better the {better} it is; give {mode}"
    raise UserError(f"trainer.mode={config.trainer.mode}: {said}")


def _tried(config: Config, name: str, output: Tensor, target: Tensor) -> object:
    """Compute the metric of these examples."""
    node: Node = config.metrics[name]
    metric = metric_values.to_device(targets.build(node, f"metrics.{name}"), torch.device("cpu"))
    _check_mode(config, name, metric)
    key = f"metrics.{name}._target_={node['_target_']}"
    if missing := [part for part in PARTS if not callable(getattr(metric, part, None))]:
        raise UserError(
            f"{key}: a metric has {', '.join(PARTS)}, as torchmetrics' have; this has no {missing[0]}"
        )
    try:
        with torch.no_grad():
            metric.reset()
            metric.update(output, target)
            computed: object = metric.compute()
            metric.reset()
    except ArithmeticError:
        raise
    except Exception as error:
        shapes = f"outputs {_shape(output)} and targets {_shape(target)}"
        kind = getattr(target, "dtype", type(target).__name__)
        raise UserError(f"{key}: fails on {shapes} ({kind}): {summary(error)}") from error
    return computed


def _shape(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _examples(config: Config) -> tuple[Tensor, Tensor]:
    """Make outputs and targets: for each class one right and one wrong answer, or a few values.

    The outputs are positive and sum to 1 for each example: they may be read as logits or as
    probabilities.
    """
    size = config.data.out_features
    count = max(2, min(2 * size, MOST // size))
    classes = torch.arange(count) % size
    said = torch.where(torch.arange(count) < size, classes, (classes + 1) % size)
    output = (2.0 * one_hot(said, size)).softmax(1)
    if config.data.task == CLASSIFICATION:
        return output, classes
    return output + torch.arange(count)[:, None] / count, (0.5 + classes)[:, None].expand(
        count, size
    ) / size


def _check_monitor(
    config: Config, numbers: list[str], others: dict[str, str], unknown: list[str]
) -> None:
    """Raise UserError if no metric gives the number that is monitored."""
    plain = [LOSS, score(config.data.task)]
    split, _, name = config.monitor.partition("/")
    if (
        split == TRAIN
        or name in plain
        or name in numbers
        or metric_values.comes_from(name, unknown)
    ):
        return
    key = f"trainer.monitor={config.monitor}"
    if name in others:
        raise UserError(
            f"{key}: metrics.{name} gives {others[name]}, which no epoch can be chosen by"
        )
    known = [f"{VALID}/{each}" for each in (*plain, *numbers)]
    raise UserError(f"{key}: no such metric{did_you_mean(config.monitor, known)}")
