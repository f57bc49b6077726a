"""Examples of any form, of the task `any`: taken as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset, default_collate

from sweeplab.data import trees
from sweeplab.data.examples import ExampleView
from sweeplab.data.kinds import Kind
from sweeplab.data.sources import is_tensors
from sweeplab.data.splits import Split, TreeSplit
from sweeplab.data.transforms import Collate, Transforms, transformed
from sweeplab.data.trees import tensor_of
from sweeplab.errors import UserError

if TYPE_CHECKING:
    from sweeplab.config import Data


class Columns(Dataset[Any]):
    """Examples in memory, as one tensor [N, ...] for each leaf."""

    def __init__(self, leaves: list[Tensor], structure: pytree.TreeSpec) -> None:
        self.leaves = leaves
        self.structure = structure  # of an example

    def __len__(self) -> int:
        return len(self.leaves[0])

    def __getitem__(self, index: int) -> trees.Tree:
        return self.structure.unflatten([leaf[index] for leaf in self.leaves])

    def batch_structure(self) -> pytree.TreeSpec:
        """Return the structure of what `default_collate` makes of examples: lists of tuples."""
        return pytree.tree_structure(default_collate([self[0]]))


class AnyForm(Kind):
    """Examples of any form, held as columns or as a list."""

    wanted = (
        "a torch Dataset with __len__ and __getitem__ (or __iter__), a list of examples, or a tuple "
        "or a dict of equally long arrays"
    )

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._collate = Collate(data)
        self.draws: bool = data.collate is not None

    def take(self, example: Any, transforms: Transforms) -> trees.Tree:
        if transforms:
            example = transformed(example, transforms)
        return trees.detached(example)

    def collate(self, examples: list[Any]) -> Any:
        return self._collate(examples)

    def prepare(self, batch: Any) -> Any:
        """Return a batch unchanged: nothing is normalised."""
        return batch

    def arrays(self, delivered: Any) -> Columns | None:
        if is_tensors(delivered):
            delivered = (delivered.inputs, delivered.targets)
        if not isinstance(delivered, tuple | Mapping | Tensor | np.ndarray):
            return None
        tree = dict(delivered) if isinstance(delivered, Mapping) else delivered
        leaves, structure = pytree.tree_flatten(tree)
        if not leaves or not all(map(trees.is_array, leaves)):
            raise self.not_a_set(delivered)
        return Columns(_rows(leaves), structure)

    def size(self, example: Any) -> int:
        return trees.size(example)

    def batched(self, sample: list[Any]) -> list[Any]:
        self.collate(sample)
        return sample

    def hold(self, examples: list[Any]) -> Columns | list[Any]:
        """Hold examples, as columns where they have an equal form and torch makes the batches.

        Raises UserError where they differ so that no batch can be made of them.
        """
        if self.data.collate is not None or not _ensure_alike(examples):
            return examples
        leaves, structure = pytree.tree_flatten(default_collate(examples))
        return Columns(leaves, structure)

    def digest(self, held: Columns | list[Any]) -> str:
        if isinstance(held, Columns):
            held = held.batch_structure().unflatten(held.leaves)
        return trees.digest(held)

    def digest_of_sample(self, sample: list[Any]) -> str:
        return trees.digest(sample, any_object=True)

    def cut(self, part: Any, indices: Tensor) -> Split:
        if self.data.collate is None and isinstance(part, Columns):
            return TreeSplit([leaf[indices] for leaf in part.leaves], part.batch_structure())
        return self.stream(part, indices, held=not isinstance(part, ExampleView))


def _rows(arrays: list[Any]) -> list[Tensor]:
    """Return arrays as tensors. Raises UserError unless each has a row for each example."""
    leaves = [tensor_of(array) for array in arrays]
    if any(leaf.ndim == 0 for leaf in leaves):
        wanted = "it must be an array of a row for each example"
        raise UserError(f"data.dataset: an array of the set is one number; {wanted}")
    rows = [len(leaf) for leaf in leaves]
    if len(set(rows)) > 1:
        lengths = ", ".join(str(number) for number in rows[:6])
        advice = "a tuple or a dict is taken as columns, a list as examples"
        raise UserError(f"data.dataset: the arrays have {lengths} rows; {advice}")
    return leaves


def _ensure_alike(examples: list[Any]) -> bool:
    """Tell whether examples have one form and stack; texts, for one, keep them from it.

    Raises UserError where they differ so that no batch can be made of them.
    """
    first = examples[0]
    form = trees.form(first)
    alike = trees.stacks(first)
    for number, example in enumerate(examples):
        if trees.form(example) != form:
            alike = False
            if difference := trees.difference(first, example):
                raise UserError(
                    f"data.collate=null: example {number} differs from example 0 ({difference}); "
                    "name a function that makes a batch of such examples by data.collate._target_"
                )
    return alike
