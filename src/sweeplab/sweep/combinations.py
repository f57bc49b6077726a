"""The jobs of a sweep as lists of overrides, in Hydra's grammar."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    RangeSweep,
    Sweep,
    ValueType,
)

from sweeplab.errors import UserError, did_you_mean, one_line

MOST_JOBS = 1_000_000  # checking so many, before the first one starts, takes an hour

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


Row = tuple[tuple[int, str], ...]
"""Overrides that are taken together, each with its place in the command."""

Axis = list[Row]
"""What a swept key, or several zipped ones, are given; of an override that is not swept one row."""


def combined(grid: Sequence[Axis]) -> list[list[str]]:
    """List each combination of a grid as the overrides of a job, in Hydra's order.

    Raises UserError if there are more than a sweep may have jobs.
    """
    ensure_countable(size(grid))
    return [job(rows) for rows in itertools.product(*grid)]


def axes(overrides: Sequence[Override], zipped: Sequence[str] = ()) -> list[Axis]:
    """List the axes of the grid that the overrides span.

    The values of the `zipped` keys are paired: the first of each, the second of each, ... Raises
    UserError if a zipped key is not swept, if their numbers of values differ, and for an interval,
    which has no list of values.
    """
    _ensure_one_experiment(overrides)
    kept = _without_overridden(overrides)
    texts = []
    for override in kept:
        key = override.get_key_element()
        texts.append([f"{key}={value}" for value in values_of(override)])
    grid = []
    for places in _places(kept, texts, zipped):
        rows = zip(*(texts[place] for place in places), strict=True)
        grid.append([tuple(zip(places, row, strict=True)) for row in rows])
    return grid


def job(rows: Iterable[Row]) -> list[str]:
    """Return the overrides of a job that takes a row of each axis, in the order of the command."""
    placed = sorted(itertools.chain.from_iterable(rows))
    return [override for _, override in placed]


def size(grid: Sequence[Axis]) -> int:
    """Count the combinations of a grid."""
    return math.prod(map(len, grid))


def ensure_countable(count: int) -> None:
    """Raise UserError for more jobs than a sweep may have."""
    if count > MOST_JOBS:
        limit = f"a sweep has at most {MOST_JOBS} jobs"
        raise UserError(f"-m: {count} combinations are asked for; {limit}")


def _places(
    overrides: Sequence[Override],
    values: Sequence[Sequence[str]],
    zipped: Sequence[str],
) -> list[list[int]]:
    """Group the indices of the overrides: the zipped ones together, each other by itself."""
    swept: dict[str, int] = {}
    for index, override in enumerate(overrides):
        if override.is_sweep_override():
            swept[override.get_key_element()] = index
    counts = {key: len(values[index]) for key, index in swept.items()}
    together = [swept[key] for key in _zipped(zipped, counts)]
    axes = []
    for index in range(len(overrides)):
        if index not in together:
            axes.append([index])
        elif index == together[0]:
            axes.append(together)
    return axes


def _without_overridden(overrides: Sequence[Override]) -> list[Override]:
    """Drop overrides of keys that are given again later, except sections, which Hydra merges."""
    last: dict[str, Override] = {}
    for override in overrides:
        if not _is_section(override):
            last[override.get_key_element()] = override
    return [o for o in overrides if _is_section(o) or last[o.get_key_element()] is o]


def _is_section(override: Override) -> bool:
    """Whether a value is a section of keys, as `model={hidden:8}`."""
    value: Any = override._value
    elements = value.list if isinstance(value, ChoiceSweep) else [value]
    return any(isinstance(element, dict) for element in elements)


def _ensure_one_experiment(overrides: Sequence[Override]) -> None:
    """Raise UserError for several experiments: each is a sweep with an MLflow experiment."""
    for override in overrides:
        if override.key_or_group != "experiment" or not override.is_sweep_override():
            continue
        names = values_of(override)
        if len(names) > 1:
            raise UserError(
                f"{override.input_line}: an experiment is a sweep of its own; issue one command "
                f"for each, as in experiment={names[0]}, "
                "and compare them with: sweeplab compare NAME NAME"
            )


def values_of(override: Override) -> list[str]:
    """List the texts of a swept override; of any other the one that it has.

    Raises UserError if there are none, as for an interval, or more than a sweep may have jobs.
    """
    line, key = override.input_line, override.key_or_group
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        search = "or search it with hydra/sweeper=optuna"
        raise UserError(f"{line}: has no list of values; give some, as in {key}=1,2, {search}")
    try:
        texts = list(itertools.islice(_texts(override), MOST_JOBS + 1))
    except (ArithmeticError, TypeError, ValueError) as error:  # as of a range with a step of 0
        raise UserError(f"{line}: has no list of values: {one_line(error)}") from error
    if not texts:
        raise UserError(f"{line}: has no value; {_why_none(override)}")
    if len(texts) > MOST_JOBS:
        raise UserError(f"{line}: has too many values; a sweep has at most {MOST_JOBS} jobs")
    return texts


def _texts(override: Override) -> Iterator[str]:
    """Yield the texts of an override; a list may hold ranges, as in `seed=range(5),7`."""
    value: Any = override._value
    elements = value.list if isinstance(value, ChoiceSweep) else []
    if any(isinstance(element, Sweep) for element in elements):
        for element in elements:
            yield from _texts(replace(override, _value=element, value_type=_type_of(element)))
    elif not override.is_sweep_override():
        yield override.get_value_element_as_str()
    elif isinstance(value, RangeSweep):
        for unrounded in override.sweep_string_iterator():
            text = _rounded(unrounded, str(override.input_line))
            if _before_stop(float(text), value):
                yield text
    else:
        yield from override.sweep_string_iterator()


def _type_of(element: Any) -> ValueType:
    """Return Hydra's type of an element of a list."""
    if not isinstance(element, Sweep):
        return ValueType.ELEMENT
    types = {
        ChoiceSweep: ValueType.CHOICE_SWEEP,
        RangeSweep: ValueType.RANGE_SWEEP,
        Glob: ValueType.GLOB_CHOICE_SWEEP,
    }
    if type(element) not in types:
        raise TypeError("an interval has no list of values")
    return types[type(element)]


def _rounded(text: str, typed: str) -> str:
    """Round a number of a range to the most decimals that were typed.

    `range(0.1,0.35,0.1)` has 0.3, not 0.30000000000000004.
    """
    if "." not in text and "e" not in text.lower():
        return text
    decimals = 1
    for number in _NUMBER.findall(typed.partition("=")[2]):
        decimals = max(decimals, -int(Decimal(number).as_tuple().exponent))
    return repr(round(float(text), decimals))


def _before_stop(number: float, swept: RangeSweep) -> bool:
    """Whether a rounded number comes before the end: Hydra compares the unrounded one."""
    stop, step = float(swept.stop or 0), float(swept.step or 1)
    return number < stop if step > 0 else number > stop


def _why_none(override: Override) -> str:
    """Say why a range or a glob has no values, and what has some."""
    value: Any = override._value
    if override.is_range_sweep():
        way = "down" if (value.step or 1) < 0 else "up"
        rule = f"a range counts {way} from {value.start} and ends before {value.stop}"
        return f"{rule}, as range(3) has 0,1,2"
    if isinstance(value, Glob):
        rule = "a glob is for the options of a group, as in model=glob(*)"
        return f"no option has a name like that; {rule}"
    return f"give one or more, as in {override.key_or_group}=1,2"


def _zipped(zipped: Sequence[str], counts: dict[str, int]) -> list[str]:
    """List the zipped keys as their overrides begin (`+model.x`), in the order of the overrides.

    `counts` are the swept keys with their numbers of values.
    """
    keys = {key.lstrip("+~"): key for key in counts}
    for name in zipped:
        if name not in keys:
            raise UserError(f"sweep.zip={name}: is not swept{did_you_mean(name, keys)}")
    zipped_counts = {name: counts[keys[name]] for name in zipped}
    if len(set(zipped_counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in zipped_counts.items())
        raise UserError(f"sweep.zip: needs as many values of each key: {listed}")
    wanted = {keys[name] for name in zipped}
    return [key for key in counts if key in wanted]
