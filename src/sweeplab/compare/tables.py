"""The tables of a comparison, as text: each is described once, and shown in several forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweeplab import config, console, metrics
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import Contrast, has_pairs
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.importance import Importance
from sweeplab.compare.looks import HOPELESS, Looks
from sweeplab.compare.power import LOOKED_AT_ONCE, POWER_TEXT, UPPER
from sweeplab.compare.runs import SEED, Replica
from sweeplab.compare.target import PATIENCE
from sweeplab.console import counted

HOPELESS_TEXT = (
    "by these pairs the last look would show a difference with a probability below "
    f"{100 * HOPELESS:.0f} %, so that no more seeds were asked for"
)

CONTRAST_COLUMNS = (
    "verdict",
    "pairs",
    "difference",
    "95 % interval",
    "d_z",
    "p",
    "p (Holm)",
    "pairs needed",
)
SPARE_MEASURES = (
    metrics.BEST_EPOCH,
    metrics.SECONDS,
    metrics.EARLY_STOP_EPOCH,
    TO_TARGET,
    metrics.PARAMETERS,
)


@dataclass(kw_only=True, slots=True, frozen=True)
class Table:
    """The first rows of a table."""

    heading: str
    intro: str = ""  # what is shown
    caption: str = ""  # what its numbers are
    columns: list[str]
    rows: list[list[str]]
    texts: int  # the first columns, which are no numbers
    left_out: int = 0  # rows
    spare: tuple[str, ...] = ()  # columns that a narrow terminal does without, the first one first

    @property
    def about(self) -> str:
        """What is shown, and what its numbers are."""
        return f"{self.intro}; {self.caption}" if self.caption else self.intro


def shown(comparison: Comparison, most: int) -> list[Table]:
    """Make all tables of a comparison, with at most so many rows each."""
    tables = [ranking(comparison, most)]
    tables += [contrasts(comparison, metric, most) for metric in shown_contrasts(comparison)]
    if comparison.importance is not None:
        tables.append(importance(comparison.importance))
    return tables


# --- the ranking


def ranking(comparison: Comparison, most: int) -> Table:
    """Make the table of groups: the swept values, n, and the mean of each metric."""
    titles = {name: column_title(comparison, name) for name in measures(comparison)}
    rows = []
    for group in comparison.groups[:most]:
        means = [mean_cell(comparison, group, name) for name in titles]
        rows.append([*group.cells, n_cell(comparison, group), *means])
    return Table(
        heading="Ranking",
        intro=f"{comparison.statuses()}; ranked by {comparison.monitor} at the best epoch",
        caption=ranking_caption(comparison),
        columns=[*comparison.columns, "n", *titles.values()],
        rows=rows,
        texts=len(comparison.columns),
        left_out=len(comparison.groups) - len(rows),
        spare=tuple(titles[name] for name in SPARE_MEASURES if name in titles),
    )


def measures(comparison: Comparison) -> list[str]:
    """List the metrics of the ranking, which are its last columns."""
    names = [comparison.monitor, comparison.score, metrics.BEST_EPOCH, metrics.EARLY_STOP_EPOCH]
    if any(group.measured(TO_TARGET) for group in comparison.groups):
        names.append(TO_TARGET)
    return [*names, metrics.PARAMETERS, metrics.SECONDS]


def column_title(comparison: Comparison, metric: str) -> str:
    """Name the column of a metric."""
    if metric == comparison.monitor:
        return f"best {metric}"
    if metric == TO_TARGET:
        return f"epochs to {comparison.target:g}"
    return metric


def digits(comparison: Comparison, metric: str) -> int:
    """Return the number of digits after the point with which a metric is shown."""
    return 4 if metric in (comparison.monitor, comparison.score) else 1


def ranking_caption(comparison: Comparison) -> str:
    """Say what the numbers of the ranking are."""
    caption = (
        f"mean ± 95 % confidence interval over n {repeats(comparison)}; {comparison.score} is measured once, "
        "with the weights of the best epoch: nothing is ranked or chosen by it"
    )
    if comparison.looks is not None:
        caption += "; intervals are widened so that they hold at whatever look a config stopped"
    means = [group.mean(name) for group in comparison.groups for name in measures(comparison)]
    if any(mean is not None and mean.is_cut for mean in means):
        caption += (
            "; an interval that would go beyond what the metric can be ends there, "
            "as in (0.9000 to 1.0000)"
        )
    late = [run for run in comparison.replicas if run.is_late]
    if late:
        ended_by_patience = any(run.stop_reason == PATIENCE for run in late)
        sooner = ", also if its patience ended it sooner" if ended_by_patience else ""
        caption += (
            f"; a run that did not reach {comparison.target:g} counts with the limit of "
            f"{comparison.limit_in_words}{sooner}, "
            "so that a mean after ≥ would be larger without it"
        )
    return caption


def repeats(comparison: Comparison) -> str:
    """Name the repetitions that n counts."""
    over = _over(comparison)
    if comparison.is_folded:
        return "folds, each the mean of its seeds"
    return "seeds" if over == SEED else f"values of {over}"


def _over(comparison: Comparison) -> str:
    """List the keys over which a config is repeated."""
    return " and ".join(comparison.groups[0].over or [SEED])


def n_cell(comparison: Comparison, group: Group) -> str:
    """Write `5`, or `3 of 5 (1 failed, 1 running)`: the runs that are in the mean."""
    monitor, inside = comparison.monitor, len(group.measured(comparison.monitor))
    outside = [run for run in group.replicas if monitor not in run.measured]
    if not outside:
        return str(inside)
    counts = Counter(run.why_without(monitor) for run in outside)
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
    return f"{inside} of {group.n} ({reasons})"


def mean_cell(comparison: Comparison, group: Group, metric: str) -> str:
    """Write `mean ± half of the interval`, and its n if it is not that of the ranking.

    An interval that ends where the metric does is written as `mean (low to high)`.
    """
    mean = group.mean(metric)
    if mean is None:
        return "-"
    if metric == metrics.PARAMETERS:
        return f"{mean.mean:,.0f}"
    places = digits(comparison, metric)
    text = console.number(mean.mean, places)
    form = ".1e" if "e" in text else f".{places}f"
    if mean.is_cut:
        text += f" ({mean.low:{form}} to {mean.high:{form}})"
    elif mean.half is not None:
        text += f" ± {mean.half:{form}}"
    if metric == TO_TARGET and group.late:
        runs = sum(metric in run.measured for run in group.replicas)
        return f"≥ {text} ({runs - len(group.late)} of {runs} got there)"
    n_ranked = len(group.measured(comparison.monitor))
    return text if mean.n == n_ranked else f"{text} (n={mean.n})"


def label(group: Group, replica: Replica) -> str:
    """Name a run, as in `hidden=392 seed=0`."""
    words = []
    for name, key in zip(config.short_names(group.over), group.over, strict=True):
        value = replica.value(key)
        if value is not None:
            words.append(f"{name}={config.to_text(value)}")
    return " ".join([*filter(None, [group.name]), *(words or [replica.id])])


# --- the differences from the baseline


def contrasts(comparison: Comparison, metric: str, most: int) -> Table:
    """Make the table of the differences in a metric: the swept values, then CONTRAST_COLUMNS."""
    lines = comparison.contrasts[metric]
    name = column_title(comparison, metric) if metric == TO_TARGET else metric
    rows = [contrast_row(contrast, digits(comparison, metric)) for contrast in lines[:most]]
    return Table(
        heading=f"Differences in {name}",
        intro=contrast_caption(comparison, metric),
        caption=needs_caption(lines),
        columns=[*comparison.columns, *CONTRAST_COLUMNS],
        rows=rows,
        texts=len(comparison.columns) + 1,
        left_out=len(lines) - len(rows),
        spare=("d_z", "p", "pairs", "pairs needed", "p (Holm)"),
    )


def contrast_row(contrast: Contrast, places: int) -> list[str]:
    """Make a row of the table of differences, with so many digits after the point."""
    paired, difference = contrast.paired, contrast.paired.difference
    pairs, center, interval = "0", "-", "-"
    if difference is not None:
        pairs = str(difference.n)
        if difference.n != paired.n_all:
            pairs += f" of {paired.n_all}"
        center = f"{contrast.bound} {difference.mean:+.{places}f}".strip()
        if difference.half is not None:
            interval = f"{difference.low:+.{places}f} to {difference.high:+.{places}f}"
    statistics = []
    for value, form in ((paired.d_z, "+.2f"), (paired.p, ".2g"), (paired.holm, ".2g")):
        statistics.append("-" if value is None else format(value, form))
    statistics.append("-" if contrast.need is None else contrast.need.text)
    stopped = f" ({contrast.stopped})" if contrast.stopped else ""
    verdict = f"{contrast.verdict}{stopped}"
    return [*contrast.group.cells, verdict, pairs, center, interval, *statistics]


def contrast_sentence(comparison: Comparison) -> str:
    """Say what the first table of differences tells of the best config; '' if there is none."""
    best = comparison.groups[0]
    for metric in shown_contrasts(comparison)[:1]:
        for contrast in comparison.contrasts[metric]:
            if best in (contrast.group, contrast.against):
                return _sentence(comparison, metric, contrast)
    return ""


def _sentence(comparison: Comparison, metric: str, contrast: Contrast) -> str:
    """Write `hidden=784 is better than hidden=392; ...`, with the difference and its p."""
    name, verdict, against = contrast.group.name, contrast.verdict, contrast.against
    if not comparison.baseline or against is None:  # a race names the other in its verdict
        sentence = f"{name}: {verdict}"
    elif contrast.is_shown:
        sentence = f"{name} is {verdict} than {against.name}"
    else:
        sentence = f"{name} against {against.name}: {verdict}"
    if contrast.paired.holm is None:
        return sentence
    cells = contrast_row(contrast, digits(comparison, metric))
    _, _, center, interval, _, _, p, _ = cells[len(contrast.group.cells) :]
    how = f"paired by {_over(comparison)}"
    if contrast.tested > 1:
        how += f", Holm over {contrast.tested}"
    if contrast.stopped:
        how += f", {contrast.stopped}"
    title = column_title(comparison, metric)
    return f"{sentence}; {title} {center} ({interval}), p = {p} ({how})"


def contrast_caption(comparison: Comparison, metric: str) -> str:
    """Say what the differences in a metric are."""
    lines = comparison.contrasts[metric]
    against = " ".join(f"{key}={value}" for key, value in comparison.baseline.items())
    title = column_title(comparison, metric)
    caption = f"{title} minus that of {against or 'the other'}, paired by {_over(comparison)}"
    tested = max((contrast.tested for contrast in lines), default=0)
    if comparison.looks is not None:
        caption += f"; {looks_caption(comparison.looks, tested)}"
        if any(contrast.is_hopeless for contrast in lines):
            caption += f"; 'nor would {comparison.looks.after[-1]}': {HOPELESS_TEXT}"
    elif tested > 1:
        caption += f"; p by the paired t test, corrected for {tested} comparisons (Holm)"
    if any(contrast.bound for contrast in lines):
        caption += (
            "; 'at least' ('at most'): only one side has runs that count with the limit of "
            f"{comparison.limit_in_words}, "
            "and without it the difference would be larger (smaller) in size"
        )
    return caption


def looks_caption(looks: Looks, tested: int) -> str:
    """Say how often was looked, and what the numbers are corrected for."""
    comparisons = f" and for {counted(tested, 'comparison')} (Holm)" if tested > 1 else ""
    return (
        f"looked at after {looks.text} of what was not decided; p by the paired t test and the "
        f"intervals are corrected for these looks{comparisons}, and hold at whichever one stopped"
    )


def needs_caption(lines: Sequence[Contrast]) -> str:
    """Say what the numbers of pairs are that are needed; '' if there are none."""
    if not any(contrast.need for contrast in lines):
        return ""
    has_looks = any(contrast.looked for contrast in lines)
    once = f", of new seeds {LOOKED_AT_ONCE}" if has_looks else ""
    return (
        f"pairs needed{once}: for {POWER_TEXT}, with the spread as it was seen, and with its upper limit "
        f"of {100 * UPPER:.0f} %"
    )


def shown_contrasts(comparison: Comparison) -> list[str]:
    """List the metrics whose differences are shown: the first one, and those with pairs."""
    return [
        metric
        for number, metric in enumerate(comparison.contrasts)
        if number == 0 or has_pairs(comparison.contrasts[metric])
    ]


# --- the keys


def importance(found: Importance) -> Table:
    """Make the table of how much each key matters, which has no rows if that cannot be told."""
    columns = ["key", "share", "95 % interval"] if found.shares else []
    rows = []
    for share in found.shares:
        interval = "-"
        if share.low is not None and share.high is not None:
            interval = f"{100 * share.low:.0f} to {100 * share.high:.0f} %"
        rows.append([share.name, f"{100 * share.share:.0f} %", interval])
    return Table(
        heading="Importance",
        intro=found.about,
        caption=found.caption,
        columns=columns,
        rows=rows,
        texts=1,
    )
