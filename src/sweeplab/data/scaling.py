"""Numbers as a network takes them: scaled in the set's own type, then made float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data

NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8)
"""Types whose values float32 holds exactly: they are scaled as float32."""

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that have hardly any operations in torch."""

CHUNK = 1 << 20  # numbers that are float64 at a time, so that a large set has no float64 copy

SAMPLE = 1 << 16  # numbers that are looked at to tell their scale
FAR = 10.0  # a mean or a standard deviation beyond this is no unit scale
MOST_COLUMNS = 16  # of a table whose columns are scaled one by one
MOST_DIGITS = 17  # that a float64 has
UNLIKE = 1000.0  # times the median deviation of the columns: no scale fits all of them

Numbers = float | list[float]


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
    values = unchecked(raw, scaling)
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


def unchecked(raw: Tensor, scaling: Scaling) -> Tensor:
    """Return (raw - mean) / std as float32, whatever comes out."""
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
    raw = signed(raw)
    base = round(mean)
    if raw.dtype != torch.int64 or base == 0:
        return torch.sub(raw.double(), mean)
    low, high = int(raw.min()) - base, int(raw.max()) - base
    if not -(2**63) <= min(low, -base, base) <= max(high, base, -base) < 2**63:
        return torch.sub(raw.double(), mean)
    return (raw - base).double().sub_(mean - base)


def signed(raw: Tensor) -> Tensor:
    """Return the same whole numbers as int64, or as float64 where some are beyond it."""
    if raw.dtype == torch.uint64 and bool((raw.view(torch.int64) < 0).any()):
        high = raw.view(torch.int64) >> 32 & 0xFFFFFFFF
        low = raw.view(torch.int64) & 0xFFFFFFFF
        return high.double() * 2.0**32 + low.double()
    if raw.dtype in UNSIGNED:
        return raw.to(torch.int64)
    return raw


# --- Inputs: by one mean and std, or by those of each channel or column ---------------------------


def scaled_inputs(data: Data, inputs: Tensor) -> Tensor:
    """Normalise inputs [N, in_features] or [N, *shape] as `scaled` does."""
    parts = [scaled(values, scaling) for values, scaling in by_scaling(data, inputs)]
    if not is_by_channel(data):
        return parts[0]
    return torch.stack(parts, 1).reshape(inputs.shape)


def by_scaling(data: Data, inputs: Tensor) -> Iterator[tuple[Tensor, Scaling]]:
    """Yield all inputs with their scaling, or each channel of them with its own."""
    scalings = input_scalings(data)
    if not is_by_channel(data):
        yield inputs, scalings[0]
    elif inputs[0].numel() == data.in_features:  # others are refused for their shape
        channels = inputs.reshape(len(inputs), len(scalings), -1)
        for index, scaling in enumerate(scalings):
            yield channels[:, index], scaling


def byte_scale(data: Data) -> tuple[Numbers, Numbers]:
    """Return (b / 255 - mean) / std as b * factor - shift.

    Bytes are pictures, from 0 to 255, as in torchvision.
    """
    scales = [_byte_scale(scaling) for scaling in input_scalings(data)]
    if not is_by_channel(data):
        return scales[0]
    return [factor for factor, _ in scales], [shift for _, shift in scales]


def _byte_scale(scaling: Scaling) -> tuple[float, float]:
    std = 1.0 if scaling.std is None else scaling.std
    return 1 / (255 * std), (scaling.mean or 0.0) / std


def is_by_channel(data: Data) -> bool:
    """Tell whether mean or std is a list."""
    return isinstance(data.mean, list) or isinstance(data.std, list)


def input_scalings(data: Data) -> list[Scaling]:
    """Return how inputs that are no bytes are normalised: one for all, or one for each channel."""
    count = channel_count(data) if is_by_channel(data) else 1
    means, stds = _each(data.mean, count), _each(data.std, count)
    return [Scaling("inputs", mean, std) for mean, std in zip(means, stds, strict=True)]


def _each(value: Numbers | None, count: int) -> list[float] | list[None]:
    if value is None:
        return [None] * count
    if isinstance(value, list):
        return value
    return [value] * count


def channel_count(data: Data) -> int:
    """Return how many channels a picture has, or how many numbers an example without a shape."""
    if data.shape is not None and len(data.shape) > 1:
        return data.shape[0]
    return data.in_features


def scale_note(data: Data, inputs: Tensor) -> str | None:
    """Say that inputs, after `data.mean` and `data.std`, are far from unit scale, and what would
    mend it.

    A sample is looked at. Bytes are pictures, which are scaled anyway.
    """
    if inputs.dtype in (torch.uint8, torch.bool) or inputs.is_complex() or len(inputs) < 2:
        return None
    rows = max(2, SAMPLE // max(1, inputs[:1].numel()))
    step = max(1, len(inputs) // rows)
    sample = signed(inputs[::step]).double().reshape(len(inputs[::step]), -1)
    as_given = _as_given(data, sample)
    mean, std = float(as_given.mean()), float(as_given.std())
    is_far = std > FAR or abs(mean) > FAR
    if not is_far or not math.isfinite(mean):  # NaN and infinity are refused elsewhere
        return None
    problem = "data: the inputs are far from unit scale"
    problem += f" (mean {mean:.3g}, standard deviation {std:.3g}), which trains badly"
    means, deviations = sample.mean(0), sample.std(0)
    is_unlike = deviations > UNLIKE * deviations[deviations > 0].median()
    deviations[~(deviations > 0)] = 1.0  # of a constant column
    if sample.shape[1] <= MOST_COLUMNS and data.shape is None:
        each = list(zip(means.tolist(), deviations.tolist(), strict=True))
    elif is_unlike.any():
        columns = f"{int(is_unlike.sum())} of {len(means)} columns vary far more than the others"
        return f"{problem}: {columns}; scale them, or leave them out, in the data themselves"
    else:
        spread = float(sample.std())
        each = [(float(sample.mean()), spread if spread > 0 else 1.0)]
    mean_text = ",".join(_rounded(mean, std) for mean, std in each)
    std_text = ",".join(f"{std:.3g}" for _, std in each)
    if len(each) > 1:
        mean_text, std_text = f"[{mean_text}]", f"[{std_text}]"
    return f"{problem}; add 'data.mean={mean_text}' 'data.std={std_text}'"


def _as_given(data: Data, sample: Tensor) -> Tensor:
    """Scale rows of numbers as the config says; by the channels of pictures only roughly."""
    mean, std = torch.tensor(data.mean or 0.0), torch.tensor(data.std or 1.0)
    if sample.shape[1] not in (mean.numel(), std.numel()):
        mean, std = mean.mean(), std.mean()
    return (sample - mean) / std


def _rounded(mean: float, std: float) -> str:
    """Write a mean to at least 3 digits, and to a hundredth of the standard deviation."""
    digits = 3
    if mean:
        digits = max(3, min(MOST_DIGITS, math.ceil(math.log10(abs(mean) / std)) + 3))
    return f"{mean:.{digits}g}"


def blank_pixel(data: Data) -> Numbers:
    """Return the value of an empty pixel as a network gets it: of all channels, or of each."""
    scalings = input_scalings(data)
    values = [-(scaling.mean or 0.0) / (scaling.std or 1.0) for scaling in scalings]
    return values if is_by_channel(data) else values[0]
