"""The node of a step of one's own: judged by signatures, built, and the modules that it holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from sweeplab import targets
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.train.step_result import Step

CALLED = ("model", "loss", "batch")
"""What a step is called with."""


def problems(node: Node) -> list[str]:
    """List what is wrong with the node of a step, judged by signatures."""
    key = "step"
    target = _target(node)
    if target is None or isinstance(target, type):
        return targets.check(node, key)
    names = _first_arguments(target)
    if names is None:
        return targets.check({**node, "_partial_": True}, key)
    if len(names) < len(CALLED):
        wanted = f"a step is called as step({', '.join(CALLED)})"
        return [f"{key}._target_={node['_target_']}: takes {len(names)} arguments; {wanted}"]
    return targets.check(node, key, names)


def _target(node: Node) -> Any:
    try:
        return targets.locate(node["_target_"], "step._target_")
    except (KeyError, TypeError, UserError):
        return None


def _first_arguments(function: Callable[..., object]) -> list[str] | None:
    """Return the names of the arguments that model, loss and batch are passed as; None if any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional][: len(CALLED)]


def build(node: Node) -> Step:
    """Build the step: a function with its further arguments, or an object of a class."""
    target = _target(node)
    whole = node if isinstance(target, type) else {**node, "_partial_": True}
    built = targets.build(whole, "step")
    if not callable(built):
        kind = type(built).__name__
        raise UserError(
            f"step._target_={node['_target_']}: a {kind} cannot be called; add __call__"
        )
    step: Step = built
    return step


def modules_of(step: Step) -> dict[str, nn.Module]:
    """Return the modules that a step holds, itself among them, by the names of its attributes."""
    if isinstance(step, nn.Module):
        return {"": step}
    held = getattr(step, "__dict__", {})
    return {name: value for name, value in held.items() if isinstance(value, nn.Module)}
