"""Find the sweep or the run that a word of the command line names."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplab import console
from sweeplab.commands.compare import LATEST, named_sweep, sweeps
from sweeplab.config import Config, Node
from sweeplab.errors import UserError, nearest
from sweeplab.store import Run, Store
from sweeplab.tracking import resolve_uri


def sweep_or_run(
    home: Store, name: str, settings: Config, further: Sequence[Run] = ()
) -> Run | Node:
    """Find the one sweep or run that a name stands for: of several sweeps of an experiment the latest.

    `further` are runs that the store does not hold yet. Raises UserError unless there is just one.
    """
    if name == LATEST:
        return named_sweep(home, name, settings)
    found = sweeps(home, name, resolve_uri(settings.tracking))
    runs = {run.id: run for run in [*home.matching(name), *further]}
    if found and runs:
        both = f"sweep {found[-1]['id'][:12]} and run {next(iter(runs))}"
        raise UserError(f"{name}: {both} begin so; give more of the id")
    if found:
        return found[-1]
    if runs:
        return home.only(name, list(runs.values()))
    names = {sweep.get("experiment") for sweep in home.manifests()} - {None, ""}
    near = nearest(name, [LATEST, *sorted(map(str, names))])
    listed = console.command("sweeplab runs")
    problem = f"no sweep and no run in {home.place} begins so, nor is an experiment of that name"
    raise UserError(f"{name}: {problem}{near or f'; {listed} lists the runs'}")
