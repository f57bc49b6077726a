"""Learning rate schedules: in what they count, what the run fills in, what they replace, what they never come to.

A schedule counts in epochs or in batches: the unit of `trainer.scheduler_interval`, which also holds for its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeGuard

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from sweeplab import targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError

STEP, EPOCH, AUTO = "step", "epoch", "auto"
BY_BATCH = (OneCycleLR, CyclicLR)
"""Schedules whose documentation has them step after every batch."""
OF_OTHERS = (SequentialLR, ChainedScheduler)
LENGTHS: Mapping[type, str] = {
    LinearLR: "total_iters",
    PolynomialLR: "total_iters",
    ConstantLR: "total_iters",
    CosineAnnealingWarmRestarts: "T_0",
}
"""The argument that says after how many steps something is over."""


# --- In what it counts ------------------------------------------------------------------------------------------------


def steps_by_batch(interval: str, schedule: object) -> bool:
    """Whether a schedule steps after each batch; `auto`: as its class needs it, or that of a schedule inside it."""
    if isinstance(schedule, ReduceLROnPlateau):
        return False  # it needs a metric, which an epoch has
    return any(isinstance(each, BY_BATCH) for each in _inside(schedule)) if interval == AUTO else interval == STEP


def _inside(schedule: object) -> Iterator[object]:
    yield schedule
    for part in schedule._schedulers if isinstance(schedule, OF_OTHERS) else ():
        yield from _inside(part)


def batches(config: Config, examples: int) -> int:
    """Count the batches of an epoch, for so many examples in the training split."""
    size, few, limit = config.trainer.batch_size, config.trainer.overfit_batches, config.trainer.limit_batches
    if few is not None:
        return min(-(-examples // size), few)
    return examples // size if limit is None else min(examples // size, limit)


# --- What a run fills in ----------------------------------------------------------------------------------------------


def filled(config: Config, in_epoch: int | None) -> Node:
    """The scheduler's node with what only the run knows, where that is null or left out.

    `T_max` of a cosine is the whole run, `epochs` and `steps_per_epoch` of a one-cycle schedule are its epochs and
    their steps (batches, or 1 where it counts epochs), and `mode` of a plateau is that of the monitored metric.
    `in_epoch` is the number of batches in an epoch; what needs it is null where it is not known.
    """
    node, target = config.scheduler, _class(config)
    interval = config.interval
    if interval == AUTO and target is not None and not issubclass(target, BY_BATCH):
        interval = EPOCH
    epochs, steps = config.trainer.epochs, 1 if interval == EPOCH else in_epoch
    known: Node = {"epochs": epochs, "steps_per_epoch": steps, "mode": config.mode}
    if target is not None and issubclass(target, CosineAnnealingLR):
        known = {"T_max": None if steps is None else epochs * steps}
    elif target is not None and issubclass(target, OneCycleLR) and node.get("total_steps") is not None:
        known = {}
    return node | {name: value for name, value in known.items() if _is_open(node, target, name)}


def _is_open(node: Node, target: Any, name: str) -> bool:
    """Whether the run is to fill in this argument: it is null, or left out where it then would be null or missing."""
    if name in node:
        return node[name] is None and not (target is not None and issubclass(target, CyclicLR))
    called = _called(node)
    if name == "mode" and target is not None and issubclass(target, ReduceLROnPlateau):
        return True
    if name == "T_max":
        return called is not None and targets.accepts(called, name)
    return called is not None and targets.is_optional(called, name)


def _class(config: Config) -> Any:
    """The schedule's class; None for a function of the user's own, or what is not there."""
    found = _called(config.scheduler)
    return found if isinstance(found, type) else None


def _called(node: Node) -> Any:
    """What the node calls; None if that is not there."""
    try:
        return targets.locate(node["_target_"], "scheduler._target_")
    except (KeyError, AttributeError, UserError):
        return None


# --- What contradicts -------------------------------------------------------------------------------------------------


def problems(config: Config) -> list[str]:
    """What no schedule of this class can do."""
    target = _class(config)
    if target is None:
        return []
    if issubclass(target, ReduceLROnPlateau):
        return _plateau_problems(config, config.scheduler.get("mode"))
    if not issubclass(target, OF_OTHERS):
        return []
    advice = (
        "write a function that takes the optimizer and returns it, and name that (scheduler._target_=mine.schedule)"
    )
    why = "is made of other schedules, to which a config cannot give the optimizer"
    return [f"scheduler._target_={config.scheduler['_target_']}: {why}; {advice}"]


def _plateau_problems(config: Config, mode: str | None) -> list[str]:
    found, name = [], config.scheduler["_target_"]
    if mode not in (None, config.mode):
        better = "larger" if config.mode == "max" else "smaller"
        found.append(
            f"scheduler.mode={mode}: {config.monitor}, which {name} waits for, is better the {better} it is; "
            f"give {config.mode}, or null"
        )
    if config.interval == STEP:
        found.append(
            f"trainer.scheduler_interval=step: {name} waits for trainer.monitor, which is measured once an epoch; "
            "give epoch, or auto"
        )
    return found


# --- What it never comes to -------------------------------------------------------------------------------------------


def notes(config: Config, schedule: object, in_epoch: int, own_rates: Sequence[float] = ()) -> list[str]:
    """What this schedule, built with the config, does not do in the run. Raises UserError if it ends before the run.

    `own_rates` are the learning rates that the optimizer had before.
    """
    if isinstance(schedule, ReduceLROnPlateau) and (wrong := _plateau_problems(config, schedule.mode)):
        raise UserError(*wrong)
    by_batch = steps_by_batch(config.interval, schedule)
    epochs = config.trainer.epochs
    unit = "batches" if by_batch else "epochs"
    found = list(_lengths(schedule, epochs * in_epoch if by_batch else epochs, unit))
    if isinstance(schedule, BY_BATCH) and len(set(own_rates)) > 1:
        name, several = type(schedule).__name__, ", ".join(f"{rate:g}" for rate in dict.fromkeys(own_rates))
        found.append(f"optimizer: the learning rates of its groups ({several}) have no effect: {name} goes by its own")
    if not isinstance(_called(config.scheduler), type):
        found += _replaced_inside(config, schedule)
    for each in _inside(schedule):
        lowest = getattr(each, "eta_min", None)
        if lowest is not None and lowest > max(getattr(each, "base_lrs", [lowest])):
            found.append(f"scheduler.eta_min={lowest:g}: is above the learning rate, which goes up to it")
    limit = config.trainer.time_limit
    if limit is not None and any(isinstance(each, OneCycleLR) for each in _inside(schedule)):
        found.append(f"trainer.time_limit={limit:g}: may end the run before its OneCycleLR has come down")
    return found


def _replaced_inside(config: Config, schedule: object) -> Iterator[str]:
    """The optimizer's learning rate, where a function of the user's own returns a schedule that goes by its own."""
    rate = config.optimizer.get("lr")
    for each in _inside(schedule):
        if rate is None or not isinstance(each, BY_BATCH):
            continue
        groups = each.optimizer.param_groups
        highest = each.max_lrs if isinstance(each, CyclicLR) else [group["max_lr"] for group in groups]
        if rate not in highest:
            shown = ", ".join(f"{own:g}" for own in dict.fromkeys(highest))
            yield f"optimizer.lr={rate}: may have no effect: {type(each).__name__} goes up to {shown} of its own"


@singledispatch
def _lengths(schedule: object, steps: int, unit: str) -> Iterable[str]:
    """What a schedule does not come to in so many steps."""
    argument = next((name for kind, name in LENGTHS.items() if isinstance(schedule, kind)), None)
    if argument is not None and getattr(schedule, argument) > steps:
        name, length = type(schedule).__name__, getattr(schedule, argument)
        yield f"scheduler.{argument}={length}: {unit}, where the run has {steps}: {name} does not come to its end"
    if _ends_at_zero(schedule) and schedule.total_iters < steps:
        length = schedule.total_iters
        yield f"scheduler.total_iters={length}: {unit}, where the run has {steps}: the learning rate is 0 after these"


def _ends_at_zero(schedule: object) -> TypeGuard[PolynomialLR | LinearLR]:
    """Whether the learning rate is 0, and nothing is learned any more, once the schedule is over."""
    falls = isinstance(schedule, PolynomialLR) and schedule.power > 0
    return falls or (isinstance(schedule, LinearLR) and schedule.end_factor == 0)


@_lengths.register
def _one_cycle(schedule: OneCycleLR, steps: int, unit: str) -> Iterable[str]:
    laid_out = f"scheduler: OneCycleLR is laid out for {schedule.total_steps} {unit}, where the run has {steps}"
    if schedule.total_steps < steps:
        raise UserError(
            f"{laid_out}, and would fail after these; leave out total_steps, epochs and steps_per_epoch, or give null"
        )
    if schedule.total_steps > steps:
        yield f"{laid_out}: the learning rate does not come down"


@_lengths.register
def _cosine(schedule: CosineAnnealingLR, steps: int, unit: str) -> Iterable[str]:
    said = f"scheduler.T_max={schedule.T_max}: {unit}, where the run has {steps}: the learning rate"
    if schedule.T_max < steps:
        yield f"{said} goes up again after these; null is the whole run"
    if schedule.T_max > steps:
        yield f"{said} does not come down to eta_min; null is the whole run"


@_lengths.register
def _cyclic(schedule: CyclicLR, steps: int, unit: str) -> Iterable[str]:
    up = schedule.total_size * schedule.step_ratio
    if up > steps:
        yield f"scheduler.step_size_up={up:g}: {unit}, where the run has {steps}: it does not come up to max_lr"


@_lengths.register(StepLR)
@_lengths.register(MultiStepLR)
def _in_steps(schedule: StepLR | MultiStepLR, steps: int, unit: str) -> Iterable[str]:
    first = schedule.step_size if isinstance(schedule, StepLR) else min(schedule.milestones, default=steps)
    if first >= steps:
        name = type(schedule).__name__
        yield f"scheduler: {name} first acts after {first} {unit}, where the run has {steps}: it never does"


@_lengths.register
def _one_after_the_other(schedule: SequentialLR, steps: int, unit: str) -> Iterable[str]:
    begins = [0, *schedule._milestones]
    for part, begin, end in zip(schedule._schedulers, begins, [*begins[1:], steps], strict=True):
        if begin >= steps:
            name = type(part).__name__
            yield f"scheduler: {name} begins after {begin} {unit}, where the run has {steps}: it never does"
            return
        yield from _lengths(part, min(end, steps) - begin, unit)


@_lengths.register
def _all_at_once(schedule: ChainedScheduler, steps: int, unit: str) -> Iterable[str]:
    for part in schedule._schedulers:
        yield from _lengths(part, steps, unit)


def rates(optimizer: Optimizer) -> list[float]:
    """The learning rates of the parameter groups as they are now; of an optimizer that has none, nothing."""
    return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]


# --- What it replaces -------------------------------------------------------------------------------------------------


def replaced(config: Config) -> dict[str, str]:
    """The optimizer's keys that have no effect, since the schedule sets these numbers itself; each with the reason."""
    target, node, optimizer = _class(config), config.scheduler, config.optimizer
    if target is None or not issubclass(target, BY_BATCH):
        return {}
    name = target.__name__
    setters = ("max_lr",) if issubclass(target, OneCycleLR) else ("base_lr", "max_lr")
    found: dict[str, str] = {}
    if "lr" in optimizer and all(node.get(key) != optimizer["lr"] for key in setters):
        given = " and ".join(f"scheduler.{key}={node.get(key)}" for key in setters)
        found["optimizer.lr"] = f"has no effect: {name} goes by {given}"
    if node.get("cycle_momentum", True):
        ends = {"base_momentum": 0.85, "max_momentum": 0.95}
        if not issubclass(target, OneCycleLR):
            ends = {"base_momentum": 0.8, "max_momentum": 0.9}
        between = " and ".join(f"{node.get(key, default)}" for key, default in ends.items())
        said = f"has no effect: {name} moves it between {between}; scheduler.cycle_momentum=false keeps it"
        found |= {"optimizer.momentum": said} if "momentum" in optimizer else {}
        found |= {"optimizer.betas": f"the first of them {said}"} if "betas" in optimizer else {}
    return found


def inert(config: Config) -> dict[str, str]:
    """All keys of which this config does not depend, or in part only, each with the reason."""
    trainer, found = config.trainer, replaced(config)
    target = _class(config)
    if target is not None and issubclass(target, BY_BATCH):
        found.setdefault("optimizer.lr", f"has no effect: {target.__name__} goes by its own")
    if trainer.patience is None:
        found["trainer.min_delta"] = "has no effect: it is for trainer.patience, which is null"
    elif trainer.patience >= trainer.epochs:
        found["trainer.patience"] = found["trainer.min_delta"] = (
            f"has no effect: trainer.epochs={trainer.epochs} ends the run first"
        )
    return found


def effective(config: Config) -> Config:
    """The config without what has no effect: two that are equal must come out equal. Itself, if all has."""
    gone, optimizer, trainer = inert(config), dict(config.optimizer), config.trainer
    for key in ("lr", "momentum"):
        if f"optimizer.{key}" in gone:
            optimizer.pop(key, None)
    if "optimizer.betas" in gone:
        optimizer["betas"] = list(optimizer["betas"])[1:]
    if "trainer.min_delta" in gone:
        trainer = replace(trainer, patience=None, min_delta=0.0)
    return replace(config, optimizer=optimizer, trainer=trainer) if gone else config
