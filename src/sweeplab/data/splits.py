"""A data set in its three parts, each held in memory or streamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sweeplab.data import seeding
from sweeplab.data.sources import Examples, Pair, collate, digest_of

KEY = "examples"  # of the random streams with which a set is read for its digest


def seeded_example(examples: Examples, index: int, key: str) -> Pair:
    """Read an example with the global generators seeded for it; they are not put back."""
    seeding.seed(f"{key}/{index}")
    return examples[index]


def bytes_to_floats(inputs: Tensor, scale: tuple[float, float]) -> Tensor:
    """Return bytes as float32: inputs * scale[0] - scale[1]; other types stay as they are."""
    if inputs.dtype != torch.uint8:
        return inputs
    return torch.add(torch.tensor(-scale[1]), inputs.float(), alpha=scale[0])  # in one pass


@dataclass(frozen=True, slots=True)
class InMemorySplit:
    """A split in memory.

    Pictures stay bytes there: a quarter of the memory, and nothing to compute before training.
    """

    inputs: Tensor  # [N, in_features] or [N, *shape]; float32 as a model takes them, or uint8
    targets: Tensor  # classification: int64 [N]; regression: float32 [N, out_features]
    scale: tuple[float, float] = (
        1.0,
        0.0,
    )  # what a model takes of bytes: bytes * scale[0] - scale[1]

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Tensor) -> Pair:
        """Return copies of these examples, as a model takes them."""
        inputs = bytes_to_floats(self.inputs.index_select(0, indices), self.scale)
        return inputs, self.targets.index_select(0, indices)

    def to(self, device: torch.device) -> InMemorySplit:
        return InMemorySplit(self.inputs.to(device), self.targets.to(device), self.scale)


@dataclass(frozen=True, slots=True)
class StreamingSplit:
    """A split that is read again in each epoch.

    It does not fit into memory, or its examples draw random numbers.
    """

    examples: Examples
    indices: Tensor  # int64 [N]: those of `examples` that are in this split
    prepare: Callable[[Tensor, Tensor], Pair]  # makes of a raw batch what a model takes
    workers: int  # processes that load batches
    first: str  # SHA-256 of the first of `examples`

    def __len__(self) -> int:
        return len(self.indices)

    def changed(self) -> bool:
        """Tell whether reading has changed the set itself: its first example is another one now."""
        with seeding.preserved():
            return digest_of(*collate([seeded_example(self.examples, 0, KEY)])) != self.first


Split = InMemorySplit | StreamingSplit


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set, split and normalised."""

    train: Split
    valid: Split
    test: Split
    digest: str  # SHA-256 of the whole set, before it is split and normalised
    notes: tuple[str, ...] = ()  # lines for the user
    sample: str = ""  # SHA-256 of a few examples, where the digest is not over the examples


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan needs to know of a set: how many examples, and the digest."""

    train: int
    valid: int
    test: int
    digest: str
    # All in memory, so that the digest is over all examples
    held: bool = field(default=True, compare=False)
    sample: str = field(default="", compare=False)  # as in Splits
