"""Pairs of inputs and targets: read, checked, normalised, split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeplab.data import iterables, seeding
from sweeplab.data.building import too_large_digest
from sweeplab.data.channels import byte_scale, ensure_inputs_told_apart, scaled_inputs
from sweeplab.data.keeping import delivered
from sweeplab.data.preparing import (
    prepare,
    prepare_targets,
    shaped,
    target_scaling,
)
from sweeplab.data.reading import Reading, read_all, read_sample, sample_numbers
from sweeplab.data.scaling import ensure_told_apart
from sweeplab.data.sources import (
    Converted,
    Examples,
    Pair,
    Tensors,
    collate,
    combined,
    digest_of,
    examples_of,
)
from sweeplab.data.splits import (
    KEY,
    InMemorySplit,
    Splits,
    StreamingSplit,
    seeded_example,
)
from sweeplab.data.splitting import Cut, split
from sweeplab.data.streaming import streaming
from sweeplab.data.transforms import (
    Transforms,
)
from sweeplab.errors import UserError
from sweeplab.metrics import CLASSIFICATION

if TYPE_CHECKING:
    from sweeplab.config import Data


def load(data: Data) -> Splits:
    """Build a set of pairs and split it; changes the generators.

    Raises UserError where set and config do not fit.
    """
    if data.shape is not None and math.prod(data.shape) != data.in_features:
        size = f"has {math.prod(data.shape)} numbers, but data.in_features={data.in_features}"
        raise UserError(f"data.shape={data.shape}: {size}")
    found = delivered(data)
    parts = [examples_of(dataset, data.memory, found.for_all) for dataset in found.sets]
    cut_training = None
    if found.for_training:
        cut_training = _cut_of_training(data, parts[0], found.for_training)
    samples = [_read_sample(part) for part in parts]
    sampled = [Tensors(*collate(sample.examples)) for sample in samples]
    mebibytes = max(_mebibytes(parts, sampled), iterables.mebibytes(parts))
    if mebibytes > data.memory:
        notes = _notes(data, sampled) + iterables.notes(parts, data.buffer)
        digest = combined(found.digests) if found.digests else too_large_digest(data, mebibytes)
        cut = partial(_streaming, data)
        splits = split(data, parts, [cut] * len(parts), digest, notes, cut_training, found.groups)
        return replace(splits, sample=combined(map(_digest, sampled)))
    kept_parts: list[Examples] = []
    cuts: list[Cut] = []
    whole: list[Tensors] = []
    draws: list[bool] = []
    for part, sample in zip(parts, samples, strict=True):
        tensors, random = _read_all(part, sample)
        whole.append(tensors)
        draws.append(random)
        kept_parts.append(part if random else tensors)
        cuts.append(partial(_streaming if random else _in_memory, data))
    if cut_training is not None:
        cut_training = partial(cut_training, held=not draws[0])
    digest = combined(found.digests or map(_digest, whole))
    notes = _notes(data, whole) + iterables.notes(parts, data.buffer)
    return split(data, kept_parts, cuts, digest, notes, cut_training, found.groups)


def _cut_of_training(
    data: Data, part: Examples, training: Transforms
) -> Callable[..., StreamingSplit]:
    """Transform a part anew in each epoch. Raises UserError where that does not give inputs."""
    view = Converted(part if isinstance(part, Tensors) else part.dataset, training)
    prepare(data, *collate(read_sample(view).examples))
    return partial(_streaming, data, view)


def _read_sample(part: Examples) -> Reading:
    if isinstance(part, Tensors):
        return Reading([part[number] for number in sample_numbers(len(part))], random=False)
    return read_sample(part)


def _read_all(part: Examples, sample: Reading) -> tuple[Tensors, bool]:
    """Return all examples, and whether they draw random numbers."""
    if isinstance(part, Tensors):
        return part, False
    reading = read_all(part, sample)
    return Tensors(*collate(reading.examples)), reading.random


def _mebibytes(parts: Sequence[Examples], samples: Sequence[Tensors]) -> int:
    """Compute how much memory the inputs take as float32."""
    numbers = 0
    for part, sample in zip(parts, samples, strict=True):
        numbers += len(part) * sample.inputs[0].numel()
    return math.ceil(4 * numbers / 2**20)


def _digest(examples: Tensors) -> str:
    return digest_of(examples.inputs, examples.targets)


def _notes(data: Data, parts: Sequence[Tensors]) -> list[str]:
    """Say what a user should know of these numbers.

    Raises UserError where float32 cannot tell them apart.
    """
    notes = []
    for part in parts:
        notes.append(ensure_inputs_told_apart(data, part.inputs))
        if data.task != CLASSIFICATION:
            targets = part.targets.reshape(len(part.targets), -1)
            notes.append(ensure_told_apart(targets, target_scaling(data)))
    return [note for note in notes if note]


def _in_memory(data: Data, part: Tensors, indices: Tensor) -> InMemorySplit:
    inputs = shaped(data, part.inputs[indices])
    if inputs.dtype != torch.uint8:
        inputs = scaled_inputs(data, inputs)
    return InMemorySplit(inputs, prepare_targets(data, part.targets[indices]), byte_scale(data))


def _streaming(
    data: Data, part: Examples, indices: Tensor, *, held: bool = False
) -> StreamingSplit:
    view = iterables.beginning(part)
    with seeding.preserved():
        first = collate([seeded_example(view, 0, KEY)])
    # Which changes it in place; what is wrong with all examples is found before any work
    prepare(data, *first)
    return streaming(
        data,
        part,
        indices,
        collate=collate,
        prepare=partial(_prepare, data),
        held=held,
        draws=not isinstance(part, Tensors),
    )


def _prepare(data: Data, raw: Pair) -> Pair:
    return prepare(data, *raw)
