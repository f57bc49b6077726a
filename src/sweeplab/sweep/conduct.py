"""A planned sweep carried out: recorded in the store, followed in MLflow, compared at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from sweeplab import compare, console, data, store, tracking
from sweeplab.config import Config, Sweep
from sweeplab.errors import RunFailed, UserError, describe
from sweeplab.runs import report
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.dispatch import Dispatch
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.paths import same_modules
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.pool import Workers
from sweeplab.sweep.screen import SweepScreen

Node = dict[str, Any]
Launch = Callable[[Sequence[Sequence[str]]], Sequence[BaseException | None]]
"""Trains jobs, each a list of overrides, by a launcher of Hydra's; what each raised, None where it did not."""

OURS = ("workers", "job_timeout", "retries", "fail_fast", "time_limit")  # what only workers of our own know to do


def conduct(jobs: Jobs, pool: Workers, launch: Launch | None = None) -> None:
    """Carry out all jobs, on this machine or by a launcher of Hydra's, and show what came out.

    Raises RunFailed at the end if some did not finish, KeyboardInterrupt after Ctrl-C.
    """
    plan, settings = jobs.plan, jobs.plan.settings
    if launch is not None:
        _ensure_none_is_ours(settings.sweep)
    home = store.Store(settings.store.root)
    if not jobs.left and not home.writable:
        _show(plan, home)
        return
    # What is wrong with the data shows before anything is made.
    load([cell for cell in plan.cells if not cell.job.finished], pool, share=launch is None)
    home.open()
    report.say_copied(home, settings)
    if launch is None and jobs.left:
        pool.open(home, settings)
    experiment = tracking.experiment_name(settings.tracking) if settings.tracking.enabled else None
    started = time.time()

    def manifest(status: str) -> Node:
        return plan.manifest(experiment, status, started)

    def record(status: str = "running") -> None:
        try:
            home.write_manifest(manifest(status))
        except OSError as error:  # the jobs go on
            console.complain(f"the sweep cannot be noted: {error.filename}: {error.strerror}")

    jobs.begin(home, record)
    console.say(jobs.summary())
    home.write_manifest(manifest("running"))
    with tracking.feeding(home, settings.tracking) as client:
        status, cut, trained = store.Status.INTERRUPTED, None, False
        reasons: dict[str, str] = {}
        try:
            if launch is not None:
                trained = _there(jobs, launch, reasons)
            elif jobs.left:
                trained, cut = _here(jobs, home, pool, client.tend)
            status = store.Status.FAILED if _unfinished(jobs, home) else store.Status.FINISHED
        finally:
            jobs.end()
            record(status)
        _compare(jobs, home, manifest(status), trained=trained)
        runs = [home.run(cell.job.fingerprint) for cell in plan.cells]
        _say_tracking(client.wait(runs, settings.tracking.wait), plan, runs, _failures(jobs, home, cut, reasons))


def _ensure_none_is_ours(given: Sweep) -> None:
    for key in OURS:
        if (value := getattr(given, key)) != getattr(Sweep(), key):
            raise UserError(f"sweep.{key}={value}: this launcher is not sweeplab's, and knows only hydra.launcher.*")


def _show(plan: Plan, home: store.Store) -> None:
    """Compare the runs of a sweep that is finished in a store that can only be read."""
    compare.show(compare.compare(home, [plan.manifest(None, store.Status.FINISHED, time.time())]))
    console.say(f"{home.root} cannot be written: no report is drawn, and nothing is sent to MLflow")


def _compare(jobs: Jobs, home: store.Store, manifest: Node, *, trained: bool) -> None:
    """The table of what came out, and the report beside the sweep's manifest, which goes to MLflow, too."""
    plan = jobs.plan
    found = compare.compare(home, [manifest])
    compare.show(found)
    folder = home.report_folder(plan.id)
    if not plan.settings.sweep.report or (not trained and (folder / store.SUMMARY).exists()):
        return
    finished = sum(replica.status == store.Status.FINISHED for replica in found.replicas)
    to_go_on = [run for _, run in _unfinished(jobs, home) if run.status != store.Status.FAILED]
    metrics = {} if to_go_on else found.metrics()  # those of a part of the runs would not hold
    try:
        with console.waiting("drawing the report"):
            file = compare.write_report(found, folder)
            home.write_summary(plan.id, metrics, compare.markdown(found), finished)
    except (OSError, UserError) as error:
        console.complain(f"the report cannot be written: {error.__cause__ or error}")
    else:
        console.say(f"report: {file}")


def load(cells: Sequence[Cell], pool: Workers, *, share: bool) -> None:
    """Load each data set that is needed, and let the jobs share it."""
    for name, job in {repr(cell.job.config.data): cell.job for cell in cells}.items():
        splits = job.load()
        if share and data.can_be_shared(splits):
            pool.share(name, splits)


def _there(jobs: Jobs, launch: Launch, reasons: dict[str, str]) -> bool:
    """By a launcher of Hydra's, which gets them in batches; whether anything was to be trained.

    Notes in `reasons`, by fingerprint, why jobs did not come to their end.
    """
    source, trained = iter(jobs), False
    while batch := list(islice(source, jobs.batch)):
        if left := [cell for cell in batch if not cell.job.finished]:
            trained = True
            try:
                with same_modules():
                    raised = launch([[*cell.overrides, f"sweep.id={jobs.plan.id}"] for cell in left])
            except UserError:
                raise
            except (Exception, SystemExit) as error:
                # Whatever it makes of a job that was killed; what the others do is in the store.
                said = f"the launcher gave up: {type(error).__name__}: {error}"
                console.complain(said)
                reasons |= dict.fromkeys((cell.job.fingerprint for cell in left), " ".join(said.split()))
            else:
                pairs = zip(left, raised, strict=False)
                reasons |= {cell.job.fingerprint: describe(error) for cell, error in pairs if error is not None}
        for cell in batch:
            jobs.ended(cell)
    return trained


def _here(jobs: Jobs, home: store.Store, pool: Workers, tend: Callable[[], None]) -> tuple[bool, str | None]:
    """By workers of our own; whether anything was trained, and why some were not started, if so."""
    settings: Config = jobs.plan.settings
    done = [cell for cell in jobs.plan.cells if cell.job.finished]
    with SweepScreen(jobs.total, len(done), settings.monitor, settings.mode) as view:
        for cell in done:
            view.best(cell.name, report.best_of(cell.job, home))
        dispatch = Dispatch(home, jobs, settings, pool, view)
        cut = dispatch.run(tend)
        return dispatch.started > 0, cut


def _unfinished(jobs: Jobs, home: store.Store) -> list[tuple[Cell, store.Run]]:
    """Those that should have come to their end, and did not."""
    wanted = [cell for cell in jobs.plan.cells if cell.job.fingerprint not in jobs.given_up]
    found = [(cell, home.run(cell.job.fingerprint)) for cell in wanted]
    return [(cell, r) for cell, r in found if r.status != store.Status.FINISHED]


def _say_tracking(lag: str | None, plan: Plan, runs: Sequence[store.Run], failures: Sequence[str]) -> None:
    """Say where to look in MLflow. Raises RunFailed with what lags behind there, and with the runs that failed."""
    try:
        report.say_tracking(lag, plan.settings, runs, plan.id)
    except RunFailed as behind:
        raise RunFailed("\n".join([str(behind), *failures])) from None
    if failures:
        raise RunFailed("\n".join(failures))


def _failures(jobs: Jobs, home: store.Store, cut: str | None, reasons: Mapping[str, str]) -> list[str]:
    """What is to be said of runs that did not come to their end, line by line."""
    plan, bad = jobs.plan, _unfinished(jobs, home)
    if not bad:
        return []
    lines = [f"  {cell.name}: {_outcome(r, reasons.get(cell.job.fingerprint))}" for cell, r in bad]
    head = f"{len(bad)} of {len(plan.cells)} runs did not finish{f' ({cut})' if cut else ''}:"
    last = "" if plan.search and not cut else "issue the same command again for just those"
    return [head, *lines, *filter(None, [last])]


def _outcome(found: store.Run, reason: str | None) -> str:
    """What became of a run, and where to read more: in its log, if it came so far."""
    if found.log_file.exists():
        return f"{found.status}, its log: {found.log_file}"
    return f"not started: {reason}" if reason else "not started"
