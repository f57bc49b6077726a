"""Epochs to a target of the monitored metric, where runs that never get there count, too.

Leaving them out would flatter the config that fails most. They count at the limit, the number of epochs for which every
run was watched: the mean of min(T, limit), known as restricted mean survival time (Royston and Parmar 2013), is defined
whether or not all get there. It is a lower bound of the mean of T where some do not.

A run that its patience ended, or that diverged, never gets there: it was watched for as many
epochs as it was given. One that was cut off, by a time limit or because it had reached an easier
target of its own, might have got there: the limit is no later than its end.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from sweeplab import store
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.replicas import Replica

AT_LEAST, AT_MOST = "at least", "at most"
PATIENCE = "patience"  # a reason to stop
CUT_OFF = ("time_limit", "target")  # those that say nothing of what a further epoch would have given


@dataclass(kw_only=True, slots=True, frozen=True)
class Target:
    """A value of the monitored metric, and the epoch up to which runs are watched for it."""

    monitor: str
    mode: str  # max | min
    value: float
    limit: int | None  # epochs; None: no finished run has measured the metric
    cut_off: int = 0  # how many runs ended so early that the limit is less than what all were given
    asked: bool = True  # for by the user, who is told if no run got there

    def _first(self, replica: Replica) -> int | None:
        return replica.reached(self.monitor, self.mode, self.value)

    def counts(self, replica: Replica) -> bool:
        """Whether a run is finished and has measured the metric: nothing is known of others."""
        return _measured(replica, self.monitor)

    def epochs(self, replica: Replica) -> int | None:
        """The first epoch that reached the target, the limit if none did; None for a run that does not count."""
        if self.limit is None or not self.counts(replica):
            return None
        first = self._first(replica)
        return self.limit if first is None else min(first, self.limit)

    def is_late(self, replica: Replica) -> bool:
        """Whether a run that counts did not reach the target within the limit."""
        if self.limit is None or not self.counts(replica):
            return False
        first = self._first(replica)
        return first is None or first > self.limit

    def measure(self, groups: Sequence[Group]) -> None:
        """Add the epochs to the target to what is measured of each group, unless no run of any group reached it."""
        counting = [(one, r) for one in groups for r in one.replicas if self.counts(r)]
        if all(self.is_late(replica) for _, replica in counting):
            return
        for one, replica in counting:
            if self.is_late(replica):
                one.late.add(replica.id)
            if (epochs := self.epochs(replica)) is not None:
                one.measured.setdefault(TO_TARGET, {})[replica.id] = epochs

    def notes(self, groups: Sequence[Group]) -> list[str]:
        """What a reader has to know of the epochs to the target, after `measure`."""
        measured = any(TO_TARGET in one.measured for one in groups)
        got_there = any(self._first(replica) for one in groups for replica in one.replicas)
        if self.limit is None or not (got_there or self.asked):
            return []
        said = []
        if self.cut_off:
            count = "1 run was cut off" if self.cut_off == 1 else f"{self.cut_off} runs were cut off"
            said.append(
                f"epochs to {self.value:g} are told up to {counted(self.limit)} only: {count}, by a time limit or an "
                "easier target"
            )
        if not measured:
            said.append(f"no run reached {self.monitor} {self.value:g} within {counted(self.limit)}")
        return said


def target_of(replicas: Sequence[Replica], monitor: str, mode: str, value: float, *, asked: bool = True) -> Target:
    """Find the limit that all runs have: the least of what they were given, and of where some were cut off."""
    counting = [replica for replica in replicas if _measured(replica, monitor)]
    given = min((_given(replica) for replica in counting), default=None)
    ends = [
        max(replica.epochs)
        for replica in counting
        if replica.stop_reason in CUT_OFF and replica.reached(monitor, mode, value) is None
    ]
    early = [end for end in ends if given is not None and end < given]
    limit = min(early, default=given)
    return Target(monitor=monitor, mode=mode, value=value, limit=limit, cut_off=len(early), asked=asked)


def counted(epochs: int | None) -> str:
    """`20 epochs`, `1 epoch`."""
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _measured(replica: Replica, monitor: str) -> bool:
    return replica.status == store.Status.FINISHED and any(monitor in values for values in replica.epochs.values())


def _given(replica: Replica) -> int:
    """The number of epochs that a run was given: `trainer.epochs`, or those it had if its record does not say."""
    epochs = replica.start.get("config", {}).get("trainer", {}).get("epochs")
    return epochs if isinstance(epochs, int) else max(replica.epochs)


def bound(difference: float, late: Collection[Hashable], late_baseline: Collection[Hashable]) -> str:
    """Tell what a difference of restricted means says of the difference without a limit.

    `late` and `late_baseline` are the seeds of the pairs that did not reach the target, on either side. Returns
    `at least` or `at most` (of the difference's size), or '' where it is exact, or where both sides are late, so that
    nothing follows.
    """
    if bool(late) == bool(late_baseline):
        return ""
    if difference == 0:
        return AT_LEAST
    truly_larger = bool(late)  # without a limit the late side would be larger, and so would the difference
    return AT_LEAST if truly_larger == (difference > 0) else AT_MOST
