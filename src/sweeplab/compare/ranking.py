"""The order of the groups: which metric ranks them, what was measured, and who comes first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sweeplab import metrics
from sweeplab.compare.comparability import incomparable_keys
from sweeplab.compare.groups import Group, replicas_of
from sweeplab.compare.runs import Replica, sign_of


def most_watched(replicas: Sequence[Replica]) -> tuple[str, str, str]:
    """Find the monitored metric, its mode and the test metric of most runs."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for run in replicas:
        if run.start:
            task = run.start["config"].get("data", {}).get("task") or metrics.CLASSIFICATION
            counts[(*metrics.watched(run.start), task)] += 1
    if not counts:
        counts[metrics.default_monitor(metrics.CLASSIFICATION), "max", metrics.CLASSIFICATION] = 1
    monitor, mode, task = counts.most_common(1)[0][0]
    return monitor, mode, f"{metrics.TEST}/{metrics.score(task)}"


def ranking_metric(watched: str, score: str, groups: Sequence[Group]) -> tuple[str, list[str]]:
    """Choose what ranks the groups, and say why.

    That is what the runs watched, unless it is another number in each group and their score on the
    validation examples is not.
    """
    keys = incomparable_keys(watched, watched, groups)
    if not keys:
        return watched, []
    shown = ", ".join(keys[:3])
    if len(keys) > 3:
        shown += f" and {len(keys) - 3} more"
    verb = "differs" if len(keys) == 1 else "differ"
    note = f"{watched} is another number where {shown} {verb}, and cannot be compared"
    other = score.replace(metrics.TEST, metrics.VALID, 1)
    is_measured = any(run.measures(other) for run in replicas_of(groups))
    if other == watched or not is_measured or incomparable_keys(other, other, groups):
        return watched, [f"{note}; the order means nothing"]
    return other, [f"{note}; {other} can, and ranks the configs"]


def ranked(groups: Sequence[Group], monitor: str, mode: str) -> list[Group]:
    """Put the best mean first, of equal ones the smaller; groups without a mean come last."""
    sign = -sign_of(mode)

    def key(group: Group) -> tuple[bool, float, float]:
        mean, parameters = group.mean(monitor), group.mean(metrics.PARAMETERS)
        size = math.inf if parameters is None else parameters.mean
        if mean is None:
            return True, 0.0, size
        return False, sign * mean.mean, size

    return sorted(groups, key=key)
