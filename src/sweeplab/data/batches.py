"""Batches on the device, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sweeplab.data import seeding
from sweeplab.data.splits import Epoch, Split
from sweeplab.data.transforms import BatchTransform
from sweeplab.errors import UserError, counted


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
            most = f"the training split has {counted(len(split), 'example')}; give at most that"
            raise UserError(f"trainer.batch_size={batch_size}: {most}")
        self.batch_size = batch_size
        self.device: torch.device = torch.device(device)
        self.seed = seed
        self.shift = shift
        self.transform = transform
        self._split = split.to(self.device)
        self._count = len(split) // batch_size if drop_last else math.ceil(len(split) / batch_size)
        if limit is not None:
            self._count = min(self._count, limit)
        self.examples: int = min(self._count * batch_size, len(split))  # in an epoch

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
        epoch = Epoch(number, order, self.batch_size, self.device, self.seed)
        batches = self._split.batches(epoch)
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
        if self.seed is None:
            return torch.arange(len(self._split))
        return self._split.order(seeding.generator(self.seed, f"order/{epoch}"))

    def _shifted(self, batches: Iterator[Any], shift: Shift, epoch: int) -> Iterator[Any]:
        generator = seeding.generator(self.seed or 0, f"shift/{epoch}")
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
