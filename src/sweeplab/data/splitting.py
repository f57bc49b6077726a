"""The split into train, valid and test: how many examples each gets, and which.

With `data.group`, examples of one group, as those of a patient, stay in one part of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.data.sources import CSV
from sweeplab.data.trees import kind_of
from sweeplab.errors import UserError, counted

if TYPE_CHECKING:
    from sweeplab.config import Data


class Drawn(NamedTuple):
    """The numbers of the examples of each part, in ascending order."""

    train: Tensor
    valid: Tensor
    test: Tensor | None  # None: the test set that the set brings


def draw(
    data: Data, total: int, own_test_size: int | None, labels: Sequence[str] | None = None
) -> Drawn:
    """Draw test (unless the set brings it) and valid by `data.split_seed`.

    With `data.fold` that part is test, and a test set of its own is left alone; valid begins where
    the part ends, so that each fold has another. Examples of one label stay together.
    """
    _, valid_size, test_size = sizes(data, total, own_test_size)
    if own_test_size is not None and data.fold is None:
        test_size = 0
    if labels is not None:
        if len(labels) != total:
            size = f"the set has {counted(total, 'example')}, and {counted(len(labels), 'label')}"
            raise UserError(f"data.group={data.group}: {size}")
        order, test_size, valid_size = _draw_groups(data, labels, test_size, valid_size)
    else:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(data.split_seed))
        if data.fold is not None:
            order = order.roll(-_fold(data, total).start)
    test, rest = order[:test_size], order[test_size:]
    return Drawn(
        train=rest[valid_size:].sort().values,
        valid=rest[:valid_size].sort().values,
        test=test.sort().values if test_size else None,
    )


def sizes(data: Data, total: int, own_test_size: int | None) -> tuple[int, int, int]:
    """Compute the sizes of train, valid and test, each at least 1."""
    if data.fold is not None and data.folds is not None:
        test = len(_fold(data, total))
        rest = total - test
        least = total * (data.folds - 1) // data.folds  # the rest of the largest fold
    elif own_test_size:
        if data.test not in (None, own_test_size):
            own = f"the set brings a test set of {counted(own_test_size, 'example')}"
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
            allowed = "the set is too small to be split: it takes one to train on, to validate and to test"
        raise UserError(f"{key}={config.yaml_str(wanted)}: {allowed}")
    return size


# --- Groups ---------------------------------------------------------------------------------------


def labels_of(data: Data, dataset: Any) -> list[str] | None:
    """Return the label of each example as a text; None where nothing is grouped.

    Raises UserError where the set does not have them.
    """
    if data.group is None:
        return None
    if isinstance(dataset, CSV):
        found: Any = dataset.groups
    elif isinstance(dataset, Mapping):
        found = dataset.get(data.group)
    else:
        found = getattr(dataset, data.group, None)
    if found is None or callable(found) or not hasattr(found, "__len__"):
        wanted = f"it needs an attribute '{data.group}' with a label for each example"
        raise UserError(f"data.group={data.group}: the set is a {kind_of(dataset)}; {wanted}")
    if hasattr(found, "tolist"):  # of a tensor, an array, or pandas
        found = found.tolist()
    return [str(label) for label in found]


def _draw_groups(
    data: Data, labels: Sequence[str], test: int, valid: int
) -> tuple[Tensor, int, int]:
    """Draw groups: `test` examples, or a fold of groups, and `valid`, as nearly as they allow.

    Returns the numbers of all examples, those that are tested first and those that validate next,
    and how many test and validate.
    """
    groups: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        groups.setdefault(label, []).append(number)
    members = list(groups.values())
    fold = range(0)
    if data.fold is not None:
        fold = _fold(data, len(members))
    generator = torch.Generator().manual_seed(data.split_seed)
    order = torch.randperm(len(members), generator=generator).roll(-fold.start)
    drawn = [members[place] for place in order.tolist()]
    ends = [0, *accumulate(map(len, drawn))]
    tested = len(fold)
    if data.fold is None and test:
        tested = _nearest(data, ends, test, range(1, len(drawn) - 1))
    until_valid = _nearest(data, ends, ends[tested] + valid, range(tested + 1, len(drawn)))
    numbers = [number for group in drawn for number in group]
    return torch.tensor(numbers), ends[tested], ends[until_valid] - ends[tested]


def _nearest(data: Data, ends: Sequence[int], wanted: int, allowed: range) -> int:
    """Return how many groups have about as many examples as are wanted."""
    if not allowed:
        few = f"the set has {len(ends) - 1} groups; train, valid and test need one each"
        raise UserError(f"data.group={data.group}: {few}")
    return min(allowed, key=lambda number: abs(ends[number] - wanted))
