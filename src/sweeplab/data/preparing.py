"""Raw examples as a network takes them: their shape checked, and normalised.

Raises UserError where they do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab.data.channels import byte_scale, ensure_input_batch_told_apart, scaled_inputs
from sweeplab.data.scaling import Scaling, ensure_batch_told_apart, scaled
from sweeplab.data.sources import Pair
from sweeplab.data.splits import bytes_to_floats
from sweeplab.errors import UserError
from sweeplab.metrics import CLASSIFICATION

if TYPE_CHECKING:
    from sweeplab.config import Data


def prepare(data: Data, inputs: Tensor, targets: Tensor) -> Pair:
    """Return a raw batch as a network takes it; it is changed in place, so give a copy.

    Raises UserError where it contradicts `data`.
    """
    prepared = prepare_inputs(data, inputs)
    if data.task != CLASSIFICATION:
        ensure_batch_told_apart(targets, target_scaling(data))
    return prepared, prepare_targets(data, targets)


def prepare_inputs(data: Data, raw: Tensor) -> Tensor:
    """Return raw inputs as a network takes them; they are changed in place, so give a copy."""
    inputs = shaped(data, raw)
    if inputs.dtype == torch.uint8:
        return bytes_to_floats(inputs, byte_scale(data))
    ensure_input_batch_told_apart(data, inputs)
    return scaled_inputs(data, inputs)


def shaped(data: Data, raw: Tensor) -> Tensor:
    """Return inputs in the shape that a network gets."""
    shape = list(raw.shape[1:])
    if math.prod(shape) != data.in_features:
        size = f"the set's examples have {math.prod(shape)} numbers, shape {shape}"
        raise UserError(f"data.in_features={data.in_features}: {size}")
    # A flat input, and dimensions of one, leave no doubt about the order; anything else does.
    if data.shape and len(shape) > 1 and _without_ones(shape) != _without_ones(data.shape):
        advice = _shape_advice(data, shape)
        raise UserError(
            f"data.shape={data.shape}: the set's examples have the shape {shape}; {advice}"
        )
    return raw.reshape(len(raw), *([data.in_features] if data.flatten else data.shape or shape))


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size > 1]


def _shape_advice(data: Data, shape: list[int]) -> str:
    """Say what to do where the examples have another shape than `data.shape`."""
    if data.shape is not None and len(shape) == 3 and shape == [*data.shape[1:], data.shape[0]]:
        return (
            "channels come last there, and networks take them first: turn each picture in the data "
            "set, as picture.permute(2, 0, 1) does, or numpy's moveaxis(picture, -1, 0)"
        )
    return "give that"


def prepare_targets(data: Data, raw: Tensor) -> Tensor:
    """Return targets as a loss takes them: classes int64 [B], numbers float32 [B, out_features]."""
    if data.task == CLASSIFICATION:
        return _classes(data, raw)
    return _numbers(data, raw)


def _classes(data: Data, raw: Tensor) -> Tensor:
    if raw.is_floating_point() or raw.is_complex() or raw.numel() != len(raw):
        kind = f"{raw.dtype} of shape {list(raw.shape[1:])}"
        wanted = f"a target must be one whole number, not {kind}; or data.task=regression"
        raise UserError(f"data.task={data.task}: {wanted}")
    classes = raw.reshape(-1).to(torch.int64)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= data.out_features:
        allowed = f"the classes must be 0 to {data.out_features - 1}, the set's are {low} to {high}"
        raise UserError(f"data.out_features={data.out_features}: {allowed}")
    return classes


def _numbers(data: Data, raw: Tensor) -> Tensor:
    targets = raw.reshape(len(raw), -1)
    if targets.shape[1] != data.out_features:
        size = f"a target of the set has {targets.shape[1]} numbers; give that"
        raise UserError(f"data.out_features={data.out_features}: {size}")
    return scaled(targets, target_scaling(data))


def target_scaling(data: Data) -> Scaling:
    """Return how the targets of a regression are normalised."""
    return Scaling("targets", data.target_mean, data.target_std)
