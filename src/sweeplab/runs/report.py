"""What came of a run, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeplab import console, metrics, store, tracking
from sweeplab.config import Config
from sweeplab.errors import TrackerBehind, UserError
from sweeplab.runs import screen
from sweeplab.runs.job import Job
from sweeplab.train.stopping import StopReason


def say_copied(home: store.Store, settings: Config) -> None:
    """Say once that a store is a copy of another one.

    It must be known before MLflow is fed. Without tracking it is found out all the same, if the
    store has an id: once the original has moved on, nobody can tell any more which of the two is
    the copy.
    """
    if not settings.tracking.enabled and not home.has_id:
        return
    try:
        told = home.settle()
    except UserError as error:  # training needs no id
        console.complain(str(error))
    else:
        if told is not None:
            console.say(told)


MOST_NUMBERS = 6
"""The numbers of a step of one's own that the table at the end shows."""


def report(job: Job, run: store.Run, result: store.Result) -> None:
    """Print the table at the end of a run."""
    values, score = result.metrics, metrics.score(job.config.data.task)
    last, best = int(values[metrics.EARLY_STOP_EPOCH]), values.get(metrics.BEST_EPOCH)
    names = [score, metrics.LOSS]
    if job.config.step or job.config.metrics:  # which give others
        tests = [name for name in values if name.startswith(f"{metrics.TEST}/")]
        names = [name.partition("/")[2] for name in tests][:MOST_NUMBERS]
    tested = {
        f"{metrics.TEST} {name}": console.number(values.get(f"{metrics.TEST}/{name}"))
        for name in names
    }
    kept = ", ".join(map(str, store.weights.kept_epochs(run)))
    screen.result(
        f"run {run.id}",
        tested
        | {
            "best epoch": "-" if best is None else f"{int(best)} (by {job.config.monitor})",
            "early-stop epoch": f"{last} ({result.stop_reason}{_cut_short(job, last)})",
            "parameters": f"{int(values[metrics.PARAMETERS]):,}",
            "seconds": f"{values[metrics.SECONDS]:.1f}",
            "examples per second": f"{values[metrics.EXAMPLES_PER_SECOND]:,.0f}",
        }
        | ({"weights after epochs": kept} if kept else {})
        | {"run folder": str(run.folder)},
    )
    if said := without_best(job, result):
        console.complain(f"run {run.id}: {said}")


def _cut_short(job: Job, last: int) -> str:
    """Say that a schedule laid out for the whole run was cut short; '' if it was not."""
    epochs, name = (
        job.config.trainer.epochs,
        str(job.config.scheduler.get("_target_")).rpartition(".")[2],
    )
    whole = last == epochs or name not in ("OneCycleLR", "CosineAnnealingLR")
    return "" if whole else f"; {name} is laid out for {epochs}"


def without_best(job: Job, result: store.Result) -> str:
    """Why a finished run has no best epoch, and so no weights; '' if it has one."""
    if metrics.BEST_EPOCH in result.metrics:
        return ""
    last = int(result.metrics[metrics.EARLY_STOP_EPOCH])
    why = f"{job.config.monitor} was nan in each of its epochs ({last})"
    if result.stop_reason == StopReason.DIVERGED:
        why = f"it diverged before {job.config.monitor} was a number after any epoch (of {last})"
    return f"no epoch is the best, no weights are kept and nothing was tested: {why}"


def best(job: Job, run: store.Run, result: store.Result) -> float | None:
    """Return the monitored metric at the best epoch; None if the journal cannot be read."""
    epoch = result.metrics.get(metrics.BEST_EPOCH)
    return None if epoch is None else run.epochs().get(int(epoch), {}).get(job.config.monitor)


def best_of(job: Job, home: store.Store) -> float | None:
    """Return the monitored metric at the best epoch of a job's run; None if it is not finished."""
    run = home.run(job.fingerprint)
    result = run.result()
    return None if result is None else best(job, run, result)


def value_of(job: Job, home: store.Store, metric: str) -> float:
    """Return a final metric of a finished run, else that of its best epoch; NaN if it has none."""
    run = home.run(job.fingerprint)
    result = run.result()
    if result is None:
        return math.nan
    if metric in result.metrics:
        return result.metrics[metric]
    epoch = result.metrics.get(metrics.BEST_EPOCH, math.nan)
    return math.nan if math.isnan(epoch) else run.epochs().get(int(epoch), {}).get(metric, math.nan)


def brief(job: Job, result: store.Result, best: float | None) -> str:
    """Describe a finished run of a sweep in one line."""
    values, tested = result.metrics, f"{metrics.TEST}/{metrics.score(job.config.data.task)}"
    if tested not in values:  # a step of one's own need not give it
        tested = f"{metrics.TEST}/{metrics.LOSS}"
    if said := without_best(job, result):
        return f"{said}, {values[metrics.SECONDS]:.1f} s"
    return (
        f"{job.config.monitor} {console.number(best)}, {tested} {console.number(values.get(tested))}, "
        f"{console.counted(int(values[metrics.EARLY_STOP_EPOCH]), 'epoch')} ({result.stop_reason}), "
        f"{values[metrics.SECONDS]:.1f} s"
    )


def planned(job: Job, home: store.Store) -> str:
    """Return place and name of a run in the sweep of Hydra's launcher: `3/8 hidden=392`.

    Raises UserError if it is not the run that was planned: such a launcher composes each job only
    when it starts it.
    """
    cells = home.manifest(str(job.config.sweep.id))["cells"]
    names = {
        cell["fingerprint"]: f"{i}/{len(cells)} {cell['name']}" for i, cell in enumerate(cells, 1)
    }
    if job.fingerprint not in names:
        raise UserError(
            f"{job.name}: a config or the code was changed after the sweep was planned; issue it again"
        )
    return names[job.fingerprint]


def say_tracking(
    lag: str | None, settings: Config, runs: Sequence[store.Run], sweep: str | None = None
) -> None:
    """Say where to look next. Raises TrackerBehind with why, and what to do."""
    if lag is not None:
        advice = f"nothing is lost; bring it level with: {console.command('sweeplab sync')}"
        if settings.tracking.exporters:  # which only the settings name
            advice += " and the store.* and tracking.* settings of this command"
        trained = sweep or runs[0].id
        raise TrackerBehind(f"{lag}\n{advice}", settings.store.root, trained)
    if not settings.tracking.enabled:
        console.say("tracking is off: nothing was sent to MLflow")
        return
    uri, home = tracking.resolve_uri(settings.tracking), store.Store(settings.store.root)
    for notice in tracking.notices(home, settings.tracking, {run.id for run in runs}, sweep):
        console.say(notice)
    ui = console.command("sweeplab ui")
    if sweep is None:
        console.say(f"compare runs in MLflow: {ui}")
    elif links := tracking.links(home, home.manifest(sweep), uri, tracking.base_of(uri)):
        console.say("in MLflow:" if tracking.has_page(uri) else f"in MLflow, while {ui} serves it:")
        for what, link in links.items():
            console.say(f"  {what}: {link}")
