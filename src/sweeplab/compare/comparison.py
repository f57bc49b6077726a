"""A comparison: what came out of sweeps, its configs grouped, ranked, and set against each other."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from sweeplab import metrics, store
from sweeplab.compare.contrasts import Contrast
from sweeplab.compare.groups import TO_TARGET, Group, replicas_of
from sweeplab.compare.importance import Importance, of_grid, of_search
from sweeplab.compare.looks import Looks
from sweeplab.compare.runs import Replica
from sweeplab.compare.smallest import Smallest
from sweeplab.compare.target import Target
from sweeplab.config import Node
from sweeplab.console import counted

MOST_METRICS = 100  # groups whose means the MLflow parent run gets


@dataclass(kw_only=True)
class Comparison:
    """What came out of one or several sweeps."""

    sweeps: list[Node]  # their manifests
    monitor: str
    mode: str  # of the monitor: max | min
    score: str  # the test metric: reported, never selected by
    goal: Target | None  # of the monitored metric, for epochs to it
    columns: list[str]  # the swept keys
    groups: list[Group]  # the best first
    baseline: dict[str, str] = field(default_factory=dict)
    contrasts: dict[str, list[Contrast]] = field(default_factory=dict)  # by metric
    smallest: Smallest | None = None  # None: no margin was given, or nothing is measured
    notes: list[str] = field(default_factory=list)  # to know before believing the ranking
    looks: Looks | None = None  # if a sweep took some
    decisive: list[Contrast] = field(default_factory=list)  # of the metric that its looks go by
    undecided: list[Group] = field(default_factory=list)  # what its next look is to tell more of

    @property
    def target(self) -> float | None:
        """The value of the monitored metric to which epochs are counted."""
        return None if self.goal is None else self.goal.value

    @property
    def limit(self) -> int | None:
        """The number of epochs at which a run counts that does not reach the target."""
        return None if self.goal is None else self.goal.limit

    @property
    def limit_in_words(self) -> str:
        """The limit as `20 epochs`."""
        return counted(self.limit or 0, "epoch")

    @property
    def replicas(self) -> list[Replica]:
        return replicas_of(self.groups)

    @property
    def is_folded(self) -> bool:
        """Whether configs are repeated over the folds of a cross-validation."""
        return any(group.is_folded for group in self.groups)

    @property
    def title(self) -> str:
        if len(self.sweeps) == 1:
            return str(self.sweeps[0]["name"])
        experiments = {sweep["experiment"] for sweep in self.sweeps} - {None}
        title = f"{len(self.sweeps)} sweeps"
        return f"{title} of {', '.join(sorted(experiments))}" if experiments else title

    @cached_property
    def importance(self) -> Importance | None:
        """How much each swept key matters; None if there is one key only, or too little to tell."""
        searches = [sweep["search"] for sweep in self.sweeps if sweep.get("search")]
        if not searches:
            return of_grid(self.columns, self.groups, self.monitor)
        return of_search(searches[0]) if len(self.sweeps) == 1 else None

    def ranked_name(self, group: Group) -> str:
        """Write `#3 hidden=392`: the name of a group with its rank, by which the table has it."""
        return f"#{self.groups.index(group) + 1} {group.name}".strip()

    def statuses(self) -> str:
        """Write `10 runs of 2 configs: 9 finished, 1 failed`."""
        counts = sorted(Counter(replica.status for replica in self.replicas).items())
        counts.sort(key=lambda item: item[0] != store.Status.FINISHED)
        listed = ", ".join(f"{number} {status}" for status, number in counts)
        return f"{counted(len(self.replicas), 'run')} of {counted(len(self.groups), 'config')}: {listed}"

    def troubles(self) -> list[tuple[Group, Replica, str]]:
        """List every run that is not in all means, and why."""
        wanted = (self.monitor, self.score)
        again = "counts once: a later run of the same was found, too"
        troubles, repeated = [], []
        for group in self.groups:
            for replica in group.replicas:
                why = replica.trouble(wanted)
                if why is not None:
                    troubles.append((group, replica, why))
            repeated += [(group, replica, again) for replica in group.repeated]
        return troubles + repeated

    def metrics(self) -> dict[str, float]:
        """Collect what the MLflow parent run gets: the means of the best group, and of the first 100."""
        result: dict[str, float] = {}
        for metric in (self.monitor, self.score, TO_TARGET, metrics.PARAMETERS):
            mean = self.groups[0].mean(metric)
            if mean is not None:
                result[f"best/{metric}"] = mean.mean
                if metric == TO_TARGET:
                    result["best/without_target"] = float(len(self.groups[0].late))
        for group in self.groups[:MOST_METRICS]:
            name = re.sub(r"[^\w .:/-]+", "-", group.name.replace("=", ":"))[:150] or "all"
            for metric in (self.monitor, self.score):
                mean = group.mean(metric)
                if mean is not None:
                    key = metrics.free_name(f"group/{metric}/{name}", result, " ")
                    result[key] = mean.mean
        return result
