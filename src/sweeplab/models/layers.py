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
    """The activation of torch.nn with this lower-case name. Raises ValueError for any other."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        near = did_you_mean(str(name), ACTIVATIONS)
        raise ValueError(f"activation must be one of torch.nn in lower case, got {name}{near}")
    layer = ACTIVATIONS[name]()
    assert isinstance(layer, nn.Module)
    return layer


def widths(name: str, value: int | Sequence[int]) -> list[int]:
    """One width or several, as a list. Raises ValueError unless there is at least one and each is >= 1."""
    found = [value] if isinstance(value, int) else list(value) if isinstance(value, list | tuple) else []
    if not found or not all(isinstance(w, int) and not isinstance(w, bool) and w >= 1 for w in found):
        raise ValueError(f"{name} must be a whole number >= 1 or a list of them, got {value}")
    return found


def probability(name: str, value: float | None) -> float:
    """A dropout probability; None means 0. Raises ValueError outside [0, 1)."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, or null, got {value}")
    return float(value)
