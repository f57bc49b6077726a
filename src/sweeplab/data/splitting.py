"""The split into train, valid and test: how many examples each gets, and which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.data.splits import Split, Splits
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data

Cut = Callable[[Any, Tensor], Split]
"""Makes a split of those examples of a set that have these numbers."""


def split(
    data: Data,
    parts: Sequence[Any],
    cuts: Sequence[Cut],
    digest: str,
    notes: Sequence[str] = (),
    training: Callable[[Tensor], Split] | None = None,
) -> Splits:
    """Draw test (unless the set brings it) and valid by `data.split_seed`; the order is kept.

    `training` makes the training split of its numbers, if that is another cut than the others.
    """
    own_test_size = len(parts[1]) if len(parts) == 2 else None
    _, valid_size, test_size = sizes(data, len(parts[0]), own_test_size)
    rest = torch.randperm(len(parts[0]), generator=torch.Generator().manual_seed(data.split_seed))
    if own_test_size is None:
        test = cuts[0](parts[0], rest[:test_size].sort().values)
        rest = rest[test_size:]
    else:
        test = cuts[1](parts[1], torch.arange(test_size))
    valid = cuts[0](parts[0], rest[:valid_size].sort().values)
    in_training = rest[valid_size:].sort().values
    train = training(in_training) if training else cuts[0](parts[0], in_training)
    return Splits(train, valid, test, digest, tuple(notes))


def sizes(data: Data, total: int, own_test_size: int | None) -> tuple[int, int, int]:
    """Compute the sizes of train, valid and test, each at least 1."""
    test = own_test_size or _size("data.test", data.test, total // 5, total - 2)
    rest = total if own_test_size else total - test
    valid = _size("data.valid", data.valid, rest // 12, rest - 1)
    return rest - valid, valid, test


def _size(key: str, wanted: int | None, default: int, most: int) -> int:
    size = max(default, 1) if wanted is None else wanted
    if not 1 <= size <= most:
        allowed = f"give 1 to {most}, to leave one to train on"
        if most < 1:
            allowed = "the set is too small to be split"
        raise UserError(f"{key}={config.yaml_str(wanted)}: {allowed}")
    return size
