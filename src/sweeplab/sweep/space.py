"""The space of a search: Hydra's own sweep syntax, read as dimensions that Optuna samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from sweeplab import config
from sweeplab.errors import UserError, did_you_mean, one_line
from sweeplab.sweep.combinations import MOST_JOBS, values_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution

DIGITS = 4  # of a number that is drawn from an interval
TAGS = ("log", "int")
REPEATED = ("seed", config.FOLD)


@dataclass(kw_only=True, slots=True, frozen=True)
class Dimension:
    """A swept key: texts to choose from, or numbers from low to high, both included."""

    key: str  # as its override begins: +model.x
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @property
    def name(self) -> str:
        return self.key.lstrip("+")

    @property
    def ends(self) -> list[str]:
        """The overrides by which the dimension is checked: all choices, or both ends."""
        values: tuple[Any, ...] = self.choices or (self.low, self.high)
        return [self.override(value) for value in values]

    def override(self, value: Any) -> str:
        """Return the override for a value that was drawn.

        A number that is not whole is rounded to a few digits, as people would type it: names and
        tables stay readable.
        """
        if isinstance(value, float):
            rounded = float(f"{value:.{DIGITS}g}")
            value = min(max(rounded, self.low), self.high)
        return f"{self.key}={value}"

    def value(self, text: str) -> Any:
        """Read a value as it stands in an override. Raises ValueError for one that is none here."""
        if self.choices:
            return self.choices[self.choices.index(text)]
        return (int if isinstance(self.low, int) and isinstance(self.high, int) else float)(text)

    def distribution(self) -> BaseDistribution:
        """Return the dimension as Optuna's. Raises ValueError for what Optuna does not take."""
        from optuna import distributions

        low, high, log = self.low, self.high, self.log
        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if isinstance(low, int) and isinstance(high, int):
            return distributions.IntDistribution(low, high, log=log, step=int(self.step or 1))
        return distributions.FloatDistribution(low, high, log=log, step=self.step)


@dataclass(kw_only=True, slots=True, frozen=True)
class Space:
    """What a search may choose, and what it may not."""

    dimensions: list[Dimension]
    fixed: list[str]  # the other overrides
    repeats: list[list[str]]  # for each run of a trial its overrides: seed and fold

    def jobs(self, values: dict[str, Any]) -> list[list[str]]:
        """List the jobs of a trial that has drawn these values, by dimension name."""
        drawn = [dimension.override(values[dimension.name]) for dimension in self.dimensions]
        chosen = [*self.fixed, *drawn]
        return [[*chosen, *repeat] for repeat in self.repeats]

    def drawn(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the values of these dimensions that a job has, by name, as far as they are some."""
        texts = dict(override.lstrip("+").split("=", 1) for override in overrides)
        values = {}
        for dimension in self.dimensions:
            with suppress(ValueError, KeyError):
                values[dimension.name] = dimension.value(texts[dimension.name])
        return values

    def distributions(self) -> dict[str, BaseDistribution]:
        """Map each dimension's name to its distribution."""
        return {dimension.name: dimension.distribution() for dimension in self.dimensions}

    def probes(self) -> list[list[str]]:
        """List a job for each end of each dimension, the other dimensions at their first end."""
        first = [dimension.ends[0] for dimension in self.dimensions]
        picks = [first]
        for index, dimension in enumerate(self.dimensions):
            before, after = first[:index], first[index + 1 :]
            picks += [[*before, end, *after] for end in dimension.ends[1:]]
        return [[*self.fixed, *pick, *self.repeats[0]] for pick in picks]


def read(overrides: Sequence[Override]) -> Space:
    """Read the space that overrides span. Raises UserError if they span none."""
    last = {override.get_key_element(): override for override in overrides}
    swept = {key: override for key, override in last.items() if override.is_sweep_override()}
    fixed = {key: override for key, override in last.items() if key not in swept}
    repeated = [swept.pop(key) for key in REPEATED if key in swept]
    if not swept:
        example = "'optimizer.lr=tag(log, interval(1e-4,1e-1))'"
        raise UserError(f"hydra/sweeper=optuna: nothing to search; sweep a key, as in {example}")
    dimensions = [_dimension(key, override) for key, override in swept.items()]
    repeats = product(*map(_overrides, repeated))
    return Space(
        dimensions=dimensions,
        fixed=[f"{key}={values_of(override)[0]}" for key, override in fixed.items()],
        repeats=[list(repeat) for repeat in repeats],
    )


def _overrides(override: Override) -> list[str]:
    """List an override for each value of a sweep, each once."""
    key = override.get_key_element()
    return [f"{key}={text}" for text in dict.fromkeys(values_of(override))]


def _dimension(key: str, override: Override) -> Dimension:
    try:
        dimension = _parse(key, override)
        dimension.distribution()
    except ValueError as error:
        raise UserError(f"{override.input_line}: {one_line(error)}") from error
    return dimension


def _parse(key: str, override: Override) -> Dimension:
    """Read a sweep as a dimension. Raises ValueError for one that cannot be searched."""
    sweep: Any = override.value()
    tags = sorted(getattr(sweep, "tags", ()))  # a glob has none
    for tag in tags:
        if tag not in TAGS:
            raise ValueError(f"no such tag as {tag}{did_you_mean(tag, TAGS)}")
    if override.is_range_sweep():
        return _range(key, sweep)
    if override.is_interval_sweep():
        return _interval(key, sweep)
    if tags:
        raise ValueError(f"a tag ({', '.join(tags)}) is for numbers: a range or an interval")
    return Dimension(key=key, choices=tuple(dict.fromkeys(values_of(override))))


def _range(key: str, sweep: Any) -> Dimension:
    values = list(islice(sweep.range(), MOST_JOBS + 1))
    if not values:
        raise ValueError("the range is empty")
    if len(values) > MOST_JOBS:
        raise ValueError(f"the range has more than {MOST_JOBS} values; give an interval")
    low, high = min(values), max(values)
    if "log" in sweep.tags:
        return Dimension(key=key, low=low, high=high, log=True)
    return Dimension(key=key, low=low, high=high, step=abs(sweep.step))


def _interval(key: str, sweep: Any) -> Dimension:
    if not (math.isfinite(sweep.start) and math.isfinite(sweep.end)):
        raise ValueError("its ends must be finite numbers")
    is_whole = "int" in sweep.tags or isinstance(sweep.start, int)
    number = int if is_whole else float
    low, high = number(sweep.start), number(sweep.end)
    return Dimension(key=key, low=low, high=high, log="log" in sweep.tags)
