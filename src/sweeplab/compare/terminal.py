"""A comparison on the terminal: as much as there is room for; the report has all."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplab import console, metrics, store
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import TO_TARGET
from sweeplab.compare.tables import Table

MOST_ROWS = 100
MOST_TROUBLES = 10
SPARE = (
    metrics.BEST_EPOCH,
    metrics.SECONDS,
    metrics.EARLY_STOP_EPOCH,
    TO_TARGET,
    metrics.PARAMETERS,
)
"""What a narrow terminal does without, the least wanted first."""
SPARE_OF_CONTRASTS = ("d_z", "p", "pairs", "p (Holm)")


def show(comparison: Comparison) -> None:
    """Print the ranking, the differences of the monitored metric, and what a reader has to know."""
    ranking = tables.ranking(comparison, MOST_ROWS)
    spare = [
        tables.column_title(comparison, name)
        for name in SPARE
        if name in tables.measures(comparison)
    ]
    left_out = _print(tables.ranking_title(comparison), ranking, spare)
    if ranking.left_out:
        console.say(f"... and {ranking.left_out} more configs: --csv and the report have all")
    console.say(tables.ranking_caption(comparison), style="dim")
    if left_out:
        console.say(
            f"the terminal has no room for {', '.join(left_out)}; --csv and the report do",
            style="dim",
        )
    for metric in _contrasts_on_screen(comparison):
        table = tables.contrasts(comparison, metric, MOST_ROWS)
        left_out = _print(tables.contrast_caption(comparison, metric), table, SPARE_OF_CONTRASTS)
        if left_out:
            console.say(
                f"the terminal has no room for {', '.join(left_out)}; the report does", style="dim"
            )
    for note in comparison.notes:
        console.say(note, style="yellow")
    if comparison.importance:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in comparison.importance.items())
        console.say(f"importance: {shares}")
    troubles = [
        trouble for trouble in comparison.troubles() if trouble[1].status != store.Status.PRUNED
    ]  # as was intended
    for group, replica, why in troubles[:MOST_TROUBLES]:
        console.say(f"  {tables.label(group, replica)}: {why}", style="red")
    if len(troubles) > MOST_TROUBLES:
        console.say(f"  ... and {len(troubles) - MOST_TROUBLES} more", style="red")


def _contrasts_on_screen(comparison: Comparison) -> list[str]:
    """Choose the first table of differences; if it only says why there are none, the next, too."""
    metrics = tables.shown_contrasts(comparison)
    if metrics and tables.has_pairs(comparison, metrics[0]):
        return metrics[:1]
    return metrics[:2]


def _print(title: str, table: Table, spare: Sequence[str]) -> list[str]:
    """Print a table without the columns for which a terminal has no room; returns them.

    Those of `spare` go, the first one first.
    """
    widths = {}
    for name, *cells in zip(table.columns, *table.rows, strict=True):
        widths[name] = max(map(len, (name, *cells))) + 3
    candidates = [name for name in spare if name in widths]
    left_out: list[str] = []
    while (
        console.screen().is_terminal
        and candidates
        and sum(widths.values()) + 1 > console.screen().width
    ):
        left_out.append(candidates.pop(0))
        del widths[left_out[-1]]
    kept = [index for index, name in enumerate(table.columns) if name in widths]
    rows = [[row[index] for index in kept] for row in table.rows]
    console.table(title, [table.columns[index] for index in kept], rows, left=table.texts)
    return left_out
