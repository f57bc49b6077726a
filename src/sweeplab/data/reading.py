"""Examples read, each with random streams of its own; and whether a set's examples are the same at each reading."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from sweeplab.data import seeding
from sweeplab.data.sources import Examples, Pair, Tensors, collate, digest_of
from sweeplab.errors import UserError

SAMPLE = 8  # examples that are read several times, to see whether they stay the same
KEY = "examples"  # of the random streams with which a set is read for its digest


class Reader(Dataset[Pair | UserError]):
    """Reads whole batches for a DataLoader: the same, however many workers it has, and whatever was read before.

    What an example draws from the global generators depends on the key and on the example's number alone.
    """

    def __init__(self, examples: Examples, key: str) -> None:
        self._examples = examples
        self._key = key

    def __getitems__(self, indices: Sequence[int]) -> Pair | UserError:
        """Return a raw batch, or a UserError: a worker that raises one adds a traceback to its message."""
        try:
            if isinstance(self._examples, Tensors):  # draws nothing
                return collate([self._examples[index] for index in indices])
            with seeding.preserved():
                return collate([seeded(self._examples, index, self._key) for index in indices])
        except UserError as error:
            return error


def whole(batch: Any) -> Any:
    """Take a batch of a Reader as it is: a DataLoader's `collate_fn`."""
    return batch


def seeded(examples: Examples, index: int, key: str) -> Pair:
    """Read an example with the generators seeded for it; they are not put back."""
    seeding.seed(f"{key}/{index}")
    return examples[index]


def _read(examples: Examples, index: int, key: str | None) -> Pair:
    """Read an example before any work, when an error is the user's to mend."""
    try:
        return examples[index] if key is None else seeded(examples, index, key)
    except UserError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise UserError(
            f"data.dataset: example {index} cannot be read: {type(error).__name__}: {text} ({where})"
        ) from error


@dataclass(frozen=True, slots=True)
class Sample:
    """A few examples of a set, and whether reading them draws random numbers."""

    examples: Tensors
    random: bool


def sample(examples: Examples) -> Sample:
    """Read a few examples several times; changes the generators. Raises UserError where the same seeds do not give the
    same example.
    """
    last = len(examples) - 1
    indices = sorted({round(number * last / (SAMPLE - 1)) for number in range(SAMPLE)})
    if isinstance(examples, Tensors):
        return Sample(Tensors(examples.inputs[indices], examples.targets[indices]), random=False)
    random = False
    pairs = []
    _read(examples, indices[0], KEY)  # once for what is only done at the first reading
    for index in indices:
        pair = _read(examples, index, KEY)
        ended = seeding.states()
        if digest_of(*_read(examples, index, KEY)) != digest_of(*pair):
            raise UserError(
                f"data.dataset: example {index} is another one each time it is read, though the global generators of "
                "torch, random and numpy are seeded alike before; draw from these, not from a generator of its own"
            )
        if seeding.states() != ended:
            raise UserError(
                f"data.dataset: example {index} draws random numbers when it is read first and not when it is read "
                "again: what it keeps would depend on who read it before; draw each time, or in the constructor"
            )
        random = random or _draws(examples, index, pair, ended)
        pairs.append(pair)
    return Sample(Tensors(*collate(pairs)), random)


def _draws(examples: Examples, index: int, pair: Pair, ended: seeding.States) -> bool:
    """Whether an example depends on the global generators, given it and the states in which reading it ended.

    One that seeds them itself, as by its own number, does not.
    """
    seeding.seed(f"{KEY}/{index}")
    began = seeding.states()
    if ended == began:
        return False
    other = _read(examples, index, "others")
    return _drawn(began, ended, seeding.states()) or digest_of(*other) != digest_of(*pair)


def _drawn(began: seeding.States, ended: seeding.States, otherwise: seeding.States) -> bool:
    """Whether a generator was drawn from: it has moved, and moved elsewhere when it had begun elsewhere."""
    moved = [number for number in range(len(began)) if ended[number] != began[number]]
    return any(ended[number] != otherwise[number] for number in moved)


@dataclass(frozen=True, slots=True)
class Gathered:
    """All examples of a set as tensors, read with fixed seeds, and whether another reading gives others."""

    examples: Tensors
    random: bool


def gather(examples: Examples, first: Sample) -> Gathered:
    """Read all examples; changes the generators. `first` is a sample of them."""
    if isinstance(examples, Tensors):
        return Gathered(examples, random=False)
    if first.random:
        return Gathered(_all(examples, KEY), random=True)
    seeding.seed(KEY)
    began = seeding.states()
    tensors = _all(examples, None)
    ended = seeding.states()
    if ended == began:
        return Gathered(tensors, random=False)
    # Some draw that are not in the sample, or they seed the generators themselves: seeded for each, it shows.
    digest = digest_of(tensors.inputs, tensors.targets)
    del tensors
    again = _all(examples, KEY)
    differ = digest != digest_of(again.inputs, again.targets)
    return Gathered(again, random=differ or _drawn(began, ended, seeding.states()))


def _all(examples: Examples, key: str | None) -> Tensors:
    return Tensors(*collate([_read(examples, index, key) for index in range(len(examples))]))
