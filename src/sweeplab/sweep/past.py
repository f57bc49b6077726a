"""The trials that earlier commands have left in the study of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.config import Node
from sweeplab.console import counted
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.space import Space
from sweeplab.sweep.study import EARLIER, Study
from sweeplab.sweep.trials import (
    CellMaker,
    are_finished,
    ensure_values_hold,
    has_begun,
    may_complete,
    mean_values,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(kw_only=True, slots=True)
class Past:
    """What a search goes on from."""

    count: int = 0  # of trials
    left: list[FrozenTrial] = field(default_factory=list)  # trials without a result
    cells: list[Cell] = field(default_factory=list)  # jobs of the other trials
    given_up: set[str] = field(default_factory=set)  # fingerprints of jobs that were pruned
    known: int = 0  # trials of searches of another space, beside these


def take_up(study: Study, maker: CellMaker, metrics: Sequence[str], home: store.Store) -> Past:
    """Sort the trials of a study.

    A trial counts as without a result if it was at work, or if it was told as failed but its runs
    have a result by now, or get one if they are trained: a launcher that gave up says nothing
    about a config.
    Raises ValueError for a trial whose values are not those of its runs.
    """
    from optuna.trial import TrialState

    past = Past()
    replaced = study.replaced
    for trial in study.trials:
        if trial.number in replaced:
            continue
        if not study.is_drawn(trial):
            if not trial.state.is_finished():
                study.tell(trial.number, TrialState.FAIL)
            continue
        if EARLIER in trial.user_attrs:
            past.known += 1
            past.cells += maker.make(trial.params)
            continue
        past.count += 1
        if not trial.state.is_finished():
            past.left.append(trial)
            continue
        cells = maker.make(trial.params)
        if trial.state == TrialState.FAIL and may_complete(cells, metrics, home):
            past.left.append(trial)
            continue
        if trial.state == TrialState.PRUNED:
            past.given_up |= {cell.job.fingerprint for cell in cells}
            cells = [cell for cell in cells if has_begun(cell, home)]  # some never were
        if trial.state == TrialState.COMPLETE:
            ensure_values_hold(trial, cells, metrics, home)
        past.cells += cells
    return past


def learn(
    study: Study, space: Space, maker: CellMaker, objectives: Node, home: store.Store, sweep: str
) -> str:
    """Give a new study the trials of earlier searches that fit its space, as knowledge.

    A trial fits if this search might draw it, and its runs are finished: those of this config, data
    and code. Return what became of them; '' if there was no such search.
    """
    earlier = [
        manifest
        for manifest in home.manifests(without=[sweep])
        if manifest.get("search", {}).get("objectives") == objectives
    ]
    trials: dict[str, tuple[Node, str]] = {}  # by what they have drawn
    for manifest in earlier:
        for cell in manifest["cells"]:
            params = space.drawn(cell.get("overrides", []))
            if params:
                trials.setdefault(repr(params), (params, manifest["id"]))
    kept = 0
    for params, origin in trials.values():
        values = _values(params, space, maker, list(objectives), home)
        kept += values is not None and study.learn(params, values, origin)
    if not trials:
        return ""
    of = f"of {counted(len(trials), 'trial')} of earlier searches in other spaces"
    if not kept:
        return f"{of} none fits this one (its keys, values, config and code)"
    return f"{of} {kept} fit this one and are kept as knowledge"


def _values(
    params: Node, space: Space, maker: CellMaker, metrics: Sequence[str], home: store.Store
) -> list[float] | None:
    """Return what came out where these values were drawn; None if this search knows no such runs."""
    if params.keys() != space.distributions().keys():
        return None
    cells = maker.make(params)
    if not cells or not are_finished(cells, home):
        return None
    values = mean_values(cells, metrics, home)
    return None if any(map(math.isnan, values)) else values
