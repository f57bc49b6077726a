"""Numbers as a network takes them: scaled in the set's own type, then made float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.errors import UserError

NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8)
"""Types whose values float32 holds exactly: they are scaled as float32."""

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that have hardly any operations in torch."""

CHUNK = 1 << 20  # numbers that are float64 at a time, so that a large set has no float64 copy
SAMPLE = 1 << 18  # numbers that are checked for lost digits; sorting them takes some milliseconds
BATCH_SAMPLE = 1 << 12  # numbers of a streamed batch that are checked
FEW = 4  # lost differences that a batch may have by chance
NOISE = 2.0**-46  # relative difference of float64 values that are sums of the same numbers
MOST_LOST, SOME_LOST = 0.5, 0.1  # shares of neighbouring values that float32 does not tell apart


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the inputs or the targets are normalised: (value - mean) / std."""

    name: str  # inputs | targets
    mean: float | None
    std: float | None

    @property
    def key(self) -> str:
        """Return the key of the mean in a config."""
        return "data.mean" if self.name == "inputs" else "data.target_mean"

    @property
    def shown(self) -> str:
        """Return the mean as written in a config."""
        return f"{self.key}={config.yaml_str(self.mean)}"


def scaled(raw: Tensor, scaling: Scaling) -> Tensor:
    """Return (raw - mean) / std as float32; float32 numbers are changed in place, so give a copy.

    Raises UserError where numbers are complex, NaN or infinite, or too large for float32.
    """
    values = _scale(raw, scaling)
    # A finite sum proves that all values are finite, ten times faster than a look at each.
    if not values.sum().isfinite():
        finite = values.isfinite()
        if not finite.all():
            _refuse_infinite(raw, finite, scaling)
    return values


def _refuse_infinite(raw: Tensor, finite: Tensor, scaling: Scaling) -> None:
    bad = int((~finite.reshape(len(finite), -1)).any(1).sum())
    if not raw.dtype.is_floating_point or raw.isfinite().all():
        raise UserError(
            f"data.dataset: {bad} of {len(finite)} examples have {scaling.name} that are too large "
            f"for float32, after {scaling.shown} is subtracted; scale them in the set"
        )
    raise UserError(
        f"data.dataset: {bad} of {len(finite)} examples have NaN or infinite {scaling.name}; repair or drop them"
    )


def _scale(raw: Tensor, scaling: Scaling) -> Tensor:
    if raw.is_complex():
        raise UserError(
            f"data.dataset: the {scaling.name} are {raw.dtype}; give real and imaginary parts as numbers"
        )
    std = 1.0 if scaling.std is None else scaling.std
    if raw.dtype in NARROW:
        return raw.float().sub_(scaling.mean or 0.0).div_(std)
    result = torch.empty(raw.shape, dtype=torch.float32)
    rows = max(1, CHUNK // max(1, raw[:1].numel()))
    for start in range(0, len(raw), rows):
        chunk = slice(start, start + rows)
        result[chunk] = _centred(raw[chunk], scaling.mean or 0.0).div_(std)
    return result


def _centred(raw: Tensor, mean: float) -> Tensor:
    """Return raw - mean as new float64 numbers; whole numbers beyond 2**53 lose no digit."""
    if raw.dtype.is_floating_point:
        return torch.sub(raw.double(), mean)
    raw = _signed(raw)
    base = round(mean)
    if raw.dtype != torch.int64 or base == 0:
        return torch.sub(raw.double(), mean)
    low, high = int(raw.min()) - base, int(raw.max()) - base
    if not -(2**63) <= min(low, -base, base) <= max(high, base, -base) < 2**63:
        return torch.sub(raw.double(), mean)
    return (raw - base).double().sub_(mean - base)


def _signed(raw: Tensor) -> Tensor:
    """Return the same whole numbers as int64, or as float64 where some are beyond it."""
    if raw.dtype == torch.uint64 and bool((raw.view(torch.int64) < 0).any()):
        high = raw.view(torch.int64) >> 32 & 0xFFFFFFFF
        low = raw.view(torch.int64) & 0xFFFFFFFF
        return high.double() * 2.0**32 + low.double()
    if raw.dtype in UNSIGNED:
        return raw.to(torch.int64)
    return raw


# --- Whether float32 tells the values apart -------------------------------------------------------


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
    return _signed(raw.reshape(len(raw), -1)[:, ::step][chosen]).sort(dim=0).values


def _differences(ordered: Tensor, scaling: Scaling) -> Differences:
    """Count the differences between neighbours in each column, and those lost by scaling."""
    lower, upper = ordered[:-1], ordered[1:]
    differ = upper != lower
    if ordered.dtype == torch.float64:
        differ &= upper - lower > NOISE * upper.abs()
    values = _scale(ordered.clone(), scaling)
    kept = values[1:] != values[:-1]
    return Differences(differ.sum(0), (differ & ~kept).sum(0))


def _is_dwarfed(column: Tensor, scaling: Scaling) -> bool:
    """Tell whether the values are next to nothing beside the mean, which fits other columns."""
    return float(column.abs().max()) < abs(scaling.mean or 0.0) * 2.0**-20


def _message(ordered: Tensor, columns: Sequence[int], scaling: Scaling) -> str:
    column = ordered[:, columns[0]]
    low, high = column[0].item(), column[-1].item()
    values = _scale(column.clone(), scaling)
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
