"""Batches on the device, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sweeplab.data.sources import collate
from sweeplab.data.splits import Held, Split, Streamed
from sweeplab.errors import UserError


def stream(seed: int, name: str) -> torch.Generator:
    """A random stream of its own on the CPU, so that it is the same for every device."""
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(number >> 1)  # 63 bits


class Batches:
    """A split, batch by batch.

    `seed=None` keeps the examples in their order. `drop_last` drops an incomplete last batch (BatchNorm cannot train on
    one example). `limit` ends an epoch after so many batches.
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
    ) -> None:
        if drop_last and batch_size > len(split):
            most = f"the training split has {len(split)} examples; give at most that"
            raise UserError(f"trainer.batch_size={batch_size}: {most}")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed = seed
        self._split = split.to(self.device) if isinstance(split, Held) else split
        count = len(split) // batch_size if drop_last else math.ceil(len(split) / batch_size)
        self._batches = count if limit is None else min(count, limit)

    def __len__(self) -> int:
        return self._batches

    @property
    def examples(self) -> int:
        """How many examples an epoch covers."""
        return min(len(self) * self.batch_size, len(self._split))

    def epoch(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `n`: inputs [B, ...] and targets, on the device; copies, free to be changed in place."""
        order = self._order(n)[: self.examples]
        split = self._split
        if isinstance(split, Streamed):
            yield from self._streamed(split, order, n)
            return
        for indices in torch.split(order.to(self.device), self.batch_size):
            yield split.batch(indices)

    def _order(self, n: int) -> Tensor:
        size = len(self._split)
        return (
            torch.arange(size) if self.seed is None else torch.randperm(size, generator=stream(self.seed, f"order/{n}"))
        )

    def _streamed(self, split: Streamed, order: Tensor, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            split.examples,
            self.batch_size,
            sampler=split.indices[order].tolist(),
            num_workers=split.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            generator=stream(self.seed or 0, f"workers/{n}"),  # else it would draw from the global one
        )
        for raw in loader:
            # Here and not in the workers: an error keeps its type and its message.
            inputs, targets = split.prepare(*raw)
            yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
