"""Runs and comparisons as frames of pandas: numbers as they are, for whoever goes on computing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeplab import config, metrics
from sweeplab.compare import export
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import ABSENT, DEFAULT, Group, group_runs, name_groups
from sweeplab.compare.runs import SEED, Replica
from sweeplab.compare.selection import read_runs
from sweeplab.config import Node
from sweeplab.store import Store

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def runs(home: Store, sweeps: Sequence[Node]) -> pd.DataFrame:
    """Make a row for each run: what was swept, how it ended, its metrics, its fingerprint.

    Of a metric that is measured after each epoch it is the value of the best one.
    """
    rows = []
    for identity, run in _identified(home, sweeps):
        ended: Row = {"status": run.status, "stop_reason": run.stop_reason}
        values = {**run.best_epoch, **run.metrics}
        shown = {
            name: value for name, value in values.items() if not metrics.is_learning_rate(name)
        }
        fingerprint = {"run": run.id, "fingerprint": run.cell.get("fingerprint")}
        rows.append(identity | ended | {"epochs": max(run.epochs, default=0)} | shown | fingerprint)
    return _frame(rows)


def curves(home: Store, sweeps: Sequence[Node]) -> pd.DataFrame:
    """Make a row for each run and epoch: what was swept, and the metrics after that epoch."""
    rows = []
    for identity, run in _identified(home, sweeps):
        for epoch, values in sorted(run.epochs.items()):
            rows.append(identity | {"run": run.id, "epoch": epoch} | values)
    return _frame(rows, at_least=("run", "epoch"))


def groups(comparison: Comparison) -> pd.DataFrame:
    """Make a row for each config, the best first: mean, interval and n of each metric."""
    columns, rows = export.group_rows(comparison)
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    for row, group in zip(table, comparison.groups, strict=True):
        row |= {column: _value(group, column) for column in comparison.columns}
    return _frame(table)


def differences(comparison: Comparison) -> pd.DataFrame:
    """Make a row for each metric and config: how it differs from the baseline, and the verdict."""
    rows = []
    for metric, contrasts in comparison.contrasts.items():
        for contrast in contrasts:
            paired, difference = contrast.paired, contrast.paired.difference
            row: Row = {column: _value(contrast.group, column) for column in comparison.columns}
            row |= {"metric": metric, "against": contrast.against and contrast.against.name}
            row |= {"verdict": contrast.verdict, "pairs": difference.n if difference else 0}
            row |= {"difference": difference and difference.mean}
            row |= {"low": difference and difference.low, "high": difference and difference.high}
            row |= {"d_z": paired.d_z, "p": paired.p, "p (Holm)": paired.holm}
            rows.append(row)
    return _frame(rows)


def importance(comparison: Comparison) -> pd.DataFrame:
    """Make a row for each swept key: its share of the variance; none if that cannot be told."""
    found = comparison.importance
    shares = [] if found is None else found.shares
    return _frame(
        [
            {"key": each.name, "share": each.share, "low": each.low, "high": each.high}
            for each in shares
        ],
        at_least=("key", "share", "low", "high"),
    )


def _identified(home: Store, sweeps: Sequence[Node]) -> list[tuple[Row, Replica]]:
    """Read the runs of all sweeps; return each with its values of what was swept."""
    over = list(dict.fromkeys(key for sweep in sweeps for key in sweep.get("replicate", [SEED])))
    found = read_runs(home, sweeps, over, None)
    grouped = group_runs(found, over)
    columns = name_groups(grouped)
    identities: dict[str, Row] = {}
    for group in grouped:
        values = {column: _value(group, column) for column in columns}
        for run in (*group.replicas, *group.repeated):
            replica = {key: _typed(run.value(key)) for key in over}
            identities[run.id] = {**values, **replica}
    return [(identities[run.id], run) for run in found]


def _value(group: Group, column: str) -> Any:
    """Return the value of a swept key as it was in the config; of a choice, its name."""
    if column in group.values:
        return _typed(group.values[column])
    text = group.text(column)
    return None if text in (ABSENT, DEFAULT) else _typed(config.from_text(text))


def _typed(value: Any) -> Any:
    """Return a value that pandas can group by: a list as a tuple."""
    if isinstance(value, list):
        return tuple(_typed(item) for item in value)
    return config.to_text(value) if isinstance(value, dict) else value


def _frame(rows: Sequence[Row], at_least: Sequence[str] = ()) -> pd.DataFrame:
    """Make a frame; a whole number or a truth that some rows lack stays one.

    Without rows it has the columns `at_least`.
    """
    import pandas as pd

    if not rows:
        return pd.DataFrame(columns=list(at_least))
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    columns: dict[str, Any] = {}
    for name in names:
        columns[name] = [row.get(name) for row in rows]
        kinds = set(map(type, columns[name]))
        if kinds == {int, type(None)}:
            columns[name] = pd.array(columns[name], dtype="Int64")
        elif kinds == {bool, type(None)}:
            columns[name] = pd.array(columns[name], dtype="boolean")
    return pd.DataFrame(columns)
