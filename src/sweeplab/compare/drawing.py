"""How figures look (colours, axes, legends), and how they are saved: as SVG for a page, and as PNG."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# These stand for the text's colour and a paler one, which the page chooses.
INK, FAINT = "#010203", "#818283"
# Okabe and Ito's colours, which the colour-blind can tell apart (without the two palest); a page may
# lighten them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#8b5a2b")
MARKERS = "osD^vPX*"
_OWN_DASHES = (0, (6, 2, 1, 2, 1, 2)), (0, (8, 3)), (0, (1, 1)), (0, (4, 1))
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", *_OWN_DASHES)
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": FAINT,
    "legend.frameon": False,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
}
MOST_ON_PHONES = 4  # lines of a panel
MOST_DOTS = 1000  # of a panel: more are no clearer, and each is an element of the page
Plot = tuple["Figure", str, str]
"""A figure, its title and its caption."""
WIDTH = 10  # inches, of all figures, so that all have letters of one size
LEAST_HEIGHT = 2.6
LEAST_WIDE = 720  # pixels: there the letters still have 9


@dataclass(kw_only=True, slots=True, frozen=True)
class Drawing:
    """A figure as it goes into the report."""

    name: str  # of its PNG, without the ending
    title: str
    caption: str  # what it shows, and what it leaves out
    svg: str  # an element for HTML
    png: bytes
    narrowest: int = 640  # pixels of its width below which a page lets it scroll


def new_figure(height: float) -> Figure:
    """Make a figure of the common width; `height` is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, max(height, LEAST_HEIGHT)))


def narrowest(figure: Figure) -> int:
    """Return how wide a figure is whose letters can be read, each panel 340 x 260 pixels at least."""
    width, height = figure.get_size_inches()
    columns = len({round(panel.get_position().x0, 2) for panel in figure.axes})
    return int(max(LEAST_WIDE, 340 * columns, 261 * width / height))


def line_style(index: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the line with this number."""
    return {"color": COLOURS[index], "linestyle": DASHES[index], "marker": MARKERS[index]}


def add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Name the lines of a figure below it."""
    from matplotlib.lines import Line2D

    texts = [shorten(name, 120) for name in names]
    columns = max(1, min(len(texts), 120 // (max(map(len, texts)) + 8)))
    lines = [Line2D([], [], **line_style(index)) for index in range(len(names))]
    legend = figure.legend(lines, ["." for _ in names], loc="outside lower left", ncols=columns)
    for index, (label, text) in enumerate(zip(legend.get_texts(), texts, strict=True)):
        label.set_text(text)  # here, since a label that begins with `_` would be left out
        mark_spare(index, label, legend.legend_handles[index])


def mark_spare(index: int, *artists: Any) -> None:
    """Mark what belongs to a line that a narrow page does without."""
    for artist in artists:
        artist.set_gid("more" if index >= MOST_ON_PHONES else None)


def use_log_scale(panel: Axes, axis: str) -> None:
    """Make the axis `x` or `y` logarithmic, with plain numbers (`text.parse_math` is off)."""
    from matplotlib import ticker

    getattr(panel, f"set_{axis}scale")("log")
    scale = getattr(panel, f"{axis}axis")
    low, high = scale.get_data_interval()
    scale.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    scale.set_major_formatter(ticker.FuncFormatter(_tick_label))
    scale.set_minor_formatter(ticker.NullFormatter())


def _tick_label(value: float, _: object) -> str:
    return f"{value:,.10g}" if value >= 1 else f"{value:g}"


def shorten(text: str, length: int) -> str:
    """Cut a text that is longer, and mark that."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def thinning_step(points: Sequence[object], lines: int = 1) -> int:
    """Return n: if every n-th point is drawn, at most MOST_DOTS are on as many `lines`."""
    return max(1, math.ceil(len(points) * lines / MOST_DOTS))


def thinning_note(points: Sequence[object], noun: str, lines: int = 1) -> str:
    """Say that not all points are drawn; '' if they are."""
    step = thinning_step(points, lines)
    if step == 1:
        return ""
    return f" Of {len(points):,} {noun} one in {step} has a dot; means and lines are of all."


def save(figure: Figure, kind: str) -> bytes:
    """Save a figure as `svg` or `png`."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib's own font has no Korean, say: a PNG shows boxes then; the page has text, and
        # the browser's fonts.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        if kind == "svg":
            figure.savefig(out, format=kind, dpi=160, facecolor="none", metadata={"Date": None})
        else:
            figure.savefig(out, format=kind, dpi=160, facecolor="white")
    return out.getvalue()


def inline(svg: str) -> str:
    """Take the <svg> element alone, with its colours as CSS variables, to be sized by the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # several figures have such names in common
    svg = svg.replace('id="more"', 'class="more"')
    opening, rest = svg.split(">", 1)
    svg = re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest
    svg = re.sub(r"(<g[^>]*)>((?:\s*<use [^>]*/>)+)", _share_style, svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    svg = re.sub(r'="[^"]*"', _rounded, svg)
    variables = {colour: f"c{index}" for index, colour in enumerate(COLOURS)}
    for colour, name in (variables | {INK: "ink", FAINT: "faint"}).items():
        svg = svg.replace(colour, f"var(--{name},{colour})")
    return svg


def _rounded(attribute: re.Match[str]) -> str:
    """Cut the coordinates of an attribute to hundredths of a point."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", attribute[0])


def _share_style(markers: re.Match[str]) -> str:
    """Write the style of all markers of a line once: else a thousand of them are half of the page."""
    styles = set(re.findall(r' style="[^"]*"', markers[2]))
    style = styles.pop() if len(styles) == 1 else ""
    return f"{markers[1]}{style}>{markers[2].replace(style, '')}"
