"""`data.group`: examples of one group, as those of a patient, stay in one part of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab.data.sources import kind_of
from sweeplab.data.table import CSV
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data


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


def draw(
    data: Data,
    labels: Sequence[str],
    *,
    valid: int,
    test: int | None = None,
    fold: range | None = None,
) -> tuple[Tensor, int, int]:
    """Draw groups by `data.split_seed`.

    Returns the numbers of all examples, those that are tested first and those that validate next,
    and how many test and validate: as near to `test` and `valid` as whole groups allow; with a
    fold, which is of groups, that is tested, and without both nothing.
    """
    groups: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        groups.setdefault(label, []).append(number)
    members = list(groups.values())
    generator = torch.Generator().manual_seed(data.split_seed)
    order = torch.randperm(len(members), generator=generator).tolist()
    if fold is not None:
        order = order[fold.start :] + order[: fold.start]
    drawn = [members[place] for place in order]
    ends = [0, *accumulate(map(len, drawn))]
    tested = 0
    if fold is not None:
        tested = len(fold)
    elif test is not None:
        tested = _nearest(data, ends, test, range(1, len(drawn) - 1))
    until_valid = _nearest(data, ends, ends[tested] + valid, range(tested + 1, len(drawn)))
    numbers = [number for group in drawn for number in group]
    return torch.tensor(numbers), ends[tested], ends[until_valid] - ends[tested]


def count(labels: Sequence[str]) -> int:
    """Return how many groups there are."""
    return len(set(labels))


def _nearest(data: Data, ends: Sequence[int], wanted: int, allowed: range) -> int:
    """Return how many groups have about as many examples as are wanted."""
    if not allowed:
        few = f"the set has {len(ends) - 1} groups; train, valid and test need one each"
        raise UserError(f"data.group={data.group}: {few}")
    return min(allowed, key=lambda number: abs(ends[number] - wanted))
