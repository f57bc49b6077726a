"""Sets that only iterate: read once, in their order, into a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from sweeplab.data import seeding
from sweeplab.errors import UserError, failure

KEY = "iteration"  # of the random streams with which such a set is read


def is_map_style(value: object) -> bool:
    """Tell whether examples can be had by their numbers."""
    if isinstance(value, IterableDataset | str | bytes) or is_frame(value):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def is_frame(value: object) -> bool:
    """Tell whether this is a table of pandas: its items are columns."""
    package = type(value).__module__.partition(".")[0]
    return package == "pandas" and hasattr(value, "columns")


def is_iterable(value: object) -> bool:
    """Tell whether examples can be had in one order only, and how many there are is known."""
    if isinstance(value, str | bytes | DataLoader) or is_frame(value):
        return False
    if not isinstance(value, Iterable):
        return False
    return length(value) is not None


def length(value: object) -> int | None:
    """Return how many examples a set says it has; None if it does not say."""
    try:
        return len(value)  # type: ignore[arg-type]  # that is the question
    except (TypeError, NotImplementedError):
        return None


def read_through(iterable: Iterable[Any], size: Callable[[Any], int], memory: int) -> list[Any]:
    """Read all examples; changes the generators.

    `size` returns the bytes of an example. Raises UserError where they do not fit into `memory`
    MiB, or are not as many as the set says.
    """
    count = length(iterable)
    assert count is not None
    kind = type(iterable).__name__
    examples: list[Any] = []
    taken = 0
    seeding.seed(KEY)
    iterator = iter(iterable)
    while True:
        try:
            example = next(iterator)
        except StopIteration:
            break
        except UserError:
            raise
        except Exception as error:
            where = f"example {len(examples)} cannot be read"
            raise UserError(f"data.dataset: {where}: {failure(error)}") from error
        examples.append(example)
        taken += size(example)
        if len(examples) > count:
            raise UserError(f"data.dataset: the {kind} has a __len__ of {count}, and more examples")
        if taken > memory * 2**20:
            wanted = math.ceil(taken / len(examples) * count / 2**20)
            raise _too_large(kind, wanted, memory)
    if len(examples) < count:
        delivered = f"delivers {len(examples)} examples"
        raise UserError(f"data.dataset: the {kind} has a __len__ of {count}, and {delivered}")
    return examples


def refuse_streaming(datasets: Sequence[object], mebibytes: int, memory: int) -> None:
    """Raise UserError if one of the sets, which do not fit into memory, only iterates."""
    for dataset in datasets:
        if not is_map_style(dataset) and is_iterable(dataset):
            raise _too_large(type(dataset).__name__, mebibytes, memory)


def _too_large(kind: str, mebibytes: int, memory: int) -> UserError:
    advice = f"give data.memory={mebibytes}, or a set with __getitem__"
    needed = f"the set needs about {mebibytes} MiB"
    reason = f"an IterableDataset that does not fit is not streamed yet ({kind})"
    return UserError(f"data.memory={memory}: {needed}, and {reason}; {advice}")
