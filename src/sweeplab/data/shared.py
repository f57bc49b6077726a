"""One copy of a data set for all processes of a machine: a nameless file that they map."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sweeplab.data import trees
from sweeplab.data.splits import InMemorySplit, Scale, Split, Splits, TreeSplit

PARTS = ("train", "valid", "test")
ALIGNMENT = 64  # bytes, as torch's own memory


Place = tuple[torch.dtype, tuple[int, ...], int]
"""Type, shape, and first byte of a tensor in the file."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where a split lies in the file, and what it is made of."""

    places: list[Place]
    scale: Scale | None = None  # of pairs: inputs and targets
    batch: trees.Tree = None  # of the task `any`: a batch with the number of a tensor at each leaf


@dataclass(frozen=True, slots=True)
class Layout:
    """Where train, valid and test lie in the file."""

    parts: list[Part]
    digest: str


@dataclass(frozen=True, slots=True)
class Shared:
    """An open file, which is gone when the last process that has it open has ended.

    Given to a process that multiprocessing starts, it arrives there as the splits in it.
    """

    file: IO[bytes]
    layout: Layout

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.file.fileno()), self.layout)


def can_be_shared(splits: Splits) -> bool:
    """Tell whether all splits are tensors in memory."""
    return all(_can_be_shared(getattr(splits, name)) for name in PARTS)


def _can_be_shared(split: Split) -> bool:
    if isinstance(split, TreeSplit):
        # Another process need not have the classes of a user's own containers.
        return trees.is_plain(_numbered(split))
    return isinstance(split, InMemorySplit)


def _numbered(split: TreeSplit) -> trees.Tree:
    return split.structure.unflatten(range(len(split.leaves)))


def share(splits: Splits) -> Shared:
    """Write the splits, which can be shared, to a new file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it is handed on, and closed by whoever shares
    parts = []
    for name in PARTS:
        split = getattr(splits, name)
        if isinstance(split, TreeSplit):
            parts.append(Part(_write(file, split.leaves), batch=_numbered(split)))
        else:
            assert isinstance(split, InMemorySplit)
            parts.append(Part(_write(file, [split.inputs, split.targets]), scale=split.scale))
    file.flush()
    return Shared(file, Layout(parts, splits.digest))


def _write(file: IO[bytes], tensors: Sequence[Tensor]) -> list[Place]:
    places = []
    for tensor in tensors:
        file.seek(-file.tell() % ALIGNMENT, 1)
        places.append((tensor.dtype, tuple(tensor.shape), file.tell()))
        file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return places


def _received(handle: Any, layout: Layout) -> Splits:
    """Map the splits in a file of the process that has started this one."""
    number = handle.detach()
    try:
        return mapped(number, layout)
    finally:
        os.close(number)


def mapped(handle: int, layout: Layout) -> Splits:
    """Map the splits in this file. What a process writes to them is its own."""
    content = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    memory = torch.frombuffer(content, dtype=torch.uint8)
    train, valid, test = (_mapped(memory, part) for part in layout.parts)
    return Splits(train, valid, test, layout.digest)


def _mapped(memory: Tensor, part: Part) -> Split:
    tensors = [_tensor(memory, *place) for place in part.places]
    if part.scale is None:
        return TreeSplit(tensors, pytree.tree_structure(part.batch))
    inputs, targets = tensors
    return InMemorySplit(inputs, targets, part.scale)


def _tensor(memory: Tensor, dtype: torch.dtype, shape: tuple[int, ...], first: int) -> Tensor:
    size = dtype.itemsize * int(np.prod(shape))
    return memory[first : first + size].view(dtype).view(shape)
