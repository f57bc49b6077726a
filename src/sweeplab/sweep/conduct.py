"""A planned sweep carried out by a launcher: recorded in the store, followed in MLflow, ranked at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sweeplab import run, store, tracking
from sweeplab.errors import RunFailed
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.ranking import ranking

Launch = Callable[[Sequence[Sequence[str]]], object]


def conduct(plan: Plan, launch: Launch) -> None:
    """Launch all jobs of the plan and show what came out.

    Raises RunFailed at the end if some did not finish, KeyboardInterrupt after Ctrl-C.
    """
    settings = plan.settings
    home = store.Store(settings.store.root).open()
    experiment = tracking.experiment_name(settings.tracking) if settings.tracking.enabled else None
    started = time.time()
    home.write_manifest(plan.manifest(experiment, "running", started))
    runs = [home.run(cell.job.fingerprint) for cell in plan.cells]
    with tracking.feeding(home, settings.tracking) as client:
        status = store.INTERRUPTED
        try:
            launch([[*cell.overrides, f"sweep.id={plan.id}"] for cell in plan.cells])
            status = store.FINISHED if all(r.status == store.FINISHED for r in runs) else store.FAILED
        finally:
            home.write_manifest(plan.manifest(experiment, status, started))
        ranking(plan, runs)
        run.say_tracking(client.wait(runs, settings.tracking.wait), settings)
    _raise_for(plan, runs)


def _raise_for(plan: Plan, runs: Sequence[store.Run]) -> None:
    bad = [(cell, r) for cell, r in zip(plan.cells, runs, strict=True) if r.status != store.FINISHED]
    if bad:
        lines = [f"  {cell.name}: {r.status}, its log: {r.log_file}" for cell, r in bad]
        raise RunFailed("\n".join([f"{len(bad)} of {len(plan.cells)} runs did not finish:", *lines]))
