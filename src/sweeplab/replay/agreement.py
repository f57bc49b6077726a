"""Whether two trainings of a run agree as well as two seeds do, where equal bits cannot be had.

The difference of two independent draws has twice the variance of one. So it is held against
t * s * sqrt(2), where s is the standard deviation over the run's replicas, itself left out, and t
Student's quantile at their number less one. It is a weaker statement than equal bits: a number that
is false by less than that is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from sweeplab import console, metrics
from sweeplab.compare import runs
from sweeplab.compare.computation import group_key
from sweeplab.compare.runs import Replica
from sweeplab.compare.statistics import half_width
from sweeplab.console import counted
from sweeplab.store import Run, Status, Store

METRICS = 2  # that are compared
FEWEST = 2  # replicas that have a spread
TOO_FEW = f"its bits differ, and the store has no {FEWEST} other seeds of its config to tell by"
ROUNDING = 1e-5  # of a value: what other rounding alone may make, where replicas have no spread


def replicas(home: Store, run: Run, over: list[str]) -> list[Replica]:
    """Read the finished runs of a store that differ from this one in the keys of `over` alone."""
    key, found = group_key(run.start(), over), []
    for other in home.runs():
        start = other.start()
        if other.id == run.id or "config" not in start or group_key(start, over) != key:
            continue
        replica = runs.read_run(other)
        if replica.status == Status.FINISHED:
            found.append(replica)
    return found


def compare(
    then: Replica, now: Replica, others: Sequence[Replica], level: float
) -> tuple[list[str], list[str]]:
    """Compare the monitored metric and its like on the test set: (how far, which of it too far).

    Each is taken for too far by mistake with the probability `level`. Nothing can be told if the
    former is empty.
    """
    monitor = metrics.watched(then.start)[0]
    for replica in (then, now, *others):
        replica.measure(monitor)
    said, too_far = [], []
    for name in (monitor, f"{metrics.TEST}/{monitor.rpartition('/')[2]}"):
        spread = [other.measured[name] for other in others if name in other.measured]
        a, b = then.measured.get(name), now.measured.get(name)
        if len(spread) < FEWEST or (a is None and b is None):
            continue
        line = f"{name}: {console.number(a, 6)} then, {console.number(b, 6)} now"
        if a is None or b is None:  # one of them has diverged
            too_far.append(line)
        else:
            allowed = _allowed(spread, a, level)
            line += f"; by {counted(len(spread), 'other seed')} they may differ by {allowed:.2g}"
            if abs(a - b) > allowed:
                too_far.append(line)
        said.append(line)
    return said, too_far


def _allowed(spread: Sequence[float], value: float, level: float) -> float:
    n = len(spread)
    half = half_width(stdev(spread), n, level, overlap=2 - 1 / n)  # 1 / n + overlap is 2
    return max(half, ROUNDING * abs(value))
