"""The looks of a sweep that asks for more seeds only of what is not decided yet.

At each look the t tests of all contrasts are corrected for the looks (`sequential`) and for their
number (Holm): a group-sequential Holm procedure (Ye, Li, Liu and Yao 2013).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeplab.compare import statistics
from sweeplab.compare.groups import Group
from sweeplab.compare.statistics import ALPHA
from sweeplab.config import LEAST_SEEDS, Node, Seeds
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import Store

if TYPE_CHECKING:
    from sweeplab.compare.sequential import Looked

AFTER = (5, 6, 8, 10, 12, 14, 17, 20, 25, 30, 40, 50, 70, 100, 140, 200, 280, 400, 500)
"""The seeds after which a sweep looks, unless told otherwise: each time with a fifth more or so.

Fewer looks would ask for more runs, and leave fewer workers waiting for the last of a look
(benchmarks/README.md).
"""

HOPELESS = 0.1  # no more seeds are worth it if the last look answers with a smaller probability

Values = Mapping[Hashable, float]
"""Maps seed to value."""


def planned(seeds: Seeds) -> list[int]:
    """Return after how many seeds of a config a sweep looks, the last time after the most."""
    chosen = AFTER if seeds.looks is None else seeds.looks
    if seeds.looks and seeds.looks[-1] > seeds.max:
        rule = f"sweep.seeds.max={seeds.max} ends before the last look"
        raise UserError(f"sweep.seeds.looks={seeds.looks}: {rule}")
    return [*(n for n in chosen if n < seeds.max), seeds.max]


def in_words(after: Sequence[int]) -> str:
    """Write `5, 10, 20 and 30 seeds`."""
    *others, last = after
    text = counted(last, "seed")
    return f"{', '.join(map(str, others))} and {text}" if others else text


@dataclass(kw_only=True, slots=True, frozen=True)
class Looks:
    """When a sweep looks at its runs: after so many seeds of each config that is not decided."""

    first: int  # seed
    after: tuple[int, ...]  # seeds; the last are the most that a config gets
    taken: int  # how many of the looks
    margin: float | None = None  # of the monitored metric: what differs by less is the same

    @classmethod
    def of(cls, sweep: Node) -> Looks | None:
        """Read the looks of a manifest; None if the sweep takes none."""
        rule = sweep.get("looks")
        if not rule:
            return None
        return cls(
            first=rule["first"],
            after=tuple(rule["after"]),
            taken=rule["taken"],
            margin=sweep.get("margin"),
        )

    @property
    def text(self) -> str:
        return in_words(self.after)

    @classmethod
    def first_of(cls, sweeps: Sequence[Node]) -> Looks | None:
        """Read the looks of the first sweep that takes some; they hold for all that is compared."""
        return next(filter(None, map(cls.of, sweeps)), None)

    def seeds(self, n: int) -> range:
        """Return the first `n` seeds."""
        return range(self.first, self.first + n)

    def count(self, *groups: Group) -> int:
        """Count the looks that were taken at all of these configs."""
        common = set.intersection(*({run.seed for run in group.replicas} for group in groups))
        return sum(common.issuperset(self.seeds(n)) for n in self.after[: self.taken])

    def level(self, group: Group) -> float:
        """Return the level at which the interval of a mean holds at whatever look one stops."""
        most = self.seeds(self.after[-1])
        asked = sum(run.seed in most for run in group.replicas)
        before = sum(n < asked for n in self.after)
        return self._looked(self.after[: before + 1]).level(ALPHA)

    def has_more(self, group: Group) -> bool:
        """Whether a config was given other seeds than those of the looks."""
        most = self.seeds(self.after[-1])
        return any(run.seed not in most for run in group.replicas)

    def paired(
        self, values: Values, baseline: Values, bounds: tuple[float, float], count: int
    ) -> tuple[statistics.Paired, Looked | None]:
        """Run the paired t test of the last of `count` looks, with its p corrected for the looks.

        Where runs are missing, a look counts with the pairs that it has; one with fewer than
        LEAST_SEEDS, or with none that are new, is none. Without a look there is no p.
        """
        found = statistics.Paired(difference=None)
        seeds: list[int] = []
        pairs: list[int] = []
        for n in self.after[:count]:
            known = self.seeds(n)
            found = statistics.paired(_only(values, known), _only(baseline, known), bounds)
            new = 0 if found.difference is None else found.difference.n
            if new >= LEAST_SEEDS and new not in pairs:
                seeds.append(n)
                pairs.append(new)
        if not seeds:
            return statistics.Paired(difference=None, n_all=found.n_all), None
        looked = self._looked(seeds, pairs)
        if found.p is not None:
            found = replace(found, p=float(looked.sequential_p(found.p)))
        return found, looked

    def is_hopeless(self, found: statistics.Paired, looked: Looked, divisor: int) -> bool:
        """Tell whether even all seeds would hardly show a difference.

        `divisor` is the number by which Holm divides the level now. Such a contrast gives up
        without a verdict, which makes no wrong one likelier.
        """
        from sweeplab.compare.sequential import predictive_power

        if found.difference is None or found.d_z is None or looked.fractions[-1] == 1:
            return False
        seeds = [round(fraction * self.after[-1]) for fraction in looked.fractions]
        later = [n for n in self.after if n > seeds[-1]]
        missing = seeds[-1] - looked.pairs[-1]
        pairs = [*looked.pairs, *(n - missing for n in later)]
        every = self._looked([*seeds, *later], pairs)
        n = found.difference.n
        p, level = statistics.p_value(found.d_z, n), every.level(ALPHA / divisor)
        return float(predictive_power(p, n / every.pairs[-1], level)) < HOPELESS

    def _looked(self, seeds: Sequence[int], pairs: Sequence[int] = ()) -> Looked:
        from sweeplab.compare.sequential import Looked  # and numpy: few comparisons need it

        fractions = tuple(n / self.after[-1] for n in seeds)
        return Looked(fractions=fractions, pairs=tuple(pairs or seeds))


def _only(values: Values, seeds: range) -> dict[Hashable, float]:
    return {seed: value for seed, value in values.items() if seed in seeds}


def adjusted(found: statistics.Paired, looked: Looked, divisor: int) -> statistics.Paired:
    """Widen the interval for the looks, and for the number by which Holm divides the level."""
    difference = found.difference
    if difference is None or found.deviation is None:
        return found
    level = looked.level(ALPHA / divisor)
    half = statistics.half_width(found.deviation, difference.n, level)
    return replace(found, difference=replace(difference, half=half))


def further_look_notes(
    home: Store, sweeps: Sequence[Node], looks: Looks | None, groups: Sequence[Group]
) -> list[str]:
    """Say which of the configs were looked at more often than anything is corrected for."""
    notes = []
    more = [group for group in groups if looks is not None and looks.has_more(group)]
    if looks is not None and more:
        notes.append(
            f"{len(more)} of {counted(len(groups), 'config')} have seeds beyond those of the looks: a further "
            "look, for which nothing is corrected; they are in the means, not in the differences"
        )
    configs = _configs(sweeps)
    for other in home.manifests(without=[sweep["id"] for sweep in sweeps]):
        rule = Looks.of(other)
        if rule is None or configs.isdisjoint(_configs([other])):
            continue
        notes.append(
            f"sweep {other['id'][:12]} has looked at some of these configs after {rule.text}: this "
            "is a further look, for which neither p nor intervals are corrected"
        )
    return notes


def _configs(sweeps: Sequence[Node]) -> set[str]:
    cells = [cell for sweep in sweeps for cell in sweep["cells"]]
    return {cell["group"] for cell in cells if "group" in cell}
