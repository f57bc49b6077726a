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

    With `data.fold` that part is test, and a test set of its own is left alone; valid begins where
    the part ends, so that each fold has another. `training` makes the training split of its
    numbers, if that is another cut than the others.
    """
    total = len(parts[0])
    own_test_size = len(parts[1]) if len(parts) == 2 else None
    _, valid_size, test_size = sizes(data, total, own_test_size)
    rest = torch.randperm(total, generator=torch.Generator().manual_seed(data.split_seed))
    if data.fold is not None:
        rest = rest.roll(-_fold(data, total).start)
    if own_test_size is None or data.fold is not None:
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
    if data.fold is not None and data.folds is not None:
        test = len(_fold(data, total))
        rest = total - test
        least = total * (data.folds - 1) // data.folds  # the rest of the largest fold
    else:
        test = own_test_size or _size("data.test", data.test, total // 5, total - 2)
        rest = least = total if own_test_size else total - test
    valid = _size("data.valid", data.valid, least // 12, rest - 1)  # of all folds the same
    return rest - valid, valid, test


def _fold(data: Data, total: int) -> range:
    """Return the places of a fold in the drawn order: the first folds have one more, if need be.

    Raises UserError if there are more folds than examples.
    """
    assert data.fold is not None
    assert data.folds is not None
    if data.folds > total:
        raise UserError(f"data.folds={data.folds}: the set has {total} examples; give 2 to {total}")
    size, more = divmod(total, data.folds)
    start = data.fold * size + min(data.fold, more)
    return range(start, start + size + (data.fold < more))


def _size(key: str, wanted: int | None, default: int, most: int) -> int:
    size = max(default, 1) if wanted is None else wanted
    if not 1 <= size <= most:
        allowed = f"give 1 to {most}, to leave one to train on"
        if most < 1:
            allowed = "the set is too small to be split"
        raise UserError(f"{key}={config.yaml_str(wanted)}: {allowed}")
    return size
