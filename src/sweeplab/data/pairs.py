"""Pairs of inputs and targets: taken as tensors, stacked, checked and normalised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab.data import seeding
from sweeplab.data.examples import beginning
from sweeplab.data.kinds import Kind
from sweeplab.data.precision import (
    ensure_batch_told_apart,
    ensure_input_batch_told_apart,
    ensure_inputs_told_apart,
    ensure_told_apart,
)
from sweeplab.data.scaling import Scaling, byte_scale, scale_note, scaled, scaled_inputs
from sweeplab.data.sources import Tensors, digest_of, is_tensors
from sweeplab.data.splits import InMemorySplit, Pair, Split, StreamingSplit, bytes_to_floats
from sweeplab.data.transforms import Transforms, transformed
from sweeplab.data.trees import is_array, kind_of, tensor_of
from sweeplab.errors import UserError, a_or_an, counted
from sweeplab.metrics import CLASSIFICATION

if TYPE_CHECKING:
    from sweeplab.config import Data


class Pairs(Kind):
    """Examples (input, target), as the tasks classification and regression have them."""

    wanted = (
        "a torch Dataset with __len__ and __getitem__ (or __iter__), or a pair (inputs, targets) "
        "of arrays"
    )

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._byte_scale = byte_scale(data)
        self._target_scaling = Scaling("targets", data.target_mean, data.target_std)

    def take(self, example: Any, transforms: Transforms) -> Pair:
        if not isinstance(example, tuple | list) or len(example) != 2:
            wanted = "it must be a pair (input, target), or data.task=any"
            raise UserError(f"data.dataset: an example is {a_or_an(kind_of(example))}; {wanted}")
        inputs, target = example
        if transforms:
            inputs = transformed(inputs, transforms)
        return tensor_of(inputs), tensor_of(target)

    def collate(self, examples: list[Pair]) -> Pair:
        try:
            inputs = torch.stack([pair[0] for pair in examples])
            return inputs, torch.stack([pair[1] for pair in examples])
        except RuntimeError as error:
            raise UserError(f"data.dataset: the examples differ in shape: {error}") from error

    def prepare(self, batch: Pair) -> Pair:
        inputs, targets = batch
        prepared = self.prepare_inputs(inputs)
        if self.data.task != CLASSIFICATION:
            ensure_batch_told_apart(targets, self._target_scaling)
        return prepared, self._prepare_targets(targets)

    def prepare_inputs(self, raw: Tensor) -> Tensor:
        """Return raw inputs as a network takes them; they are changed in place, so give a copy."""
        inputs = _shaped(self.data, raw)
        if inputs.dtype == torch.uint8:
            return bytes_to_floats(inputs, self._byte_scale)
        ensure_input_batch_told_apart(self.data, inputs)
        return scaled_inputs(self.data, inputs)

    def _prepare_targets(self, raw: Tensor) -> Tensor:
        """Return classes int64 [B], or numbers float32 [B, out_features]."""
        if self.data.task == CLASSIFICATION:
            return _classes(self.data, raw)
        targets = raw.reshape(len(raw), -1)
        if targets.shape[1] != self.data.out_features:
            size = f"a target of the set has {counted(targets.shape[1], 'number')}; give that"
            raise UserError(f"data.out_features={self.data.out_features}: {size}")
        return scaled(targets, self._target_scaling)

    def arrays(self, delivered: Any) -> Tensors | None:
        if is_tensors(delivered):
            return delivered
        if isinstance(delivered, Mapping | str | bytes):
            raise self.not_a_set(delivered)
        if not isinstance(delivered, tuple | list) or not delivered:
            return None
        if not all(map(is_array, delivered)):
            return None
        if len(delivered) != 2:
            kind, number = type(delivered).__name__, len(delivered)
            more = "examples with more than two parts take data.task=any and a step"
            what = f"the target delivers a {kind} of {counted(number, 'array')}"
            raise UserError(f"data.dataset: {what}; it must deliver {self.wanted}; {more}")
        return _from_arrays(*map(tensor_of, delivered))

    def size(self, example: Any) -> int:
        """Return the bytes that the input takes as float32."""
        return 4 * self.take(example, ())[0].numel()

    def batched(self, sample: list[Pair]) -> Tensors:
        return self.hold(sample)

    def hold(self, examples: list[Pair]) -> Tensors:
        return Tensors(*self.collate(examples))

    def digest(self, held: Tensors) -> str:
        return digest_of(held.inputs, held.targets)

    def scale_note(self, held: Tensors) -> str | None:
        return scale_note(self.data, held.inputs)

    def notes(self, held: Tensors) -> list[str]:
        """Say which numbers float32 hardly tells apart. Raises UserError where they are most."""
        notes = []
        if held.inputs.dtype != torch.uint8:
            notes.append(ensure_inputs_told_apart(self.data, held.inputs))
        if self.data.task != CLASSIFICATION:
            targets = held.targets.reshape(len(held.targets), -1)
            notes.append(ensure_told_apart(targets, self._target_scaling))
        return [note for note in notes if note]

    def cut(self, part: Any, indices: Tensor) -> Split:
        if not isinstance(part, Tensors):
            return self.stream(part, indices)
        inputs = _shaped(self.data, part.inputs[indices], part.targets)
        if inputs.dtype != torch.uint8:
            inputs = scaled_inputs(self.data, inputs)
        targets = self._prepare_targets(part.targets[indices])
        return InMemorySplit(inputs, targets, self._byte_scale)

    def stream(self, part: Any, indices: Tensor, *, held: bool = False) -> StreamingSplit:
        with seeding.preserved():
            first = seeding.example(beginning(part), 0, seeding.KEY)
        # What is wrong with all examples is found before any work
        self.prepare(self.collate([first]))
        return super().stream(part, indices, held=held)


def ensure_shape(data: Data) -> None:
    """Raise UserError if `data.shape` has not as many numbers as `data.in_features`."""
    if data.shape is not None and math.prod(data.shape) != data.in_features:
        size = f"has {counted(math.prod(data.shape), 'number')}, but data.in_features={data.in_features}"
        raise UserError(f"data.shape={data.shape}: {size}")


def _from_arrays(inputs: Tensor, targets: Tensor) -> Tensors:
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.ndim == 0:
            wanted = "they must be an array of a row for each example"
            raise UserError(f"data.dataset: the {name} are one number; {wanted}")
    if len(inputs) != len(targets):
        raise UserError(
            f"data.dataset: {counted(len(inputs), 'input')}, but {counted(len(targets), 'target')}"
        )
    return Tensors(inputs, targets)


def _shaped(data: Data, raw: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return inputs in the shape that a network gets.

    Raises UserError for another size than the config's, with that of all `targets` if these are
    known.
    """
    shape = list(raw.shape[1:])
    if math.prod(shape) != data.in_features:
        size = f"the set's examples have {counted(math.prod(shape), 'number')}, shape {shape}"
        cure = f"add 'data.in_features={math.prod(shape)}'"
        if targets is not None:
            cure += _size_of_targets(data, targets)
        raise UserError(f"data.in_features={data.in_features}: {size}; {cure}")
    # A flat input, and dimensions of one, leave no doubt about the order; anything else does.
    if data.shape and len(shape) > 1 and _without_ones(shape) != _without_ones(data.shape):
        advice = _shape_advice(data, shape)
        raise UserError(
            f"data.shape={data.shape}: the set's examples have the shape {shape}; {advice}"
        )
    return raw.reshape(len(raw), *([data.in_features] if data.flatten else data.shape or shape))


def _size_of_targets(data: Data, targets: Tensor) -> str:
    """Return the setting of `data.out_features` that targets ask for; '' if the config's will do."""
    size = targets[0].numel()
    if data.task == CLASSIFICATION:
        if targets.is_floating_point() or size != 1:  # no classes, as is said later
            return ""
        size = max(int(targets.max()) + 1, data.out_features)
    return "" if size == data.out_features else f" 'data.out_features={size}'"


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


def _classes(data: Data, raw: Tensor) -> Tensor:
    if raw.is_floating_point() or raw.is_complex() or raw.numel() != len(raw):
        kind = f"{raw.dtype} of shape {list(raw.shape[1:])}"
        wanted = f"a target must be one whole number, not {kind}; or data.task=regression"
        raise UserError(f"data.task={data.task}: {wanted}")
    classes = raw.reshape(-1).to(torch.int64)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= data.out_features:
        allowed = f"the classes must be 0 to {data.out_features - 1}, the set's are {low} to {high}"
        cure = "" if low < 0 else f"; add 'data.out_features={high + 1}'"
        raise UserError(f"data.out_features={data.out_features}: {allowed}{cure}")
    return classes
