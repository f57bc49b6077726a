"""Contrasts: each group against its baseline, paired by seed, with p corrected for their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from sweeplab import metrics
from sweeplab.compare import statistics
from sweeplab.compare.comparability import incomparable_keys
from sweeplab.compare.groups import ABSENT, TO_TARGET, Group, paired_test
from sweeplab.compare.power import Need
from sweeplab.compare.target import bound

if TYPE_CHECKING:
    from sweeplab.compare.looks import Looks
    from sweeplab.compare.sequential import Looked


SAME = 1e-12  # what differs by less, in all pairs, is the same


@dataclass(kw_only=True, slots=True)
class Contrast:
    """A group against the one that differs from it in the baseline's keys alone."""

    group: Group
    against: Group | None  # None: no such group was run
    paired: statistics.Paired
    verdict: str = ""
    bound: str = ""  # at least | at most: what the difference would be without a limit of epochs
    is_limited: bool = False  # whether some pair has a run that counts with the limit of epochs
    tested: int = 0  # comparisons, this one included, for which p is corrected
    need: Need | None = None  # of pairs, where these cannot tell and more can
    looked: Looked | None = None  # the looks, if the sweep took some
    stopped: str = ""  # at which look
    is_settled: bool = False  # more seeds are not asked for
    is_hopeless: bool = False  # nor would all seeds tell, most likely

    @property
    def cannot_tell(self) -> bool:
        """Whether a test was made that shows no difference."""
        return self.paired.holm is not None and self.paired.holm >= statistics.ALPHA

    @property
    def is_without_spread(self) -> bool:
        """Whether all pairs differ alike, so that no test can be made."""
        difference = self.paired.difference
        return difference is not None and difference.n > 1 and self.paired.deviation is None

    @property
    def is_shown(self) -> bool:
        """Whether a test was made that shows a difference."""
        return self.paired.holm is not None and self.paired.holm < statistics.ALPHA

    @property
    def is_better(self) -> bool:
        return self.verdict == statistics.BETTER

    def turned(self) -> Contrast:
        """Return the same contrast, seen from the other side."""
        assert self.against is not None
        words = {statistics.BETTER: statistics.WORSE, statistics.WORSE: statistics.BETTER}
        return replace(
            self,
            group=self.against,
            against=self.group,
            paired=self.paired.negated(),
            verdict=words.get(self.verdict, self.verdict),
        )


def make_contrasts(
    metric: str,
    monitor: str,
    mode: str,
    *,
    columns: Sequence[str],
    groups: Sequence[Group],
    baseline: Mapping[str, str],
    looks: Looks | None = None,
) -> list[Contrast]:
    """Compare a metric of each group with that of its baseline; `mode` is that of the monitor.

    Without a baseline each group is compared with each that comes before it.
    """
    if baseline:
        pairs = with_baselines(columns, groups, baseline)
    else:
        pairs = [(group, against) for against, group in combinations(groups, 2)]
    contrasts = [_contrast(metric, monitor, *pair, looks) for pair in pairs]
    if metric != monitor:
        mode = metrics.default_mode(metric)
    corrected = statistics.holm([_counted_p(contrast, looks) for contrast in contrasts])
    tested = sum(p is not None for p in corrected)
    for contrast, p in zip(contrasts, corrected, strict=True):
        contrast.tested = tested
        if contrast.paired.p is not None:
            contrast.paired = replace(contrast.paired, holm=p)
        if not contrast.verdict:
            within = "within the limit " if contrast.is_limited else ""
            contrast.verdict = statistics.verdict(
                contrast.paired, more_is_better=mode == "max", within=within
            )
        contrast.need = _need(contrast)
    if looks is not None:
        _judge_looks(contrasts, statistics.divisors(corrected), looks, metric == monitor)
    return contrasts


def _counted_p(contrast: Contrast, looks: Looks | None) -> float | None:
    """Return the p that Holm counts: 1 of a test that is not made at this look, but may be later.

    So that many tests share the level at every look, however many runs are missing at one.
    """
    if looks is not None and contrast.paired.p is None and not contrast.is_settled:
        return 1.0
    return contrast.paired.p


def with_baselines(
    columns: Sequence[str], groups: Sequence[Group], baseline: Mapping[str, str]
) -> list[tuple[Group, Group | None]]:
    """Pair each group with its baseline, None if that was not run."""
    pairs = []
    candidates = _Candidates(groups)
    for group in groups:
        cells = [baseline.get(key, group.text(key)) for key in columns]
        if cells != group.cells:
            pairs.append((group, candidates.find(cells)))
    return pairs


class _Candidates:
    """Groups that may be a baseline, by the columns in which they have a value, and these values."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._exact = {tuple(group.cells): group for group in groups}
        self._by_values: dict[tuple[int, ...], dict[tuple[str, ...], list[Group]]] = {}
        for group in groups:
            columns = tuple(at for at, cell in enumerate(group.cells) if cell != ABSENT)
            values = tuple(group.cells[at] for at in columns)
            self._by_values.setdefault(columns, {}).setdefault(values, []).append(group)

    def find(self, cells: Sequence[str]) -> Group | None:
        """Find the group with these cells, or else the only one that has no such keys where it differs.

        Without a momentum, `optimizer=adam` is the baseline of `optimizer=sgd` with any.
        """
        exact = self._exact.get(tuple(cells))
        if exact is not None:
            return exact
        similar: list[Group] = []
        for columns, groups in self._by_values.items():
            similar += groups.get(tuple(cells[at] for at in columns), [])
        return similar[0] if len(similar) == 1 else None


def _judge_looks(
    contrasts: Sequence[Contrast], divisors: Sequence[int], looks: Looks, is_monitor: bool
) -> None:
    """Widen the intervals for the looks, and find what is settled, by a margin too.

    With a margin, pairs that show no difference may still show that there is none. Pairs that are
    all the same would not tell more if there were more of them.
    """
    from sweeplab.compare.looks import adjusted

    margin = looks.margin if is_monitor else None
    for contrast, divisor in zip(contrasts, divisors, strict=True):
        if contrast.looked is None:
            continue
        contrast.paired = adjusted(contrast.paired, contrast.looked, divisor)
        if contrast.is_without_spread:
            contrast.is_settled = _is_within(contrast.paired.difference, margin or SAME)
            if contrast.is_settled and margin is not None:
                contrast.verdict = f"the same within {margin:g}"
        elif contrast.cannot_tell and _is_within(contrast.paired.difference, margin):
            contrast.verdict = f"the same within {margin:g}"
            contrast.is_settled, contrast.need = True, None
        elif contrast.cannot_tell and margin is None:
            contrast.is_hopeless = looks.is_hopeless(contrast.paired, contrast.looked, divisor)
            if contrast.is_hopeless:
                contrast.verdict += f", nor would {looks.after[-1]}"
        contrast.is_settled |= contrast.is_shown or contrast.is_hopeless


def _is_within(difference: statistics.Mean | None, margin: float | None) -> bool:
    if margin is None or difference is None or difference.half is None:
        return False
    return abs(difference.mean) + difference.half < margin


def has_pairs(contrasts: Sequence[Contrast]) -> bool:
    """Tell whether some seed has the metric on both sides."""
    return any(contrast.paired.difference for contrast in contrasts)


def _need(contrast: Contrast) -> Need | None:
    """Find how many pairs tell what these cannot, at the level divided by the number of tests.

    That is the strictest level of Holm's: it holds whatever comes of the other comparisons. More
    folds are no independent pairs, and epochs that count with the limit do not have the spread that
    they would have without it.
    """
    paired, group = contrast.paired, contrast.group
    if not contrast.cannot_tell or group.is_folded or contrast.is_limited:
        return None
    assert paired.difference is not None
    assert paired.d_z is not None
    assert paired.deviation is not None
    tail = statistics.ALPHA / contrast.tested / 2
    return Need.of(abs(paired.d_z), paired.deviation, paired.difference.n, tail)


def _contrast(
    metric: str, monitor: str, group: Group, against: Group | None, looks: Looks | None
) -> Contrast:
    """Pair a group with its baseline; the verdict stays empty where the test is to give it."""
    values = group.by_replica(metric)
    if against is None:
        alone, verdict = statistics.paired(values, {}), "no such baseline was run"
        return Contrast(group=group, against=None, paired=alone, verdict=verdict, is_settled=True)
    baseline_values = against.by_replica(metric)
    keys = incomparable_keys(metric, monitor, (group, against))
    if keys:
        n_all = len(values.keys() | baseline_values.keys())
        apart = statistics.Paired(difference=None, n_all=n_all)
        more = ", ..." if len(keys) > 2 else ""
        verdict = f"another number: {', '.join(keys[:2])}{more}"
        return Contrast(
            group=group, against=against, paired=apart, verdict=verdict, is_settled=True
        )
    contrast = Contrast(
        group=group,
        against=against,
        paired=statistics.Paired(difference=None),
        verdict=_why_no_pair(metric, group, against),
        is_settled=not (values and baseline_values),
    )
    if looks is None:
        contrast.paired = paired_test(metric, group, against)
    else:
        _look(contrast, looks, metric)
    if metric == TO_TARGET and contrast.paired.difference is not None:
        common = values.keys() & baseline_values.keys()
        late, late_baseline = group.late_replicas() & common, against.late_replicas() & common
        contrast.is_limited = bool(late or late_baseline)
        contrast.bound = bound(contrast.paired.difference.mean, late, late_baseline)
    return contrast


def _look(contrast: Contrast, looks: Looks, metric: str) -> None:
    """Compare the two sides as the last look did that was taken at both."""
    assert contrast.against is not None
    values, baseline = contrast.group.by_replica(metric), contrast.against.by_replica(metric)
    count = looks.count(contrast.group, contrast.against)
    bounds = metrics.bounds(metric)
    contrast.paired, contrast.looked = looks.paired(values, baseline, bounds, count)
    own = looks.count(contrast.group)
    if own:
        contrast.stopped = f"look {own}: {looks.after[own - 1]} seeds"
    if contrast.looked is None and not contrast.verdict:
        contrast.verdict = "too few pairs for a look"


def _why_no_pair(metric: str, group: Group, against: Group) -> str:
    """Say why there is no pair of runs although there are seeds in common; '' if there is one."""
    for side, owner in ((group, ""), (against, "the baseline ")):
        if side.replicas and not side.by_replica(metric):
            return f"{owner}{_all_without(metric, side)}"
    seeds = {group.replica_key(run) for run in group.replicas} - {None}
    common = seeds & {against.replica_key(run) for run in against.replicas}
    if common and not group.by_replica(metric).keys() & against.by_replica(metric).keys():
        return f"no seed with {metric} on both sides: nothing can be told"
    return ""


def _all_without(metric: str, group: Group) -> str:
    """Write `diverged in all 3 runs`, or `2 failed, 1 missing: no valid/f1`."""
    counts = Counter(run.why_without(metric) for run in group.replicas)
    if len(counts) > 1:
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(counts.items()))
        return f"{reasons}: no {metric}"
    (why,) = counts
    number = len(group.replicas)
    return f"{why} in its only run" if number == 1 else f"{why} in all {number} runs"
