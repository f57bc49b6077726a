"""A data set in its three parts, each held in memory or streamed, and their batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset

from sweeplab.data import seeding, trees
from sweeplab.data.examples import replayed
from sweeplab.errors import UserError

Pair = tuple[Tensor, Tensor]
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
class Epoch:
    """What is read in an epoch."""

    number: int
    order: Tensor  # int64: numbers of examples of the split
    batch_size: int
    device: torch.device
    seed: int | None  # None: to evaluate, in which examples draw the same in each epoch


class Split(ABC):
    """The examples of one part of a set, batch by batch."""

    held: bool = True  # the digest of the set is over all examples, and they stay as they are

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def to(self, device: torch.device) -> Split:
        """Return the same split; what of it is in memory is on the device."""

    def order(self, generator: torch.Generator) -> Tensor:
        """Draw the order of an epoch."""
        return torch.randperm(len(self), generator=generator)

    @abstractmethod
    def batches(self, epoch: Epoch) -> Iterator[Any]:
        """Yield the batches of an epoch on its device, as copies."""


class _Indexed(Split):
    """A split in memory, whose batches are chosen by an index."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Any:
        """Return copies of these examples, as a model takes them."""

    def batches(self, epoch: Epoch) -> Iterator[Any]:
        for indices in torch.split(epoch.order.to(epoch.device), epoch.batch_size):
            yield self.batch(indices)


@dataclass(frozen=True, slots=True)
class InMemorySplit(_Indexed):
    """A split in memory.

    Pictures stay bytes there: a quarter of the memory, and nothing to compute before training.
    """

    inputs: Tensor  # [N, in_features] or [N, *shape]; float32 as a model takes them, or uint8
    targets: Tensor  # classification: int64 [N]; regression: float32 [N, out_features]
    scale: Scale = (1.0, 0.0)  # what a model takes of bytes: bytes * scale[0] - scale[1]

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Tensor) -> Pair:
        inputs = bytes_to_floats(self.inputs.index_select(0, indices), self.scale)
        return inputs, self.targets.index_select(0, indices)

    def to(self, device: torch.device) -> InMemorySplit:
        return InMemorySplit(self.inputs.to(device), self.targets.to(device), self.scale)


@dataclass(frozen=True, slots=True)
class TreeSplit(_Indexed):
    """A split in memory whose examples have any form: one tensor for each leaf."""

    leaves: list[Tensor]  # [N, ...] each
    structure: pytree.TreeSpec  # of a batch

    def __len__(self) -> int:
        return len(self.leaves[0])

    def batch(self, indices: Tensor) -> trees.Tree:
        parts = [leaf.index_select(0, indices) for leaf in self.leaves]
        return self.structure.unflatten(parts)

    def to(self, device: torch.device) -> TreeSplit:
        return TreeSplit([leaf.to(device) for leaf in self.leaves], self.structure)


@dataclass(frozen=True, slots=True)
class StreamingSplit(Split):
    """A split whose batches are made of single examples.

    These are read again in each epoch where they do not fit into memory, or draw random numbers.
    """

    examples: Any  # a map-style set
    indices: Tensor  # int64 [N]: those of `examples` that are in this split
    collate: Callable[[list[Any]], Any]  # makes a raw batch of examples
    prepare: Callable[[Any], Any]  # makes of a raw batch what a model takes, in this process
    workers: int  # processes that load batches
    first: str  # SHA-256 of the first of `examples`
    held: bool = False
    draws: bool = True  # reading or collating them may draw random numbers
    window: int | None = None  # in an epoch each is drawn from the next so many; None: from all

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> StreamingSplit:  # noqa: ARG002  # nothing is held
        return self

    def order(self, generator: torch.Generator) -> Tensor:
        if self.window is None:
            return Split.order(self, generator)
        return nearby_order(len(self), self.window, generator)

    def batches(self, epoch: Epoch) -> Iterator[Any]:
        # Examples to evaluate on draw the same in each epoch, and whatever the seed is.
        key = "evaluation" if epoch.seed is None else f"{epoch.seed}/{epoch.number}"
        numbers = self.indices[epoch.order]
        if dataset := replayed(self.examples):
            dataset.rewind(numbers)
        loader = DataLoader(
            _BatchReader(self, key),
            epoch.batch_size,
            sampler=numbers.tolist(),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=epoch.device.type == "cuda",
            # Else it would draw from the global one
            generator=seeding.generator(epoch.seed or 0, f"workers/{epoch.number}"),
        )
        for read in loader:
            if isinstance(read.batch, UserError):
                raise read.batch
            # Prepared here and not in the workers, so that an error keeps its type and its message.
            yield trees.moved(self.prepare(read.batch), epoch.device)

    def read(self, numbers: Sequence[int], key: str) -> Any:
        """Return a raw batch of the examples of these numbers.

        What an example draws from the global generators depends on the key and on its number alone;
        what collating draws, on the key and on the first number.
        """
        if not self.draws:
            return self.collate([self.examples[number] for number in numbers])
        with seeding.preserved():
            examples = []
            for number in numbers:
                seeding.seed(f"{key}/{number}")
                examples.append(self.examples[number])
            seeding.seed(f"{key}/batch/{numbers[0]}")
            return self.collate(examples)

    def changed(self) -> bool:
        """Tell whether reading has changed the set itself: its first example is another one now."""
        return first_digest(self.examples) != self.first


def first_digest(examples: Any) -> str:
    """Digest the first example of a set."""
    with seeding.preserved():
        return trees.digest(seeding.example(examples, 0, seeding.KEY), any_object=True)


def nearby_order(size: int, window: int, generator: torch.Generator) -> Tensor:
    """Draw each number from the next `window` that are left: an order for what cannot go back."""
    buffer = list(range(min(window, size)))
    order = []
    for number, place in enumerate(torch.rand(size, generator=generator).tolist()):
        at = int(place * len(buffer))
        order.append(buffer[at])
        if number + window < size:
            buffer[at] = number + window
        else:
            buffer[at] = buffer[-1]
            buffer.pop()
    return torch.tensor(order)


@dataclass(slots=True)
class _Read:
    """A raw batch, or what was wrong with it, as a DataLoader hands it on.

    A DataLoader that pinned the batch itself would make lists of its tuples.
    """

    batch: Any

    def pin_memory(self) -> _Read:
        return _Read(trees.pinned(self.batch))


class _BatchReader(Dataset[Any]):
    """Read whole batches for a DataLoader: the same with any workers, whatever was read before."""

    def __init__(self, split: StreamingSplit, key: str) -> None:
        self._split = split
        self._key = key

    def __getitems__(self, indices: Sequence[int]) -> _Read:
        """Return a raw batch, or a UserError: if a worker raised it, it would add a traceback."""
        try:
            return _Read(self._split.read(indices, self._key))
        except UserError as error:
            return _Read(error)


def _as_it_is(batch: Any) -> Any:
    """Return a batch unchanged: the reader has collated it."""
    return batch


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
