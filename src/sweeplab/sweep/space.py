"""The space of a search, in Hydra's own sweep syntax, as dimensions that Optuna samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from sweeplab.errors import UserError, did_you_mean
from sweeplab.sweep.compose import MOST_JOBS, values_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution

DIGITS = 4  # of a number that is drawn from an interval
TAGS = ("log", "int")
SEED = "seed"


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
        """Overrides that show whether the key and what it may be are in order: all choices, or the ends."""
        return [self.override(value) for value in (self.choices or (self.low, self.high))]

    def override(self, value: Any) -> str:
        """The override for a value that was drawn; a number that is not whole gets a few digits only, as people type
        it: the difference is of no importance, and names and tables can be read.
        """
        if isinstance(value, float):
            value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        return f"{self.key}={value}"

    def distribution(self) -> BaseDistribution:
        """Raises ValueError for what Optuna does not take."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return distributions.IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(kw_only=True, slots=True, frozen=True)
class Space:
    """What a search may choose, and what it may not."""

    dimensions: list[Dimension]
    fixed: list[str]  # the other overrides
    seeds: list[str]  # each trial trains all of these, as overrides; [] for the seed of the config

    def jobs(self, values: dict[str, Any]) -> list[list[str]]:
        """The jobs of a trial that has drawn these values, by dimension name."""
        chosen = [*self.fixed, *(each.override(values[each.name]) for each in self.dimensions)]
        return [[*chosen, seed] for seed in self.seeds] or [chosen]

    def probes(self) -> list[list[str]]:
        """A job for each end of each dimension, the others at their first."""
        first = [each.ends[0] for each in self.dimensions]
        picks = [first]
        for n, each in enumerate(self.dimensions):
            picks += [[*first[:n], end, *first[n + 1 :]] for end in each.ends[1:]]
        return [[*self.fixed, *pick, *self.seeds[:1]] for pick in picks]


def read(given: Sequence[Override]) -> Space:
    """The space of these overrides. Raises UserError for what is no space."""
    last = {override.get_key_element(): override for override in given}
    seeds = [each for key, each in last.items() if key == SEED and each.is_sweep_override()]
    swept = {key: each for key, each in last.items() if each.is_sweep_override() and key != SEED}
    if not swept:
        raise UserError(
            "hydra/sweeper=optuna: nothing to search; sweep a key, as in 'optimizer.lr=tag(log, interval(1e-4,1e-1))'"
        )
    return Space(
        dimensions=[_dimension(key, each) for key, each in swept.items()],
        fixed=[f"{key}={values_of(each)[0]}" for key, each in last.items() if not each.is_sweep_override()],
        seeds=[f"{SEED}={text}" for each in seeds for text in dict.fromkeys(values_of(each))],
    )


def _dimension(key: str, override: Override) -> Dimension:
    sweep: Any = override.value()
    for tag in sorted(getattr(sweep, "tags", ())):
        if tag not in TAGS:
            raise UserError(f"{override.input_line}: no such tag as {tag}{did_you_mean(tag, TAGS)}")
    try:
        found = _numbers(key, override, sweep) or Dimension(key=key, choices=tuple(dict.fromkeys(values_of(override))))
        found.distribution()
    except ValueError as error:
        raise UserError(f"{override.input_line}: {' '.join(str(error).split())}") from error
    return found


def _numbers(key: str, override: Override, sweep: Any) -> Dimension | None:
    """A range or an interval; None if it is neither."""
    if override.is_range_sweep():
        values = list(islice(sweep.range(), MOST_JOBS + 1))
        if not values:
            raise ValueError("the range is empty")
        if len(values) > MOST_JOBS:
            raise ValueError(f"the range has more than {MOST_JOBS} values; give an interval")
        step = None if "log" in sweep.tags else abs(sweep.step)
        return Dimension(key=key, low=min(values), high=max(values), step=step, log="log" in sweep.tags)
    if override.is_interval_sweep():
        if not (math.isfinite(sweep.start) and math.isfinite(sweep.end)):
            raise ValueError("its ends must be finite numbers")
        whole = "int" in sweep.tags or isinstance(sweep.start, int)
        low, high = (int(end) if whole else float(end) for end in (sweep.start, sweep.end))
        return Dimension(key=key, low=low, high=high, log="log" in sweep.tags)
    if getattr(sweep, "tags", None):  # which a glob cannot have
        raise ValueError(f"a tag ({', '.join(sorted(sweep.tags))}) is for numbers: a range or an interval")
    return None
