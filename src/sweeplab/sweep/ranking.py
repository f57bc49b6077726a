"""What came out of a sweep, the best first: means over the replicas of a config."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeplab import metrics, screen, store
from sweeplab.sweep.plan import Plan


@dataclass
class Group:
    """The replicas of one config: runs that differ in their seed alone."""

    values: list[str]  # of the swept keys but the seed
    runs: list[dict[str, float]] = field(default_factory=list)
    unfinished: int = 0

    def spread(self, name: str, digits: int = 4) -> str:
        """`mean ± standard deviation` over the replicas that have the metric; the mean alone of one."""
        found = [run[name] for run in self.runs if name in run]
        if not found:
            return "-"
        mean = screen.number(statistics.fmean(found), digits)
        return f"{mean} ± {screen.number(statistics.stdev(found), digits)}" if len(found) > 1 else mean

    def mean(self, name: str) -> float | None:
        found = [run[name] for run in self.runs if name in run]
        return statistics.fmean(found) if found else None


def ranking(plan: Plan, runs: Sequence[store.Run]) -> None:
    """Print the table, ranked by the monitored metric at the best epoch; chosen by validation, tested once."""
    settings = plan.settings
    keys = [key for key in dict.fromkeys(k for cell in plan.cells for k in cell.varied) if key != "seed"]
    best = f"best {settings.monitor}"
    groups: dict[tuple[str, ...], Group] = {}
    for cell, run in zip(plan.cells, runs, strict=True):
        values = [cell.varied.get(key, "") for key in keys]
        group = groups.setdefault(tuple(values), Group(values))
        found = _measured(run, settings.monitor, best)
        if found is None:
            group.unfinished += 1
        else:
            group.runs.append(found)
    sign = -1.0 if settings.mode == "max" else 1.0
    ranked = sorted(groups.values(), key=lambda g: (g.mean(best) is None, sign * (g.mean(best) or 0.0)))
    score = f"{metrics.TEST}/{metrics.score(settings.data.task)}"
    columns = [
        *keys,
        "n",
        best,
        score,
        metrics.BEST_EPOCH,
        metrics.EARLY_STOP_EPOCH,
        metrics.PARAMETERS,
        metrics.SECONDS,
    ]
    screen.table(
        f"{len(plan.cells)} runs, ranked by {settings.monitor} (mean ± standard deviation over n runs)",
        columns,
        [_row(group, best, score) for group in ranked],
        left=len(keys),
    )


def _measured(run: store.Run, monitor: str, best: str) -> dict[str, float] | None:
    """The metrics of a finished run, and the monitored one at its best epoch; None for a run that did not finish."""
    result = run.result()
    if result is None or result.status != store.FINISHED:
        return None
    epoch = result.metrics.get(metrics.BEST_EPOCH)
    return result.metrics if epoch is None else {**result.metrics, best: run.journal.epochs()[int(epoch)][monitor]}


def _row(group: Group, best: str, score: str) -> list[str]:
    count = str(len(group.runs)) + (f" ({group.unfinished} missing)" if group.unfinished else "")
    size = group.mean(metrics.PARAMETERS)
    return [
        *group.values,
        count,
        group.spread(best),
        group.spread(score),
        group.spread(metrics.BEST_EPOCH, 1),
        group.spread(metrics.EARLY_STOP_EPOCH, 1),
        "-" if size is None else f"{size:,.0f}",
        group.spread(metrics.SECONDS, 1),
    ]
