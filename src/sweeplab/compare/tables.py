"""A comparison as tables: on the terminal, in Markdown, as CSV and as JSON. The report's tables have the same cells."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sweeplab import config, console, metrics, store
from sweeplab.compare.comparison import Comparison, Contrast
from sweeplab.compare.groups import TO_TARGET, Group, short
from sweeplab.compare.replicas import SEED, Replica, finite
from sweeplab.compare.target import PATIENCE, counted

SHOWN, LINES = 10, 100  # troubles and configs on the terminal; the report has all
MOST_ROWS = 200  # of a description in MLflow
SPARE = (metrics.BEST_EPOCH, metrics.SECONDS, metrics.EARLY_STOP_EPOCH, TO_TARGET, metrics.PARAMETERS)
"""What a narrow terminal does without, the least wanted first."""


def measures(found: Comparison) -> dict[str, tuple[str, int]]:
    """Metric -> (its column's title, digits), of the table of groups."""
    shown = {
        found.monitor: (f"best {found.monitor}", 4),
        found.score: (found.score, 4),
        metrics.BEST_EPOCH: (metrics.BEST_EPOCH, 1),
        metrics.EARLY_STOP_EPOCH: (metrics.EARLY_STOP_EPOCH, 1),
        TO_TARGET: (f"epochs to {found.target:g}" if found.target is not None else "", 1),
        metrics.PARAMETERS: (metrics.PARAMETERS, 0),
        metrics.SECONDS: (metrics.SECONDS, 1),
    }
    if not any(TO_TARGET in one.measured for one in found.groups):
        del shown[TO_TARGET]
    return shown


def title(found: Comparison) -> str:
    return f"{found.statuses()}; ranked by {found.monitor} at the best epoch"


def caption(found: Comparison) -> str:
    """What the numbers of the table are."""
    said = (
        f"mean ± 95 % confidence interval over n {_repeats(found)}; {found.score} is measured once, with the weights "
        "of the best epoch: nothing is ranked or chosen by it"
    )
    if any(m.is_cut for one in found.groups for name in measures(found) if (m := one.mean(name))):
        said += "; an interval that would go beyond what the metric can be ends there, as in (0.9000 to 1.0000)"
    late = [r for one in found.groups for r in one.replicas if r.id in one.late]
    if late and found.target is not None:
        early = ", also if its patience ended it sooner" if any(r.stop_reason == PATIENCE for r in late) else ""
        said += (
            f"; a run that did not reach {found.target:g} counts with the limit of {counted(found.limit)}{early}, "
            "so that a mean after ≥ would be larger without it"
        )
    return said


def _repeats(found: Comparison) -> str:
    """What a config is repeated over: `seeds`, or `values of data.split_seed and seed`."""
    over = _over(found)
    return "seeds" if over == [SEED] else f"values of {' and '.join(over)}"


def _over(found: Comparison) -> list[str]:
    return list(found.groups[0].over) or [SEED]


def header(found: Comparison) -> list[str]:
    return [*found.columns, "n", *(title for title, _ in measures(found).values())]


def row(found: Comparison, one: Group) -> list[str]:
    """A group's line of the table."""
    return [*one.cells, count(found, one), *(cell(found, one, name, d) for name, (_, d) in measures(found).items())]


def count(found: Comparison, one: Group) -> str:
    """`5`, or `3 of 5 (1 failed, 1 running)`: the runs that are in the mean."""
    inside = one.measured.get(found.monitor, {})
    out = Counter(replica.without(found.monitor) for replica in one.replicas if replica.id not in inside)
    words = ", ".join(f"{number} {state}" for state, number in sorted(out.items()))
    return f"{len(inside)} of {len(one.replicas)} ({words})" if words else str(len(inside))


def cell(found: Comparison, one: Group, metric: str, digits: int) -> str:
    """`mean ± half of the interval`, and its n if it is not that of the ranking; `mean (low to high)` of one that ends
    where the metric does.
    """
    mean = one.mean(metric)
    if mean is None:
        return "-"
    if metric == metrics.PARAMETERS:
        return f"{mean.mean:,.0f}"
    text = console.number(mean.mean, digits)
    if mean.half is not None:
        form = ".1e" if "e" in text else f".{digits}f"
        text += f" ({mean.low:{form}} to {mean.high:{form}})" if mean.is_cut else f" ± {mean.half:{form}}"
    if metric == TO_TARGET and one.late:
        return f"≥ {text} ({mean.n - len(one.late)} of {mean.n} got there)"
    ranked = len(one.measured.get(found.monitor, {}))
    return text if mean.n == ranked else f"{text} (n={mean.n})"


IMPORTANCE = ("key", "importance")


def importance_rows(found: Comparison) -> list[list[str]]:
    """How much each key of a search mattered."""
    return [[key, f"{share:.2f}"] for key, share in found.importance.items()]


CONTRAST = ("verdict", "pairs", "difference", "95 % interval", "d_z", "p", "p (Holm)")
SPARE_CONTRAST = ("d_z", "p", "pairs", "p (Holm)")  # what a narrow terminal does without first


def contrast_caption(found: Comparison, metric: str) -> str:
    against = " ".join(f"{key}={value}" for key, value in found.baseline.items())
    what = measures(found)[metric][0]
    tested = sum(one.paired.p is not None for one in found.contrasts[metric])
    said = f"{what} minus that of {against}, paired by {' and '.join(_over(found))}"
    if tested > 1:
        said += f"; p by the paired t test, corrected for {tested} comparisons (Holm)"
    if any(one.bound for one in found.contrasts[metric]):
        said += (
            f"; 'at least' ('at most'): only one side has runs that count with the limit of {counted(found.limit)}, "
            "and without it the difference would be larger (smaller) in size"
        )
    return said


def contrast_row(one: Contrast, digits: int) -> list[str]:
    """A comparison's line: the swept values, then what CONTRAST names."""
    test, d = one.paired, one.paired.difference
    unpaired = f" of {test.n_all}" if d is not None and d.n != test.n_all else ""
    interval = (
        f"{_signed(d.low, digits)} to {_signed(d.high, digits)}"
        if d is not None and d.low is not None and d.high is not None
        else "-"
    )
    effect = "-" if test.d_z is None else f"{test.d_z:+.2f}"
    p = ["-" if value is None else f"{value:.2g}" for value in (test.p, test.holm)]
    difference = "-" if d is None else f"{one.bound} {_signed(d.mean, digits)}".strip()
    shown = [f"{d.n if d else 0}{unpaired}", difference, interval, effect, *p]
    return [*one.group.cells, one.said, *shown]


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}"


def shown_contrasts(found: Comparison) -> list[tuple[str, int]]:
    """(metric, digits) of the tables of differences: of the first metric, and of what some seed has on both sides."""
    shown = measures(found)
    first = next(iter(found.contrasts), None)
    return [
        (name, shown[name][1]) for name in found.contrasts if name in shown and (name == first or _told(found, name))
    ]


def _told(found: Comparison, metric: str) -> bool:
    return any(one.paired.difference for one in found.contrasts[metric])


def show(found: Comparison) -> None:
    """The comparison on the terminal; the differences of the monitored metric, all others are in the report."""
    left_out = _grid_on_screen(found)
    if len(found.groups) > LINES:
        console.say(f"... and {len(found.groups) - LINES} more configs: --csv and the report have all")
    console.say(caption(found), style="dim")
    if left_out:
        console.say(f"the terminal has no room for {', '.join(left_out)}; --csv and the report do", style="dim")
    for metric, digits in _contrasts_on_screen(found):
        lines = [contrast_row(one, digits) for one in found.contrasts[metric][:LINES]]
        names, left = [*found.columns, *CONTRAST], len(found.columns) + 1
        left_out = _table_on_screen(contrast_caption(found, metric), names, lines, SPARE_CONTRAST, left)
        if left_out:
            console.say(f"the terminal has no room for {', '.join(left_out)}; the report does", style="dim")
    for note in found.notes():
        console.say(note, style="yellow")
    if found.importance:
        console.say("importance: " + ", ".join(f"{key} {share:.0%}" for key, share in found.importance.items()))
    troubles = [trouble for trouble in found.troubles() if trouble[1].status != store.Status.PRUNED]  # as was intended
    for one, replica, why in troubles[:SHOWN]:
        console.say(f"  {label(one, replica)}: {why}", style="red")
    if len(troubles) > SHOWN:
        console.say(f"  ... and {len(troubles) - SHOWN} more", style="red")


def _contrasts_on_screen(found: Comparison) -> list[tuple[str, int]]:
    """The first table of differences; where that only says why there are none, the next, too."""
    shown = shown_contrasts(found)
    return shown[:1] if shown and _told(found, shown[0][0]) else shown[:2]


def _grid_on_screen(found: Comparison) -> list[str]:
    """Print the table of groups; returns the columns for which a terminal has no room."""
    titles = measures(found)
    spare = [titles[name][0] for name in SPARE if name in titles]
    rows = [row(found, one) for one in found.groups[:LINES]]
    return _table_on_screen(title(found), header(found), rows, spare, len(found.columns))


def _table_on_screen(
    caption: str, names: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], left: int
) -> list[str]:
    """Print a table without the columns for which a terminal has no room; returns them.

    Those of `spare` go, the first one first. The first `left` columns are flush left.
    """
    lines = [names, *rows]
    widths = {name: max(len(line[index]) for line in lines) + 3 for index, name in enumerate(names)}
    candidates = [name for name in spare if name in widths]
    left_out: list[str] = []
    while console.screen().is_terminal and candidates and sum(widths.values()) + 1 > console.screen().width:
        left_out.append(candidates.pop(0))
        del widths[left_out[-1]]
    kept = [[text for text, name in zip(line, names, strict=True) if name in widths] for line in lines]
    console.table(caption, kept[0], kept[1:], left=left)
    return left_out


def label(one: Group, replica: Replica) -> str:
    """`hidden=392 seed=0`."""
    values = {key: replica.value(key) for key in one.over}
    pairs = zip(short(one.over), values.values(), strict=True)
    told = [f"{key}={config.to_text(value)}" for key, value in pairs if value is not None]
    return " ".join(filter(None, (one.name, *(told or [replica.id]))))


def markdown(found: Comparison) -> str:
    """The tables of groups and differences in Markdown, whatever names hold."""
    parts = [
        f"{_plain(title(found))}; {_plain(caption(found))}",
        _grid(header(found), [row(found, g) for g in found.groups[:MOST_ROWS]], len(found.groups)),
    ]
    for metric, digits in shown_contrasts(found):
        contrasts = found.contrasts[metric]
        rows = [contrast_row(one, digits) for one in contrasts[:MOST_ROWS]]
        parts += [_plain(contrast_caption(found, metric)), _grid([*found.columns, *CONTRAST], rows, len(contrasts))]
    if found.importance:
        parts.append(_grid(IMPORTANCE, importance_rows(found), len(found.importance)))
    notes = [*found.notes(), *(f"{label(one, replica)}: {why}" for one, replica, why in found.troubles()[:SHOWN])]
    return "\n\n".join([*parts, *([_bullets(notes)] if notes else [])])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> str:
    """The first rows of so many."""
    lines = [columns, ["---"] * len(columns), *rows]
    text = "\n".join(f"| {' | '.join(_plain(c) if i != 1 else c for c in line)} |" for i, line in enumerate(lines))
    return text + (f"\n\n... and {count - len(rows)} more" if count > len(rows) else "")


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]#~|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """CSV whose texts no spreadsheet takes for a formula."""
    out = io.StringIO()
    lines = [[_unformula(value) for value in line] for line in (columns, *rows)]
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _unformula(value: Any) -> Any:
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(value)
    return f"'{value}" if risky else value


def _is_number(text: str) -> bool:
    return text == "-" or re.fullmatch(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", text) is not None


def groups_csv(found: Comparison) -> str:
    """A line for each group: the swept values, n, and mean, low and high of each metric, unrounded."""
    names = sorted({name for one in found.groups for name in one.measured})
    columns = [*found.columns, "runs", "without_target"]
    columns += [f"{name}{part}" for name in names for part in ("", " low", " high", " n")]
    rows = []
    for one in found.groups:
        means = [one.mean(name) for name in names]
        numbers = [v for m in means for v in ((m.mean, m.low, m.high, m.n) if m else (None, None, None, 0))]
        rows.append([*one.cells, len(one.replicas), len(one.late), *numbers])
    return as_csv(columns, rows)


def runs_csv(found: Comparison) -> str:
    """A line for each run, whatever became of it."""
    names = sorted({name for one in found.groups for name in one.measured})
    over = [key for key in _over(found) if key != SEED]
    columns = [*found.columns, *over, SEED, "run", "status", "stop_reason", "without_target", *names]
    rows = []
    for one in found.groups:
        for replica in one.replicas:
            late = "true" if replica.id in one.late else "false"
            values = [one.measured.get(name, {}).get(replica.id) for name in names]
            about = [replica.seed, replica.id, replica.status, replica.stop_reason, late]
            rows.append([*one.cells, *(replica.value(key) for key in over), *about, *values])
    return as_csv(columns, rows)


def as_json(found: Comparison) -> str:
    """Everything for scripts; a number that is not finite is null."""
    value = {
        "sweeps": [
            {key: sweep[key] for key in ("id", "name", "experiment", "status", "time")} for sweep in found.sweeps
        ],
        "monitor": found.monitor,
        "mode": found.mode,
        "score": found.score,
        "target": found.target,
        "limit": found.limit,
        "columns": found.columns,
        "groups": [_group(one) for one in found.groups],
        "baseline": found.baseline,
        "differences": {name: [_contrast(one) for one in ones] for name, ones in found.contrasts.items()},
        "troubles": [{"run": r.id, "name": label(g, r), "why": why} for g, r, why in found.troubles()],
        "notes": found.notes(),
    }
    return json.dumps(finite(value), indent=2, allow_nan=False)


def _group(one: Group) -> dict[str, Any]:
    means = {name: one.mean(name) for name in sorted(one.measured)}
    return {
        "name": one.name,
        "values": {key: value for key, value in one.values.items() if value is not None},
        "cells": one.cells,
        "metrics": {n: {"mean": m.mean, "low": m.low, "high": m.high, "n": m.n} for n, m in means.items() if m},
        "without_target": len(one.late),  # runs that count with the limit in epochs_to_target
        "runs": [_run(one, replica) for replica in one.replicas],
    }


def _run(one: Group, replica: Replica) -> dict[str, Any]:
    return {
        "id": replica.id,
        "seed": replica.seed,
        "replica": {key: replica.value(key) for key in one.over},
        "status": replica.status,
        "stop_reason": replica.stop_reason,
        "metrics": {name: values[replica.id] for name, values in one.measured.items() if replica.id in values},
    }


def _contrast(one: Contrast) -> dict[str, Any]:
    named = {"name": one.group.name, "against": one.against.name if one.against else None, "said": one.said}
    return named | asdict(one.paired) | ({"bound": one.bound} if one.bound else {})
