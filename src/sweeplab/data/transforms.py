"""What changes examples: `data.transform` for all, `data.train_transform` for training only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sweeplab import targets
from sweeplab.data import trees
from sweeplab.errors import UserError, failure

if TYPE_CHECKING:
    from sweeplab.config import Data, Node


class Transform:
    """A function of an input, or of an example of any form, that names its key where it fails."""

    def __init__(self, node: Node, key: str) -> None:
        self.key = f"{key}={node['_target_']}"
        self._function = targets.build_function(node, key)

    def __call__(self, value: Any) -> Any:
        try:
            result = self._function(value)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.key}: fails on {_described(value)}: {failure(error)}"
            ) from error
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
    if not transforms:
        return value
    value = trees.copied(value)
    for transform in transforms:
        value = transform(value)
    return value


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} ({value.dtype})"
    return f"a {type(value).__name__}"
