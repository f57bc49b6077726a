"""What Python and a notebook get of runs: frames, tables, the report, the trained network."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab import console
from sweeplab.compare import Comparison, export, figures, frames, tables, write_report
from sweeplab.compare import baseline as baselines
from sweeplab.compare import compare as compare_sweeps
from sweeplab.compare.report import render
from sweeplab.compare.runs import Replica, read, sign_of
from sweeplab.config import Node, expand_home
from sweeplab.errors import UserError
from sweeplab.speed import garbage
from sweeplab.store import Run, Store

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

MOST_ROWS = 1000  # configs of a table
HEIGHT = 800  # pixels of a report in a notebook


@dataclass(kw_only=True, slots=True, frozen=True)
class InlineReport:
    """The report of a comparison, which a notebook shows below the cell."""

    page: str  # the whole HTML, which needs nothing else
    file: Path | None  # where it was written; None: nowhere

    def _repr_html_(self) -> str:
        page = html.escape(self.page)
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT}" frameborder="0"></iframe>'


class ComparisonFrames:
    """A comparison as frames of pandas; a notebook shows it as tables."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def groups(self) -> pd.DataFrame:
        """A row for each config, the best first: mean, 95 % interval and n of each metric."""
        return frames.groups(self.comparison)

    @property
    def differences(self) -> pd.DataFrame:
        """A row for each metric and config: its difference from the baseline, and the verdict."""
        return frames.differences(self.comparison)

    @property
    def importance(self) -> pd.DataFrame:
        """A row for each swept key: its share of the variance; none if that cannot be told."""
        return frames.importance(self.comparison)

    @property
    def monitor(self) -> str:
        """The metric that ranks the configs."""
        return self.comparison.monitor

    @property
    def notes(self) -> list[str]:
        """What to know before believing the ranking."""
        return list(self.comparison.notes)

    def table(self) -> pd.DataFrame:
        """Return the ranking as the shell prints it: texts, `mean ± half of the interval`."""
        import pandas as pd

        ranking = tables.ranking(self.comparison, MOST_ROWS)
        return pd.DataFrame(ranking.rows, columns=ranking.columns)

    def report(self, folder: str | Path | None = None) -> InlineReport:
        """Draw the report; with a folder, write it there, too: HTML, PNG and CSV."""
        file = None
        if folder is not None:
            file = write_report(self.comparison, expand_home(folder))
        page = render(self.comparison, figures.draw(self.comparison))
        return InlineReport(page=page, file=file)

    def __repr__(self) -> str:
        return f"Comparison of {self.comparison.statuses()}"

    def _repr_html_(self) -> str:
        return export.page_part(self.comparison)


class RecordedRuns:
    """Runs of a store, read anew whenever something is asked of them."""

    def __init__(self, home: Store, sweeps: Sequence[Node]) -> None:
        """`sweeps` are manifests, or what looks like one for runs of no sweep."""
        self._home, self._sweeps = home, list(sweeps)

    @property
    def runs(self) -> list[RunResults]:
        """The runs, each once, in the order of the sweep."""
        cells = {cell["fingerprint"]: cell for sweep in self._sweeps for cell in sweep["cells"]}
        return [RunResults(self._home, cell) for cell in cells.values()]

    def frame(self) -> pd.DataFrame:
        """Make a row for each run: what was swept, as typed values, how it ended, its metrics.

        Of a metric that is measured after each epoch it is the value of the best epoch.
        """
        with garbage.kept():
            return frames.runs(self._home, self._sweeps)

    def curves(self) -> pd.DataFrame:
        """Make a row for each run and epoch: what was swept, and the metrics after that epoch."""
        with garbage.kept():
            return frames.curves(self._home, self._sweeps)

    def compare(
        self,
        *,
        where: str | None = None,
        baseline: str | Sequence[str] = (),
        target: float | None = None,
        margin: float | None = None,
    ) -> ComparisonFrames:
        """Compare the runs as `sweeplab compare` does with these options."""
        typed = [baseline] if isinstance(baseline, str) else baseline
        if not isinstance(typed, list | tuple) or not all(isinstance(one, str) for one in typed):
            raise UserError(f"baseline={baseline!r}: give a text, as in 'model.batch_norm=false'")
        if not isinstance(where, str | None):
            raise UserError(f"where={where!r}: give a text, as in 'model.hidden < 512'")
        found = compare_sweeps(
            self._home,
            self._sweeps,
            where=where,
            baseline=baselines.read(typed),
            target=_number("target", target),
            margin=_number("margin", margin),
        )
        return ComparisonFrames(found)

    def table(self) -> pd.DataFrame:
        """Return the ranking as the shell prints it: texts, `mean ± half of the interval`."""
        return self.compare().table()

    def report(self, folder: str | Path | None = None) -> InlineReport:
        """Draw the report of the comparison; with a folder, write it there, too."""
        return self.compare().report(folder)

    def best(self) -> RunResults:
        """Return the run of the best config that has the best value of the monitored metric.

        Raises UserError if no run has one yet.
        """
        found = self.compare().comparison
        sign, monitor = sign_of(found.mode), found.monitor
        runs = [run for run in found.groups[0].replicas if monitor in run.measured]
        if not runs:
            raise UserError(f"{self!r}: no run has a value of {monitor} yet")
        return RunResults(self._home, max(runs, key=lambda run: sign * run.measured[monitor]).cell)

    def load_model(self, *, epoch: int | None = None) -> nn.Module:
        """Load the trained network of the best run, as `sweeplab.load_model` does."""
        return self.best().load_model(epoch=epoch)

    def _repr_html_(self) -> str:
        try:
            return self.compare()._repr_html_()
        except UserError as error:
            return f"<p>{html.escape(f'{self!r}: {error}')}</p>"


class SweepResults(RecordedRuns):
    """One sweep, or several, or a list of runs, seen as one."""

    @property
    def id(self) -> str:
        """The id of the sweep; of several, of the latest; '' for a list of runs."""
        return str(self._sweeps[-1]["id"])

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunResults]:
        return iter(self.runs)

    def __repr__(self) -> str:
        names = "; ".join(console.shown(str(sweep["name"])) for sweep in self._sweeps)
        return f"Sweep {self.id[:12]} ({console.counted(len(self), 'run')}): {names}"


class RunResults(RecordedRuns):
    """One run."""

    def __init__(self, home: Store, cell: Node) -> None:
        super().__init__(home, [single(cell)])
        self._run, self._cell = home.run(cell["fingerprint"]), cell

    @property
    def id(self) -> str:
        """The name of its folder, the beginning of its fingerprint."""
        return self._run.id

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of what it was asked to compute."""
        return str(self._cell["fingerprint"])

    @property
    def folder(self) -> Path:
        """Its folder in the store."""
        return self._run.folder

    @property
    def status(self) -> str:
        """How it ended: `finished`, `failed`, ...; `running` while a process trains it."""
        return str(self._read().status)

    @property
    def metrics(self) -> dict[str, float]:
        """The final metrics; none unless it is finished."""
        return dict(self._read().metrics)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config, with secrets hidden; empty if it was never started."""
        return dict(self._read().start.get("config", {}))

    def best(self) -> RunResults:
        """Return the run itself, the best of one."""
        return self

    def load_model(self, *, epoch: int | None = None) -> nn.Module:
        """Load the trained network, as `sweeplab.load_model` does."""
        from sweeplab.runs.loading import load_model

        return load_model(self.folder, epoch=epoch)

    def _read(self) -> Replica:
        return read(self._home, self._cell)

    def __repr__(self) -> str:
        run = self._read()
        values = {**run.best_epoch, **run.metrics}
        names = [name for name in values if name.startswith("test/")]
        shown = [f"{name} {console.number(values[name])}" for name in names]
        return ", ".join([f"Run {self.id} ({run.status})", *shown])


def _number(name: str, value: object) -> float | None:
    """Return a number, one of NumPy's, too, as a plain one. Raises UserError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name}={value!r}: must be a number, or None")
    return float(value)


def single(*cells: Node) -> Node:
    """Make what a comparison reads of a sweep, for runs that need be of none."""
    name = " ".join(str(cell.get("name") or cell["fingerprint"][:8]) for cell in cells)
    about = {"id": "", "name": name, "experiment": None, "status": "", "time": 0.0}
    return {**about, "overrides": [], "cells": list(cells)}


def cell_of(run: Run, fingerprint: str = "") -> Node:
    """Make the cell of a run: as its sweep would have planned it, by what its journal says."""
    start = run.start()
    return {
        "fingerprint": start.get("fingerprint") or fingerprint or run.id,
        "name": start.get("name", ""),
        "overrides": start.get("overrides", []),
    }
