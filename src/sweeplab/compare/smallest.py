"""The smallest config that is shown to be as good as the best one, but for a margin.

A config is shown to be no worse than the best by the margin or more by a one-sided test of that
hypothesis, paired by seed (non-inferiority: Blackwelder 1982, Controlled Clinical Trials 3), for
all configs with fewer parameters than the best together (Holm). The best is that of the ranking:
chosen by the same runs it looks too good, which makes the test stricter, not more lenient
(benchmarks/README.md has the rates).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeplab import metrics
from sweeplab.compare import statistics
from sweeplab.compare.comparability import incomparable_keys
from sweeplab.compare.groups import Group, paired_test
from sweeplab.compare.power import LOOKED_AT_ONCE, POWER_TEXT, Need
from sweeplab.compare.runs import sign_of

if TYPE_CHECKING:
    from sweeplab.compare.looks import Looks

UNBOUNDED = (-math.inf, math.inf)


@dataclass(kw_only=True, slots=True)
class Candidate:
    """A config with fewer parameters than the best."""

    group: Group
    parameters: float
    paired: statistics.Paired  # how far it is on the good side of the margin; p is one-sided
    need: Need | None = None  # of pairs, where it is not shown

    @property
    def is_shown(self) -> bool:
        """Whether it is shown to be no worse than the best by more than the margin."""
        return self.paired.holm is not None and self.paired.holm < statistics.ALPHA


@dataclass(kw_only=True, slots=True)
class Smallest:
    """What was found below the best config."""

    margin: float
    monitor: str
    best: Group
    parameters: float  # of the best
    candidates: list[Candidate]  # the smallest first
    has_looks: bool = False  # whether p is corrected for looks
    test: str = ""  # what the test metric says of the one that is shown

    @property
    def shown(self) -> Candidate | None:
        """The smallest that is shown to be as good; None if none is."""
        return next((candidate for candidate in self.candidates if candidate.is_shown), None)

    @property
    def sentence(self) -> str:
        """Say what was found."""
        best = f"the best, {_sized(self.best, self.parameters)} parameters"
        if not self.candidates:
            return f"no config has fewer parameters than {best}"
        within = f"by more than {self.margin:g} of {self.monitor}"
        shown = self.shown
        if shown is not None:
            assert shown.paired.difference is not None
            corrected = "Holm, looks" if self.has_looks else "Holm"
            text = (
                f"the smallest that is as good: {_sized(shown.group, shown.parameters)} parameters "
                f"is shown to be no worse than {best}, {within} (one-sided "
                f"p = {shown.paired.holm:.2g} ({corrected}), {shown.paired.difference.n} pairs)"
            )
            return f"{text}; {self.test}" if self.test else text
        text = f"no smaller config is shown to be no worse than {best}, {within}"
        return "; ".join(filter(None, [text, self._nearest()]))

    def _nearest(self) -> str:
        """Say which config could be shown by fewest pairs; '' where more pairs are of no use."""
        if all(candidate.paired.p is None for candidate in self.candidates):
            pairs = "the pairs that a look takes, or" if self.has_looks else "two pairs with"
            return f"none has {pairs} a spread to test by"
        needs = [
            (candidate.need, candidate)
            for candidate in self.candidates
            if candidate.need is not None
        ]
        if not needs:
            is_folded = self.best.is_folded
            return "" if is_folded else "as measured, none came as near as that"
        need, nearest = min(needs, key=lambda pair: pair[0].pairs or math.inf)
        name = _sized(nearest.group, nearest.parameters)
        once = f" {LOOKED_AT_ONCE}" if self.has_looks else ""
        return f"{name} would take {need.text} pairs{once} ({POWER_TEXT})"


def _sized(group: Group, parameters: float) -> str:
    return f"{group.name} with {parameters:,.0f}".strip()


def find_smallest(
    groups: Sequence[Group],
    monitor: str,
    mode: str,
    score: str,
    margin: float,
    looks: Looks | None = None,
) -> Smallest | None:
    """Test the configs with fewer parameters than the best, which comes first in `groups`.

    `margin` is in the unit of the monitored metric, `score` the test metric that is told beside it.
    Where the sweep took looks, p is corrected for these, too. Returns None if the best has not measured the metric.
    """
    best = groups[0]
    parameters = best.mean(metrics.PARAMETERS)
    if best.mean(monitor) is None or parameters is None:
        return None
    candidates = []
    for group in groups[1:]:
        size = group.mean(metrics.PARAMETERS)
        if size is not None and size.mean < parameters.mean:
            paired = _non_inferiority(group, best, monitor, mode, margin, looks)
            candidates.append(Candidate(group=group, parameters=size.mean, paired=paired))
    candidates.sort(key=lambda candidate: candidate.parameters)
    _correct(candidates)
    found = Smallest(
        margin=margin,
        monitor=monitor,
        best=best,
        parameters=parameters.mean,
        candidates=candidates,
        has_looks=looks is not None,
    )
    if found.shown is not None:
        found.test = _test_difference(found.shown.group, best, monitor, score, looks)
    return found


def _non_inferiority(
    group: Group, best: Group, monitor: str, mode: str, margin: float, looks: Looks | None
) -> statistics.Paired:
    """Test whether a group is worse than the best by less than the margin; p is one-sided."""
    if incomparable_keys(monitor, monitor, (group, best)):
        return statistics.Paired(difference=None)
    sign = sign_of(mode)
    values = {key: sign * value + margin for key, value in group.by_replica(monitor).items()}
    of_best = {key: sign * value for key, value in best.by_replica(monitor).items()}
    if looks is not None:
        paired, _ = looks.paired(values, of_best, UNBOUNDED, looks.count(group, best))
    else:
        overlap = max(group.overlap, best.overlap)
        paired = statistics.paired(values, of_best, unit=group.unit, overlap=overlap)
    if paired.p is None or paired.d_z is None:
        return paired
    return replace(paired, p=paired.p / 2 if paired.d_z > 0 else 1 - paired.p / 2)


def _correct(candidates: Sequence[Candidate]) -> None:
    """Correct p for the number of tests, and find what it takes where nothing is shown."""
    corrected = statistics.holm([candidate.paired.p for candidate in candidates])
    tested = sum(p is not None for p in corrected)
    for candidate, holm in zip(candidates, corrected, strict=True):
        paired = candidate.paired = replace(candidate.paired, holm=holm)
        if paired.d_z is None or paired.d_z <= 0 or candidate.is_shown or candidate.group.is_folded:
            continue
        assert paired.difference is not None
        assert paired.deviation is not None
        level = statistics.ALPHA / tested
        candidate.need = Need.of(paired.d_z, paired.deviation, paired.difference.n, level)


def _test_difference(
    group: Group, best: Group, monitor: str, score: str, looks: Looks | None
) -> str:
    """Say by how much the test metric differs from that of the best; '' if that cannot be told."""
    if incomparable_keys(score, monitor, (group, best)):
        return ""
    difference = _interval(score, group, best, looks)
    if difference is None or difference.half is None:
        return ""
    center, low, high = difference.mean, difference.low, difference.high
    return f"{score} differs by {center:+.4f} ({low:+.4f} to {high:+.4f})"


def _interval(score: str, group: Group, best: Group, looks: Looks | None) -> statistics.Mean | None:
    """Return the mean difference of a metric; its interval holds at whatever look one stopped."""
    if looks is None:
        return paired_test(score, group, best).difference
    from sweeplab.compare.looks import adjusted

    values, of_best = group.by_replica(score), best.by_replica(score)
    count = looks.count(group, best)
    paired, looked = looks.paired(values, of_best, metrics.bounds(score), count)
    return None if looked is None else adjusted(paired, looked, 1).difference
