"""Optimizers and schedulers on trial: built on small stand-ins, and stepped once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sweeplab import targets
from sweeplab.config import Config, Node, Trainer
from sweeplab.config.slips import meant
from sweeplab.data import seeding
from sweeplab.errors import UserError, summary
from sweeplab.runs.trial import Fitted, Parameter
from sweeplab.runs.weights import refuse_unsafe
from sweeplab.speed import dynamo
from sweeplab.train import groups, schedule, schedule_checks
from sweeplab.train.device import choose_device

SMALL = 10_000  # numbers of a parameter; the optimizer is tried on a cutting of what is larger

Group = tuple[Node, tuple[Parameter, ...]]
"""The arguments of a parameter group, and its parameters."""


def parameter_groups(config: Config, fitted: Fitted) -> dict[str, list[Group]]:
    """Return the parameter groups of each optimizer, by the part of the network that it updates.

    Of parameters that look alike there is one in a group. Raises UserError for patterns that match
    no parameter, or contradict each other.
    """
    parameters = _as_frozen(config, fitted)
    groups_of = {}
    for part, own in schedule.by_part(config).items():
        mine = groups.of_part(part, parameters)
        if part and not any(parameter.trained for parameter in mine.values()):
            why = f"freezes all of {part}: leave out optimizer.{part}, or freeze less"
            raise UserError(f"trainer.freeze={config.trainer.freeze}: {why}")
        groups_of[part] = _groups(own.optimizer, mine, schedule.key("optimizer", part))
    return groups_of


def _as_frozen(config: Config, fitted: Fitted) -> dict[groups.Names, Parameter]:
    """Return the parameters, with those marked that `trainer.freeze` freezes."""
    parameters = dict(fitted.parameters)
    for names in groups.frozen(config.trainer.freeze, parameters):
        parameters[names] = replace(parameters[names], trained=False)
    return parameters


def frozen_groups(config: Config, fitted: Fitted) -> list[str]:
    """Say of which groups of an optimizer `trainer.freeze` freezes all parameters."""
    notes = []
    parameters = _as_frozen(config, fitted)
    for part, own in schedule.by_part(config).items():
        mine = groups.of_part(part, parameters)
        for pattern in own.optimizer.get(groups.GROUPS) or {}:
            matched = [
                parameter for names, parameter in mine.items() if groups.matches(names, pattern)
            ]
            if not any(parameter.trained for parameter in matched):
                key = f"{schedule.key('optimizer', part)}.{groups.GROUPS}.{pattern}"
                notes.append(f"{key}: has no effect: trainer.freeze freezes all that it matches")
    return notes


def _groups(node: Node, parameters: Mapping[groups.Names, Parameter], key: str) -> list[Group]:
    listed = []
    for group in groups.grouped(node, parameters, key):
        arguments: Node = dict(group)
        alike = tuple(dict.fromkeys(arguments.pop("params")))
        listed.append((arguments, alike))
    return listed


def fit(config: Config, parameters: Mapping[str, list[Group]], in_epoch: int = 1) -> list[str]:
    """Build optimizers and schedulers on groups of parameters like these, and step them once.

    Returns notes on what the schedules never come to; `in_epoch` is the number of updates in an
    epoch. It reads the parameters, the sections optimizer and scheduler, `mode`, the device, and
    the number of epochs. Raises UserError for what they refuse.
    """
    dynamo.spare()
    notes: list[str] = []
    with seeding.preserved():
        for part, own in schedule.by_part(config).items():
            notes += _fit_optimizer(own, part, parameters[part], in_epoch)
    return list(dict.fromkeys(notes))


def _fit_optimizer(config: Config, part: str, found: list[Group], in_epoch: int) -> list[str]:
    """Build the optimizer and the schedule of a part, step both, and return notes."""
    key, scheduler_key = schedule.key("optimizer", part), schedule.key("scheduler", part)
    optimizer = _optimizer(config, key, found)
    if isinstance(optimizer, LBFGS) and (why := _looks_once(config.trainer, part)):
        name = config.optimizer["_target_"]
        raise UserError(f"{key}={name}: looks at a batch several times, and {why}")
    rates = schedule.rates(optimizer)
    scheduler = schedule.build(schedule.filled(config, in_epoch), scheduler_key, optimizer)
    try:
        optimizer.step(lambda: 0.0)
    except Exception as error:
        problem = summary(error)
        if "fused=True" in problem:  # complex parameters, say
            problem += meant(f"{key}.fused=false")
        raise UserError(f"{key}={config.optimizer['_target_']}: {problem}") from error
    try:  # some compute with their arguments only now
        scheduler.step(*([0.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
    except Exception as error:
        name = config.scheduler["_target_"]
        raise UserError(f"{scheduler_key}={name}: {summary(error)}") from error
    refuse_unsafe({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})
    return schedule_checks.notes(config, scheduler, in_epoch, rates)


def _looks_once(trainer: Trainer, part: str) -> str | None:
    """Say why a batch is looked at only once, if so."""
    if part:
        return "a step yields each loss once"
    if trainer.accumulate:
        return f"trainer.accumulate={trainer.accumulate} does not keep it"
    if trainer.precision == "fp16":
        return "trainer.precision=fp16 scales the gradients of one look; bf16 and fp32 do not"
    return None


def _optimizer(config: Config, key: str, found: list[Group]) -> Optimizer:
    """Build the optimizer on small stand-ins; what it refuses is named with the real shapes."""
    # What other devices want of gradients cannot be tried on the CPU.
    gradients = choose_device(config.trainer.device).type == "cpu"
    node = groups.without_groups(config.optimizer)
    for pattern, arguments in (config.optimizer.get(groups.GROUPS) or {}).items():
        # An optimizer looks at the values of its own arguments only
        one = [_stand_in(found[0][1][0], gradients=False)]
        targets.build({**node, **arguments}, f"{key}.{groups.GROUPS}.{pattern}", one)
    try:
        built: Optimizer = targets.build(node, key, _stand_ins(found, gradients=gradients))
    except UserError:
        with torch.device("meta"):
            targets.build(node, key, _stand_ins(found, gradients=False, cut=False))
        raise
    return built


def _stand_ins(
    found: list[Group], *, gradients: bool, cut: bool = True
) -> list[nn.Parameter] | list[dict[str, Any]]:
    """Make parameters as an optimizer takes them: a list, or groups with arguments each."""
    made: list[dict[str, Any]] = []
    for arguments, parameters in found:
        forms = dict.fromkeys(map(_cut, parameters)) if cut else parameters
        params = [_stand_in(form, gradients=gradients) for form in forms]
        made.append({"params": params, **arguments})
    if len(made) == 1 and not found[0][0]:
        only: list[nn.Parameter] = made[0]["params"]
        return only
    return made


def _cut(parameter: Parameter) -> Parameter:
    """Return a small parameter of the same kind."""
    if math.prod(parameter.shape) <= SMALL:
        return parameter
    return replace(parameter, shape=tuple(min(size, 4) for size in parameter.shape))


def _stand_in(parameter: Parameter, *, gradients: bool) -> nn.Parameter:
    made = nn.Parameter(
        torch.zeros(parameter.shape, dtype=parameter.dtype), requires_grad=parameter.trained
    )
    if gradients and parameter.trained:
        slope = torch.full_like(made, 1e-3)
        made.grad = slope.to_sparse(1) if parameter.sparse else slope
    return made
