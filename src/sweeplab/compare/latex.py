"""A comparison as a table for a paper: LaTeX that needs no package but booktabs."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase

from sweeplab import config, metrics
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import Contrast, make_contrasts
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.runs import DIVERGED
from sweeplab.compare.statistics import Mean
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import write_atomic
from sweeplab.tracking.address import DEFAULT_EXPERIMENT

NONE = "--"  # a dash
CHARACTERS = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}",
    "[": "{[}", "*": "{*}",  # after the end of a row they would be an option of it
})  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Footnotes:
    """What is said below the table, each text once."""

    letters: dict[str, str] = field(default_factory=dict)  # by text

    def mark(self, text: str) -> str:
        """Note a text; returns the mark that leads to it, '' for no text."""
        if not text:
            return ""
        round_, index = divmod(len(self.letters), len(ascii_lowercase))
        letter = self.letters.setdefault(text, ascii_lowercase[index] * (round_ + 1))
        return rf"\textsuperscript{{{letter}}}"

    def lines(self) -> list[str]:
        if not self.letters:
            return []
        notes = [
            rf"\textsuperscript{{{letter}}}~{escaped(text)}."
            for text, letter in self.letters.items()
        ]
        return [r"  \par\smallskip", rf"  {{\footnotesize {' '.join(notes)}\par}}"]


def latex(comparison: Comparison) -> str:
    """Write the ranking as a `table` environment, whatever names hold.

    The configs that the paired test does not tell from the best are bold.
    """
    tests = _against_the_best(comparison)
    bold = {test.group for test in tests if _is_equal(test)}
    if tests:
        bold.add(comparison.groups[0])
    layout, footnotes = _layout(comparison), Footnotes()
    rows = [_row(layout, group, footnotes, is_bold=group in bold) for group in comparison.groups]
    header, n_texts = _header(layout), len(comparison.columns)
    head, *lines = [f"    {' & '.join(row)} \\\\" for row in (header, *rows)]
    ids = ", ".join(str(sweep["id"]) for sweep in comparison.sweeps)
    return "\n".join([
        f"% by sweeplab compare --latex, of sweep {ids}",
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{' '.join(_caption(layout, tests))}}}",
        rf"  \label{{tab:{_label(comparison)}}}",
        rf"  \begin{{tabular}}{{{'l' * n_texts}{'r' * (len(header) - n_texts)}}}",
        r"    \toprule",
        head,
        r"    \midrule",
        *lines,
        r"    \bottomrule",
        r"  \end{tabular}",
        *footnotes.lines(),
        r"\end{table}",
        "",
    ])  # fmt: skip


def write_latex(comparison: Comparison, file: Path) -> Path:
    """Write the table into a file; returns that. Raises UserError if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, latex(comparison).encode())
    except OSError as error:
        problem = f"{error.strerror}; name a file that can be written"
        raise UserError(f"--latex={file}: {problem}") from error
    return file


def escaped(text: str) -> str:
    """Escape a text for LaTeX, on one line; what cannot be printed is left out."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    if re.fullmatch(r"-[\d.]+", line):
        return f"${line}$"  # with a minus, which is no hyphen
    return line.translate(CHARACTERS).replace("--", "-{}-")


def _label(comparison: Comparison) -> str:
    sweep = comparison.sweeps[-1]
    name = re.sub(r"[^A-Za-z0-9]+", "-", sweep["experiment"] or "").strip("-")
    is_named = name not in ("", DEFAULT_EXPERIMENT)
    return name if is_named else str(sweep["id"])[:12]


# --- which configs are as good as the best


def _against_the_best(comparison: Comparison) -> list[Contrast]:
    """Test the monitored metric of each config against that of the best; none if nothing can be."""
    best = comparison.groups[0]
    tests = make_contrasts(
        comparison.monitor,
        comparison.monitor,
        comparison.mode,
        columns=comparison.columns,
        groups=comparison.groups,
        baseline=dict(zip(comparison.columns, best.cells, strict=True)),
        looks=comparison.looks,
    )
    return tests if any(test.paired.p is not None for test in tests) else []


def _is_equal(test: Contrast) -> bool:
    """Tell whether a config has pairs with the best, and these do not tell it from that."""
    difference = test.paired.difference
    if difference is None:
        return False
    if test.paired.holm is None:  # one pair alone, or all of them differ alike
        return difference.half is None or difference.mean == 0
    return test.cannot_tell


# --- rows


@dataclass(kw_only=True, slots=True, frozen=True)
class TableLayout:
    """What the columns of a table for a paper are."""

    comparison: Comparison
    metrics: list[str]
    n: int | None  # runs in the mean of each config; None: it differs, and has a column
    differences: dict[Group, Mean]  # from the baseline, if there is one


def _layout(comparison: Comparison) -> TableLayout:
    numbers = {len(group.measured(comparison.monitor)) for group in comparison.groups}
    measures = tables.measures(comparison)
    wanted = (comparison.monitor, comparison.score, TO_TARGET, metrics.PARAMETERS)
    differences = {}
    for contrast in comparison.contrasts.get(comparison.monitor, []):
        if contrast.paired.difference is not None:
            differences[contrast.group] = contrast.paired.difference
    return TableLayout(
        comparison=comparison,
        metrics=[name for name in wanted if name in measures],
        n=numbers.pop() if len(numbers) == 1 else None,
        differences=differences,
    )


def _header(layout: TableLayout) -> list[str]:
    names = config.short_names(layout.comparison.columns)
    titles = [tables.column_title(layout.comparison, name) for name in layout.metrics]
    if layout.comparison.baseline:
        titles.insert(1, "difference")
    cells = [escaped(text) for text in (*names, *titles)]
    if layout.n is None:
        cells.insert(len(names), "$n$")
    return cells


def _row(layout: TableLayout, group: Group, footnotes: Footnotes, *, is_bold: bool) -> list[str]:
    monitor, *others = layout.metrics
    n = len(group.measured(monitor))
    row = [escaped(cell) for cell in group.cells]
    if layout.n is None:
        row.append(str(n))
    ranked = _cell(layout, group, monitor, is_bold=is_bold)
    row.append(ranked + footnotes.mark(_excluded(group, monitor)))
    if layout.comparison.baseline:
        row.append(_difference(layout, group))
    for name in others:
        cell, mean = _cell(layout, group, name), group.mean(name)
        if mean is not None and mean.n != n and name != metrics.PARAMETERS:
            title = tables.column_title(layout.comparison, name)
            cell += footnotes.mark(f"{title} of {counted(mean.n, 'run')}")
        row.append(cell)
    return row


def _cell(layout: TableLayout, group: Group, metric: str, *, is_bold: bool = False) -> str:
    """Write the mean of a metric with its interval."""
    mean = group.mean(metric)
    if mean is None:
        return NONE
    if metric == metrics.PARAMETERS:
        return f"{mean.mean:,.0f}"
    text = number(mean, tables.digits(layout.comparison, metric))
    if metric == TO_TARGET and group.late:
        text = rf"\geq {text}"
    return rf"$\mathbf{{{text}}}$" if is_bold else f"${text}$"


def _difference(layout: TableLayout, group: Group) -> str:
    """Write the difference from the baseline; a dash for the baseline itself."""
    difference = layout.differences.get(group)
    if difference is None:
        return NONE
    places = tables.digits(layout.comparison, layout.comparison.monitor)
    return f"${number(difference, places, sign='+')}$"


def _excluded(group: Group, metric: str) -> str:
    """Write `of 4 runs 1 failed, 1 missing`: those that are not in the mean; '' if all are."""
    counts = Counter(
        run.why_without(metric) for run in group.replicas if metric not in run.measured
    )
    for run in group.replicas:
        if run.stop_reason == DIVERGED and metric in run.measured:
            counts["diverged, and counts with its best epoch before"] += 1
    if not counts:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"of {counted(len(group.replicas), 'run')} {reasons}"


def number(mean: Mean, places: int, sign: str = "") -> str:
    """Write a mean and half its interval, which gets two significant digits, in math mode.

    Without an interval the mean gets so many `places`; one that ends where the metric does is
    written in brackets, and very small or large numbers as a power of ten.
    """
    largest = max(abs(mean.mean), mean.half or 0)
    power = math.floor(math.log10(largest)) if largest else 0
    power = 0 if -4 < power < 6 else power
    half = (mean.half or 0) / 10**power
    if half:
        places = 1 - int(f"{half:.1e}".partition("e")[2])

    def text(value: float, sign: str = "") -> str:
        return f"{round(value / 10**power, places):{sign}.{max(places, 0)}f}"

    found = text(mean.mean, sign)
    if mean.is_cut and mean.low is not None and mean.high is not None:
        found += rf"\ [{text(mean.low)}, {text(mean.high)}]"
    elif mean.half is not None:
        found += rf" \pm {text(mean.half)}"
        found = f"({found})" if power else found
    return rf"{found} \times 10^{{{power}}}" if power else found


# --- the caption


def _caption(layout: TableLayout, tests: list[Contrast]) -> list[str]:
    """Say what the numbers are, and what bold is."""
    comparison, n = layout.comparison, layout.n
    title = escaped(tables.column_title(comparison, comparison.monitor))
    number_of = "$n$" if n is None else f"$n = {n}$"
    repeats = escaped(tables.repeats(comparison))
    lines = [
        rf"Mean $\pm$ 95\,\% confidence interval (Student's $t$) over {number_of} {repeats}, ranked by {title}."
    ]
    if n == 1:
        lines = [f"One run of each config, ranked by {title}: nothing is known of their spread."]
    if comparison.is_folded:
        lines.append(
            "Intervals and tests are corrected for training sets that overlap (Nadeau and Bengio 2003)."
        )
    if comparison.looks is not None:
        lines.append("Intervals and tests hold at whatever look a config stopped.")
    n_tests = sum(test.paired.p is not None for test in tests)
    if n_tests:
        corrected = f", corrected for {n_tests} comparisons by Holm's method" if n_tests > 1 else ""
        lines.append(
            f"Bold: the best, and what a paired $t$ test does not tell from it ($p \\geq 0.05${corrected})."
        )
    lines.append(
        f"{escaped(comparison.score)} is measured once, with the weights of the best epoch: nothing is chosen by it."
    )
    if comparison.baseline:
        against = " ".join(f"{key}={value}" for key, value in comparison.baseline.items())
        lines.append(f"Difference: {title} minus that of {escaped(against)}, paired.")
    if any(group.late for group in comparison.groups):
        lines.append(
            rf"$\geq$: a run that did not reach {comparison.target:g} counts with the limit of "
            f"{comparison.limit_in_words}."
        )
    return lines
