"""The trials of a search as runs: their jobs, and what came out of these."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeplab import console, store
from sweeplab.errors import UserError
from sweeplab.runs import report
from sweeplab.runs.once import Once
from sweeplab.sweep.cell import Cell, Compose, make_cell, varied_keys
from sweeplab.sweep.space import Space

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial


class CellMaker:
    """Makes the jobs of trials."""

    def __init__(self, space: Space, compose: Compose) -> None:
        self._space = space
        self._compose = compose
        probes = space.probes()
        self._varied = varied_keys([*probes, *([*probes[0], *repeat] for repeat in space.repeats)])
        self._once = Once()

    def make(self, values: Mapping[str, Any], *, complain: bool = False) -> list[Cell]:
        """Make the jobs for drawn values, one for each seed and fold; none if the combination is wrong."""
        cells = []
        for overrides in self._space.jobs(dict(values)):
            try:
                cell = make_cell(overrides, self._varied, self._compose, self._once)
            except UserError as error:
                if complain:
                    console.say(f"{' '.join(overrides)}: {error}", style="red")
                return []
            assert cell is not None  # there is no sweep.where
            cells.append(cell)
        return cells


@dataclass(kw_only=True, slots=True, eq=False)
class ActiveTrial:
    """A trial that Optuna was asked for and has not been told the result of."""

    trial: Trial
    cells: list[Cell]  # its replicas; none if its combination is wrong
    home: store.Store
    metrics: list[str]  # its objectives; a pruner looks at the first
    reported: int  # the last epoch that its pruner knows
    waiting: set[str] = field(init=False)  # fingerprints of jobs that have not ended
    is_hopeless: bool = False
    _histories: list[store.History] = field(init=False)  # of its jobs, as far as they were read

    def __post_init__(self) -> None:
        self.waiting = {cell.job.fingerprint for cell in self.cells}
        runs = [self.home.run(cell.job.fingerprint) for cell in self.cells]
        self._histories = [store.History(run.journal) for run in runs]

    def report_epochs(self) -> None:
        """Report the mean of each new epoch that all replicas have reached.

        Ends when the pruner has seen enough.
        """
        for history in self._histories:
            with suppress(FileNotFoundError, store.DamagedError):
                history.read()
        replicas = [history.epochs for history in self._histories]
        reached = min(max(epochs, default=0) for epochs in replicas)
        limit = min(cell.job.config.trainer.epochs for cell in self.cells)
        for epoch in range(self.reported + 1, reached + 1):
            if self.is_hopeless:
                return
            values = [epochs[epoch].get(self.metrics[0], math.nan) for epochs in replicas]
            self.trial.report(statistics.fmean(values), epoch)
            self.reported = epoch
            # After its last epoch a trial is complete: nothing is gained by pruning it.
            self.is_hopeless = epoch < limit and self.trial.should_prune()

    @property
    def is_finished(self) -> bool:
        return bool(self.cells) and are_finished(self.cells, self.home)

    @property
    def is_open(self) -> bool:
        """Whether its jobs, trained again, may still give it a result."""
        return not self.is_finished and may_complete(self.cells, self.metrics, self.home)

    def values(self) -> list[float]:
        """Return the mean of each objective; nan if a replica has none."""
        return mean_values(self.cells, self.metrics, self.home)


def has_begun(cell: Cell, home: store.Store) -> bool:
    """Whether the run of a job was ever started."""
    return home.run(cell.job.fingerprint).journal.path.exists()


def are_finished(cells: Sequence[Cell], home: store.Store) -> bool:
    """Whether the runs of all jobs are finished."""
    return all(home.run(cell.job.fingerprint).status == store.Status.FINISHED for cell in cells)


def may_complete(cells: Sequence[Cell], metrics: Sequence[str], home: store.Store) -> bool:
    """Whether a trial without a result has one, or gets one if its jobs are trained (again).

    Not if its combination is wrong, if a run raised (and is not to be tried again), or if an
    objective is nan, as after a run that diverged.
    """
    if not cells or any(_has_raised(cell, home) for cell in cells):
        return False
    if not are_finished(cells, home):
        return True
    return not any(map(math.isnan, mean_values(cells, metrics, home)))


def _has_raised(cell: Cell, home: store.Store) -> bool:
    run = home.run(cell.job.fingerprint)
    return run.status == store.Status.FAILED and run.request.read() is not store.Wish.RETRY


def mean_values(cells: Sequence[Cell], metrics: Sequence[str], home: store.Store) -> list[float]:
    """Return the mean over jobs of each metric at the best epoch; nan if a run has none."""
    means = []
    for metric in metrics:
        values = [report.value_of(cell.job, home, metric) for cell in cells]
        means.append(statistics.fmean(values))
    return means


def ensure_values_hold(
    trial: FrozenTrial,
    cells: Sequence[Cell],
    metrics: Sequence[str],
    home: store.Store,
) -> None:
    """Raise ValueError for a complete trial whose values are not those of its finished runs."""
    if not cells:
        raise ValueError(f"trial {trial.number} has values that the search has not")
    if not are_finished(cells, home):
        return
    values = mean_values(cells, metrics, home)
    if values != trial.values and not any(map(math.isnan, values)):
        raise ValueError(f"trial {trial.number} has {trial.values}, its runs have {values}")
