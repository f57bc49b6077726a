"""One copy of a data set for all processes of a machine: a file without a name, which each of them maps."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO

import numpy as np
import torch
from torch import Tensor

from sweeplab.data.splits import Held, Splits

PARTS = ("train", "valid", "test")
ALIGNMENT = 64  # bytes, as torch's own memory


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tensors lie in the file: (type, shape, first byte) of inputs and targets of train, valid and test."""

    tensors: list[tuple[torch.dtype, tuple[int, ...], int]]
    scales: list[tuple[float, float]]  # of train, valid and test
    digest: str


@dataclass(frozen=True, slots=True)
class Shared:
    """The file is gone when the last process that has it open has ended, however that ends."""

    file: IO[bytes]
    layout: Layout


def can_be_shared(splits: Splits) -> bool:
    """Whether all of it is held in memory."""
    return all(isinstance(getattr(splits, name), Held) for name in PARTS)


def share(splits: Splits) -> Shared:
    """Write the splits, all of them held in memory, to a new file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it is handed on, and closed by whoever shares
    tensors, scales = [], []
    for name in PARTS:
        split = getattr(splits, name)
        assert isinstance(split, Held)
        scales.append(split.scale)
        for tensor in (split.inputs, split.targets):
            file.seek(-file.tell() % ALIGNMENT, 1)
            tensors.append((tensor.dtype, tuple(tensor.shape), file.tell()))
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)
    file.flush()
    return Shared(file, Layout(tensors, scales, splits.digest))


def mapped(handle: int, layout: Layout) -> Splits:
    """The splits in this file. What is written to them is this process's own."""
    with open(handle, "rb") as file:  # a handle has no path
        memory = torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="c"))

    def tensor(dtype: torch.dtype, shape: tuple[int, ...], first: int) -> Tensor:
        size = dtype.itemsize * int(np.prod(shape))
        return memory[first : first + size].view(dtype).view(shape)

    found = [tensor(*each) for each in layout.tensors]
    held = [
        Held(inputs, targets, scale)
        for inputs, targets, scale in zip(found[::2], found[1::2], layout.scales, strict=True)
    ]
    return Splits(held[0], held[1], held[2], layout.digest)
