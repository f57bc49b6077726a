"""A comparison: groups ranked by a metric, their differences from a baseline, and what a reader has to know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplab import metrics, store
from sweeplab.compare import statistics
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.replicas import Node, Replica
from sweeplab.compare.target import Target

MOST_METRICS = 100  # groups whose means the MLflow parent run gets


@dataclass(kw_only=True, slots=True)
class Contrast:
    """A group against the one that differs from it in the baseline's keys alone; None if there is no such group."""

    group: Group
    against: Group | None
    paired: statistics.Paired
    said: str
    bound: str = ""  # at least | at most: how the difference of epochs would change without a limit of epochs


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
    remarks: list[str] = field(default_factory=list)  # what was found while it was made, for people

    @property
    def target(self) -> float | None:
        """The value of the monitored metric to which epochs are counted."""
        return None if self.goal is None else self.goal.value

    @property
    def limit(self) -> int | None:
        """Epochs at which a run counts that does not reach the target."""
        return None if self.goal is None else self.goal.limit

    @property
    def replicas(self) -> list[Replica]:
        return [replica for one in self.groups for replica in one.replicas]

    @property
    def title(self) -> str:
        if len(self.sweeps) == 1:
            return str(self.sweeps[0]["name"])
        experiments = {sweep["experiment"] for sweep in self.sweeps} - {None}
        return f"{len(self.sweeps)} sweeps" + (f" of {', '.join(sorted(experiments))}" if experiments else "")

    def statuses(self) -> str:
        """`10 runs of 2 configs: 9 finished, 1 failed`."""
        counts = Counter(replica.status for replica in self.replicas)
        said = ", ".join(
            f"{count} {status}"
            for status, count in sorted(counts.items(), key=lambda c: (c[0] != store.Status.FINISHED, c[0]))
        )
        return f"{_count(len(self.replicas), 'run')} of {_count(len(self.groups), 'config')}: {said}"

    def troubles(self) -> list[tuple[Group, Replica, str]]:
        """Every run that is not in all means, and why."""
        wanted = (self.monitor, self.score)
        found = [(g, r, why) for g in self.groups for r in g.replicas if (why := r.trouble(wanted))]
        again = "counts once: a later run of the same was found, too"
        return found + [(g, r, again) for g in self.groups for r in g.repeated]

    @property
    def importance(self) -> dict[str, float]:
        """Key -> its share, of a single search that has had enough trials to tell."""
        return dict(self.sweeps[0].get("search", {}).get("importance", {})) if len(self.sweeps) == 1 else {}

    def notes(self) -> list[str]:
        """What a reader has to know before believing the ranking."""
        means = [one.mean(self.monitor) for one in self.groups]
        known = [m for m in means if m is not None]
        said = list(self.remarks)
        if not known:
            said.append(f"no run has a {self.monitor} to compare yet")
        elif max(m.n for m in known) == 1:
            said.append("one seed each: chance alone makes differences; several tell, as in 'seed=range(5)'")
        elif len(known) > 2 or (len(known) == 2 and not self.baseline):
            said.append(self._overlap(known))
        other = {r.watched()[0] for r in self.replicas if r.start} - {self.monitor}
        if other:
            said.append(f"the best epoch of some runs was chosen by {', '.join(sorted(other))}, not by {self.monitor}")
        if self.goal is not None:
            said += self.goal.notes(self.groups)
        made = self.machines()
        if len(made) > 1:
            said.append("made in different ways, so seconds do not compare: " + "; ".join(made))
        return said

    def _overlap(self, known: Sequence[statistics.Mean]) -> str:
        best, *rest = known
        if best.half is None:
            return "the best has one seed only: nothing is known about its spread"
        sign = 1 if self.mode == "max" else -1
        edge = best.mean - sign * best.half
        close = sum(1 for m in rest if m.half is None or sign * (m.mean + sign * m.half) >= sign * edge)
        if not close:
            return "no other interval overlaps with that of the best"
        hint = "" if self.baseline else "; --baseline KEY=VALUE pairs by seed, which can tell more"
        overlap = "1 other interval overlaps" if close == 1 else f"{close} other intervals overlap"
        return f"too close to call: {overlap} with that of the best{hint}"

    def machines(self) -> list[str]:
        """`20 runs: cpu, 1 thread, torch 2.15.0, Linux-...`, the most frequent first."""
        found = Counter(
            _machine(replica.start["provenance"]) for replica in self.replicas if "provenance" in replica.start
        )
        return [f"{_count(count, 'run')}: {machine}" for machine, count in found.most_common()]

    def metrics(self) -> dict[str, float]:
        """For the MLflow parent run: the best group's means, and those of the first 100 groups, finite all."""
        found: dict[str, float] = {}
        for rank, one in enumerate(self.groups[:MOST_METRICS]):
            name = re.sub(r"[^\w .:/-]+", "-", one.name.replace("=", ":"))[:150] or "all"
            for metric in (self.monitor, self.score, TO_TARGET, metrics.PARAMETERS):
                if (mean := one.mean(metric)) is None:
                    continue
                if rank == 0:
                    found[f"best/{metric}"] = mean.mean
                    if metric == TO_TARGET:
                        found["best/without_target"] = float(len(one.late))
                if metric in (self.monitor, self.score):
                    found[_free(f"group/{metric}/{name}", found)] = mean.mean
        return found


def _machine(provenance: Mapping[str, Any]) -> str:
    threads, versions = provenance.get("threads"), provenance.get("versions", {})
    instructions = provenance.get("torch", {}).get("cpu_capability")  # AVX512, say: they round differently
    system = str(provenance.get("platform", "")).partition("-")[0]
    words = (provenance.get("device"), instructions, threads and _count(threads, "thread"))
    return ", ".join(str(word) for word in (*words, f"torch {versions.get('torch')}", system) if word)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"


def _free(name: str, taken: Mapping[str, float]) -> str:
    """The name, numbered if it is taken: what MLflow does not allow in names was replaced."""
    return next(n for n in (name, *(f"{name} {i}" for i in range(2, MOST_METRICS + 2))) if n not in taken)
