"""From the runs of sweeps to a comparison: grouped by config, ranked, tested and decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeplab import metrics
from sweeplab.compare import baseline as baselines
from sweeplab.compare import race
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import Contrast, make_contrasts
from sweeplab.compare.groups import TO_TARGET, group_runs, name_groups
from sweeplab.compare.looks import Looks, further_look_notes
from sweeplab.compare.notes import no_effect_notes, ranking_notes
from sweeplab.compare.ranking import most_watched, ranked, ranking_metric
from sweeplab.compare.runs import SEED, Replica, read
from sweeplab.compare.selection import Read, read_runs
from sweeplab.compare.smallest import find_smallest
from sweeplab.compare.target import choose_target, common_target
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.store import Store


def compare(
    home: Store,
    sweeps: Sequence[Node],
    *,
    where: str | None = None,
    baseline: Mapping[str, str] | None = None,
    target: float | None = None,
    margin: float | None = None,
    read: Read = read,
) -> Comparison:
    """Compare the runs of all these sweeps, each once.

    `where` keeps those whose config fulfils the condition. `baseline` maps swept keys to the values
    that others are compared with; unless told otherwise it is that of the latest sweep
    (`sweep.baseline`), and of two groups the one that came first. Who knows the runs already gives
    another way to `read` them. By the `margin`, or else that of
    the latest sweep, a config may be worse than the best and still as good. Raises UserError for a
    baseline, a target or a margin that is none, or if no run is left.
    """
    over = list(dict.fromkeys(key for sweep in sweeps for key in sweep.get("replicate", [SEED])))
    replicas = read_runs(home, sweeps, over, where, read)
    groups = group_runs(replicas, over)
    columns = name_groups(groups)
    watched, mode, score = most_watched(replicas)
    monitor, notes = ranking_metric(watched, score, groups)
    if monitor != watched:
        mode = metrics.default_mode(monitor)
    goal = choose_target(replicas, monitor, mode, target, is_watched=monitor == watched)
    for replica in replicas:
        replica.measure(monitor)
    if goal is not None:
        goal.measure(groups)
    looks = Looks.first_of(sweeps)
    for group in groups:
        group.level = group.level if looks is None else looks.level(group)
    result = Comparison(
        sweeps=list(sweeps),
        monitor=monitor,
        mode=mode,
        score=score,
        goal=goal,
        columns=columns,
        groups=ranked(groups, monitor, mode),
        notes=notes,
        looks=looks,
    )
    if baseline:
        result.baseline = baselines.find(columns, result.groups, baseline, "--baseline ")
    else:
        result.baseline = _own_baseline(result)
        if not result.baseline and len(groups) == 2:
            result.baseline = dict(zip(columns, groups[0].cells, strict=True))
    if result.baseline or looks is not None:
        result.contrasts = _contrasts(result, replicas)
    margin = _margin(result, margin, is_watched=monitor == watched)
    if margin is not None:
        result.smallest = find_smallest(result.groups, monitor, mode, score, margin, looks)
    _decide(result, replicas)
    result.notes += further_look_notes(home, sweeps, looks, groups)
    result.notes += no_effect_notes(columns, result.groups)
    result.notes += ranking_notes(result)
    return result


def _own_baseline(comparison: Comparison) -> dict[str, str]:
    """Find the baseline of the latest sweep; note if the compared runs do not have it."""
    typed = comparison.sweeps[-1].get("baseline")
    if not typed:
        return {}
    try:
        baseline = baselines.read([typed])
        return baselines.find(comparison.columns, comparison.groups, baseline, "sweep.baseline: ")
    except UserError as error:
        comparison.notes.append(f"{error}; so there is no baseline")
        return {}


def _margin(comparison: Comparison, margin: float | None, *, is_watched: bool) -> float | None:
    """Return the margin that is asked for, else that of the latest sweep.

    That of a sweep is one of the metric that its runs watched. Raises UserError for one that is
    none.
    """
    if margin is not None:
        if why := metrics.unfit_margin(comparison.monitor, margin):
            raise UserError(f"--margin={margin:g}: {why}")
        return margin
    return comparison.sweeps[-1].get("margin") if is_watched else None


def _contrasts(comparison: Comparison, replicas: Sequence[Replica]) -> dict[str, list[Contrast]]:
    """Compare the groups with the baseline, metric by metric.

    Where every run stops at the target, the question is how soon it gets there, which then comes
    first; of a cross-validation it is what the folds tell.
    """
    names = [comparison.monitor, comparison.score]
    if comparison.is_folded:
        names.reverse()
    if any(group.measured(TO_TARGET) for group in comparison.groups):
        names.insert(2 if common_target(replicas) is None else 0, TO_TARGET)
    return {
        name: make_contrasts(
            name,
            comparison.monitor,
            comparison.mode,
            columns=comparison.columns,
            groups=comparison.groups,
            baseline=comparison.baseline,
            looks=comparison.looks,
        )
        for name in names
    }


def _decide(comparison: Comparison, replicas: Sequence[Replica]) -> None:
    """Find the configs that are not decided; of a race, keep the contrasts that tell its end.

    They are decided by the epochs to the target if all runs stop there, else by what they monitor.
    """
    if comparison.looks is None:
        return
    question = comparison.monitor if common_target(replicas) is None else TO_TARGET
    contrasts, groups = comparison.contrasts, comparison.groups
    if question not in contrasts:  # no run has reached the target yet
        comparison.undecided = list(groups)
    elif comparison.baseline:
        comparison.undecided = race.undecided(contrasts[question])
    else:
        lost = race.losses(contrasts[question])
        comparison.undecided = race.undecided(contrasts[question], lost)
    if not comparison.baseline:
        comparison.contrasts = {name: race.rows(groups, contrasts[name]) for name in contrasts}
    comparison.decisive = comparison.contrasts.get(question, [])
