"""The figures of a comparison; those of what happens epoch by epoch are in curves.py."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeplab import metrics
from sweeplab.compare import drawing
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.curves import curves, learning_rates
from sweeplab.compare.drawing import COLOURS, FAINT, INK, Drawing, Plot
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.runs import sign_of
from sweeplab.compare.statistics import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 8  # of configs on the Pareto front
MOST_LINES = 20  # of epochs to the target
MOST_KEYS, MOST_VALUES = 12, 20  # of the main effects


def draw(comparison: Comparison) -> list[Drawing]:
    """Draw all figures that there is something to draw for."""
    import matplotlib as mpl

    drawings = []
    for plot in (curves, learning_rates, parameters, epochs_to_target, effects):
        name = plot.__name__
        with mpl.rc_context({**drawing.STYLE, "svg.hashsalt": name}):  # else ids are random
            drawn = plot(comparison)
            if drawn is None:
                continue
            figure, title, caption = drawn
            svg = drawing.inline(drawing.save(figure, "svg").decode())
            figure.set_layout_engine("none")  # what was laid out for one serves the other
            png = drawing.save(figure, "png")
            narrowest = drawing.narrowest(figure)
        drawings.append(
            Drawing(name=name, title=title, caption=caption, svg=svg, png=png, narrowest=narrowest)
        )
    return drawings


# --- accuracy against size


@dataclass(kw_only=True, slots=True, frozen=True)
class _Point:
    """A group in the plane of parameters and metric."""

    size: float
    mean: Mean
    group: Group


def parameters(comparison: Comparison) -> Plot | None:
    """Plot the monitored metric against parameters, with the Pareto front."""
    points = []
    for group in comparison.groups:
        mean, size = group.mean(comparison.monitor), group.mean(metrics.PARAMETERS)
        if mean is not None and size is not None:
            points.append(_Point(size=size.mean, mean=mean, group=group))
    if len({point.size for point in points}) < 2:
        return None
    figure = drawing.new_figure(3.2)
    panel = figure.subplots()
    drawn = points[:: drawing.thinning_step(points)]
    bars = [_interval_bars(point.mean) for point in drawn]
    panel.errorbar(
        [point.size for point in drawn],
        [point.mean.mean for point in drawn],
        list(zip(*bars, strict=True)),
        fmt="o",
        color=FAINT,
        elinewidth=0.8,
        alpha=0.7,
    )
    _plot_front(panel, comparison, points)
    drawing.use_log_scale(panel, "x")
    panel.set(xlabel=metrics.PARAMETERS, ylabel=f"best {comparison.monitor}")
    caption = (
        "Diamonds: no config with as few parameters is better (Pareto front). "
        "Bars: 95 % confidence intervals."
    )
    caption += drawing.thinning_note(points, "configs")
    return figure, f"{comparison.monitor} against parameters", caption


def _interval_bars(mean: Mean) -> tuple[float, float]:
    """Return how far the confidence interval goes below and above the mean."""
    if mean.low is None or mean.high is None:
        return 0.0, 0.0
    return mean.mean - mean.low, mean.high - mean.mean


def _plot_front(panel: Axes, comparison: Comparison, points: Sequence[_Point]) -> None:
    """Plot the Pareto front, its last few configs by name, which are the best."""
    indices = pareto([(point.size, point.mean.mean) for point in points], comparison.mode)
    front = sorted((points[index] for index in indices), key=lambda point: point.size)
    sizes, means = [point.size for point in front], [point.mean.mean for point in front]
    panel.plot(sizes, means, color=COLOURS[0], marker="D", drawstyle="steps-post", zorder=3)
    smallest, largest = min(point.size for point in points), max(point.size for point in points)
    span = max(point.mean.mean for point in points) - min(point.mean.mean for point in points)
    last = math.inf
    for point in front[-MOST_NAMES:]:
        value = point.mean.mean
        away = 10 if abs(value - last) < 0.03 * span else 0  # or it would lie on the label before
        last = value
        is_right = math.log(point.size / smallest) > 0.5 * math.log(largest / smallest)
        side: dict[str, Any] = {"xytext": (6, -10 - away)}
        if is_right:
            side = {"xytext": (-6, away), "ha": "right"}
        text = drawing.shorten(comparison.ranked_name(point.group), 50)
        panel.annotate(
            text, (point.size, value), textcoords="offset points", va="center", fontsize=8, **side
        )


def pareto(points: Sequence[tuple[float, float]], mode: str) -> list[int]:
    """Find the indices of the (cost, value) for which none costs as little and has a better value."""
    losses = [(cost, -sign_of(mode) * value) for cost, value in points]
    front: list[int] = []
    for index in sorted(range(len(points)), key=losses.__getitem__):
        if not front or losses[index][1] < losses[front[-1]][1]:
            front.append(index)
    return front


# --- epochs to the target


def epochs_to_target(comparison: Comparison) -> Plot | None:
    """Plot how soon each config got there, seed by seed."""
    reached = []
    for group in comparison.groups:
        mean = group.mean(TO_TARGET)
        if mean is not None:
            reached.append((mean, group))
    if not reached:
        return None
    reached.sort(key=lambda item: item[0].mean)
    shown = reached[:MOST_LINES]
    figure = drawing.new_figure(1.2 + 0.32 * len(shown))
    panel = figure.subplots()
    for line, (mean, group) in enumerate(shown):
        _plot_seeds(panel, line, group, len(shown))
        panel.plot([mean.mean], [line], "D", color=COLOURS[0], markersize=6)
        reached_it = f"{mean.n - len(group.late)} of {len(group.replicas)}"
        panel.annotate(reached_it, (1, line), xycoords=("axes fraction", "data"), va="center")
    names = [drawing.shorten(comparison.ranked_name(group), 50) for _, group in shown]
    panel.set_yticks(range(len(shown)), names)
    target = f"{comparison.target:g}"
    panel.set(xlabel=f"epochs to {comparison.monitor} {target}")
    panel.set(ylim=(len(shown) - 0.5, -0.5), xlim=(0, None))
    caption = "Dots: seeds, and how many reached it. Diamonds: their mean."
    if any(group.late for group in comparison.groups):
        caption += " Circles: seeds that did not reach it; they count with the limit of "
        caption += f"{comparison.limit_in_words}."
    most_seeds = max((group.replicas for _, group in shown), key=len)
    caption += drawing.thinning_note(most_seeds, "seeds", len(shown))
    if len(reached) > MOST_LINES:
        caption += f" The soonest {MOST_LINES} of {len(reached)} are drawn."
    return figure, f"Epochs to {target}", caption


def _plot_seeds(panel: Axes, line: int, group: Group, lines: int) -> None:
    """Plot the runs of a group at the height `line`: dots, and circles for those that were late."""
    runs = [run for run in group.replicas if TO_TARGET in run.measured]
    runs = runs[:: drawing.thinning_step(runs, lines)]
    for late, filling in ((False, COLOURS[5]), (True, "none")):
        epochs, heights = [], []
        for place, run in enumerate(runs):
            if run.is_late is late:
                epochs.append(run.measured[TO_TARGET])
                heights.append(line + 0.3 * (place + 0.5) / len(runs) - 0.15)
        panel.plot(epochs, heights, "o", color=COLOURS[5], markerfacecolor=filling, alpha=0.7)


# --- main effects


def effects(comparison: Comparison) -> Plot | None:
    """Plot the mean over all configs with each value of a key."""
    known = []
    for group in comparison.groups:
        mean = group.mean(comparison.monitor)
        if mean is not None:
            known.append((group.cells, mean.mean))
    swept = []
    for index, key in enumerate(comparison.columns):
        points = [(cells[index], value) for cells, value in known]
        if len({text for text, _ in points}) > 1:
            swept.append((key, points))
    swept = swept[:MOST_KEYS]
    if not swept:
        return None
    columns = min(3, len(swept))
    rows = math.ceil(len(swept) / columns)
    figure = drawing.new_figure(2.8 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, (key, points) in zip(panels, swept, strict=False):
        _plot_effect(panel, key, points)
    for panel in panels[len(swept) :]:
        panel.set_visible(False)
    figure.supylabel(f"best {comparison.monitor}", color=INK)
    caption = (
        "Dots: configs. Diamonds: their mean at that value, a fair comparison where all "
        "combinations were run."
    )
    caption += drawing.thinning_note(known, "configs")
    if len(comparison.columns) > MOST_KEYS:
        caption += f" The first {MOST_KEYS} of {len(comparison.columns)} keys are drawn."
    return figure, "Main effects", caption


def _plot_effect(panel: Axes, key: str, points: Sequence[tuple[str, float]]) -> None:
    """Plot the metric of configs against their values of a key: as numbers, if they are, else as texts."""
    texts = list(dict.fromkeys(text for text, _ in points))
    is_numeric = len(texts) > 2 and all(_number(text) is not None for text in texts)
    if not is_numeric and len(texts) > MOST_VALUES:
        texts = texts[:MOST_VALUES]
        key = f"{key} (the first {MOST_VALUES} values)"
    texts.sort(key=lambda text: (_number(text) is None, _number(text) or 0.0))
    places = {text: float(text) if is_numeric else index for index, text in enumerate(texts)}
    kept = [(places[text], value) for text, value in points if text in places]
    dots = kept[:: drawing.thinning_step(kept)]
    panel.plot([x for x, _ in dots], [y for _, y in dots], "o", color=COLOURS[5], alpha=0.5)
    by_place: dict[float, list[float]] = defaultdict(list)
    for x, y in sorted(kept):
        by_place[x].append(y)
    means = [math.fsum(values) / len(values) for values in by_place.values()]
    panel.plot(
        list(by_place),
        means,
        color=COLOURS[0],
        marker="D",
        markersize=6,
        markevery=drawing.thinning_step(means),
        linestyle="-" if is_numeric else ":",
    )
    if not is_numeric:
        rotation = 30 if sum(map(len, texts)) > 24 else 0
        names = [drawing.shorten(text, 24) for text in texts]
        panel.set_xticks(range(len(texts)), names, rotation=rotation)
        panel.margins(x=0.2)
    elif min(by_place) > 0 and max(by_place) / min(by_place) >= 16:
        drawing.use_log_scale(panel, "x")
    panel.set(xlabel=drawing.shorten(key, 50))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
