"""The trials that earlier commands have left in the study of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.study import Study
from sweeplab.sweep.trials import CellMaker, ensure_values_hold, has_begun, may_complete

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(kw_only=True, slots=True)
class Past:
    """What a search goes on from."""

    count: int = 0  # of trials
    left: list[FrozenTrial] = field(default_factory=list)  # those of them without a result
    cells: list[Cell] = field(default_factory=list)  # jobs of the others
    given_up: set[str] = field(default_factory=set)  # fingerprints of jobs that were pruned


def take_up(study: Study, maker: CellMaker, metrics: Sequence[str], home: store.Store) -> Past:
    """Sort the trials of a study.

    Without a result is one that was at work, and one told as failed whose runs have a result by
    now, or get one if they are trained: a launcher that gave up says nothing about a config.
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
