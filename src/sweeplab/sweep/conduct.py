"""Carry out a planned sweep: record it in the store, follow it in MLflow, compare its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sweeplab import console, data, store, tracking
from sweeplab.compare import compare, markdown, show, write_report
from sweeplab.config import Sweep
from sweeplab.console import counted
from sweeplab.errors import RunFailed, TrackerBehind, UserError, describe, one_line
from sweeplab.runs import report
from sweeplab.sweep import detached
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.dispatch import Dispatch
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.paths import same_modules
from sweeplab.sweep.place import LOOK, SweepPlace
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.screen import SweepScreen
from sweeplab.sweep.steering import STOPPED

Node = dict[str, Any]
Launch = Callable[[Sequence[Sequence[str]]], Sequence[BaseException | None]]
"""Trains jobs, each a list of overrides, by a launcher of Hydra's.

Returns what each raised, None for one that did not.
"""

WORKERS_ONLY = (
    "workers",
    "job_timeout",
    "retries",
    "fail_fast",
    "time_limit",
    "priority",
    "detach",
)
"""The keys of `sweep` that a launcher of Hydra's cannot heed."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """How the training of a sweep went."""

    trained: bool = False  # whether there was anything to train
    cut: str | None = None  # why some jobs were not started
    reasons: dict[str, str] = field(default_factory=dict)  # fingerprint -> why a launch failed


def conduct(jobs: Jobs, place: SweepPlace, launch: Launch | None = None) -> None:
    """Carry out all jobs, by our own workers or by a launcher of Hydra's, and compare the runs.

    Raises RunFailed at the end if some did not finish, KeyboardInterrupt after Ctrl-C.
    """
    plan, settings = jobs.plan, jobs.plan.settings
    if launch is not None:
        _ensure_defaults(settings.sweep)
    home = store.Store(settings.store.root)
    if not jobs.left and not home.writable:
        _show(plan, home)
        return
    if launch is None and jobs.left:
        place.expect(jobs)
    # Load the data before anything is made: it may turn out to be wrong.
    load([cell for cell in jobs.possible if not cell.job.finished], place, share=launch is None)
    if jobs.left and detached.goes_on_apart(plan, home):
        return
    home.open()
    report.say_copied(home, settings)
    if launch is None and jobs.left:
        place.open(home, settings)
    _carry_out(jobs, home, place, launch)


def _carry_out(jobs: Jobs, home: store.Store, place: SweepPlace, launch: Launch | None) -> None:
    """Train what is left, compare the runs, and do what follows."""
    plan, settings = jobs.plan, jobs.plan.settings
    experiment = None
    if settings.tracking.enabled:
        experiment = tracking.experiment_name(settings.tracking)
    started = time.time()

    def manifest(status: str) -> Node:
        return plan.manifest(experiment, status, started)

    def record(status: str = "running", **more: int) -> None:
        try:
            home.write_manifest({**manifest(status), **more})
        except OSError as error:  # the jobs go on
            reason = f"{error.filename}: {error.strerror}"
            console.complain(f"the sweep cannot be noted: {reason}")

    jobs.begin(home, record)
    _withdraw_requests(jobs, home)
    console.say(jobs.summary())
    status = store.Status.INTERRUPTED
    outcome = Outcome()
    with (
        home.carrying_out(plan.id),
        tracking.feeding(home, settings.tracking, {"sweep": plan.id}) as client,
        detached.concluded(plan, home, lambda: outcome.cut, lambda code: record(status, exit=code)),
    ):
        home.write_manifest(manifest("running"))
        try:
            with jobs.at_work():
                if launch is not None:
                    outcome = _train_by_launcher(jobs, home, launch)
                elif jobs.left:
                    outcome = _train_by_workers(jobs, home, place, client.tend)
            status = _status(jobs, home, outcome)
        finally:
            jobs.end()
            record(status)
        _compare(jobs, home, manifest(status), trained=outcome.trained)
        runs = [home.run(cell.job.fingerprint) for cell in plan.cells]
        lag = client.wait(runs, settings.tracking.wait)
        _say_tracking(lag, plan, runs, _failures(jobs, home, outcome))


def _status(jobs: Jobs, home: store.Store, outcome: Outcome) -> store.Status:
    """Return how a sweep has ended whose command was not interrupted."""
    if outcome.cut == STOPPED:
        return store.Status.INTERRUPTED
    return store.Status.FAILED if _unfinished(jobs, home) else store.Status.FINISHED


def _withdraw_requests(jobs: Jobs, home: store.Store) -> None:
    """Remove what was asked for before: whoever issues the command wants it to be carried out."""
    home.request(jobs.plan.id).withdraw()
    for cell in [*jobs.possible, *jobs.plan.cells]:
        home.run(cell.job.fingerprint).request.withdraw()


def load(cells: Sequence[Cell], place: SweepPlace, *, share: bool) -> None:
    """Load each data set that is needed, and let the jobs share it."""
    unique = {repr(cell.job.config.data): cell.job for cell in cells}
    for name, job in unique.items():
        splits = job.load()
        if share and data.can_be_shared(splits):
            place.share(name, splits)


def _ensure_defaults(sweep: Sweep) -> None:
    """Raise UserError for a setting that only workers of our own heed."""
    for key in WORKERS_ONLY:
        value = getattr(sweep, key)
        if value != getattr(Sweep(), key):
            reason = "this launcher is not sweeplab's, and knows only hydra.launcher.*"
            raise UserError(f"sweep.{key}={value}: {reason}")


def _show(plan: Plan, home: store.Store) -> None:
    """Compare the runs of a sweep that is finished in a store that can only be read."""
    manifest = plan.manifest(None, store.Status.FINISHED, time.time())
    show(compare(home, [manifest]))
    console.say(f"{home.root} cannot be written: no report is drawn, and nothing is sent to MLflow")


def _train_by_launcher(jobs: Jobs, home: store.Store, launch: Launch) -> Outcome:
    """Give the jobs to a launcher of Hydra's, batch by batch."""
    outcome = Outcome()
    source = iter(jobs)
    while (batch := list(islice(source, jobs.batch))) or jobs.more():
        if not batch:
            source = iter(jobs)
        left = [cell for cell in batch if not cell.job.finished]
        if left:
            outcome.trained = True
            outcome.reasons |= _launch_batch(left, launch, jobs.plan.id)
            _await_survivors(left, home)
        for cell in batch:
            jobs.ended(cell)
    return outcome


def _launch_batch(cells: Sequence[Cell], launch: Launch, sweep_id: str) -> dict[str, str]:
    """Launch jobs; return by fingerprint why some of them raised."""
    try:
        with same_modules():
            raised = launch([[*cell.overrides, f"sweep.id={sweep_id}"] for cell in cells])
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # A launcher may give up if a job was killed; what the other jobs did is in the store.
        message = f"the launcher gave up: {type(error).__name__}: {error}"
        console.complain(message)
        return {cell.job.fingerprint: one_line(message) for cell in cells}
    reasons = {}
    for cell, exception in zip(cells, raised, strict=False):
        if exception is not None:
            reasons[cell.job.fingerprint] = describe(exception)
    return reasons


def _await_survivors(cells: Sequence[Cell], home: store.Store) -> None:
    """Wait for runs that are at work although their launcher gave up, after one was killed, say."""
    runs = [home.run(cell.job.fingerprint) for cell in cells]
    at_work = [run for run in runs if run.claimed]
    if at_work:
        console.say(f"waiting for {console.counted(len(at_work), 'run')} still at work")
    while any(run.claimed for run in at_work):
        time.sleep(LOOK)


def _train_by_workers(
    jobs: Jobs,
    home: store.Store,
    place: SweepPlace,
    tend: Callable[[], None],
) -> Outcome:
    """Train the jobs by our own workers, and show the progress."""
    settings = jobs.plan.settings
    finished = [cell for cell in jobs.plan.cells if cell.job.finished]
    with SweepScreen(jobs.total, len(finished), settings.monitor, settings.mode) as view:
        for cell in finished:
            view.best(cell.name, report.best_of(cell.job, home))
        dispatch = Dispatch(home, jobs, settings, place, view)
        cut = dispatch.run(tend)
    return Outcome(trained=dispatch.started > 0, cut=cut)


def _unfinished(jobs: Jobs, home: store.Store) -> list[tuple[Cell, store.Run]]:
    """List the jobs that should have finished and did not, with their runs."""
    unfinished = []
    for cell in jobs.plan.cells:
        if cell.job.fingerprint in jobs.given_up:
            continue
        run = home.run(cell.job.fingerprint)
        if run.status != store.Status.FINISHED:
            unfinished.append((cell, run))
    return unfinished


def _compare(jobs: Jobs, home: store.Store, manifest: Node, *, trained: bool) -> None:
    """Print the comparison, and write the report beside the manifest, from where MLflow gets it."""
    plan = jobs.plan
    comparison = compare(home, [manifest])
    show(comparison)
    folder = home.report_folder(plan.id)
    is_written = not trained and (folder / store.SUMMARY).exists()
    if is_written or not plan.settings.sweep.report:
        return
    finished = sum(replica.status == store.Status.FINISHED for replica in comparison.replicas)
    runs = [run for _, run in _unfinished(jobs, home)]
    is_partial = any(run.status != store.Status.FAILED for run in runs)
    # Metrics of a part of the runs would not hold for the sweep.
    metrics = {} if is_partial else comparison.metrics()
    try:
        with console.waiting("drawing the report"):
            file = write_report(comparison, folder)
            home.write_summary(plan.id, metrics, markdown(comparison), finished)
    except (OSError, UserError) as error:
        console.complain(f"the report cannot be written: {error.__cause__ or error}")
    else:
        console.say(f"report: {file}")


def _say_tracking(
    lag: str | None,
    plan: Plan,
    runs: Sequence[store.Run],
    failures: Sequence[str],
) -> None:
    """Say where to look in MLflow.

    Raises TrackerBehind, or RunFailed if runs failed, with what is to be said of both.
    """
    try:
        report.say_tracking(lag, plan.settings, runs, plan.id)
    except TrackerBehind as behind:
        if failures:
            raise RunFailed("\n".join([str(behind), *failures])) from None
        raise
    if failures:
        raise RunFailed("\n".join(failures))


def _failures(jobs: Jobs, home: store.Store, outcome: Outcome) -> list[str]:
    """Describe the runs that did not finish, line by line."""
    unfinished = _unfinished(jobs, home)
    if not unfinished:
        return []
    cut = f" ({outcome.cut})" if outcome.cut else ""
    lines = [f"{len(unfinished)} of {counted(len(jobs.plan.cells), 'run')} did not finish{cut}:"]
    for cell, run in unfinished:
        reason = outcome.reasons.get(cell.job.fingerprint)
        lines.append(f"  {cell.name}: {_end_of(run, reason)}")
    has_failed = any(run.status == store.Status.FAILED for _, run in unfinished)
    is_any_open = any(run.status != store.Status.FAILED for _, run in unfinished)
    if outcome.cut or is_any_open or not jobs.plan.search:
        lines.append(
            f"issue the same command again for just those{_other_way(jobs, home, outcome)}"
        )
    if has_failed and jobs.plan.search:  # Optuna was told so
        way = console.command(f"sweeplab retry {jobs.plan.id[:12]}")
        lines.append(f"those that failed are trained anew by {way}")
    return lines


def _other_way(jobs: Jobs, home: store.Store, outcome: Outcome) -> str:
    """Name the command that goes on with what was stopped from another terminal."""
    runs = [home.run(cell.job.fingerprint) for cell in jobs.plan.cells]
    if outcome.cut != STOPPED and all(run.request.read() is None for run in runs):
        return ""
    return f", or {console.command(f'sweeplab resume {jobs.plan.id[:12]}')}"


def _end_of(run: store.Run, reason: str | None) -> str:
    """Say how a run ended, and where to read more: in its log, if it has one."""
    wish = run.request.read()
    if wish is not None:
        return f"ended by sweeplab {wish}, its log: {run.log_file}"
    if run.log_file.exists():
        return f"{run.status}, its log: {run.log_file}"
    return f"not started: {reason}" if reason else "not started"
