"""Numbers of a data set as a network takes them: scaled in the set's own type, and only then made float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.errors import UserError

NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8)
"""Types whose values float32 holds: they are scaled as float32."""

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types with hardly any operations of their own in torch."""

CHUNK = 1 << 20  # numbers that are float64 at a time, so that a large set has no float64 copy
SAMPLE = 1 << 18  # numbers that are looked at for lost digits; sorting them takes some milliseconds
BATCH_SAMPLE = 1 << 12  # the same, of a streamed batch
FEW = 4  # lost differences that a batch may have by chance
NOISE = 2.0**-46  # relative; what float64 values differ by when they are sums of the same numbers
MOST_LOST, SOME_LOST = 0.5, 0.1  # shares of neighbouring values that float32 does not tell apart


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is subtracted from the inputs or the targets, and what they are divided by then."""

    name: str  # inputs | targets
    mean: float | None
    std: float | None

    @property
    def key(self) -> str:
        """The key of the mean in a config."""
        return "data.mean" if self.name == "inputs" else "data.target_mean"

    @property
    def shown(self) -> str:
        """The mean, as in a config."""
        return f"{self.key}={config.yaml_str(self.mean)}"


def scaled(raw: Tensor, scaling: Scaling) -> Tensor:
    """Return (raw - mean) / std as float32; float32 numbers are changed in place, so give a copy.

    Raises UserError where numbers are complex, NaN or infinite, or too large for float32.
    """
    values = _computed(raw, scaling)
    # A finite sum proves finite values, ten times faster than a look at each; and it is seldom the other way round.
    if not values.sum().isfinite() and not (finite := values.isfinite()).all():
        _refuse_infinite(raw, finite, scaling)
    return values


def _refuse_infinite(raw: Tensor, finite: Tensor, scaling: Scaling) -> None:
    bad = int((~finite.reshape(len(finite), -1)).any(1).sum())
    if not raw.dtype.is_floating_point or raw.isfinite().all():
        too_large = f"have {scaling.name} that are too large for float32, after {scaling.shown} is subtracted"
        raise UserError(f"data.dataset: {bad} of {len(finite)} examples {too_large}; scale them in the set")
    raise UserError(
        f"data.dataset: {bad} of {len(finite)} examples have NaN or infinite {scaling.name}; repair or drop them"
    )


def _computed(raw: Tensor, scaling: Scaling) -> Tensor:
    if raw.is_complex():
        raise UserError(f"data.dataset: the {scaling.name} are {raw.dtype}; give real and imaginary parts as numbers")
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
    """Return raw - mean as new float64 numbers, whole numbers beyond 2**53 without loss of a digit."""
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
    """The same whole numbers as int64; those beyond it as float64."""
    if raw.dtype == torch.uint64 and bool((raw.view(torch.int64) < 0).any()):
        high, low = raw.view(torch.int64) >> 32 & 0xFFFFFFFF, raw.view(torch.int64) & 0xFFFFFFFF
        return high.double() * 2.0**32 + low.double()
    return raw.to(torch.int64) if raw.dtype in UNSIGNED else raw


# --- Whether float32 tells the values apart ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loss:
    """How many neighbouring values of each column differ, and of how many float32 numbers do not."""

    differing: Tensor  # int64 [columns]
    lost: Tensor  # int64 [columns]

    def columns(self, share: float) -> list[int]:
        """Columns of which more than this share of the differences is lost."""
        found: list[int] = (self.lost > share * self.differing).nonzero().reshape(-1).tolist()
        return found

    @property
    def varying(self) -> int:
        """How many columns are not constant."""
        return int((self.differing > 0).sum())


def ensure_told_apart(raw: Tensor, scaling: Scaling) -> str | None:
    """Raise UserError where most values of the targets, or of all inputs, become one float32 number with others.

    Returns a line for where it is fewer of them, or some of the inputs only; None where all is well. A sample is looked
    at. A set that delivers float32 itself has said which digits count.
    """
    if _is_exact(raw, scaling):
        return None
    ordered = _sorted_sample(raw, SAMPLE)
    loss = _loss(ordered, scaling)
    gone = _ensure_most_kept(ordered, loss, scaling)
    if raw.dtype in NARROW:
        return None
    some = gone or loss.columns(SOME_LOST)
    noticed = [column for column in some if not _is_dwarfed(ordered[:, column], scaling)]
    return _message(ordered, noticed, scaling) if noticed else None


def ensure_batch_told_apart(raw: Tensor, scaling: Scaling) -> None:
    """Raise UserError as `ensure_told_apart` does, on a look at a streamed batch that takes no time of its own."""
    if not _is_exact(raw, scaling):
        ordered = _sorted_sample(raw, BATCH_SAMPLE)
        loss = _loss(ordered, scaling)
        if int(loss.lost.max()) >= FEW:  # less may be chance
            _ensure_most_kept(ordered, loss, scaling)


def _ensure_most_kept(ordered: Tensor, loss: Loss, scaling: Scaling) -> list[int]:
    """Return the columns of which most is lost. Raises UserError where they are too many."""
    gone = loss.columns(MOST_LOST)
    if gone and (scaling.name == "targets" or len(gone) == loss.varying):
        raise UserError(_message(ordered, gone, scaling))
    return gone


def _is_exact(raw: Tensor, scaling: Scaling) -> bool:
    """Whether nothing can be lost: bytes are pictures, and numbers that stay what they are lose nothing."""
    if len(raw) < 2 or raw.is_complex():
        return True
    if raw.dtype == torch.uint8 and scaling.name == "inputs":
        return True
    return raw.dtype in NARROW and scaling.mean is None and scaling.std is None


def _sorted_sample(raw: Tensor, most: int) -> Tensor:
    """Some examples as [examples, columns], each column in ascending order; of large examples some columns only."""
    columns = max(1, raw[0].numel())
    step = math.ceil(columns / (most // 64))
    rows = min(len(raw), most // math.ceil(columns / step))
    chosen = torch.linspace(0, len(raw) - 1, rows, dtype=torch.float64).long()
    return _signed(raw.reshape(len(raw), -1)[:, ::step][chosen]).sort(dim=0).values


def _loss(ordered: Tensor, scaling: Scaling) -> Loss:
    one, next_one = ordered[:-1], ordered[1:]
    differ = next_one != one
    if ordered.dtype == torch.float64:
        differ &= next_one - one > NOISE * next_one.abs()
    values = _computed(ordered.clone(), scaling)
    kept = values[1:] != values[:-1]
    return Loss(differ.sum(0), (differ & ~kept).sum(0))


def _is_dwarfed(column: Tensor, scaling: Scaling) -> bool:
    """Whether the values are next to nothing beside the mean, which is that of other columns."""
    return float(column.abs().max()) < abs(scaling.mean or 0.0) * 2.0**-20


def _message(ordered: Tensor, columns: Sequence[int], scaling: Scaling) -> str:
    column = ordered[:, columns[0]]
    low, high = column[0].item(), column[-1].item()
    values = _computed(column.clone(), scaling)
    before, after = len(column.unique()), len(values.unique())
    of = "" if ordered.shape[1] == 1 else f" of {len(columns)} of {ordered.shape[1]} columns"
    tell = f"float32 cannot tell the {scaling.name}{of} apart"
    example = f"{before} different values from {low} to {high} become {after}"
    mean = _mending(ordered, columns, scaling)
    if mean is None:
        advice = "shift or scale them in the set, or deliver float32 if these digits do not count"
    else:
        advice = f"give {scaling.key}={mean}"
    return f"{scaling.shown}: {tell} ({example}); {advice}"


def _mending(ordered: Tensor, columns: Sequence[int], scaling: Scaling) -> str | None:
    """The shortest mean with which nothing is lost of any column; None if there is none."""
    lost = ordered[:, list(columns)].double()
    middle = float(lost.median())
    for digits in range(1, 18):
        mean = f"{middle:.{digits}g}"
        if not _loss(ordered, replace(scaling, mean=float(mean))).columns(SOME_LOST):
            return mean
    return None
