"""Examples read before any work, to see whether they are the same at each reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeplab.data import seeding, trees
from sweeplab.data.examples import beginning
from sweeplab.data.seeding import KEY
from sweeplab.errors import UserError, failure

SAMPLE = 8  # examples that are read several times, to see whether they stay the same


@dataclass(frozen=True, slots=True)
class Reading:
    """Examples of a set, read with fixed seeds, and whether other seeds give others."""

    examples: list[Any]
    random: bool


def sample_numbers(count: int) -> list[int]:
    """Choose the examples of a sample: the first, the last, and some in equal distances."""
    return sorted({round(number * (count - 1) / (SAMPLE - 1)) for number in range(SAMPLE)})


def read_sample(examples: Any) -> Reading:
    """Read a few examples of a set several times; changes the generators.

    Of one that only iterates these are the first.

    Raises UserError where the same seeds do not give the same example.
    """
    examples = beginning(examples)
    indices = sample_numbers(len(examples))
    random = False
    sample = []
    _read(examples, indices[0], KEY)  # once for what is only done at the first reading
    for index in indices:
        example = _read(examples, index, KEY)
        after = seeding.states()
        if _digest(_read(examples, index, KEY)) != _digest(example):
            raise UserError(
                f"data.dataset: example {index} is another one each time it is read, though the "
                "global generators of torch, random and numpy are seeded alike before; draw from "
                "these, not from a generator of its own"
            )
        if seeding.states() != after:
            raise UserError(
                f"data.dataset: example {index} draws random numbers when it is read first and not "
                "when it is read again: what it keeps would depend on who read it before; draw "
                "each time, or in the constructor"
            )
        random = random or _is_random(examples, index, example, after)
        sample.append(example)
    return Reading(sample, random)


def read_all(examples: Any, sample: Reading) -> Reading:
    """Read all examples, of which a sample has been read; changes the generators."""
    if sample.random:
        return Reading(_read_each(examples, KEY), random=True)
    seeding.seed(KEY)
    before = seeding.states()
    read = _read_each(examples, None)
    after = seeding.states()
    if after == before:
        return Reading(read, random=False)
    # Examples outside of the sample draw, or they seed the generators themselves. Seeded for each,
    # it shows.
    digest = _digest(read)
    del read
    again = _read_each(examples, KEY)
    random = digest != _digest(again) or _drew(before, after, seeding.states())
    return Reading(again, random)


def _digest(tree: Any) -> str:
    return trees.digest(tree, any_object=True)


def _read_each(examples: Any, key: str | None) -> list[Any]:
    return [_read(examples, index, key) for index in range(len(examples))]


def _read(examples: Any, index: int, key: str | None) -> Any:
    """Read an example, seeded by the key if there is one.

    Raises UserError whatever is wrong with it.
    """
    try:
        return examples[index] if key is None else seeding.example(examples, index, key)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"data.dataset: example {index} cannot be read: {failure(error)}"
        ) from error


def _is_random(examples: Any, index: int, example: Any, after: seeding.States) -> bool:
    """Tell whether an example depends on the global generators.

    One that seeds them itself, as by its own number, does not.
    `after` are the states after it was read as `example`.
    """
    seeding.seed(f"{KEY}/{index}")
    before = seeding.states()
    if after == before:
        return False
    other = _read(examples, index, "others")
    return _drew(before, after, seeding.states()) or _digest(other) != _digest(example)


def _drew(before: seeding.States, after: seeding.States, after_others: seeding.States) -> bool:
    """Tell whether a generator was drawn from: it moved, and elsewhere when it began elsewhere."""
    moved = [number for number in range(len(before)) if after[number] != before[number]]
    return any(after[number] != after_others[number] for number in moved)
