"""What the networks share: activations by name, and checks of what a user may give."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sweeplab.errors import did_you_mean

ACTIVATIONS = {
    name.lower(): getattr(nn, name)
    for name in nn.modules.activation.__all__
    if name not in ("MultiheadAttention", "Threshold")  # they need arguments of their own
}


def activation(name: str) -> nn.Module:
    """Build the activation of torch.nn with this lower-case name.

    Raises ValueError for any other.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        near = did_you_mean(str(name), ACTIVATIONS)
        raise ValueError(f"activation must be one of torch.nn in lower case, got {name}{near}")
    layer = ACTIVATIONS[name]()
    assert isinstance(layer, nn.Module)
    return layer


def widths(name: str, value: int | Sequence[int]) -> list[int]:
    """Return one width or several as a list. Raises ValueError if there is none, or one below 1."""
    values = [value] if isinstance(value, int) else value
    if not isinstance(values, list | tuple) or not values or not all(map(_is_width, values)):
        raise ValueError(f"{name} must be a whole number >= 1 or a list of them, got {value}")
    return list(values)


def _is_width(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def probability(name: str, value: float | None) -> float:
    """Return a dropout probability; None means 0. Raises ValueError outside [0, 1)."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, or null, got {value}")
    return float(value)
