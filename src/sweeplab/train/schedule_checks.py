"""What learning rate schedules cannot do, and what they never come to in a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import singledispatch
from typing import TypeGuard

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

from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.train.schedule import (
    BY_BATCH,
    STEP,
    nested,
    schedule_class,
    steps_by_batch,
)

LENGTHS: Mapping[type, str] = {
    LinearLR: "total_iters",
    PolynomialLR: "total_iters",
    ConstantLR: "total_iters",
    CosineAnnealingWarmRestarts: "T_0",
}
"""The argument that says after how many steps something is over."""


def problems(config: Config) -> list[str]:
    """List what no schedule of this class can do."""
    target = schedule_class(config)
    if target is None:
        return []
    if issubclass(target, ReduceLROnPlateau):
        return _plateau_problems(config, config.scheduler.get("mode"))
    return []


def _plateau_problems(config: Config, mode: str | None) -> list[str]:
    name = config.scheduler["_target_"]
    messages = []
    if mode not in (None, config.mode):
        better = "larger" if config.mode == "max" else "smaller"
        messages.append(
            f"scheduler.mode={mode}: {config.monitor}, which {name} waits for, is better the "
            f"{better} it is; give {config.mode}, or null"
        )
    if config.interval == STEP:
        messages.append(
            f"trainer.scheduler_interval=step: {name} waits for trainer.monitor, which is measured "
            "once an epoch; give epoch, or auto"
        )
    return messages


def notes(
    config: Config, schedule: object, in_epoch: int, own_rates: Sequence[float] = ()
) -> list[str]:
    """List what this schedule, built with the config, does not do in the run.

    Raises UserError if it ends before the run. `own_rates` are the learning rates that the
    optimizer had before.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        wrong = _plateau_problems(config, schedule.mode)
        if wrong:
            raise UserError(*wrong)
    steps, unit = config.trainer.epochs, "epochs"
    if steps_by_batch(config.interval, schedule):
        steps, unit = steps * in_epoch, "batches"
    messages = list(_lengths(schedule, steps, unit))
    if isinstance(schedule, BY_BATCH) and len(set(own_rates)) > 1:
        several = ", ".join(f"{rate:g}" for rate in dict.fromkeys(own_rates))
        why = f"have no effect: {type(schedule).__name__} goes by its own"
        messages.append(f"optimizer: the learning rates of its groups ({several}) {why}")
    if schedule_class(config) is None:
        messages += _replaced_inside(config, schedule)
    for part in nested(schedule):
        lowest = getattr(part, "eta_min", None)
        if lowest is not None and lowest > max(getattr(part, "base_lrs", [lowest])):
            why = "is above the learning rate, which goes up to it"
            messages.append(f"scheduler.eta_min={lowest:g}: {why}")
    limit = config.trainer.time_limit
    if limit is not None and any(isinstance(part, OneCycleLR) for part in nested(schedule)):
        why = "may end the run before its OneCycleLR has come down"
        messages.append(f"trainer.time_limit={limit:g}: {why}")
    return messages


def _replaced_inside(config: Config, schedule: object) -> Iterator[str]:
    """Name the optimizer's learning rate, where a user's schedule goes by its own."""
    rate = config.optimizer.get("lr")
    if rate is None:
        return
    for part in nested(schedule):
        if not isinstance(part, BY_BATCH):
            continue
        if isinstance(part, CyclicLR):
            highest = part.max_lrs
        else:
            highest = [group["max_lr"] for group in part.optimizer.param_groups]
        if rate not in highest:
            shown = ", ".join(f"{own:g}" for own in dict.fromkeys(highest))
            name = type(part).__name__
            yield f"optimizer.lr={rate}: may have no effect: {name} goes up to {shown} of its own"


# --- Lengths --------------------------------------------------------------------------------------


@singledispatch
def _lengths(schedule: object, steps: int, unit: str) -> Iterable[str]:
    """Say what a schedule does not come to in so many steps."""
    argument = next((name for kind, name in LENGTHS.items() if isinstance(schedule, kind)), None)
    if argument is not None and getattr(schedule, argument) > steps:
        key = f"scheduler.{argument}={getattr(schedule, argument)}"
        why = f"{type(schedule).__name__} does not come to its end"
        yield f"{key}: {unit}, where the run has {steps}: {why}"
    if _ends_at_zero(schedule) and schedule.total_iters < steps:
        key = f"scheduler.total_iters={schedule.total_iters}"
        yield f"{key}: {unit}, where the run has {steps}: the learning rate is 0 after these"


def _ends_at_zero(schedule: object) -> TypeGuard[PolynomialLR | LinearLR]:
    """Tell whether the learning rate is 0, and nothing is learned, after the schedule."""
    if isinstance(schedule, PolynomialLR):
        return schedule.power > 0
    return isinstance(schedule, LinearLR) and schedule.end_factor == 0


@_lengths.register
def _one_cycle(schedule: OneCycleLR, steps: int, unit: str) -> Iterable[str]:
    total = schedule.total_steps
    lengths = f"scheduler: OneCycleLR is laid out for {total} {unit}, where the run has {steps}"
    if total < steps:
        advice = "leave out total_steps, epochs and steps_per_epoch, or give null"
        raise UserError(f"{lengths}, and would fail after these; {advice}")
    if total > steps:
        yield f"{lengths}: the learning rate does not come down"


@_lengths.register
def _cosine(schedule: CosineAnnealingLR, steps: int, unit: str) -> Iterable[str]:
    key = f"scheduler.T_max={schedule.T_max}"
    start = f"{key}: {unit}, where the run has {steps}: the learning rate"
    if schedule.T_max < steps:
        yield f"{start} goes up again after these; null is the whole run"
    if schedule.T_max > steps:
        yield f"{start} does not come down to eta_min; null is the whole run"


@_lengths.register
def _cyclic(schedule: CyclicLR, steps: int, unit: str) -> Iterable[str]:
    up = schedule.total_size * schedule.step_ratio
    if up > steps:
        key = f"scheduler.step_size_up={up:g}"
        yield f"{key}: {unit}, where the run has {steps}: it does not come up to max_lr"


@_lengths.register(StepLR)
@_lengths.register(MultiStepLR)
def _in_steps(schedule: StepLR | MultiStepLR, steps: int, unit: str) -> Iterable[str]:
    actions = [schedule.step_size] if isinstance(schedule, StepLR) else schedule.milestones
    first = min(actions, default=steps)
    if first >= steps:
        what = f"{type(schedule).__name__} first acts after {first} {unit}"
        yield f"scheduler: {what}, where the run has {steps}: it never does"


@_lengths.register
def _sequential(schedule: SequentialLR, steps: int, unit: str) -> Iterable[str]:
    starts = [0, *schedule._milestones]
    ends = [*starts[1:], steps]
    for part, start, end in zip(schedule._schedulers, starts, ends, strict=True):
        if start >= steps:
            what = f"{type(part).__name__} begins after {start} {unit}"
            yield f"scheduler: {what}, where the run has {steps}: it never does"
            return
        yield from _lengths(part, min(end, steps) - start, unit)


@_lengths.register
def _chained(schedule: ChainedScheduler, steps: int, unit: str) -> Iterable[str]:
    for part in schedule._schedulers:
        yield from _lengths(part, steps, unit)
