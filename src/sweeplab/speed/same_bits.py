"""Compare tensors bit for bit, as a trick does that must change none."""

from __future__ import annotations

import torch
from torch import Tensor


def same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    """Tell whether all bits are the same: nan is nan, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    # One column of several is not contiguous.
    return tensor.contiguous().reshape(-1).view(torch.uint8)
