"""The runs that a comparison is of: those of its sweeps, each once, that a condition keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeplab.compare import runs
from sweeplab.compare.computation import cell_values
from sweeplab.compare.groups import group_runs
from sweeplab.compare.runs import Replica
from sweeplab.config import Node
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import Store

Read = Callable[[Store, Node, dict[bytes, Node]], Replica]
"""Reads the run of a cell, as `runs.read` does."""


def read_runs(
    home: Store,
    sweeps: Sequence[Node],
    over: Sequence[str],
    where: str | None,
    read: Read = runs.read,
) -> list[Replica]:
    """Read the runs of all sweeps, those that `where` keeps. Raises UserError if there is none."""
    shared: dict[bytes, Node] = {}
    replicas = [read(home, cell, shared) for cell in _merged_cells(sweeps)]
    if not replicas:
        raise UserError("the sweep has no runs yet")
    if where is None:
        return replicas
    kept = _filtered(replicas, over, where)
    if not kept:
        raise UserError(f"--where={where}: none of {counted(len(replicas), 'run')}")
    return kept


def _merged_cells(sweeps: Sequence[Node]) -> list[Node]:
    """List the cells of all sweeps, each run once, with the values that any sweep gave it."""
    cells: dict[str, Node] = {}
    for sweep in sweeps:
        for cell in sweep["cells"]:
            earlier = cells.get(cell["fingerprint"])
            if earlier is not None:
                cell = cell | {"values": cell_values(earlier) | cell_values(cell)}
            cells[cell["fingerprint"]] = cell
    return list(cells.values())


def _filtered(replicas: Sequence[Replica], over: Sequence[str], where: str) -> list[Replica]:
    """Keep the runs whose config fulfils the condition.

    A cell that was never started is judged by what is known of it, and kept if that is too little.
    A key that only some of the runs have is null in the others.
    """
    from sweeplab.config.where import Condition

    condition = Condition.read(where, "--where")
    configs = {run.id: run.flat_config() for run in replicas if run.start}
    nulls = dict.fromkeys(key for values in configs.values() for key in values)
    kept = []
    for group in group_runs(replicas, over):
        for run in (*group.replicas, *group.repeated):
            values = group.values | {key: run.value(key) for key in over}
            try:
                fits = condition.holds(nulls | configs[run.id] if run.start else values)
            except UserError:
                if run.start:
                    raise
                fits = True
            if fits:
                kept.append(run)
    return kept
