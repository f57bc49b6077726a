"""Examples read before any work: as tensors, if they are the same at each reading."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from sweeplab.data import seeding
from sweeplab.data.sources import Examples, Pair, Tensors, collate, digest_of
from sweeplab.data.splits import KEY, seeded_example
from sweeplab.errors import UserError, one_line

SAMPLE = 8  # examples that are read several times, to see whether they stay the same


@dataclass(frozen=True, slots=True)
class Reading:
    """Examples of a set as tensors, read with fixed seeds, and whether other seeds give others."""

    examples: Tensors
    random: bool


def read_sample(examples: Examples) -> Reading:
    """Read a few examples several times; changes the generators.

    Raises UserError where the same seeds do not give the same example.
    """
    last = len(examples) - 1
    indices = sorted({round(number * last / (SAMPLE - 1)) for number in range(SAMPLE)})
    if isinstance(examples, Tensors):
        return Reading(Tensors(examples.inputs[indices], examples.targets[indices]), random=False)
    random = False
    pairs = []
    _read(examples, indices[0], KEY)  # once for what is only done at the first reading
    for index in indices:
        pair = _read(examples, index, KEY)
        after = seeding.states()
        if digest_of(*_read(examples, index, KEY)) != digest_of(*pair):
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
        random = random or _is_random(examples, index, pair, after)
        pairs.append(pair)
    return Reading(Tensors(*collate(pairs)), random)


def read_all(examples: Examples, sample: Reading) -> Reading:
    """Read all examples, of which a sample has been read; changes the generators."""
    if isinstance(examples, Tensors):
        return Reading(examples, random=False)
    if sample.random:
        return Reading(_read_each(examples, KEY), random=True)
    seeding.seed(KEY)
    before = seeding.states()
    tensors = _read_each(examples, None)
    after = seeding.states()
    if after == before:
        return Reading(tensors, random=False)
    # Examples outside of the sample draw, or they seed the generators themselves. Seeded for each,
    # it shows.
    digest = digest_of(tensors.inputs, tensors.targets)
    del tensors
    again = _read_each(examples, KEY)
    differ = digest != digest_of(again.inputs, again.targets)
    return Reading(again, random=differ or _drew(before, after, seeding.states()))


def _read_each(examples: Examples, key: str | None) -> Tensors:
    return Tensors(*collate([_read(examples, index, key) for index in range(len(examples))]))


def _read(examples: Examples, index: int, key: str | None) -> Pair:
    """Read an example, seeded by the key if there is one.

    Raises UserError whatever is wrong with it.
    """
    try:
        return examples[index] if key is None else seeded_example(examples, index, key)
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        text = one_line(error)[:200]
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise UserError(
            f"data.dataset: example {index} cannot be read: {kind}: {text} ({where})"
        ) from error


def _is_random(examples: Examples, index: int, pair: Pair, after: seeding.States) -> bool:
    """Tell whether an example depends on the global generators.

    One that seeds them itself, as by its own number, does not.
    `after` are the states after it was read as `pair`.
    """
    seeding.seed(f"{KEY}/{index}")
    before = seeding.states()
    if after == before:
        return False
    other = _read(examples, index, "others")
    return _drew(before, after, seeding.states()) or digest_of(*other) != digest_of(*pair)


def _drew(before: seeding.States, after: seeding.States, after_others: seeding.States) -> bool:
    """Tell whether a generator was drawn from: it moved, and elsewhere when it began elsewhere."""
    moved = [number for number in range(len(before)) if after[number] != before[number]]
    return any(after[number] != after_others[number] for number in moved)
