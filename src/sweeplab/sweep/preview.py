"""A plan on the screen: the table of its jobs, what becomes of each and how long it takes; or all that in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeplab import console, metrics, store
from sweeplab.sweep import fate
from sweeplab.sweep.estimate import Estimate, estimates, wall
from sweeplab.sweep.plan import Cell, Plan

ROWS, ENDS = 60, 20  # of a longer table the first and the last so many are shown
WORDS = {fate.REUSE: "reused", fate.RESUME: "resumed", fate.FAILED: "failed before"}


def show(plan: Plan) -> None:
    """Print the table of all jobs. Makes and trains nothing; where the store knows no better, some steps are timed."""
    with console.waiting("estimating the time"):
        found = estimates([(cell.job, cell.fate) for cell in plan.cells])
    keys = list(dict.fromkeys(key for cell in plan.cells for key in cell.varied))
    rows = [_row(cell, each, keys) for cell, each in zip(plan.cells, found, strict=True)]
    columns = [*(keys or ["job"]), "fate", metrics.PARAMETERS, "seconds, at most", "estimated from"]
    if len(rows) > ROWS:
        gap = [f"... {len(rows) - 2 * ENDS} more"] + [""] * (len(columns) - 1)
        rows = [*rows[:ENDS], gap, *rows[-ENDS:]]
    console.table(plan.name, columns, rows, left=len(columns) - 3)
    console.say(f"{_line(plan, found)}\nnothing was trained: sweep.plan=true")


def summary(plan: Plan) -> str:
    """`24 jobs: 20 reused, 4 new`; how long it takes is not asked: that reads all of the store."""
    counts = Counter(WORDS.get(cell.fate.kind, cell.fate.kind) for cell in plan.cells)
    order = [WORDS.get(kind, kind) for kind in reversed(fate.FATES)]
    listed = ", ".join(f"{counts[word]} {word}" for word in sorted(counts, key=order.index))
    other = sum(cell.fate.other_code for cell in plan.cells)
    said = f"; {other} of those reused by other code (store.reuse=any); sweep.plan=true tells which" if other else ""
    return f"{len(plan.cells)} job{'s'[: len(plan.cells) != 1]}: {listed}{said}"


def _row(cell: Cell, found: Estimate, keys: Sequence[str]) -> list[str]:
    size = sum(layer.parameters for layer in cell.job.layers)
    if cell.job.finished:
        result = store.Store(cell.job.config.store.root).run(cell.job.fingerprint).result()
        size = int(result.metrics.get(metrics.PARAMETERS, 0)) if result else 0
    seconds = "-" if found.seconds is None else "" if not found.source else _digits(found.seconds)
    values = [cell.varied.get(key, "") for key in keys] or [cell.name]
    return [*values, cell.fate.text, f"{size:,}" if size else "-", seconds, found.source]


def _line(plan: Plan, found: Sequence[Estimate]) -> str:
    """The summary, and how long all of it takes."""
    known = [each.seconds for each in found if each.seconds is not None]
    seconds, workers = wall(known, plan.settings)
    line = summary(plan)
    if seconds:
        line += f"; at most {console.duration(max(seconds, 1))} with {workers} worker{'s'[: workers != 1]}"
        unknown = len(plan.cells) - len(known)
        line += f", and {unknown} jobs of unknown length" if unknown else ""
    return line


def _digits(seconds: float) -> str:
    """Two that count, and no tenths from ten on."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"
