"""Epochs to a target of the monitored metric, where runs that never get there count, too.

Leaving them out would flatter the config that fails most. They count at the limit, the number of
epochs for which every run was watched: the mean of min(T, limit), known as restricted mean survival
time (Royston and Parmar 2013), is defined whether or not all get there. It is a lower bound of the
mean of T where some do not.

A run that its patience ended, or that diverged, never gets there: it was watched for as many
epochs as it was given. One that was cut off, by a time limit or because it had reached an easier
target of its own, might have got there: the limit is no later than its end.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from sweeplab import metrics, store
from sweeplab.compare.groups import TO_TARGET, Group, replicas_of
from sweeplab.compare.runs import Replica
from sweeplab.console import counted
from sweeplab.errors import UserError

USUAL = 0.98  # of an accuracy, unless another is asked for or all runs stop at one
PATIENCE = "patience"  # a reason to stop
CUT_OFF = ("time_limit", "target")  # those that tell nothing of what a further epoch had given


@dataclass(kw_only=True, slots=True, frozen=True)
class Target:
    """A value of the monitored metric, and the epoch up to which runs are watched for it."""

    monitor: str
    mode: str  # max | min
    value: float
    limit: int | None  # epochs; None: no finished run has measured the metric
    cut_off: int = 0  # how many runs ended so early that the limit is less than what all were given
    asked: bool = True  # for by the user, who is told if no run got there

    def _epoch(self, replica: Replica) -> int | None:
        return replica.first_epoch_at(self.monitor, self.mode, self.value)

    def measure(self, groups: Sequence[Group]) -> None:
        """Add the epochs to the target to what is measured of each run, unless all are late."""
        replicas = [run for run in replicas_of(groups) if _is_measured(run, self.monitor)]
        epochs = [self._epoch(replica) for replica in replicas]
        if self.limit is None or not any(epoch and epoch <= self.limit for epoch in epochs):
            return
        for replica, epoch in zip(replicas, epochs, strict=True):
            replica.is_late = epoch is None or epoch > self.limit
            replica.measured[TO_TARGET] = min(epoch or self.limit, self.limit)

    def notes(self, groups: Sequence[Group]) -> list[str]:
        """Say what a reader has to know of the epochs to the target, after `measure`."""
        any_got_there = any(self._epoch(replica) for replica in replicas_of(groups))
        if self.limit is None or not (any_got_there or self.asked):
            return []
        limit = counted(self.limit, "epoch")
        notes = []
        if self.cut_off:
            verb = "was" if self.cut_off == 1 else "were"
            notes.append(
                f"epochs to {self.value:g} are told up to {limit} only: "
                f"{counted(self.cut_off, 'run')} {verb} cut off, by a time limit or an easier target"
            )
        if not any(group.measured(TO_TARGET) for group in groups):
            notes.append(f"no run reached {self.monitor} {self.value:g} within {limit}")
        return notes


def choose_target(
    replicas: Sequence[Replica], monitor: str, mode: str, target: float | None, *, is_watched: bool
) -> Target | None:
    """Set the target that is asked for, else that at which all runs stop, else that of an accuracy.

    That at which runs stop is one of the metric that they watched. Raises UserError for a target
    that is none.
    """
    if target is not None and (why := metrics.unreachable(monitor, target)):
        raise UserError(f"--target={target:g}: {why}")
    if target is None and is_watched:
        target = common_target(replicas)
    if target is not None:
        return set_target(replicas, monitor, mode, target)
    if monitor.endswith(metrics.ACCURACY):
        return set_target(replicas, monitor, mode, USUAL, asked=False)
    return None


def common_target(replicas: Sequence[Replica]) -> float | None:
    """Find the target at which all runs stop; None if there is none, or not one."""
    starts = [run.start for run in replicas if run.start]
    targets = {start["config"].get("trainer", {}).get("target") for start in starts}
    target = targets.pop() if len(targets) == 1 else None
    return None if target is None else float(target)


def set_target(
    replicas: Sequence[Replica], monitor: str, mode: str, value: float, *, asked: bool = True
) -> Target:
    """Find the limit that all runs have: the least that one was given, or where one was cut off."""
    measured = [replica for replica in replicas if _is_measured(replica, monitor)]
    limit = min((_max_epochs(replica) for replica in measured), default=None)
    early = []
    for replica in measured:
        end = max(replica.epochs)
        got_there = replica.first_epoch_at(monitor, mode, value) is not None
        if replica.stop_reason in CUT_OFF and not got_there and limit is not None and end < limit:
            early.append(end)
    return Target(
        monitor=monitor,
        mode=mode,
        value=value,
        limit=min(early, default=limit),
        cut_off=len(early),
        asked=asked,
    )


def _is_measured(replica: Replica, monitor: str) -> bool:
    """Tell whether a run is finished and has measured the metric: nothing is known of others."""
    return replica.status == store.Status.FINISHED and replica.measures(monitor)


def _max_epochs(replica: Replica) -> int:
    """Return the epochs that a run was given, or that it trained if its record does not say."""
    epochs = replica.start.get("config", {}).get("trainer", {}).get("epochs")
    return epochs if isinstance(epochs, int) else max(replica.epochs)


def bound(
    difference: float, late: Collection[Hashable], late_baseline: Collection[Hashable]
) -> str:
    """Tell what a difference of restricted means says of the difference without a limit.

    `late` and `late_baseline` are the seeds of the pairs that did not reach the target, on either
    side. Returns `at least` or `at most` (of the difference's size), or '' where it is exact, or
    where both sides are late, so that nothing follows.
    """
    if bool(late) == bool(late_baseline):
        return ""
    # Without a limit the late side would be larger, and so would the difference.
    is_larger = difference == 0 or bool(late) == (difference > 0)
    return "at least" if is_larger else "at most"
