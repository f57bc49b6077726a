"""A comparison on the terminal: as much as there is room for; the report has all."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplab import console, store
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import has_pairs
from sweeplab.compare.groups import short_names
from sweeplab.compare.tables import Table

MOST_ROWS = 100
MOST_TROUBLES = 10


def show(comparison: Comparison) -> None:
    """Print the ranking, the differences of the monitored metric, and what a reader has to know."""
    _show(tables.ranking(comparison, MOST_ROWS), "--csv and the report")
    if comparison.smallest is not None:
        console.say(comparison.smallest.sentence, style="bold")
    for metric in _contrasts_on_screen(comparison):
        _show(tables.contrasts(comparison, metric, MOST_ROWS))
    if comparison.importance is not None:
        _show(tables.importance(comparison.importance))
    for note in comparison.notes:
        console.say(note, style="yellow")
    troubles = []
    for group, replica, why in comparison.troubles():
        if replica.status != store.Status.PRUNED:  # as was intended
            troubles.append(f"{tables.label(group, replica)}: {why}")
    for trouble in troubles[:MOST_TROUBLES]:
        console.say(f"  {trouble}", style="red")
    if len(troubles) > MOST_TROUBLES:
        console.say(f"  ... and {len(troubles) - MOST_TROUBLES} more", style="red")


def _contrasts_on_screen(comparison: Comparison) -> list[str]:
    """Choose the first table of differences; if it only says why there are none, the next, too."""
    metrics = tables.shown_contrasts(comparison)
    if metrics and has_pairs(comparison.contrasts[metrics[0]]):
        return metrics[:1]
    return metrics[:2]


def _show(table: Table, whole: str = "") -> None:
    """Print a table, without columns for which a terminal has no room; `whole` is where all are."""
    if not table.columns:
        console.say(table.intro, style="dim")
        return
    left_out = _narrow(table)
    kept = [index for index, name in enumerate(table.columns) if name not in left_out]
    rows = [[row[index] for index in kept] for row in table.rows]
    columns = [table.columns[index] for index in kept]
    if console.screen().is_terminal and _breaks_names(columns, rows, table.texts):
        columns[: table.texts] = short_names(columns[: table.texts])
    console.table(table.intro, columns, rows, left=table.texts)
    if table.left_out and whole:
        console.say(f"... and {table.left_out} more configs: {whole} have all")
    if table.caption:
        console.say(table.caption, style="dim")
    if left_out:
        where = f"{whole} do" if whole else "the report does"
        names = ", ".join(left_out)
        console.say(f"the terminal has no room for {names}; {where}", style="dim")


def _narrow(table: Table) -> list[str]:
    """Choose what to leave out of a table, so that it fits the terminal: spare columns, in order."""
    left_out: list[str] = []
    for name in table.spare if console.screen().is_terminal else ():
        kept = [index for index, name in enumerate(table.columns) if name not in left_out]
        columns = [table.columns[index] for index in kept]
        rows = [[row[index] for index in kept] for row in table.rows]
        if _width(columns, rows) > console.screen().width and name in columns:
            left_out.append(name)
    return left_out


def _breaks_names(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> bool:
    """Tell whether a table has no room for the names of its first columns, however texts fold."""
    longest = max(map(len, columns[:texts]), default=0)
    folded = [[*(cell[:longest] for cell in row[:texts]), *row[texts:]] for row in rows]
    return _width(columns, folded) > console.screen().width


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a table would be where nothing is broken into lines."""
    return 1 + sum(max(map(len, column)) + 3 for column in zip(columns, *rows, strict=True))
