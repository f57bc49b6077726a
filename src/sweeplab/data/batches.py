"""Batches on the device, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from sweeplab.data.reading import Reader, whole
from sweeplab.data.splits import Held, Split, Streamed
from sweeplab.errors import UserError


def stream(seed: int, name: str) -> torch.Generator:
    """A random stream of its own on the CPU, so that it is the same for every device."""
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(number >> 1)  # 63 bits


@dataclass(frozen=True, slots=True)
class Shift:
    """Pictures moved at random, by whole pixels in both directions, over a blank background."""

    shape: tuple[int, int, int]  # channels, height, width
    most: int  # pixels
    blank: float  # what a model gets for an empty pixel

    def offsets(self, count: int, generator: torch.Generator) -> Tensor:
        """Where in a padded picture each example begins: int64 [count]."""
        down, right = torch.randint(2 * self.most + 1, (2, count), generator=generator)
        offsets: Tensor = down * (self.shape[2] + 2 * self.most) + right
        return offsets

    def moved(self, inputs: Tensor, offsets: Tensor) -> Tensor:
        """Inputs [B, ...] of any shape that holds the picture, and offsets [B]; the same shape."""
        channels, height, width = self.shape
        padded = functional.pad(inputs.reshape(-1, *self.shape), [self.most] * 4, value=self.blank)
        rows, columns = (
            torch.arange(size, device=inputs.device) for size in (channels * (height + 2 * self.most), width)
        )
        rows = rows.reshape(channels, -1)[:, :height].reshape(-1, 1)
        corner = (rows * padded.shape[-1] + columns).reshape(-1)  # of the pixels of a picture at offset 0
        return padded.flatten(1).gather(1, corner + offsets.unsqueeze(1)).reshape(inputs.shape)


class Batches:
    """A split, batch by batch.

    `seed=None` keeps the examples in their order. `drop_last` drops an incomplete last batch (BatchNorm cannot train on
    one example). `limit` ends an epoch after so many batches. `shift` moves pictures, in each epoch another way.
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
    ) -> None:
        if drop_last and batch_size > len(split):
            most = f"the training split has {len(split)} examples; give at most that"
            raise UserError(f"trainer.batch_size={batch_size}: {most}")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed = seed
        self.shift = shift
        self._split = split.to(self.device) if isinstance(split, Held) else split
        count = len(split) // batch_size if drop_last else math.ceil(len(split) / batch_size)
        self._batches = count if limit is None else min(count, limit)
        self.examples = min(self._batches * batch_size, len(split))  # that an epoch covers

    def __len__(self) -> int:
        return self._batches

    def epoch(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `n`: inputs [B, ...] and targets, on the device; copies, free to be changed in place."""
        order = self.mine(self._order(n)[: self.examples])
        split = self._split
        batches = self._streamed(split, order, n) if isinstance(split, Streamed) else self._held(split, order)
        if self.shift is None:
            yield from batches
            return
        offsets = self.mine(self.shift.offsets(self.examples, stream(self.seed or 0, f"shift/{n}"))).to(self.device)
        for (inputs, targets), moves in zip(batches, torch.split(offsets, self.batch_size), strict=True):
            yield self.shift.moved(inputs, moves), targets

    def mine(self, values: Tensor) -> Tensor:
        """Of a value for each example of an epoch, those that this process takes: all; of several, its share."""
        return values

    def _held(self, split: Held, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return (split.batch(indices) for indices in torch.split(order.to(self.device), self.batch_size))

    def _order(self, n: int) -> Tensor:
        size = len(self._split)
        return (
            torch.arange(size) if self.seed is None else torch.randperm(size, generator=stream(self.seed, f"order/{n}"))
        )

    def _streamed(self, split: Streamed, order: Tensor, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Examples to evaluate on draw the same in each epoch, and whatever the seed is.
        key = "evaluation" if self.seed is None else f"{self.seed}/{n}"
        loader = DataLoader(
            Reader(split.examples, key),
            self.batch_size,
            sampler=split.indices[order].tolist(),
            num_workers=split.workers,
            collate_fn=whole,
            pin_memory=self.device.type == "cuda",
            generator=stream(self.seed or 0, f"workers/{n}"),  # else it would draw from the global one
        )
        for raw in loader:
            if isinstance(raw, UserError):
                raise raw
            # Here and not in the workers: an error keeps its type and its message.
            inputs, targets = split.prepare(*raw)
            yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
