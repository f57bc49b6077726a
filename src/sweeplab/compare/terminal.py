"""A comparison on the terminal: as much as there is room for; the report has all."""

from __future__ import annotations

from sweeplab import console, store
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import has_pairs
from sweeplab.compare.tables import Table

MOST_ROWS = 100
MOST_TROUBLES = 10


def show(comparison: Comparison) -> None:
    """Print the ranking, the differences of the monitored metric, and what a reader has to know."""
    _show(tables.ranking(comparison, MOST_ROWS), "--csv and the report")
    if comparison.smallest is not None:
        console.say(f"{comparison.smallest.sentence}\n", style="bold")
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
    """Print a table; `whole` is where all of its rows and columns are."""
    if not table.columns:
        console.say(table.intro, style="dim")
        return
    elsewhere = f"{whole} have them" if whole else "the report has them"
    texts, spare = table.texts, table.spare
    console.table(table.intro, table.columns, table.rows, texts, spare, elsewhere)
    if table.left_out and whole:
        console.say(f"... and {console.counted(table.left_out, 'more config')}: {whole} have all")
    if table.caption:
        console.say(f"{table.caption}\n", style="dim")
