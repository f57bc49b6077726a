"""A comparison as text for files: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sweeplab import console
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import Contrast
from sweeplab.compare.groups import Group
from sweeplab.compare.importance import Importance
from sweeplab.compare.runs import SEED
from sweeplab.compare.smallest import Candidate, Smallest
from sweeplab.compare.tables import Table

MOST_ROWS = 200  # of a description in MLflow
MOST_TROUBLES = 10


# --- Markdown


def markdown(comparison: Comparison) -> str:
    """Write the tables in Markdown, whatever names hold."""
    parts = []
    for table in tables.shown(comparison, MOST_ROWS):
        parts.append(_escaped(table.about))
        if table.columns:
            parts.append(_grid(table))
        if comparison.smallest is not None and len(parts) == 2:  # below the ranking
            parts.append(_escaped(f"{comparison.smallest.sentence}."))
    lines = list(comparison.notes)
    for group, replica, why in comparison.troubles()[:MOST_TROUBLES]:
        lines.append(f"{tables.label(group, replica)}: {why}")
    parts.append("\n".join(f"- {_escaped(line)}" for line in lines))
    return "\n\n".join(filter(None, parts))


def _grid(table: Table) -> str:
    lines = []
    for row in (table.columns, ["---"] * len(table.columns), *table.rows):
        cells = " | ".join(_escaped(cell) for cell in row)
        lines.append(f"| {cells} |")
    if table.left_out:
        lines += ["", f"... and {table.left_out} more"]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Escape a text for Markdown and HTML, on one line."""
    return re.sub(r"([\\`*_{}\[\]#~|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


# --- HTML


def page_part(comparison: Comparison) -> str:
    """Write the tables as a part of an HTML page, whatever names hold."""
    parts = []
    for table in tables.shown(comparison, MOST_ROWS):
        parts.append(f"<p>{html.escape(table.about)}</p>")
        if table.columns:
            parts.append(_html_grid(table))
    parts += [f"<p>{html.escape(note)}</p>" for note in comparison.notes]
    return "\n".join(parts)


def _html_grid(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    lines = [f"<tr>{head}</tr>"]
    for row in table.rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    more = f"<p>... and {table.left_out} more</p>" if table.left_out else ""
    return f"<table>{''.join(lines)}</table>{more}"


# --- CSV


def groups_csv(comparison: Comparison) -> str:
    """Write a line for each group: the swept values, and mean, low, high and n of each metric."""
    return _csv(*group_rows(comparison))


def group_rows(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of the groups, unrounded."""
    names = _measured_names(comparison)
    columns = [*comparison.columns, "runs", "without_target"]
    for name in names:
        columns += [name, f"{name} low", f"{name} high", f"{name} n"]
    rows = []
    for group in comparison.groups:
        row: list[Any] = [*group.cells, len(group.replicas), len(group.late)]
        for name in names:
            mean = group.mean(name)
            row += [mean.mean, mean.low, mean.high, mean.n] if mean else [None, None, None, 0]
        rows.append(row)
    return columns, rows


def runs_csv(comparison: Comparison) -> str:
    """Write a line for each run, whatever became of it."""
    names = _measured_names(comparison)
    keys = [key for key in comparison.groups[0].over if key != SEED]
    facts = ["run", "status", "stop_reason", "without_target"]
    rows = []
    for group in comparison.groups:
        for replica in group.replicas:
            row = [*group.cells, *(replica.value(key) for key in keys), replica.seed]
            row += [replica.id, replica.status, replica.stop_reason]
            row.append("true" if replica.is_late else "false")
            row += [replica.measured.get(name) for name in names]
            rows.append(row)
    return _csv([*comparison.columns, *keys, SEED, *facts, *names], rows)


def importance_csv(importance: Importance) -> str:
    """Write a line for each key: its share of the variance, and the ends of its interval."""
    rows = [[share.name, share.share, share.low, share.high] for share in importance.shares]
    return _csv(["key", "share", "low", "high"], rows)


def _measured_names(comparison: Comparison) -> list[str]:
    return sorted({name for replica in comparison.replicas for name in replica.measured})


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write CSV whose texts no spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow([f"'{value}" if _is_formula(value) else value for value in row])
    return out.getvalue()


def _is_formula(value: Any) -> bool:
    if not isinstance(value, str) or value == "-":
        return False
    is_number = re.fullmatch(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", value) is not None
    return value[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number


# --- JSON


def as_json(comparison: Comparison) -> str:
    """Write everything for scripts."""
    differences = {}
    for metric, contrasts in comparison.contrasts.items():
        differences[metric] = [_contrast(contrast) for contrast in contrasts]
    troubles = []
    for group, replica, why in comparison.troubles():
        troubles.append({"run": replica.id, "name": tables.label(group, replica), "why": why})
    keys = ("id", "name", "experiment", "status", "time")
    return console.json_text("compare", {
        "sweeps": [{key: sweep[key] for key in keys} for sweep in comparison.sweeps],
        "monitor": comparison.monitor,
        "mode": comparison.mode,
        "score": comparison.score,
        "target": comparison.target,
        "limit": comparison.limit,
        "columns": comparison.columns,
        "groups": [_group(group) for group in comparison.groups],
        "smallest": _smallest(comparison.smallest),
        "baseline": comparison.baseline,
        "differences": differences,
        "importance": comparison.importance and asdict(comparison.importance),
        "troubles": troubles,
        "notes": comparison.notes,
    })  # fmt: skip


def _group(group: Group) -> dict[str, Any]:
    means = {}
    for name in sorted({name for replica in group.replicas for name in replica.measured}):
        mean = group.mean(name)
        if mean is not None:
            means[name] = {"mean": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n}
    return {
        "name": group.name,
        "values": {key: value for key, value in group.values.items() if value is not None},
        "cells": group.cells,
        "metrics": means,
        "without_target": len(group.late),  # runs that count with the limit in epochs_to_target
        "runs": [
            {
                "id": replica.id,
                "seed": replica.seed,
                "replica": {key: replica.value(key) for key in group.over},
                "status": replica.status,
                "stop_reason": replica.stop_reason,
                "metrics": replica.measured,
            }
            for replica in group.replicas
        ],
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    """Describe a difference from the baseline."""
    return {
        "name": contrast.group.name,
        "against": contrast.against.name if contrast.against else None,
        "said": contrast.verdict,
        **asdict(contrast.paired),
        "stopped": contrast.stopped or None,
        "bound": contrast.bound or None,
        "need": contrast.need and asdict(contrast.need),
    }


def _smallest(found: Smallest | None) -> dict[str, Any] | None:
    """Describe what was found below the best; p is one-sided, and differences include the margin."""
    if found is None:
        return None
    return {
        "margin": found.margin,
        "best": found.best.name,
        "shown": found.shown and found.shown.group.name,
        "said": found.sentence,
        "candidates": [_candidate(candidate) for candidate in found.candidates],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.group.name,
        "parameters": candidate.parameters,
        "need": candidate.need and asdict(candidate.need),
        **asdict(candidate.paired),
    }
