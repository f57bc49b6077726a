"""What makes a batch of examples of any form: torch's default, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch.utils.data import default_collate

from sweeplab import targets
from sweeplab.data import trees
from sweeplab.errors import UserError, a_or_an, failure, one_line

if TYPE_CHECKING:
    from sweeplab.config import Data


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
            reason = f"fails on a list of {len(examples)} examples: {failure(error)}"
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
