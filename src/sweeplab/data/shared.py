"""One copy of a data set for all processes of a machine: a nameless file that they map."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO

import numpy as np
import torch
from torch import Tensor

from sweeplab.data.splits import InMemorySplit, Splits

PARTS = ("train", "valid", "test")
ALIGNMENT = 64  # bytes, as torch's own memory


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tensors lie in the file."""

    # (type, shape, first byte) of inputs and targets of train, valid and test
    tensors: list[tuple[torch.dtype, tuple[int, ...], int]]
    scales: list[tuple[float, float]]  # of train, valid and test
    digest: str


@dataclass(frozen=True, slots=True)
class Shared:
    """An open file, which is gone when the last process that has it open has ended."""

    file: IO[bytes]
    layout: Layout


def can_be_shared(splits: Splits) -> bool:
    """Tell whether all splits are in memory."""
    return all(isinstance(getattr(splits, name), InMemorySplit) for name in PARTS)


def share(splits: Splits) -> Shared:
    """Write the splits, which are all in memory, to a new file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it is handed on, and closed by whoever shares
    tensors, scales = [], []
    for name in PARTS:
        split = getattr(splits, name)
        assert isinstance(split, InMemorySplit)
        scales.append(split.scale)
        for tensor in (split.inputs, split.targets):
            file.seek(-file.tell() % ALIGNMENT, 1)
            tensors.append((tensor.dtype, tuple(tensor.shape), file.tell()))
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)
    file.flush()
    return Shared(file, Layout(tensors, scales, splits.digest))


def mapped(handle: int, layout: Layout) -> Splits:
    """Map the splits in this file. What a process writes to them is its own."""
    with open(handle, "rb") as file:  # a handle has no path
        memory = torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="c"))

    def tensor(dtype: torch.dtype, shape: tuple[int, ...], first: int) -> Tensor:
        size = dtype.itemsize * int(np.prod(shape))
        return memory[first : first + size].view(dtype).view(shape)

    tensors = [tensor(*place) for place in layout.tensors]
    parts = zip(tensors[::2], tensors[1::2], layout.scales, strict=True)
    train, valid, test = (InMemorySplit(inputs, targets, scale) for inputs, targets, scale in parts)
    return Splits(train, valid, test, layout.digest)
