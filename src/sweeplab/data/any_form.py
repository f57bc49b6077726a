"""Sets of the task `any`: their examples have any form, and are taken as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset, default_collate

from sweeplab.data import iterables, trees
from sweeplab.data.building import too_large_digest, version_digest
from sweeplab.data.collating import Collate
from sweeplab.data.keeping import delivered
from sweeplab.data.reading import Reading, read_all, read_sample, sample_numbers
from sweeplab.data.sources import combined, ensure_some, is_tensors, not_a_set, tensor_of
from sweeplab.data.splits import Splits, StreamingSplit, TreeSplit
from sweeplab.data.splitting import split
from sweeplab.data.streaming import streaming
from sweeplab.data.transforms import (
    Transforms,
    transformed,
)
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data

WANTED = (
    "a torch Dataset with __len__ and __getitem__ (or __iter__), a list of examples, or a tuple or "
    "a dict of equally long arrays"
)


class Columns(Dataset[Any]):
    """Examples in memory, as one tensor [N, ...] for each leaf."""

    def __init__(self, leaves: list[Tensor], structure: pytree.TreeSpec) -> None:
        self.leaves = leaves
        self.structure = structure  # of an example

    def __len__(self) -> int:
        return len(self.leaves[0])

    def __getitem__(self, index: int) -> trees.Tree:
        return self.structure.unflatten([leaf[index] for leaf in self.leaves])

    def digest(self) -> str:
        return trees.digest(self.batch_structure().unflatten(self.leaves))

    def batch_structure(self) -> pytree.TreeSpec:
        """Return the structure of what `default_collate` makes of examples: lists of tuples."""
        return pytree.tree_structure(default_collate([self[0]]))


class Listed(Dataset[Any]):
    """Examples in memory, in a list."""

    def __init__(self, examples: list[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> trees.Tree:
        return self.examples[index]

    def digest(self) -> str:
        return trees.digest(self.examples)


class MapStyle(Dataset[Any]):
    """A map-style set with its examples transformed, and their tensors on the CPU."""

    def __init__(self, dataset: Any, transforms: Transforms = ()) -> None:
        self.dataset = dataset
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> trees.Tree:
        return trees.detached(transformed(self.dataset[index], self.transforms))


Part = Columns | Listed | MapStyle


def load(data: Data) -> Splits:
    """Build a set of any form and split it; changes the generators.

    Raises UserError where that is impossible, or no batch can be made of its examples.
    """
    found = delivered(data)
    own = found.digests
    collate = Collate(data)
    parts = [_part_of(dataset, data.memory, found.for_all) for dataset in found.sets]
    samples = [_read_sample(part) for part in parts]
    for sample in samples:
        collate(sample.examples)
    cut_training = None
    if found.for_training:
        cut_training = _cut_of_training(data, collate, parts[0], found.for_training)
    streamed = partial(_streamed, data, parts, samples, collate, cut_training, found.groups)
    mebibytes = max(_mebibytes(parts, samples), iterables.mebibytes(parts))
    if mebibytes > data.memory:
        return streamed(combined(own) if own else too_large_digest(data, mebibytes))
    kept_parts: list[Part] = []
    draws: list[bool] = []
    digests: list[str] = []
    for part, sample in zip(parts, samples, strict=True):
        held, random = _read_all(part, sample, collate)
        try:
            digests.append(held.digest())
        except UserError:
            if data.version is None:
                raise
            return streamed(version_digest(data, ""))
        kept_parts.append(part if random else held)
        draws.append(random)
    if cut_training is not None:
        cut_training = partial(cut_training, held=not draws[0])
    cuts = [partial(_cut, data, collate)] * len(parts)
    notes = iterables.notes(parts, data.buffer)
    return split(
        data, kept_parts, cuts, combined(own or digests), notes, cut_training, found.groups
    )


def _cut_of_training(
    data: Data, collate: Collate, part: Part, training: Transforms
) -> Callable[..., StreamingSplit]:
    """Transform a part anew in each epoch. Raises UserError where that does not make a batch."""
    view = MapStyle(part.dataset if isinstance(part, MapStyle) else part, training)
    collate(read_sample(view).examples)
    return partial(_stream, data, collate, view)


def _streamed(
    data: Data,
    parts: Sequence[Part],
    samples: Sequence[Reading],
    collate: Collate,
    training: Callable[..., StreamingSplit] | None,
    groups: Sequence[str] | None,
    digest: str,
) -> Splits:
    """Split a set that is not held, or of which it is not known what its examples hold."""
    cut = partial(_stream, data, collate)
    notes = iterables.notes(parts, data.buffer)
    splits = split(data, parts, [cut] * len(parts), digest, notes, training, groups)
    sampled = [trees.digest(sample.examples, any_object=True) for sample in samples]
    return replace(splits, sample=combined(sampled))


# --- What a target delivers -----------------------------------------------------------------------


def _part_of(delivered: object, memory: int, transforms: Transforms) -> Part:
    part: Part
    if is_tensors(delivered):
        part = _columns((delivered.inputs, delivered.targets))
    elif isinstance(delivered, tuple | Mapping | Tensor | np.ndarray):
        part = _columns(delivered)
    elif iterables.is_map_style(delivered):
        part = MapStyle(delivered, transforms)
    elif iterables.is_iterable(delivered):
        read = iterables.read_through(delivered, trees.size, memory)  # type: ignore[arg-type]
        if isinstance(read, iterables.Replayed):
            return MapStyle(read, transforms)
        part = Listed([trees.detached(example) for example in read])
    else:
        raise not_a_set(delivered, WANTED)
    ensure_some(part)
    if transforms and not isinstance(part, MapStyle):
        return MapStyle(part, transforms)
    return part


def _columns(delivered: Any) -> Columns:
    """Take arrays with a row for each example. Raises UserError for anything else."""
    tree = dict(delivered) if isinstance(delivered, Mapping) else delivered
    arrays, structure = pytree.tree_flatten(tree)
    if not arrays or not all(isinstance(array, Tensor | np.ndarray) for array in arrays):
        raise not_a_set(delivered, WANTED)
    leaves = [tensor_of(array) for array in arrays]
    if any(leaf.ndim == 0 for leaf in leaves):
        wanted = "it must be an array of a row for each example"
        raise UserError(f"data.dataset: an array of the set is one number; {wanted}")
    rows = [len(leaf) for leaf in leaves]
    if len(set(rows)) > 1:
        lengths = ", ".join(str(number) for number in rows[:6])
        advice = "a tuple or a dict is taken as columns, a list as examples"
        raise UserError(f"data.dataset: the arrays have {lengths} rows; {advice}")
    return Columns(leaves, structure)


def _read_sample(part: Part) -> Reading:
    if isinstance(part, MapStyle):
        return read_sample(part)
    return Reading([part[number] for number in sample_numbers(len(part))], random=False)


def _mebibytes(parts: Sequence[Part], samples: Sequence[Reading]) -> int:
    """Estimate how much memory the examples take."""
    total = 0.0
    for part, sample in zip(parts, samples, strict=True):
        total += len(part) * trees.size(sample.examples) / len(sample.examples)
    return math.ceil(total / 2**20)


def _read_all(part: Part, sample: Reading, collate: Collate) -> tuple[Columns | Listed, bool]:
    """Return all examples, and whether they draw random numbers."""
    random = False
    if isinstance(part, MapStyle):
        reading = read_all(part, sample)
        part, random = Listed(reading.examples), reading.random
    if collate.function is None and isinstance(part, Listed):
        return _stacked(part) or part, random
    return part, random


def _stacked(part: Listed) -> Columns | None:
    """Stack examples of equal form; None where texts, for one, keep them from it.

    Raises UserError where they differ so that no batch can be made of them.
    """
    first = part.examples[0]
    form = trees.form(first)
    alike = trees.stacks(first)
    for number, example in enumerate(part.examples):
        if trees.form(example) != form:
            alike = False
            if difference := trees.difference(first, example):
                raise UserError(
                    f"data.collate=null: example {number} differs from example 0 ({difference}); "
                    "name a function that makes a batch of such examples by data.collate._target_"
                )
    if not alike:
        return None
    leaves, structure = pytree.tree_flatten(default_collate(part.examples))
    return Columns(leaves, structure)


# --- Its splits -----------------------------------------------------------------------------------


def _cut(data: Data, collate: Collate, part: Part, indices: Tensor) -> TreeSplit | StreamingSplit:
    """Cut a split, held as tensors where that is possible."""
    if collate.function is None and isinstance(part, Columns):
        return TreeSplit([leaf[indices] for leaf in part.leaves], part.batch_structure())
    return _stream(data, collate, part, indices, held=not isinstance(part, MapStyle))


def _stream(
    data: Data, collate: Collate, part: Part, indices: Tensor, *, held: bool = False
) -> StreamingSplit:
    return streaming(
        data,
        part,
        indices,
        collate=collate,
        prepare=_as_it_is,
        held=held,
        draws=collate.function is not None or isinstance(part, MapStyle),
    )


def _as_it_is(batch: Any) -> Any:
    """Return a batch unchanged: nothing is normalised."""
    return batch
