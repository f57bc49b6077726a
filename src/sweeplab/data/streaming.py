"""Splits whose examples are read during training: of a set by numbers, or one that only iterates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sweeplab.data import iterables, seeding
from sweeplab.data.splits import StreamingSplit, first_digest

if TYPE_CHECKING:
    from sweeplab.config import Data


def streaming(
    data: Data,
    examples: Any,
    indices: Tensor,
    *,
    collate: Callable[[list[Any]], Any],
    prepare: Callable[[Any], Any],
    held: bool,
    draws: bool,
) -> StreamingSplit:
    """Make a split of these examples.

    A set that only iterates is read by at most one process: several would each iterate all of it.
    """
    examples = iterables.of_split(examples, len(indices), data.memory)
    dataset = iterables.replayed(examples)
    workers, window = data.workers, None
    if dataset is not None:
        window = data.buffer or 1
        workers = min(workers, 1)
        if dataset.is_held:
            workers = 0  # what a process keeps is gone with it, after an epoch
    with seeding.preserved():
        digest = first_digest(examples)
    return StreamingSplit(
        examples=examples,
        indices=indices,
        collate=collate,
        prepare=prepare,
        workers=workers,
        first=digest,
        held=held,
        draws=draws,
        window=window,
    )
