"""Epochs to a target of the monitored metric, where runs that never get there count, too.

Leaving them out would flatter the config that fails most. They count at the limit, the number of epochs that every run
was given: the mean of min(T, limit), known as restricted mean survival time (Royston and Parmar 2013), is defined
whether or not all get there. It is a lower bound of the mean of T where some do not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sweeplab import store
from sweeplab.compare.groups import Replica

AT_LEAST, AT_MOST = "at least", "at most"


@dataclass(kw_only=True, slots=True, frozen=True)
class Target:
    """A value of the monitored metric, and how many epochs each run is given to reach it."""

    monitor: str
    mode: str  # max | min
    value: float
    limit: int | None  # epochs; None: no run says how many it was given

    def epochs(self, replica: Replica) -> int | None:
        """The first epoch that reached the target, the limit if none did; None for an unfinished run."""
        if replica.status != store.FINISHED:
            return None
        first = replica.reached(self.monitor, self.mode, self.value)
        if self.limit is None:
            return first
        return self.limit if first is None else min(first, self.limit)

    def is_late(self, replica: Replica) -> bool:
        """Whether a finished run did not reach the target within the limit."""
        if replica.status != store.FINISHED:
            return False
        first = replica.reached(self.monitor, self.mode, self.value)
        return first is None or (self.limit is not None and first > self.limit)


def common_limit(replicas: Sequence[Replica]) -> int | None:
    """Find the number of epochs that all finished runs were given: the smallest `trainer.epochs`."""
    given = []
    for replica in replicas:
        epochs = replica.start.get("config", {}).get("trainer", {}).get("epochs")
        if replica.status == store.FINISHED and isinstance(epochs, int):
            given.append(epochs)
    return min(given, default=None)


def bound(difference: float, late: Collection[int], late_baseline: Collection[int]) -> str:
    """Tell what a difference of restricted means says of the difference without a limit.

    `late` and `late_baseline` are the seeds of the pairs that did not reach the target, on either side. Returns
    `at least` or `at most` (of the difference's size), or '' where it is exact, or where both sides are late, so that
    nothing follows.
    """
    if bool(late) == bool(late_baseline):
        return ""
    truly_larger = bool(late)  # without a limit the late side would be larger, and so would the difference
    return AT_LEAST if truly_larger == (difference > 0) else AT_MOST
