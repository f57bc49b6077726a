"""The node of a step of one's own: judged by signatures, built, and the modules that it holds."""

from __future__ import annotations

from torch import nn

from sweeplab import targets
from sweeplab.config import Node
from sweeplab.train.step_result import Step

CALLED = ("model", "loss", "batch")
"""What a step is called with."""


def problems(node: Node) -> list[str]:
    """List what is wrong with the node of a step, judged by signatures."""
    return targets.check_function(node, "step", CALLED)


def build(node: Node) -> Step:
    """Build the step: a function with its further arguments, or an object of a class."""
    return targets.build_function(node, "step")


def modules_of(step: Step) -> dict[str, nn.Module]:
    """Return the modules that a step holds, itself among them, by the names of its attributes."""
    if isinstance(step, nn.Module):
        return {"": step}
    held = getattr(step, "__dict__", {})
    return {name: value for name, value in held.items() if isinstance(value, nn.Module)}
