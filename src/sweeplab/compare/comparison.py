"""Comparisons: the runs of sweeps, grouped by config, ranked, and compared with a baseline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sweeplab import metrics, store
from sweeplab.compare import baseline as baselines
from sweeplab.compare import race, runs
from sweeplab.compare.computation import cell_values
from sweeplab.compare.contrasts import Contrast, has_pairs, make_contrasts
from sweeplab.compare.groups import TO_TARGET, Group, group_runs, name_groups, replicas_of
from sweeplab.compare.importance import Importance, of_grid, of_search
from sweeplab.compare.looks import Looks, further_look_notes
from sweeplab.compare.needs import need_notes
from sweeplab.compare.notes import machines, no_effect_notes, overlap_note
from sweeplab.compare.ranking import most_watched, ranked, ranking_metric
from sweeplab.compare.runs import SEED, Replica
from sweeplab.compare.smallest import Smallest, find_smallest
from sweeplab.compare.target import Target, set_target
from sweeplab.config import Node
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import Store

TARGET = 0.98  # of an accuracy, unless another is asked for or all runs stop at one
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


def compare(
    home: Store,
    sweeps: Sequence[Node],
    *,
    where: str | None = None,
    baseline: Mapping[str, str] | None = None,
    target: float | None = None,
    margin: float | None = None,
) -> Comparison:
    """Compare the runs of all these sweeps, each once.

    `where` keeps those whose config fulfils the condition. `baseline` maps swept keys to the values
    that others are compared with; unless told otherwise it is that of the latest sweep
    (`sweep.baseline`), and of two groups the one that came first. By the `margin`, or else that of
    the latest sweep, a config may be worse than the best and still as good. Raises UserError for a
    baseline, a target or a margin that is none, or if no run is left.
    """
    over = list(dict.fromkeys(key for sweep in sweeps for key in sweep.get("replicate", [SEED])))
    replicas = _read(home, sweeps, over, where)
    groups = group_runs(replicas, over)
    columns = name_groups(groups)
    watched, mode, score = most_watched(replicas)
    monitor, notes = ranking_metric(watched, score, groups)
    if monitor != watched:
        mode = metrics.default_mode(monitor)
    goal = _goal(replicas, monitor, mode, target, is_watched=monitor == watched)
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
        result.smallest = find_smallest(result.groups, monitor, mode, score, margin)
    _decide(result, replicas)
    result.notes += further_look_notes(home, sweeps, looks, groups)
    result.notes += no_effect_notes(columns, result.groups)
    result.notes += _notes(result)
    return result


def _read(
    home: Store, sweeps: Sequence[Node], over: Sequence[str], where: str | None
) -> list[Replica]:
    """Read the runs of all sweeps, those that `where` keeps. Raises UserError if there is none."""
    shared: dict[str, Node] = {}
    replicas = [runs.read(home, cell, shared) for cell in _merged_cells(sweeps)]
    if not replicas:
        raise UserError("the sweep has no runs yet")
    if where is None:
        return replicas
    kept = _filtered(replicas, over, where)
    if not kept:
        raise UserError(f"--where={where}: none of {len(replicas)} runs")
    return kept


def _merged_cells(sweeps: Sequence[Node]) -> list[Node]:
    """List the cells of all sweeps, each run once, with the values that any sweep gave it."""
    cells: dict[str, Node] = {}
    for sweep in sweeps:
        for cell in sweep["cells"]:
            earlier = cells.get(cell["fingerprint"])
            if earlier is not None:
                cell = cell | {"values": cell_values(earlier) | cell_values(cell)}
            cells[cell["fingerprint"]] = cell
    return list(cells.values())


def _filtered(replicas: Sequence[Replica], over: Sequence[str], where: str) -> list[Replica]:
    """Keep the runs whose config fulfils the condition.

    A cell that was never started is judged by what is known of it, and kept if that is too little.
    A key that only some of the runs have is null in the others.
    """
    from sweeplab.config.where import Condition

    condition = Condition.read(where, "--where")
    configs = {run.id: run.flat_config() for run in replicas if run.start}
    nulls = dict.fromkeys(key for values in configs.values() for key in values)
    kept = []
    for group in group_runs(replicas, over):
        for run in (*group.replicas, *group.repeated):
            values = group.values | {key: run.value(key) for key in over}
            try:
                fits = condition.holds(nulls | configs[run.id] if run.start else values)
            except UserError:
                if run.start:
                    raise
                fits = True
            if fits:
                kept.append(run)
    return kept


def _goal(
    replicas: Sequence[Replica], monitor: str, mode: str, target: float | None, *, is_watched: bool
) -> Target | None:
    """Set the target that is asked for, else that at which all runs stop, else that of an accuracy.

    That at which runs stop is one of the metric that they watched. Raises UserError for a target
    that is none.
    """
    if target is not None and (why := metrics.unreachable(monitor, target)):
        raise UserError(f"--target={target:g}: {why}")
    if target is None and is_watched:
        target = _common_target(replicas)
    if target is not None:
        return set_target(replicas, monitor, mode, target)
    if monitor.endswith(metrics.ACCURACY):
        return set_target(replicas, monitor, mode, TARGET, asked=False)
    return None


def _common_target(replicas: Sequence[Replica]) -> float | None:
    """Find the target at which all runs stop; None if there is none, or not one."""
    starts = [run.start for run in replicas if run.start]
    targets = {start["config"].get("trainer", {}).get("target") for start in starts}
    target = targets.pop() if len(targets) == 1 else None
    return None if target is None else float(target)


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
        names.insert(2 if _common_target(replicas) is None else 0, TO_TARGET)
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
    question = comparison.monitor if _common_target(replicas) is None else TO_TARGET
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


def _notes(comparison: Comparison) -> list[str]:
    """Say how far the ranking can be believed, and which of its runs were made otherwise."""
    lines = []
    monitor = comparison.monitor
    means = [mean for group in comparison.groups if (mean := group.mean(monitor)) is not None]
    if not means:
        lines.append(f"no run has a {monitor} to compare yet")
    elif max(mean.n for mean in means) == 1:
        lines.append(_only_one(is_folded=comparison.is_folded))
    elif comparison.looks is None and len(means) > 1 + bool(comparison.baseline):
        lines.append(overlap_note(means, comparison.mode, has_baseline=bool(comparison.baseline)))
    if comparison.is_folded:
        lines.append(
            "n counts folds: intervals and p tell of other examples, not of other seeds, and are "
            "corrected for training sets that overlap (Nadeau and Bengio 2003); more folds or "
            "seeds bring no further examples, so no number of pairs is called enough"
        )
    shown = filter(has_pairs, comparison.contrasts.values())
    lines += need_notes(next(shown, []))
    monitors = {metrics.watched(run.start)[0] for run in comparison.replicas if run.start}
    others = ", ".join(sorted(monitors - {monitor}))
    if others:
        lines.append(f"the best epoch of some runs was chosen by {others}, not by {monitor}")
    if comparison.goal is not None:
        lines += comparison.goal.notes(comparison.groups)
    made_on = machines(comparison.replicas)
    if len(made_on) > 1:
        lines.append(f"made in different ways, so seconds do not compare: {'; '.join(made_on)}")
    return lines


def _only_one(*, is_folded: bool) -> str:
    """Say that one run of each config tells little, and which further ones tell more."""
    what, several = "seed", "'seed=range(5)'"
    if is_folded:
        what, several = "fold", "data.folds=5 'data.fold=range(5)'"
    return f"one {what} each: chance alone makes differences; several tell, as in {several}"
