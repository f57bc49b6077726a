"""Batches on the device, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from sweeplab.data import trees
from sweeplab.data.splits import InMemorySplit, Split, StreamingSplit, TreeSplit
from sweeplab.data.transforms import BatchTransform
from sweeplab.errors import UserError


def make_generator(seed: int, name: str) -> torch.Generator:
    """Make a random generator for one purpose; on the CPU, so that all devices draw the same."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)  # 63 bits


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


@dataclass(frozen=True, slots=True)
class Shift:
    """Move pictures at random, by whole pixels in both directions, over a blank background."""

    shape: tuple[int, int, int]  # channels, height, width
    max_pixels: int
    # The value of an empty pixel, as the model gets it: of all channels, or of each
    blank: float | Sequence[float]

    def offsets(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw where in a padded picture each example begins: int64 [count]."""
        down, right = torch.randint(2 * self.max_pixels + 1, (2, count), generator=generator)
        offsets: Tensor = down * (self.shape[2] + 2 * self.max_pixels) + right
        return offsets

    def moved(self, inputs: Tensor, offsets: Tensor) -> Tensor:
        """Move inputs [B, ...], of any shape that holds the picture, by offsets [B]."""
        channels, height, width = self.shape
        padded = self._padded(inputs.reshape(-1, *self.shape))
        padded_height, padded_width = padded.shape[2:]
        rows = torch.arange(channels * padded_height, device=inputs.device)
        rows = rows.reshape(channels, padded_height)[:, :height].reshape(-1, 1)
        columns = torch.arange(width, device=inputs.device)
        pixels_at_0 = (rows * padded_width + columns).reshape(-1)  # of a picture at offset 0
        return padded.flatten(1).gather(1, pixels_at_0 + offsets.unsqueeze(1)).reshape(inputs.shape)

    def _padded(self, pictures: Tensor) -> Tensor:
        padding = [self.max_pixels] * 4
        if isinstance(self.blank, int | float):
            return functional.pad(pictures, padding, value=self.blank)
        padded = functional.pad(pictures, padding)
        outside = functional.pad(torch.zeros_like(pictures[:1, :1]), padding, value=1.0).bool()
        blank = torch.tensor(self.blank, device=pictures.device, dtype=pictures.dtype)
        return torch.where(outside, blank[:, None, None], padded)


class Batches:
    """A split, batch by batch.

    `seed=None` keeps the examples in their order. `drop_last` drops an incomplete last batch
    (BatchNorm cannot train on one example). `limit` ends an epoch after so many batches. `shift`
    moves pictures, and `transform` changes whole batches, in each epoch another way.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        device: torch.device | str,
        seed: int | None = None,
        drop_last: bool = False,
        limit: int | None = None,
        shift: Shift | None = None,
        transform: BatchTransform | None = None,
    ) -> None:
        if drop_last and batch_size > len(split):
            most = f"the training split has {len(split)} examples; give at most that"
            raise UserError(f"trainer.batch_size={batch_size}: {most}")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed = seed
        self.shift = shift
        self.transform = transform
        self._split = split if isinstance(split, StreamingSplit) else split.to(self.device)
        self._count = len(split) // batch_size if drop_last else math.ceil(len(split) / batch_size)
        if limit is not None:
            self._count = min(self._count, limit)
        self.examples = min(self._count * batch_size, len(split))  # in an epoch

    def __len__(self) -> int:
        return self._count

    def sizes(self) -> list[int]:
        """Return the number of examples of each batch of an epoch, in their order."""
        part = self.rank_part(torch.arange(self.examples))
        return [len(batch) for batch in torch.split(part, self.batch_size) if len(batch)]

    def epoch(self, number: int) -> Iterator[Any]:
        """Yield the batches of an epoch on the device, as copies.

        They are pairs of inputs [B, ...] and targets, or what the task `any` collates to.
        """
        order = self.rank_part(self._order(number)[: self.examples])
        if isinstance(self._split, StreamingSplit):
            batches = self._stream(self._split, order, number)
        else:
            batches = self._index(self._split, order)
        if self.shift is not None:
            batches = self._shifted(batches, self.shift, number)
        if self.transform is not None:
            batches = self._transformed(batches, self.transform, number)
        yield from batches

    def rank_part(self, values: Tensor) -> Tensor:
        """Select this rank's part of per-example values (all of them on one process)."""
        return values

    def _order(self, epoch: int) -> Tensor:
        """Return the numbers of all examples in the order of an epoch."""
        size = len(self._split)
        if self.seed is None:
            return torch.arange(size)
        generator = make_generator(self.seed, f"order/{epoch}")
        if isinstance(self._split, StreamingSplit) and self._split.window is not None:
            return nearby_order(size, self._split.window, generator)
        return torch.randperm(size, generator=generator)

    def _shifted(self, batches: Iterator[Any], shift: Shift, epoch: int) -> Iterator[Any]:
        generator = make_generator(self.seed or 0, f"shift/{epoch}")
        offsets = self.rank_part(shift.offsets(self.examples, generator)).to(self.device)
        parts = torch.split(offsets, self.batch_size)
        for (inputs, targets), part in zip(batches, parts, strict=True):
            yield shift.moved(inputs, part), targets

    def _transformed(
        self, batches: Iterator[Any], transform: BatchTransform, epoch: int
    ) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            key = f"{self.seed or 0}/batch_transform/{epoch}/{number}"
            yield transform(batch, key, self.device)

    def _index(self, split: InMemorySplit | TreeSplit, order: Tensor) -> Iterator[Any]:
        for indices in torch.split(order.to(self.device), self.batch_size):
            yield split.batch(indices)

    def _stream(self, split: StreamingSplit, order: Tensor, epoch: int) -> Iterator[Any]:
        # Examples to evaluate on draw the same in each epoch, and whatever the seed is.
        key = "evaluation" if self.seed is None else f"{self.seed}/{epoch}"
        numbers = split.indices[order]
        split.rewind(numbers)
        loader = DataLoader(
            _BatchReader(split, key),
            self.batch_size,
            sampler=numbers.tolist(),
            num_workers=split.workers,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            # Else it would draw from the global one
            generator=make_generator(self.seed or 0, f"workers/{epoch}"),
        )
        for read in loader:
            if isinstance(read.batch, UserError):
                raise read.batch
            # Prepared here and not in the workers, so that an error keeps its type and its message.
            yield trees.moved(split.prepare(read.batch), self.device)


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
