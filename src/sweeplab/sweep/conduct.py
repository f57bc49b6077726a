"""A planned sweep carried out: recorded in the store, followed in MLflow, compared at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sweeplab import compare, data, run, screen, store, tracking
from sweeplab.config import Config
from sweeplab.errors import RunFailed
from sweeplab.sweep import preview
from sweeplab.sweep.dispatch import Dispatch
from sweeplab.sweep.plan import Cell, Plan
from sweeplab.sweep.pool import Pool

Launch = Callable[[Sequence[Sequence[str]]], object]


def conduct(plan: Plan, pool: Pool, launch: Launch | None = None) -> None:
    """Carry out all jobs of the plan, on this machine or by a launcher of Hydra's, and show what came out.

    Raises RunFailed at the end if some did not finish, KeyboardInterrupt after Ctrl-C.
    """
    settings = plan.settings
    home = store.Store(settings.store.root)
    left = [cell for cell in plan.cells if not cell.job.finished]
    _load(left, pool, share=launch is None)  # what is wrong with the data shows before anything is made
    home.open()
    experiment = tracking.experiment_name(settings.tracking) if settings.tracking.enabled else None
    started = time.time()
    screen.say(preview.summary(plan))
    home.write_manifest(plan.manifest(experiment, "running", started))
    runs = [home.run(cell.job.fingerprint) for cell in plan.cells]
    with tracking.feeding(home, settings.tracking) as client:
        status, cut = store.INTERRUPTED, None
        try:
            if launch is not None and left:
                launch([[*cell.overrides, f"sweep.id={plan.id}"] for cell in left])
            elif left:
                cut = _here(plan, home, left, pool, client.tend)
            status = store.FINISHED if all(r.status == store.FINISHED for r in runs) else store.FAILED
        finally:
            home.write_manifest(plan.manifest(experiment, status, started))
        _compare(plan, home, trained=bool(left))
        run.say_tracking(client.wait(runs, settings.tracking.wait), settings, plan.id)
    _raise_for(plan, runs, cut)


def _compare(plan: Plan, home: store.Store, *, trained: bool) -> None:
    """The table of what came out, and the report beside the sweep's manifest, which goes to MLflow, too."""
    found = compare.summarise(home, plan.id)
    compare.show(found)
    folder = home.report_folder(plan.id)
    if not plan.settings.sweep.report or (folder.exists() and not trained):
        return
    with screen.waiting("drawing the report"):
        file = compare.write_report(found, folder)
        home.write_summary(plan.id, found.metrics(), found.markdown())
    screen.say(f"report: {file}")


def _load(cells: Sequence[Cell], pool: Pool, *, share: bool) -> None:
    """Load each data set that is needed, and let the jobs share it."""
    for name, needed in {repr(cell.job.config.data): cell.job.config.data for cell in cells}.items():
        splits = data.load(needed)
        if share and data.can_be_shared(splits):
            pool.share(name, splits)


def _here(plan: Plan, home: store.Store, left: Sequence[Cell], pool: Pool, tend: Callable[[], None]) -> str | None:
    settings: Config = plan.settings
    with screen.SweepScreen(len(plan.cells), len(plan.cells) - len(left), settings.monitor, settings.mode) as view:
        for cell in plan.cells:
            found = home.run(cell.job.fingerprint)
            if cell.job.finished and (result := found.result()) is not None:
                view.best(cell.name, run.best(cell.job, found, result))
        return Dispatch(home, plan.id, settings, pool, view).run(left, tend)


def _raise_for(plan: Plan, runs: Sequence[store.Run], cut: str | None) -> None:
    bad = [(cell, r) for cell, r in zip(plan.cells, runs, strict=True) if r.status != store.FINISHED]
    if bad:
        lines = [f"  {cell.name}: {_outcome(r)}" for cell, r in bad]
        head = f"{len(bad)} of {len(plan.cells)} runs did not finish{f' ({cut})' if cut else ''}:"
        raise RunFailed("\n".join([head, *lines, "issue the same command again for just those"]))


def _outcome(found: store.Run) -> str:
    return f"{found.status}, its log: {found.log_file}" if found.log_file.exists() else "not started"
