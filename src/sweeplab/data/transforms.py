"""Functions that a config names: what changes examples, makes batches of them, and changes these.

`data.transform` is for all examples, `data.train_transform` for training only; `data.collate` makes
batches of any form, and `data.batch_transform` changes those of training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from sweeplab import targets
from sweeplab.data import seeding, trees
from sweeplab.errors import UserError, a_or_an, counted, failure, one_line
from sweeplab.metrics import ANY

if TYPE_CHECKING:
    from sweeplab.config import Data, Node


class Transform:
    """A function of an input, an example or a batch, that names its key where it fails."""

    def __init__(self, node: Node, key: str) -> None:
        self.key = f"{key}={node['_target_']}"
        self._function = targets.build_function(node, key)

    def __call__(self, *values: Any) -> Any:
        try:
            result = self._function(*values)
        except UserError:
            raise
        except Exception as error:
            what = " and ".join(map(_described, values))
            raise UserError(f"{self.key}: fails on {what}: {failure(error)}") from error
        if result is None:
            raise UserError(
                f"{self.key}: returns nothing; it must return what it makes of its input"
            )
        return result


Transforms = Sequence[Transform]


def transforms_for_all(data: Data) -> Transforms:
    """Build what every example goes through."""
    if data.transform is None:
        return ()
    return (Transform(data.transform, "data.transform"),)


def transforms_for_training(data: Data) -> Transforms:
    """Build what a training example goes through, in this order; () if that is nothing more."""
    if data.train_transform is None:
        return ()
    return (Transform(data.train_transform, "data.train_transform"), *transforms_for_all(data))


def transformed(value: Any, transforms: Transforms) -> Any:
    """Apply transforms in turn, to a copy: what they change in place must not be the set itself."""
    value = trees.copied(value)
    for transform in transforms:
        value = transform(value)
    return value


class BatchTransform:
    """Change batches of training examples: pairs as `f(inputs, targets)`, others as `f(batch)`."""

    def __init__(self, data: Data) -> None:
        assert data.batch_transform is not None
        self._transform = Transform(data.batch_transform, "data.batch_transform")
        self.key = self._transform.key
        self._is_of_pairs = data.task != ANY

    @torch.no_grad()
    def __call__(self, batch: Any, key: str, device: torch.device) -> Any:
        """Return what becomes of a batch; it may be changed in place.

        What is drawn from the global generators, that of the device included, depends on the key
        alone. Raises UserError where a pair does not become one.
        """
        with seeding.preserved():
            seeding.seed(key, device)
            if not self._is_of_pairs:
                return self._transform(batch)
            result = self._transform(*batch)
        is_pair = isinstance(result, tuple | list) and len(result) == 2
        if not is_pair or not all(isinstance(part, Tensor) for part in result):
            wanted = "it must return a pair of tensors, inputs and targets"
            raise UserError(f"{self.key}: returns {_described(result)}; {wanted}")
        return tuple(result)


def batch_transform(data: Data) -> BatchTransform | None:
    """Build what a batch of training examples goes through; None if that is nothing."""
    return None if data.batch_transform is None else BatchTransform(data)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} ({value.dtype})"
    return a_or_an(type(value).__name__)


# --- What makes batches ---------------------------------------------------------------------------


class Collate:
    """Make a batch of a list of examples.

    Raises UserError, which names `data.collate`, whatever goes wrong.
    """

    def __init__(self, data: Data) -> None:
        self.function: Callable[[list[Any]], Any] | None = None
        self.name = "null"
        if data.collate is not None:
            self.function = targets.build_function(data.collate, "data.collate")
            self.name = str(data.collate["_target_"])

    def __call__(self, examples: list[Any]) -> Any:
        if self.function is None:
            return _default(examples)
        # Copies: what it changes in place must not be the set itself.
        examples = [trees.copied(example) for example in examples]
        try:
            batch = self.function(examples)
        except UserError:
            raise
        except Exception as error:
            reason = f"fails on a list of {counted(len(examples), 'example')}: {failure(error)}"
            raise UserError(f"data.collate={self.name}: {reason}") from error
        if batch is None or isinstance(batch, FunctionType | partial | type):
            kind = "nothing" if batch is None else a_or_an(type(batch).__name__)
            wanted = "it must return the batch of the list of examples that it is called with"
            raise UserError(f"data.collate={self.name}: returns {kind}; {wanted}")
        return batch


def _default(examples: list[Any]) -> Any:
    try:
        return default_collate(examples)
    except Exception as error:
        advice = "name a function that makes a batch by data.collate._target_"
        for number, example in enumerate(examples):
            if difference := trees.difference(examples[0], example):
                reason = f"examples differ ({difference}, example {number} of a batch)"
                raise UserError(f"data.collate=null: {reason}; {advice}") from error
        text = one_line(error)[:200]
        raise UserError(f"data.collate=null: {text}; {advice}") from error
