"""Batches of two examples, on which the parts of a run are tried before any work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from sweeplab import data, metrics
from sweeplab.config import Data
from sweeplab.errors import UserError
from sweeplab.runs.once import Once
from sweeplab.runs.parts import input_shape

T = TypeVar("T")

EXAMPLES = 2


def try_each(settings: Data, once: Once, attempt: Callable[[Any], T]) -> T:
    """Return what an attempt gives for the first batch for which it does not fail.

    Raises the UserError of the last batch, a real one.
    """
    errors: list[UserError] = []
    for batch in _batches(settings, once):
        try:
            return attempt(batch)
        except UserError as error:
            errors.append(error)
    raise errors[-1]


def _batches(settings: Data, once: Once) -> Iterator[Any]:
    """Yield batches to be tried, a real one last; where the set has shapes, a made one first."""
    if settings.task != metrics.ANY:
        shape = (EXAMPLES, *input_shape(settings))
        # Not zeros, which would hide that a transform multiplies by a random factor
        inputs = torch.arange(math.prod(shape)).reshape(shape) / math.prod(shape)
        targets = torch.zeros(EXAMPLES, settings.out_features)
        if settings.task == metrics.CLASSIFICATION:
            targets = torch.arange(EXAMPLES) % settings.out_features
        yield inputs, targets
    yield once(first, settings)


def first(settings: Data) -> Any:
    """Return the first examples of the training split, as a batch."""
    split = data.load(settings).train
    return next(data.Batches(split, EXAMPLES, device="cpu", limit=1).epoch(0))


def in_training(settings: Data, batch: Any) -> Any:
    """Return what `data.batch_transform` makes of a batch, which is left as it is.

    Raises UserError where it fails, or gives something else each time.
    """
    transform = data.batch_transform(settings)
    if transform is None:
        return batch
    device = torch.device("cpu")
    try:
        changed, again = (transform(data.copied(batch), "trial", device) for _ in range(2))
    except UserError as error:
        if _takes_pictures(settings, transform, batch):
            raise UserError(f"{error}; data.flatten=false keeps the shape of pictures") from error
        raise
    if data.digest(changed, any_object=True) != data.digest(again, any_object=True):
        seeded = "though the global generators of torch, random and numpy are seeded alike before"
        raise UserError(
            f"{transform.key}: gives another batch each time, {seeded}; draw from these"
        )
    return changed


def _takes_pictures(settings: Data, transform: data.BatchTransform, batch: Any) -> bool:
    """Tell whether a transform takes the pictures of a flattened batch once they have their shape."""
    is_flat = settings.flatten and settings.task != metrics.ANY
    if not is_flat or settings.shape is None or len(settings.shape) != 3:
        return False
    inputs, targets = batch
    pictures = inputs.reshape(len(inputs), *settings.shape)
    try:
        transform(data.copied((pictures, targets)), "trial", pictures.device)
    except UserError:
        return False
    return True
