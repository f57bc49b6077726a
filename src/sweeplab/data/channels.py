"""Inputs normalised by one mean and std, or by a list of them: one for each channel or column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab.data.scaling import Scaling, ensure_batch_told_apart, ensure_told_apart, scaled

if TYPE_CHECKING:
    from sweeplab.config import Data

Numbers = float | list[float]


def scaled_inputs(data: Data, inputs: Tensor) -> Tensor:
    """Normalise inputs [N, in_features] or [N, *shape] as `scaled` does."""
    scalings = input_scalings(data)
    if not is_by_channel(data):
        return scaled(inputs, scalings[0])
    channels = inputs.reshape(len(inputs), len(scalings), -1)
    parts = [scaled(channels[:, index], scaling) for index, scaling in enumerate(scalings)]
    return torch.stack(parts, 1).reshape(inputs.shape)


def ensure_inputs_told_apart(data: Data, inputs: Tensor) -> str | None:
    """Raise UserError, or return a note, as `ensure_told_apart` does."""
    scalings = input_scalings(data)
    if not is_by_channel(data):
        return ensure_told_apart(inputs, scalings[0])
    if inputs[0].numel() != data.in_features:
        return None  # they are refused for their shape
    channels = inputs.reshape(len(inputs), len(scalings), -1)
    notes = [ensure_told_apart(channels[:, i], scaling) for i, scaling in enumerate(scalings)]
    return next((note for note in notes if note), None)


def ensure_input_batch_told_apart(data: Data, inputs: Tensor) -> None:
    """Raise UserError as `ensure_batch_told_apart` does."""
    scalings = input_scalings(data)
    if not is_by_channel(data):
        ensure_batch_told_apart(inputs, scalings[0])
        return
    channels = inputs.reshape(len(inputs), len(scalings), -1)
    for index, scaling in enumerate(scalings):
        ensure_batch_told_apart(channels[:, index], scaling)


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
    if not is_by_channel(data):
        return [Scaling("inputs", _only(data.mean), _only(data.std))]
    count = channel_count(data)
    means, stds = _each(data.mean, count), _each(data.std, count)
    return [Scaling("inputs", mean, std) for mean, std in zip(means, stds, strict=True)]


def _only(value: Numbers | None) -> float | None:
    assert not isinstance(value, list)
    return value


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


def blank_pixel(data: Data) -> Numbers:
    """Return the value of an empty pixel as a network gets it: of all channels, or of each."""
    scalings = input_scalings(data)
    values = [-(scaling.mean or 0.0) / (scaling.std or 1.0) for scaling in scalings]
    return values if is_by_channel(data) else values[0]
