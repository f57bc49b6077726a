"""Raw examples as a network takes them: their shape checked, and normalised. Raises UserError where they do not fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab.data.scaling import Scaling, ensure_batch_told_apart, scaled
from sweeplab.data.sources import Pair
from sweeplab.errors import UserError
from sweeplab.metrics import CLASSIFICATION

if TYPE_CHECKING:
    from sweeplab.config import Data


def prepare(data: Data, inputs: Tensor, targets: Tensor) -> Pair:
    """Return a raw batch as a network takes it; it is changed in place, so give a copy.

    Raises UserError where it contradicts `data`.
    """
    inputs = shaped(data, inputs)
    if data.task != CLASSIFICATION:
        ensure_batch_told_apart(targets, target_scaling(data))
    if inputs.dtype == torch.uint8:
        return floats(inputs, byte_scale(data)), targets_of(data, targets)
    ensure_batch_told_apart(inputs, input_scaling(data))
    return scaled(inputs, input_scaling(data)), targets_of(data, targets)


def shaped(data: Data, raw: Tensor) -> Tensor:
    """Return inputs in the shape that a network gets."""
    shape = list(raw.shape[1:])
    if (count := math.prod(shape)) != data.in_features:
        raise UserError(f"data.in_features={data.in_features}: the set's examples have {count} numbers, shape {shape}")
    # A flat input, and dimensions of one, leave no doubt about the order; anything else does.
    if data.shape and len(shape) > 1 and [n for n in shape if n > 1] != [n for n in data.shape if n > 1]:
        raise UserError(
            f"data.shape={data.shape}: the set's examples have the shape {shape}; {_shape_advice(data, shape)}"
        )
    return raw.reshape(len(raw), *([data.in_features] if data.flatten else data.shape or shape))


def _shape_advice(data: Data, shape: list[int]) -> str:
    """What to do where the examples have another shape than `data.shape`."""
    if data.shape is not None and len(shape) == 3 and shape == [*data.shape[1:], data.shape[0]]:
        return (
            "channels come last there, and networks take them first: turn each picture in the data set, "
            "as picture.permute(2, 0, 1) does, or numpy's moveaxis(picture, -1, 0)"
        )
    return "give that"


def byte_scale(data: Data) -> tuple[float, float]:
    """(b / 255 - mean) / std as b * factor - shift. Bytes are pictures, from 0 to 255, as everywhere in torchvision."""
    std = 1.0 if data.std is None else data.std
    return 1 / (255 * std), (data.mean or 0.0) / std


def floats(inputs: Tensor, scale: tuple[float, float]) -> Tensor:
    """Bytes as numbers; what are numbers already stays as it is."""
    if inputs.dtype != torch.uint8:
        return inputs
    return torch.add(torch.tensor(-scale[1]), inputs.float(), alpha=scale[0])  # in one pass


def targets_of(data: Data, raw: Tensor) -> Tensor:
    """Return targets as a loss takes them: classes as int64 [B], numbers as float32 [B, out_features]."""
    return _classes(data, raw) if data.task == CLASSIFICATION else _numbers(data, raw)


def _classes(data: Data, raw: Tensor) -> Tensor:
    if raw.is_floating_point() or raw.is_complex() or raw.numel() != len(raw):
        found = f"{raw.dtype} of shape {list(raw.shape[1:])}"
        raise UserError(
            f"data.task={data.task}: a target must be one whole number, not {found}; or data.task=regression"
        )
    classes = raw.reshape(-1).to(torch.int64)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= data.out_features:
        allowed = f"the classes must be 0 to {data.out_features - 1}"
        raise UserError(f"data.out_features={data.out_features}: {allowed}, the set's are {low} to {high}")
    return classes


def _numbers(data: Data, raw: Tensor) -> Tensor:
    targets = raw.reshape(len(raw), -1)
    if (count := targets.shape[1]) != data.out_features:
        raise UserError(f"data.out_features={data.out_features}: a target of the set has {count} numbers; give that")
    return scaled(targets, target_scaling(data))


def input_scaling(data: Data) -> Scaling:
    """Return how inputs that are no bytes are normalised."""
    return Scaling("inputs", data.mean, data.std)


def target_scaling(data: Data) -> Scaling:
    """Return how the targets of a regression are normalised."""
    return Scaling("targets", data.target_mean, data.target_std)
