"""The figures of a comparison, drawn by matplotlib: as SVG in the colours of the page around it, and as PNG."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplab import metrics
from sweeplab.compare import statistics
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.target import count_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

INK, FAINT = "#010203", "#818283"  # stand for the text's colour and a paler one, which the page chooses
# Okabe and Ito's colours, which the colour-blind can tell apart (without the two palest); a page may lighten them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#8b5a2b")
MARKERS = "osD^vPX*"
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (8, 3)), (0, (1, 1)), (0, (4, 1)))
MOST_CURVES, MOST_LINES, MOST_KEYS, MOST_VALUES, MOST_NAMES = len(COLOURS), 20, 12, 20, 8
MOST_RATES = 3  # parameter groups
MOST_DOTS = 1000  # of a panel: more are no clearer, and each is an element of the page
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT, "axes.facecolor": "none", "axes.grid": True, "axes.labelcolor": INK,
    "axes.spines.right": False, "axes.spines.top": False, "figure.constrained_layout.use": True, "font.size": 9,
    "grid.alpha": 0.25, "grid.color": FAINT, "legend.frameon": False, "lines.markersize": 4, "svg.fonttype": "none",
    "text.color": INK, "text.parse_math": False, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Drawing:
    """A figure as it goes into the report."""

    name: str  # of its PNG, without the ending
    title: str
    caption: str  # what it shows, and what it leaves out
    svg: str  # an element for HTML
    png: bytes


def draw(found: Comparison) -> list[Drawing]:
    """All figures that there is something to draw for."""
    import matplotlib as mpl

    made = []
    for plot in (curves, learning_rates, parameters, epochs_to_target, effects):
        with mpl.rc_context({**STYLE, "svg.hashsalt": plot.__name__}):  # else ids are random
            drawn = plot(found)
            if drawn is None:
                continue
            figure, title, caption = drawn
            svg = _saved(figure, "svg")
            figure.set_layout_engine("none")  # what was laid out for one serves the other
            png = _saved(figure, "png")
        made.append(Drawing(name=plot.__name__, title=title, caption=caption, svg=_inline(svg.decode()), png=png))
    return made


def _saved(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    background = "none" if kind == "svg" else "white"
    metadata = {"Date": None} if kind == "svg" else None
    with warnings.catch_warnings():
        # matplotlib's own font has no Korean, say: a PNG shows boxes then; the page has text, and the browser's fonts.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        figure.savefig(out, format=kind, dpi=160, facecolor=background, metadata=metadata)
    return out.getvalue()


def _inline(svg: str) -> str:
    """The <svg> element alone, its colours as CSS variables, sized by the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of its parts, which several figures have in common
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*" width="[^"]*"', r"\1\2", svg)
    svg = re.sub(r"\n\s+", "\n", re.sub(r"(<g[^>]*)>((?:\s*<use [^>]*/>)+)", _share, svg))
    names = {colour: f"c{index}" for index, colour in enumerate(COLOURS)} | {INK: "ink", FAINT: "faint"}
    return re.sub("|".join(names), lambda m: f"var(--{names[m[0]]},{m[0]})", svg)


def _share(markers: re.Match[str]) -> str:
    """The style of all markers of a line, once: a thousand of them are half of the page otherwise."""
    styles = set(re.findall(r' style="[^"]*"', markers[2]))
    style = styles.pop() if len(styles) == 1 else ""
    return f"{markers[1]}{style}>{markers[2].replace(style, '')}"


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(10, height))  # one width, so that all have letters of one size


Drawn = tuple["Figure", str, str]


def curves(found: Comparison) -> Drawn | None:
    """The monitored metric and the loss, epoch by epoch."""
    trained = [one for one in found.groups if any(r.epochs for r in one.replicas)]
    if not trained:
        return None
    names = list(dict.fromkeys((found.monitor, metrics.VALID_LOSS, metrics.TRAIN_LOSS)))
    figure = _figure(4.2)
    axes = figure.subplots(1, len(names))
    for panel, name in zip(axes, names, strict=True):
        for index, one in enumerate(trained[:MOST_CURVES]):
            _curve(panel, one, name, index)
        panel.set(xlabel="epoch", title=name)
        panel.xaxis.get_major_locator().set_params(integer=True)
        if name.endswith(metrics.LOSS):
            _logarithmic(panel, "y")
    _legend(figure, [_label(found, one) for one in trained[:MOST_CURVES]])
    left_out = f" The best {MOST_CURVES} of {len(trained)} configs are drawn." if len(trained) > MOST_CURVES else ""
    said = "Lines: mean over the seeds that trained so long. Bands: least to greatest, while all seeds train."
    return figure, "Learning curves", said + left_out


def learning_rates(found: Comparison) -> Drawn | None:
    """The learning rates, epoch by epoch, where they change or are not the same in all runs."""
    trained = [one for one in found.groups if any(r.epochs for r in one.replicas)]
    known: dict[str, set[float]] = {}
    for name, value in _rates(trained):
        known.setdefault(name, set()).add(value)
    names = sorted(known, key=lambda name: (len(name), name))[:MOST_RATES]
    values = {value for name in names for value in known[name]}
    if len(values) < 2:
        return None
    figure = _figure(2.6)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, names, strict=True):
        for index, one in enumerate(trained[:MOST_CURVES]):
            _curve(panel, one, name, index)
        panel.set(xlabel="epoch", title=name)
        panel.xaxis.get_major_locator().set_params(integer=True)
    if min(values) > 0 and max(values) >= 16 * min(values):
        _logarithmic(panels[0], "y")
        panels[0].set_ylim(bottom=max(min(values), max(values) * 1e-4) / 1.2)
    _legend(figure, [_label(found, one) for one in trained[:MOST_CURVES]])
    left_out = f" The best {MOST_CURVES} of {len(trained)} configs are drawn." if len(trained) > MOST_CURVES else ""
    said = "That of the last batch of an epoch. Lines: mean over the seeds. Bands: least to greatest."
    if len(known) > MOST_RATES:
        said += f" The first {MOST_RATES} of {len(known)} parameter groups are drawn."
    return figure, "Learning rate", said + left_out


def _rates(groups: Sequence[Group]) -> Iterator[tuple[str, float]]:
    """The learning rates of all epochs, by their names."""
    for replica in (replica for one in groups for replica in one.replicas):
        for values in replica.epochs.values():
            for name, value in values.items():
                if metrics.is_learning_rate(name) and math.isfinite(value):
                    yield name, value


def _curve(panel: Axes, one: Group, name: str, index: int) -> None:
    runs = [{e: m[name] for e, m in r.epochs.items() if math.isfinite(m.get(name, math.nan))} for r in one.replicas]
    runs = [run for run in runs if run]
    if not runs:
        return
    epochs = sorted({epoch for run in runs for epoch in run})
    at = [[run[epoch] for run in runs if epoch in run] for epoch in epochs]
    means = [math.fsum(values) / len(values) for values in at]
    panel.plot(epochs, means, markevery=max(1, len(epochs) // 8), **_style(index))
    whole = [i for i, values in enumerate(at) if len(values) == len(runs) > 1]
    low, high = [min(at[i]) for i in whole], [max(at[i]) for i in whole]
    panel.fill_between([epochs[i] for i in whole], low, high, color=COLOURS[index], alpha=0.18, linewidth=0)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    texts = [_cut(name, 120) for name in names]
    columns = max(1, min(len(texts), 120 // (max(map(len, texts)) + 8)))
    lines = [Line2D([], [], **_style(index)) for index in range(len(names))]
    legend = figure.legend(lines, ["." for _ in names], loc="outside lower center", ncols=columns)
    for shown, text in zip(legend.get_texts(), texts, strict=True):
        shown.set_text(text)  # here, since a label that begins with `_` would be left out


def _logarithmic(panel: Axes, axis: str) -> None:
    """A logarithmic axis with plain numbers: `text.parse_math` is off, since names may hold dollar signs."""
    from matplotlib import ticker

    getattr(panel, f"set_{axis}scale")("log")
    scale = getattr(panel, f"{axis}axis")
    low, high = scale.get_data_interval()
    scale.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    scale.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}" if value >= 1 else f"{value:g}"))
    scale.set_minor_formatter(ticker.NullFormatter())


def _style(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index], "linestyle": DASHES[index], "marker": MARKERS[index]}


def parameters(found: Comparison) -> Drawn | None:
    """The monitored metric against parameters, and which configs nothing smaller is as good as."""
    points = [
        (p.mean, m, one)
        for one in found.groups
        if (m := one.mean(found.monitor)) and (p := one.mean(metrics.PARAMETERS))
    ]
    if len({size for size, _, _ in points}) < 2:
        return None
    figure = _figure(4.2)
    panel = figure.subplots()
    sizes, means = [size for size, _, _ in points], [m.mean for _, m, _ in points]
    below = [0.0 if m.low is None else m.mean - m.low for _, m, _ in points]
    above = [0.0 if m.high is None else m.high - m.mean for _, m, _ in points]
    x, y, error = _thinned(sizes), _thinned(means), (_thinned(below), _thinned(above))
    panel.errorbar(x, y, error, fmt="o", color=FAINT, elinewidth=0.8, alpha=0.7)
    _front(panel, found, points)
    _logarithmic(panel, "x")
    panel.set(xlabel=metrics.PARAMETERS, ylabel=f"best {found.monitor}")
    said = "Diamonds: no config with as few parameters is better (Pareto front). Bars: 95 % confidence intervals."
    return figure, f"{found.monitor} against parameters", said + _said_thinned(points, "configs")


def _front(panel: Axes, found: Comparison, points: Sequence[tuple[float, statistics.Mean, Group]]) -> None:
    """The Pareto front, its last few configs by name, which are the best."""
    sizes, means = [size for size, _, _ in points], [m.mean for _, m, _ in points]
    front = pareto([(size, m.mean) for size, m, _ in points], found.mode)
    on_it = sorted((points[i] for i in front), key=lambda point: point[0])
    panel.plot(
        [size for size, _, _ in on_it],
        [m.mean for _, m, _ in on_it],
        color=COLOURS[0], marker="D", drawstyle="steps-post", zorder=3,
    )  # fmt: skip
    span, last = max(means) - min(means), math.inf
    for size, m, one in on_it[-MOST_NAMES:]:
        right = math.log(size / min(sizes)) > 0.5 * math.log(max(sizes) / min(sizes))
        lower = 10 if abs(m.mean - last) < 0.03 * span else 0  # or it would lie on the label before
        last = m.mean
        side: dict[str, Any] = {"xytext": (-6, -lower), "ha": "right"} if right else {"xytext": (6, -10 - lower)}
        text = _cut(_label(found, one), 50)
        panel.annotate(text, (size, m.mean), textcoords="offset points", va="center", fontsize=8, **side)


def pareto(points: Sequence[tuple[float, float]], mode: str) -> list[int]:
    """Indices of the (cost, value) that no other point beats: none costs as little and has a better value."""
    sign = -1.0 if mode == "max" else 1.0
    order = sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1]))
    front: list[int] = []
    for index in order:
        if not front or sign * points[index][1] < sign * points[front[-1]][1]:
            front.append(index)
    return front


def epochs_to_target(found: Comparison) -> Drawn | None:
    """How soon each config got there, seed by seed."""
    there = [(m, one) for one in found.groups if (m := one.mean(TO_TARGET))]
    if not there or found.target is None:
        return None
    there.sort(key=lambda item: item[0].mean)
    shown = there[:MOST_LINES]
    figure = _figure(1.2 + 0.32 * len(shown))
    panel = figure.subplots()
    for line, (m, one) in enumerate(shown):
        runs = _thinned(list(one.measured[TO_TARGET].items()), len(shown))
        for late, filling in ((False, COLOURS[5]), (True, "none")):
            places = [place for place, (run_id, _) in enumerate(runs) if (run_id in one.late) is late]
            epochs = [runs[place][1] for place in places]
            heights = [line + 0.3 * (place + 0.5) / len(runs) - 0.15 for place in places]
            panel.plot(epochs, heights, "o", color=COLOURS[5], markerfacecolor=filling, alpha=0.7)
        panel.plot([m.mean], [line], "D", color=COLOURS[0], markersize=6)
        there_are = f"{m.n - len(one.late)} of {len(one.replicas)}"
        panel.annotate(there_are, (1, line), xycoords=("axes fraction", "data"), va="center")
    panel.set_yticks(range(len(shown)), [_cut(_label(found, one), 50) for _, one in shown])
    panel.set(xlabel=f"epochs to {found.monitor} {found.target:g}", ylim=(len(shown) - 0.5, -0.5), xlim=(0, None))
    said = "Dots: seeds, and how many reached it. Diamonds: their mean."
    if any(one.late for one in found.groups):
        said += f" Circles: seeds that did not reach it; they count with the limit of {count_epochs(found.limit)}."
    said += _said_thinned(max((one.replicas for _, one in shown), key=len), "seeds", len(shown))
    said += f" The soonest {MOST_LINES} of {len(there)} are drawn." if len(there) > MOST_LINES else ""
    return figure, f"Epochs to {found.target:g}", said


def effects(found: Comparison) -> Drawn | None:
    """The mean over all configs with each value of a key."""
    known = [(one, m.mean) for one in found.groups if (m := one.mean(found.monitor))]
    keys = [i for i in range(len(found.columns)) if len({one.cells[i] for one, _ in known}) > 1][:MOST_KEYS]
    if not keys:
        return None
    wide = min(3, len(keys))
    high = math.ceil(len(keys) / wide)
    figure = _figure(2.8 * high)
    panels = figure.subplots(high, wide, squeeze=False, sharey=True)
    for place, panel in enumerate(panels.flat):
        if place < len(keys):
            _effect(panel, found.columns[keys[place]], [(one.cells[keys[place]], value) for one, value in known])
        else:
            panel.set_visible(False)
    figure.supylabel(f"best {found.monitor}", color=INK)
    said = "Dots: configs. Diamonds: their mean at that value, a fair comparison where all combinations were run."
    cut = len(found.columns) > MOST_KEYS
    return (
        figure,
        "Main effects",
        said
        + _said_thinned(known, "configs")
        + (f" The first {MOST_KEYS} of {len(found.columns)} keys are drawn." if cut else ""),
    )


def _thinned(points: Sequence[T], lines: int = 1) -> Sequence[T]:
    """Evenly so many of them that at most MOST_DOTS are drawn on as many `lines`."""
    return points[:: _step(points, lines)]


def _said_thinned(points: Sequence[object], what: str, lines: int = 1) -> str:
    step = _step(points, lines)
    return f" Of {len(points):,} {what} one in {step} has a dot; means and lines are of all." if step > 1 else ""


def _step(points: Sequence[object], lines: int) -> int:
    return max(1, math.ceil(len(points) * lines / MOST_DOTS))


def _effect(panel: Axes, key: str, points: Sequence[tuple[str, float]]) -> None:
    values = list(dict.fromkeys(text for text, _ in points))
    numbers = [number for text in values if (number := _float(text)) is not None]
    numeric = len(numbers) == len(values) and len(values) > 2
    if not numeric and len(values) > MOST_VALUES:
        values = values[:MOST_VALUES]
        key = f"{key} (the first {MOST_VALUES} values)"
    values.sort(key=lambda text: (_float(text) is None, _float(text) or 0.0))
    places = {text: float(text) if numeric else index for index, text in enumerate(values)}
    kept = [(places[text], value) for text, value in points if text in places]
    dots = _thinned(kept)
    panel.plot([x for x, _ in dots], [y for _, y in dots], "o", color=COLOURS[5], alpha=0.5)
    by_place: dict[float, list[float]] = {}
    for x, y in sorted(kept):
        by_place.setdefault(x, []).append(y)
    spots, at = list(by_place), list(by_place.values())
    style: dict[str, Any] = {"color": COLOURS[0], "marker": "D", "markersize": 6}
    style["markevery"] = _step(spots, 1)
    panel.plot(spots, [math.fsum(ys) / len(ys) for ys in at], **style, linestyle="-" if numeric else ":")
    if numeric and min(spots) > 0 and max(spots) / min(spots) >= 16:
        _logarithmic(panel, "x")
    if not numeric:
        crowded = sum(map(len, values)) > 24
        panel.set_xticks(range(len(values)), [_cut(v, 24) for v in values], rotation=30 if crowded else 0)
        panel.margins(x=0.2)
    panel.set(xlabel=_cut(key, 50))


def _label(found: Comparison, one: Group) -> str:
    """With its rank, by which the table has it."""
    rank = found.groups.index(one) + 1
    return f"#{rank} {one.name}".strip()


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
