"""What difference the seeds of a plan can show, by how far earlier runs lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeplab import config, console, metrics, store
from sweeplab.compare import baseline, looks, statistics
from sweeplab.compare.computation import group_key
from sweeplab.compare.contrasts import with_baselines
from sweeplab.compare.groups import Group, group_runs, name_groups
from sweeplab.compare.power import POWER_TEXT, detectable, upper_limit
from sweeplab.compare.runs import SEED, Replica, planned, read_run
from sweeplab.config import Config, Node
from sweeplab.console import counted
from sweeplab.store import Run
from sweeplab.sweep.plan import Plan

MOST_RUNS = 1000  # that are read, the latest ones


@dataclass(kw_only=True, slots=True, frozen=True)
class Spread:
    """How far the runs of one config lie apart, pooled over several configs."""

    deviation: float
    freedom: int
    runs: int


def resolution(plan: Plan) -> str:
    """Say what difference the plan can show; '' where nothing is compared by seeds, or known."""
    settings = plan.settings
    runs = [planned(cell.record, cell.job.outline()) for cell in plan.cells]
    groups = group_runs(runs, settings.replicate)
    comparisons = _comparisons(settings, groups)
    if not comparisons or config.FOLD in settings.replicate:
        return ""
    n = min(group.n for group in groups)
    if n < 2:
        return "one seed each: no difference can be told from chance"
    spread, source = _earlier_spread(settings, runs)
    if spread is None:
        return ""
    deviation = math.sqrt(2) * spread.deviation  # of two runs that have nothing in common
    least = detectable(deviation, n, _level(settings, comparisons) / 2)
    limits = (least, least * upper_limit(spread.freedom))
    repeats = "seeds" if settings.replicate == [SEED] else "runs of each config"
    return (
        f"{n} {repeats} can show {_shown(limits, settings.monitor)} in {settings.monitor} "
        f"({POWER_TEXT}, {counted(comparisons, 'comparison')}), by the spread of {spread.runs} "
        f"{source}"
    )


def _shown(limits: tuple[float, float], metric: str) -> str:
    """Say what difference can be shown, as far as a metric can differ at all."""
    low, high = metrics.bounds(metric)
    possible = [console.two_digits(limit) for limit in limits if limit <= high - low]
    if not possible:
        return "no difference, not even the largest that there can be,"
    at_best = " at best" if len(possible) == 1 else ""
    return f"a difference of {' to '.join(dict.fromkeys(possible))}{at_best}"


def _level(settings: Config, comparisons: int) -> float:
    """Return the level of each test; of a sweep with looks, that of the last look."""
    alpha = statistics.ALPHA / comparisons
    if settings.sweep.seeds.until is None:
        return alpha
    from sweeplab.compare.sequential import Looked  # and numpy: few plans need it

    after = looks.planned(settings.sweep.seeds)
    return Looked(fractions=tuple(n / after[-1] for n in after), pairs=tuple(after)).level(alpha)


def _comparisons(settings: Config, groups: Sequence[Group]) -> int:
    """Count the differences that will be tested.

    Without a baseline that is all but one from that one, and in a race each from each.
    """
    if len(groups) == 1:
        return 0
    columns = name_groups(groups)
    if settings.sweep.baseline is None:
        others = len(groups) - 1
        return others if settings.sweep.seeds.until is None else others * len(groups) // 2
    typed = baseline.read([settings.sweep.baseline])
    baseline_group = baseline.find(columns, groups, typed, "sweep.baseline: ")
    pairs = with_baselines(columns, groups, baseline_group)
    return sum(against is not None for _, against in pairs)


# --- earlier runs


def _earlier_spread(settings: Config, planned: Sequence[Replica]) -> tuple[Spread | None, str]:
    """Find the spread of earlier runs, and say whose they are.

    They are runs of the planned configs, or else all that watched the same metric on the same data.
    """
    questions = {group_key(run.start, settings.replicate) for run in planned}
    examples = {_examples(run.start) for run in planned}
    same: list[Run] = []
    other: list[Run] = []
    for run in store.Store(settings.store.root).runs():
        start = run.start()
        if run.status != store.Status.FINISHED or _examples(start) not in examples:
            continue
        if group_key(start, settings.replicate) in questions:
            same.append(run)
        elif metrics.watched(start)[0] == settings.monitor:
            other.append(run)
    sources = ((same, "of these configs"), (other, "of other configs on the same data"))
    for runs, whose in sources:
        spread = _spread([read_run(run) for run in runs[-MOST_RUNS:]], settings)
        if spread is not None:
            return spread, f"earlier runs {whose}"
    return None, ""


def _examples(start: Node) -> Any:
    """Return the digest of the examples that a run was given."""
    return start.get("data", {}).get("digest")


def _spread(replicas: Sequence[Replica], settings: Config) -> Spread | None:
    """Pool the variance within each config; None if no config has two runs that differ."""
    for replica in replicas:
        replica.measure(settings.monitor)
    squares, freedom, count = 0.0, 0, 0
    for group in group_runs(replicas, settings.replicate):
        values = list(group.by_replica(settings.monitor).values())
        if len(values) > 1:
            center = math.fsum(values) / len(values)
            squares += math.fsum((value - center) ** 2 for value in values)
            freedom += len(values) - 1
            count += len(values)
    if squares == 0:
        return None
    return Spread(deviation=math.sqrt(squares / freedom), freedom=freedom, runs=count)
