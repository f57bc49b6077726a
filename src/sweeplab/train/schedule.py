"""Learning rate schedules: in which unit they count, and which of their arguments the run fills in.

A schedule counts in epochs or in batches: the unit of `trainer.scheduler_interval`, which also
holds for its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CyclicLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from sweeplab import targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError

STEP, EPOCH, AUTO = "step", "epoch", "auto"
BY_BATCH = (OneCycleLR, CyclicLR)
"""Schedules whose documentation has them step after every batch."""
OF_OTHERS = (SequentialLR, ChainedScheduler)
"""Schedules that are made of other schedules."""


def steps_by_batch(interval: str, schedule: object) -> bool:
    """Tell whether a schedule steps after each batch.

    With `auto` it does if its class needs that, or the class of a schedule inside it.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        return False  # it needs a metric, which only an epoch has
    if interval == AUTO:
        return any(isinstance(part, BY_BATCH) for part in nested(schedule))
    return interval == STEP


def nested(schedule: object) -> Iterator[object]:
    """Yield a schedule and all schedules inside it."""
    yield schedule
    if isinstance(schedule, OF_OTHERS):
        for part in schedule._schedulers:
            yield from nested(part)


def batches_per_epoch(config: Config, examples: int) -> int:
    """Count the batches of an epoch, for so many examples in the training split."""
    trainer = config.trainer
    if trainer.overfit_batches is not None:
        return min(-(-examples // trainer.batch_size), trainer.overfit_batches)
    count = examples // trainer.batch_size
    if trainer.limit_batches is None:
        return count
    return min(count, trainer.limit_batches)


def rates(optimizer: Optimizer) -> list[float]:
    """Return the learning rates of the parameter groups as they are now, of those that have one."""
    return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]


def filled(config: Config, in_epoch: int | None) -> Node:
    """Return the scheduler's node with what only the run knows, where that is null or left out.

    `T_max` of a cosine is the whole run, `epochs` and `steps_per_epoch` of a one-cycle schedule are
    its epochs and their steps (batches, or 1 where it counts epochs), and `mode` of a plateau is
    that of the monitored metric. `in_epoch` is the number of batches in an epoch; what needs it is
    null where it is not known.
    """
    node, target = config.scheduler, schedule_class(config)
    interval = config.interval
    if interval == AUTO and target is not None and not issubclass(target, BY_BATCH):
        interval = EPOCH
    epochs, steps = config.trainer.epochs, 1 if interval == EPOCH else in_epoch
    known: Node = {"epochs": epochs, "steps_per_epoch": steps, "mode": config.mode}
    if target is not None and issubclass(target, CosineAnnealingLR):
        known = {"T_max": None if steps is None else epochs * steps}
    elif (
        target is not None
        and issubclass(target, OneCycleLR)
        and node.get("total_steps") is not None
    ):
        known = {}
    filled_in = {name: value for name, value in known.items() if _is_open(node, target, name)}
    return node | filled_in


def _is_open(node: Node, target: Any, name: str) -> bool:
    """Tell whether the run fills in this argument: it is null, or left out without a default."""
    if name in node:
        return node[name] is None and not (target is not None and issubclass(target, CyclicLR))
    if name == "mode" and target is not None and issubclass(target, ReduceLROnPlateau):
        return True
    function = _located(node)
    if function is None:
        return False
    if name == "T_max":
        return targets.accepts(function, name)
    return targets.is_optional(function, name)


def schedule_class(config: Config) -> Any:
    """Return the schedule's class; None for a user's function, or what cannot be found."""
    target = _located(config.scheduler)
    if isinstance(target, type):
        return target
    return None


def _located(node: Node) -> Any:
    """Return what the node calls; None if that cannot be found."""
    try:
        return targets.locate(node["_target_"], "scheduler._target_")
    except (KeyError, AttributeError, UserError):
        return None
