"""A data set in its three parts, each held in memory or streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sweeplab.data import iterables, seeding, trees
from sweeplab.data.sources import Pair

KEY = "examples"  # of the random streams with which a set is read for its digest


def seeded_example(examples: Any, index: int, key: str) -> Any:
    """Read an example with the global generators seeded for it; they are not put back."""
    seeding.seed(f"{key}/{index}")
    return examples[index]


Scale = tuple[float | list[float], float | list[float]]
"""Factor and shift of bytes; lists have one for each channel."""


def bytes_to_floats(inputs: Tensor, scale: Scale) -> Tensor:
    """Return bytes as float32: inputs * scale[0] - scale[1]; other types stay as they are."""
    if inputs.dtype != torch.uint8:
        return inputs
    factor, shift = scale
    if isinstance(factor, list) or isinstance(shift, list):
        factors = torch.tensor(factor, device=inputs.device)[:, None]
        shifts = torch.tensor(shift, device=inputs.device)[:, None]
        channels = inputs.float().reshape(len(inputs), len(factors), -1)
        return channels.mul_(factors).sub_(shifts).reshape(inputs.shape)
    return torch.add(torch.tensor(-shift), inputs.float(), alpha=factor)  # in one pass


@dataclass(frozen=True, slots=True)
class InMemorySplit:
    """A split in memory.

    Pictures stay bytes there: a quarter of the memory, and nothing to compute before training.
    """

    inputs: Tensor  # [N, in_features] or [N, *shape]; float32 as a model takes them, or uint8
    targets: Tensor  # classification: int64 [N]; regression: float32 [N, out_features]
    scale: Scale = (1.0, 0.0)  # what a model takes of bytes: bytes * scale[0] - scale[1]

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Tensor) -> Pair:
        """Return copies of these examples, as a model takes them."""
        inputs = bytes_to_floats(self.inputs.index_select(0, indices), self.scale)
        return inputs, self.targets.index_select(0, indices)

    def to(self, device: torch.device) -> InMemorySplit:
        return InMemorySplit(self.inputs.to(device), self.targets.to(device), self.scale)


@dataclass(frozen=True, slots=True)
class TreeSplit:
    """A split in memory whose examples have any form: one tensor for each leaf."""

    leaves: list[Tensor]  # [N, ...] each
    structure: pytree.TreeSpec  # of a batch

    def __len__(self) -> int:
        return len(self.leaves[0])

    def batch(self, indices: Tensor) -> trees.Tree:
        """Return copies of these examples."""
        parts = [leaf.index_select(0, indices) for leaf in self.leaves]
        return self.structure.unflatten(parts)

    def to(self, device: torch.device) -> TreeSplit:
        return TreeSplit([leaf.to(device) for leaf in self.leaves], self.structure)


@dataclass(frozen=True, slots=True)
class StreamingSplit:
    """A split whose batches are made of single examples.

    These are read again in each epoch where they do not fit into memory, or draw random numbers.
    """

    examples: Any  # a map-style set
    indices: Tensor  # int64 [N]: those of `examples` that are in this split
    collate: Callable[[list[Any]], Any]  # makes a raw batch of examples
    prepare: Callable[[Any], Any]  # makes of a raw batch what a model takes, in this process
    workers: int  # processes that load batches
    first: str  # SHA-256 of the first of `examples`
    held: bool = False  # the set is known by a digest of all examples, as they are before training
    draws: bool = True  # reading or collating them may draw random numbers
    window: int | None = None  # in an epoch each is drawn from the next so many; None: from all

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, numbers: Sequence[int], key: str) -> Any:
        """Return a raw batch of the examples of these numbers.

        What an example draws from the global generators depends on the key and on its number alone;
        what collating draws, on the key and on the first number.
        """
        if not self.draws:
            return self.collate([self.examples[number] for number in numbers])
        with seeding.preserved():
            examples = [seeded_example(self.examples, number, key) for number in numbers]
            seeding.seed(f"{key}/batch/{numbers[0]}")
            return self.collate(examples)

    def rewind(self, numbers: Tensor) -> None:
        """Begin an epoch in which these examples are read, if the set only iterates."""
        if dataset := iterables.replayed(self.examples):
            dataset.rewind(numbers)

    def changed(self) -> bool:
        """Tell whether reading has changed the set itself: its first example is another one now."""
        with seeding.preserved():
            return first_digest(self.examples) != self.first


def first_digest(examples: Any) -> str:
    """Digest the first example of a set; changes the generators."""
    return trees.digest(seeded_example(examples, 0, KEY), any_object=True)


Split = InMemorySplit | TreeSplit | StreamingSplit


def is_held(split: Split) -> bool:
    """Tell whether the digest of the set is over all examples of this split, and these stay so."""
    return not isinstance(split, StreamingSplit) or split.held


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
