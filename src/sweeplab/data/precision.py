"""Whether float32 tells the numbers of a set apart, once they are scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab.data.scaling import NARROW, Scaling, by_scaling, signed, unchecked
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data

SAMPLE = 1 << 18  # numbers that are checked for lost digits; sorting them takes some milliseconds
BATCH_SAMPLE = 1 << 12  # numbers of a streamed batch that are checked
FEW = 4  # lost differences that a batch may have by chance
NOISE = 2.0**-46  # relative difference of float64 values that are sums of the same numbers
MOST_LOST, SOME_LOST = 0.5, 0.1  # shares of neighbouring values that float32 does not tell apart


@dataclass(frozen=True, slots=True)
class Differences:
    """How many neighbours in each column differ, and how many of these float32 makes equal."""

    differing: Tensor  # int64 [columns]
    lost: Tensor  # int64 [columns]

    def columns(self, share: float) -> list[int]:
        """Return the columns of which more than this share of the differences is lost."""
        columns: list[int] = (self.lost > share * self.differing).nonzero().reshape(-1).tolist()
        return columns

    @property
    def varying(self) -> int:
        """Count the columns that are not constant."""
        return int((self.differing > 0).sum())


def ensure_told_apart(raw: Tensor, scaling: Scaling) -> str | None:
    """Raise UserError where float32 cannot tell most of the targets, or of all inputs, apart.

    Returns a note where it is fewer values, or some of the inputs only; None where all is well.
    Only a sample is checked. A set that delivers float32 itself has said which digits count.
    """
    if _is_exact(raw, scaling):
        return None
    ordered = _sorted_sample(raw, SAMPLE)
    differences = _differences(ordered, scaling)
    lost = _ensure_most_kept(ordered, differences, scaling)
    if raw.dtype in NARROW:
        return None
    lost = lost or differences.columns(SOME_LOST)
    noticeable = [column for column in lost if not _is_dwarfed(ordered[:, column], scaling)]
    if not noticeable:
        return None
    return _message(ordered, noticeable, scaling)


def ensure_inputs_told_apart(data: Data, inputs: Tensor) -> str | None:
    """Raise UserError, or return a note, as `ensure_told_apart` does."""
    notes = [ensure_told_apart(*part) for part in by_scaling(data, inputs)]
    return next((note for note in notes if note), None)


def ensure_input_batch_told_apart(data: Data, inputs: Tensor) -> None:
    """Raise UserError as `ensure_batch_told_apart` does."""
    for values, scaling in by_scaling(data, inputs):
        ensure_batch_told_apart(values, scaling)


def ensure_batch_told_apart(raw: Tensor, scaling: Scaling) -> None:
    """Raise UserError as `ensure_told_apart` does, by a quick check of a streamed batch."""
    if not _is_exact(raw, scaling):
        ordered = _sorted_sample(raw, BATCH_SAMPLE)
        differences = _differences(ordered, scaling)
        if int(differences.lost.max()) >= FEW:
            _ensure_most_kept(ordered, differences, scaling)


def _ensure_most_kept(ordered: Tensor, differences: Differences, scaling: Scaling) -> list[int]:
    """Return the columns of which most is lost. Raises UserError where they are too many."""
    lost = differences.columns(MOST_LOST)
    if lost and (scaling.name == "targets" or len(lost) == differences.varying):
        raise UserError(_message(ordered, lost, scaling))
    return lost


def _is_exact(raw: Tensor, scaling: Scaling) -> bool:
    """Tell whether nothing can be lost: of bytes, which are pictures, and of numbers not scaled."""
    if len(raw) < 2 or raw.is_complex():
        return True
    if raw.dtype == torch.uint8 and scaling.name == "inputs":
        return True
    return raw.dtype in NARROW and scaling.mean is None and scaling.std is None


def _sorted_sample(raw: Tensor, most: int) -> Tensor:
    """Return some examples as [examples, columns], each column sorted."""
    columns = max(1, raw[0].numel())
    step = math.ceil(columns / (most // 64))
    rows = min(len(raw), most // math.ceil(columns / step))
    chosen = torch.linspace(0, len(raw) - 1, rows, dtype=torch.float64).long()
    return signed(raw.reshape(len(raw), -1)[:, ::step][chosen]).sort(dim=0).values


def _differences(ordered: Tensor, scaling: Scaling) -> Differences:
    """Count the differences between neighbours in each column, and those lost by scaling."""
    lower, upper = ordered[:-1], ordered[1:]
    differ = upper != lower
    if ordered.dtype == torch.float64:
        differ &= upper - lower > NOISE * upper.abs()
    values = unchecked(ordered.clone(), scaling)
    kept = values[1:] != values[:-1]
    return Differences(differ.sum(0), (differ & ~kept).sum(0))


def _is_dwarfed(column: Tensor, scaling: Scaling) -> bool:
    """Tell whether the values are next to nothing beside the mean, which fits other columns."""
    return float(column.abs().max()) < abs(scaling.mean or 0.0) * 2.0**-20


def _message(ordered: Tensor, columns: Sequence[int], scaling: Scaling) -> str:
    column = ordered[:, columns[0]]
    low, high = column[0].item(), column[-1].item()
    values = unchecked(column.clone(), scaling)
    before, after = len(column.unique()), len(values.unique())
    where = "" if ordered.shape[1] == 1 else f" of {len(columns)} of {ordered.shape[1]} columns"
    problem = f"float32 cannot tell the {scaling.name}{where} apart"
    example = f"{before} different values from {low} to {high} become {after}"
    mean = _better_mean(ordered, columns, scaling)
    if mean is None:
        advice = "shift or scale them in the set, or deliver float32 if these digits do not count"
    else:
        advice = f"give {scaling.key}={mean}"
    return f"{scaling.shown}: {problem} ({example}); {advice}"


def _better_mean(ordered: Tensor, columns: Sequence[int], scaling: Scaling) -> str | None:
    """Find the shortest mean with which nothing is lost of any column; None if there is none."""
    lost = ordered[:, list(columns)].double()
    middle = float(lost.median())
    for digits in range(1, 18):
        mean = f"{middle:.{digits}g}"
        if not _differences(ordered, replace(scaling, mean=float(mean))).columns(SOME_LOST):
            return mean
    return None
