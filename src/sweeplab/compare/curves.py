"""The figures of what happens epoch by epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeplab import metrics
from sweeplab.compare import drawing
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.drawing import COLOURS, Plot
from sweeplab.compare.groups import Group, replicas_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CURVES = len(COLOURS)
MOST_RATES = 3  # parameter groups


def curves(comparison: Comparison) -> Plot | None:
    """Plot the monitored metric and the loss, epoch by epoch."""
    names = list(dict.fromkeys((comparison.monitor, metrics.VALID_LOSS, metrics.TRAIN_LOSS)))
    if not _trained(comparison):
        return None
    figure = drawing.new_figure(4.2)
    panels = figure.subplots(1, len(names))
    note = _plot_curves(figure, panels, names, comparison)
    for panel, name in zip(panels, names, strict=True):
        if name.endswith(metrics.LOSS):
            drawing.use_log_scale(panel, "y")
    caption = (
        "Lines: mean over the seeds that trained so long. "
        "Bands: least to greatest, while all seeds train."
    )
    return figure, "Learning curves", caption + note


def learning_rates(comparison: Comparison) -> Plot | None:
    """Plot the learning rates, epoch by epoch, where they change or differ between runs."""
    rates = _rates(_trained(comparison))
    names = sorted(rates, key=lambda name: (len(name), name))[:MOST_RATES]
    values: set[float] = set().union(*(rates[name] for name in names))
    if len(values) < 2:
        return None
    figure = drawing.new_figure(2.6)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    note = _plot_curves(figure, panels, names, comparison)
    if min(values) > 0 and max(values) >= 16 * min(values):
        drawing.use_log_scale(panels[0], "y")
        panels[0].set_ylim(bottom=max(min(values), max(values) * 1e-4) / 1.2)
    caption = (
        "That of the last batch of an epoch. Lines: mean over the seeds. Bands: least to greatest."
    )
    if len(rates) > MOST_RATES:
        caption += f" The first {MOST_RATES} of {len(rates)} parameter groups are drawn."
    return figure, "Learning rate", caption + note


def _trained(comparison: Comparison) -> list[Group]:
    return [group for group in comparison.groups if any(run.epochs for run in group.replicas)]


def _rates(groups: Sequence[Group]) -> dict[str, set[float]]:
    """Collect the learning rates of all epochs, by their names."""
    rates: dict[str, set[float]] = defaultdict(set)
    for replica in replicas_of(groups):
        for values in replica.epochs.values():
            for name, value in values.items():
                if metrics.is_learning_rate(name) and math.isfinite(value):
                    rates[name].add(value)
    return rates


def _plot_curves(figure: Figure, panels: Any, names: Sequence[str], comparison: Comparison) -> str:
    """Plot a metric in each panel, with a line for each of the first groups; say how many."""
    groups = _trained(comparison)
    shown = groups[:MOST_CURVES]
    for panel, name in zip(panels, names, strict=True):
        for index, group in enumerate(shown):
            _plot_curve(panel, group, name, index)
        panel.set(xlabel="epoch", title=name)
        panel.xaxis.get_major_locator().set_params(integer=True)
    drawing.add_legend(figure, [comparison.ranked_name(group) for group in shown])
    note = ""
    if len(groups) > len(shown):
        note = f" The best {MOST_CURVES} of {len(groups)} configs are drawn."
    if len(shown) > drawing.MOST_ON_PHONES:
        note += f" A narrow screen shows the best {drawing.MOST_ON_PHONES}."
    return note


def _plot_curve(panel: Axes, group: Group, name: str, index: int) -> None:
    """Plot the mean of a metric over the runs of a group, and a band where all of them have it."""
    values: dict[int, list[float]] = defaultdict(list)
    measured = set()
    for run in group.replicas:
        for epoch, epoch_metrics in run.epochs.items():
            value = epoch_metrics.get(name, math.nan)
            if math.isfinite(value):
                values[epoch].append(value)
                measured.add(run.id)
    if not measured:
        return
    epochs = sorted(values)
    means = [math.fsum(values[epoch]) / len(values[epoch]) for epoch in epochs]
    (line,) = panel.plot(
        epochs, means, markevery=max(1, len(epochs) // 8), **drawing.line_style(index)
    )
    whole = [epoch for epoch in epochs if len(values[epoch]) == len(measured) > 1]
    low, high = [min(values[epoch]) for epoch in whole], [max(values[epoch]) for epoch in whole]
    band = panel.fill_between(whole, low, high, color=COLOURS[index], alpha=0.18, linewidth=0)
    drawing.mark_spare(index, line, band)
