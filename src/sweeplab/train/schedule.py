"""Learning rate schedules: in which unit they count, and which of their arguments the run fills in.

A schedule counts in epochs or in batches: the unit of `trainer.scheduler_interval`, which also
holds for its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeGuard

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
from sweeplab.config import Config, Node, yaml_str
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


def updates_per_epoch(config: Config, examples: int) -> int:
    """Count the updates of an epoch, for so many examples in the training split."""
    trainer = config.trainer
    count = examples // trainer.batch_size
    if trainer.overfit_batches is not None:
        count = min(-(-examples // trainer.batch_size), trainer.overfit_batches)
    elif trainer.limit_batches is not None:
        count = min(count, trainer.limit_batches)
    return count // (trainer.accumulate or 1)


def rates(optimizer: Optimizer) -> list[float]:
    """Return the learning rates of the parameter groups as they are now, of those that have one."""
    return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]


def by_part(config: Config) -> dict[str, Config]:
    """Return a config for each optimizer, by the part of the network that it updates.

    There is one for the whole network, "", unless `optimizer` is a section of parts. A scheduler
    that is none is for each part.
    """
    if not is_by_part(config.optimizer):
        return {"": config}
    parts = {}
    for part, optimizer in config.optimizer.items():
        own = config.scheduler.get(part, {}) if is_by_part(config.scheduler) else config.scheduler
        parts[part] = replace(config, optimizer=optimizer, scheduler=own)
    return parts


def is_by_part(node: Node) -> bool:
    """Tell whether a section names parts of the network instead of a `_target_`."""
    return "_target_" not in node and any(isinstance(value, dict) for value in node.values())


def key(section: str, part: str) -> str:
    """Return the key of a part's optimizer or scheduler."""
    return f"{section}.{part}" if part else section


def filled_by_part(config: Config, in_epoch: int | None) -> Node:
    """Return the scheduler's node as `filled` does, of a section of parts with each one's."""
    if not is_by_part(config.scheduler):
        return filled(config, in_epoch)
    return {part: filled(own, in_epoch) for part, own in by_part(config).items()}


def filled(config: Config, in_epoch: int | None) -> Node:
    """Return the scheduler's node with what only the run knows, where that is null or left out.

    `T_max` of a cosine is the whole run, or its part of a SequentialLR; `epochs` and
    `steps_per_epoch` of a one-cycle schedule are its epochs and their steps (batches, or 1 where it
    counts epochs), and `mode` of a plateau is that of the monitored metric. `in_epoch` is the
    number of updates in an epoch; what needs it is null where it is not known.
    """
    target, interval = schedule_class(config), config.interval
    if interval == AUTO and target is not None and not issubclass(target, BY_BATCH):
        interval = EPOCH
    steps = 1 if interval == EPOCH else in_epoch
    total = None if steps is None else config.trainer.epochs * steps
    return _filled(config, config.scheduler, steps, total)


def _filled(config: Config, node: Node, steps: int | None, total: int | None) -> Node:
    """Fill in a schedule and those inside it; it goes from its beginning to its end in `total` steps."""
    target = _class(node)
    if target is None and not isinstance(node, dict):
        return node  # no schedule, which `problems` says
    if target is not None and issubclass(target, OF_OTHERS):
        return node | {"schedulers": list(_filled_inside(config, node, steps, total))}
    known: Node = {"epochs": config.trainer.epochs, "steps_per_epoch": steps, "mode": config.mode}
    if target is not None and issubclass(target, CosineAnnealingLR):
        known = {"T_max": total}
    elif (
        target is not None
        and issubclass(target, OneCycleLR)
        and node.get("total_steps") is not None
    ):
        known = {}
    filled_in = {name: value for name, value in known.items() if _is_open(node, target, name)}
    return node | filled_in


def _filled_inside(
    config: Config, node: Node, steps: int | None, total: int | None
) -> Iterator[Node]:
    """Fill in the schedules that a schedule is made of."""
    for inner, start, end in inside(node, total):
        length = None if end is None else max(end - start, 1)
        yield _filled(config, inner, steps, length)


def inside(node: Node, total: int | None) -> Iterator[tuple[Node, int, int | None]]:
    """Yield the schedules that a schedule is made of, each with its first and last step."""
    schedulers, milestones = node.get("schedulers"), node.get("milestones")
    starts, ends = [0], [total]
    if _are_milestones(milestones):  # of a SequentialLR; a ChainedScheduler's begin together
        starts, ends = [0, *milestones], [*milestones, total]
    for index, inner in enumerate(schedulers if isinstance(schedulers, list) else []):
        place = min(index, len(starts) - 1)
        yield inner, starts[place], ends[place]


def _are_milestones(value: object) -> TypeGuard[list[int]]:
    """Tell whether these are whole numbers that rise: the steps at which a schedule follows."""
    if not isinstance(value, list) or not all(type(step) is int for step in value):
        return False
    return all(step >= 0 for step in value) and value == sorted(set(value))


def build(node: Node, key: str, optimizer: Optimizer) -> Any:
    """Build a schedule, with the schedules inside it, for this optimizer."""
    target = _class(node)
    if target is None or not issubclass(target, OF_OTHERS):
        return targets.build(node, key, optimizer)
    parts = []
    for index, inner in enumerate(node["schedulers"]):
        parts.append(build(inner, f"{key}.schedulers[{index}]", optimizer))
    own = {name: value for name, value in node.items() if name != "schedulers"}
    return targets.build(own, key, optimizer=optimizer, schedulers=parts)


def problems(node: Node, key: str) -> list[str]:
    """List what is wrong with a schedule's arguments, and with those of the schedules inside."""
    target = _class(node)
    if target is None or not issubclass(target, OF_OTHERS):
        return targets.check(node, key, ["optimizer"])
    inner = node.get("schedulers")
    if not isinstance(inner, list) or not inner:
        wanted = "a list of schedules, each with its _target_, is needed"
        return [f"{key}.schedulers={yaml_str(inner)}: {wanted}"]
    own = {name: value for name, value in node.items() if name != "schedulers"}
    found = targets.check(own, key, ["optimizer", "schedulers"])
    milestones = node.get("milestones")
    if not found and issubclass(target, SequentialLR) and not _are_milestones(milestones):
        found.append(f"{key}.milestones={yaml_str(milestones)}: must be whole numbers that rise")
    for index, schedule in enumerate(inner):
        found += problems(schedule, f"{key}.schedulers[{index}]")
    return found


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
    return _class(config.scheduler)


def _class(node: Node) -> Any:
    target = _located(node)
    return target if isinstance(target, type) else None


def _located(node: Node) -> Any:
    """Return what the node calls; None if that cannot be found."""
    try:
        return targets.locate(node["_target_"], "scheduler._target_")
    except (KeyError, AttributeError, TypeError, UserError):
        return None
