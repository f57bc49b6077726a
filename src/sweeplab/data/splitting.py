"""The split into train, valid and test: how many examples each gets, and which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.data import grouping
from sweeplab.data.sources import combined
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
    groups: Sequence[str] | None = None,
) -> Splits:
    """Draw test (unless the set brings it) and valid by `data.split_seed`; the order is kept.

    With `data.fold` that part is test, and a test set of its own is left alone; valid begins where
    the part ends, so that each fold has another. `training` makes the training split of its
    numbers, if that is another cut than the others. `groups` are labels of the examples: those of
    one label stay together.
    """
    total = len(parts[0])
    own_test_size = len(parts[1]) if len(parts) == 2 else None
    _, valid_size, test_size = sizes(data, total, own_test_size)
    if groups is not None:
        rest, test_size, valid_size = _draw_groups(data, groups, total, own_test_size)
        digest = combined([digest, *groups])
    else:
        rest = torch.randperm(total, generator=torch.Generator().manual_seed(data.split_seed))
        if data.fold is not None:
            rest = rest.roll(-_fold(data, total).start)
    if own_test_size is None or data.fold is not None:
        test = cuts[0](parts[0], rest[:test_size].sort().values)
        rest = rest[test_size:]
    else:
        test = cuts[1](parts[1], torch.arange(own_test_size))
    valid = cuts[0](parts[0], rest[:valid_size].sort().values)
    in_training = rest[valid_size:].sort().values
    train = training(in_training) if training else cuts[0](parts[0], in_training)
    return Splits(train, valid, test, digest, tuple(notes))


def _draw_groups(
    data: Data, groups: Sequence[str], total: int, own_test_size: int | None
) -> tuple[Tensor, int, int]:
    """Return the examples in the order of drawn groups, and how many test and validate."""
    if len(groups) != total:
        size = f"the set has {total} examples, and {len(groups)} labels"
        raise UserError(f"data.group={data.group}: {size}")
    _, valid, test = sizes(data, total, own_test_size)
    if data.fold is not None:
        return grouping.draw(data, groups, fold=_fold(data, grouping.count(groups)), valid=valid)
    return grouping.draw(data, groups, test=None if own_test_size else test, valid=valid)


def sizes(data: Data, total: int, own_test_size: int | None) -> tuple[int, int, int]:
    """Compute the sizes of train, valid and test, each at least 1."""
    if data.fold is not None and data.folds is not None:
        test = len(_fold(data, total))
        rest = total - test
        least = total * (data.folds - 1) // data.folds  # the rest of the largest fold
    elif own_test_size:
        if data.test not in (None, own_test_size):
            own = f"the set brings a test set of {own_test_size} examples"
            raise UserError(f"data.test={data.test}: {own}; give data.test=null")
        test, rest, least = own_test_size, total, total
    else:
        test = _size("data.test", data.test, total // 5, total - 2)
        rest = least = total - test
    valid = _size("data.valid", data.valid, least // 12, rest - 1)  # of all folds the same
    return rest - valid, valid, test


def _fold(data: Data, total: int) -> range:
    """Return the places of a fold in the drawn order: the first folds have one more, if need be.

    Raises UserError if there are more folds than examples.
    """
    assert data.fold is not None
    assert data.folds is not None
    if data.folds > total:
        what = "examples" if data.group is None else "groups"
        raise UserError(f"data.folds={data.folds}: the set has {total} {what}; give 2 to {total}")
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
