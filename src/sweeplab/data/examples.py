"""The examples of any set by their numbers: as a view, which transforms them.

A set that only iterates is read once into a list, or iterated anew where that does not fit in
memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sweeplab.data import seeding, trees
from sweeplab.data.transforms import Transforms
from sweeplab.errors import UserError, counted, failure

KEY = "iteration"  # of the random streams with which such a set is read
SAMPLE = 8  # examples of which it is told how much memory all of them need
CHUNK = 64  # examples that are read at once: putting the generators back takes time
HOLD = 1 / 4  # share of `data.memory` that a split may take to be kept once it has been read


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


def read_through(
    iterable: Iterable[Any], size: Callable[[Any], int], memory: int
) -> list[Any] | Replayed:
    """Read all examples; changes the generators.

    `size` returns the bytes of an example. Where they do not fit into `memory` MiB, a set is
    returned that iterates anew. Raises UserError where they are not as many as the set says.
    """
    total = length(iterable)
    assert total is not None
    examples: list[Any] = []
    taken = 0
    for example in _examples(iterable):
        examples.append(example)
        taken += size(example)
        expected = taken
        if len(examples) == SAMPLE:
            expected = taken * total // SAMPLE
        if expected > memory * 2**20:
            needed = math.ceil(taken / len(examples) * total / 2**20)
            return Replayed(iterable, examples[:SAMPLE], needed)
    return examples


def _examples(iterable: Iterable[Any]) -> Iterator[Any]:
    """Iterate from the beginning; seeds the generators first.

    Raises UserError for an example that cannot be read, and where there are more or less of them
    than the set says.
    """
    kind, total = type(iterable).__name__, length(iterable)
    said = f"data.dataset: the {kind} has a __len__ of {total}"
    seeding.seed(KEY)
    iterator = iter(iterable)
    for number in count():
        try:
            example = next(iterator)
        except StopIteration:
            if number != total:
                raise UserError(f"{said}, and delivers {counted(number, 'example')}") from None
            return
        except UserError:
            raise
        except Exception as error:
            where = f"example {number} cannot be read"
            raise UserError(f"data.dataset: {where}: {failure(error)}") from error
        if number == total:
            raise UserError(f"{said}, and more examples")
        yield example


class Replayed(Dataset[Any]):
    """A set that only iterates, read by the numbers of its examples.

    It is iterated from the beginning when an example is asked for that has been passed over, so
    numbers should rise, or nearly. The generators are seeded alike each time: what is drawn from
    them while iterating is what a set that is read once into memory draws.
    """

    def __init__(self, iterable: Iterable[Any], first: list[Any], mebibytes: int) -> None:
        """Take a set with its first examples, and the memory that all would need.

        Raises UserError if they are others the second time.
        """
        self.first = first
        self.mebibytes = mebibytes
        self._iterable = iterable
        self._total = length(iterable) or 0
        self._hold = False  # keep what has been read
        self._waiting: dict[int, Any] = {}  # what has been read, by numbers
        self.rewind()
        again = list(islice(_examples(iterable), len(first)))
        if trees.digest(again, any_object=True) != trees.digest(first, any_object=True):
            kind = type(iterable).__name__
            raise UserError(
                f"data.dataset: the {kind} gives other examples when it is iterated again, though "
                "the global generators of torch, random and numpy are seeded alike before; draw "
                "from these, and begin anew in __iter__"
            )

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: int) -> Any:
        if index not in self._waiting:
            self._read_up_to(index)
        if self._hold:
            return self._waiting[index]
        return self._waiting.pop(index)

    def rewind(self, numbers: Tensor | None = None) -> None:
        """Begin anew with the next reading; of what is passed over only these numbers are kept."""
        members = torch.zeros(self._total, dtype=torch.bool)
        if numbers is not None:
            members[numbers] = True
        self._members = members.numpy().tobytes()
        self._begin()

    def _begin(self) -> None:
        self._iterator: Iterator[Any] | None = None
        self._position = 0
        self._states: seeding.States = ()  # of the generators, after the last reading
        if not self._hold:
            self._waiting = {}

    def of_split(self, examples: int, memory: int) -> Replayed:
        """Return the same set for a split of so many examples.

        They are kept once they have been read if they take a part of `memory` MiB only.
        """
        narrowed = copy.copy(self)
        narrowed.rewind()
        narrowed._hold = examples / self._total * self.mebibytes <= memory * HOLD
        return narrowed

    @property
    def is_held(self) -> bool:
        """Whether its examples are kept once they have been read."""
        return self._hold

    def _read_up_to(self, index: int) -> None:
        """Iterate on to an example, and some further."""
        if index < self._position:
            self._begin()
        with seeding.preserved():
            if self._iterator is None:
                self._iterator = _examples(self._iterable)
            else:
                seeding.restore(self._states)
            end = min(index - index % CHUNK + CHUNK, self._total)
            while self._position < end:
                example = next(self._iterator)
                if self._position == index or self._members[self._position]:
                    self._waiting[self._position] = example
                self._position += 1
            if end == self._total:
                next(self._iterator, None)  # which finds out if there are more
            self._states = seeding.save()


# --- What is read in training -------------------------------------------------------------------


class ExampleView(Dataset[Any]):
    """A set by the numbers of its examples, each taken through transforms."""

    def __init__(
        self,
        dataset: Any,
        transforms: Transforms,
        take: Callable[[Any, Transforms], Any],
    ) -> None:
        self.dataset = dataset
        self.transforms = transforms
        self._take = take

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self._take(self.dataset[index], self.transforms)

    def of(self, dataset: Any) -> ExampleView:
        """Return the same view of another set."""
        return ExampleView(dataset, self.transforms, self._take)


def replayed(examples: object) -> Replayed | None:
    """Return the set that iterates anew, of which this is a view; None if there is none."""
    if isinstance(examples, ExampleView) and isinstance(examples.dataset, Replayed):
        return examples.dataset
    return None


def beginning(examples: Any) -> Any:
    """Return a view of the first examples only, of a set that iterates anew; else all of them."""
    dataset = replayed(examples)
    return examples if dataset is None else examples.of(dataset.first)


def mebibytes(parts: Iterable[object]) -> int:
    """Return the memory that the largest set needs that iterates anew; 0 if there is none."""
    sets = [replayed(part) for part in parts]
    return max((each.mebibytes for each in sets if each is not None), default=0)


def notes(parts: Iterable[object], buffer: int | None) -> list[str]:
    """Say what `data.buffer` does to the order of training examples, if that is not expected."""
    if mebibytes(parts) == 0:
        if buffer is None:
            return []
        return [f"data.buffer={buffer}: has no effect: all examples of the set are shuffled"]
    if buffer is not None:
        return []
    order = "the set only iterates and does not fit in memory, so it is trained on in its order"
    return [f"data.buffer=null: {order}; data.buffer=1000 draws each from the next 1000"]
