"""What train.py does with the config that Hydra has composed: check it, train it, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sweeplab import config, console
from sweeplab.commands.guard import reported
from sweeplab.errors import UserError
from sweeplab.speed import head_start
from sweeplab.train import ranks

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeplab import data, store, tracking
    from sweeplab.runs.job import Job

RULES = (
    "sweep.zip", "sweep.when", "sweep.where", "sweep.sample", "sweep.sample_seed", "sweep.baseline",
    "sweep.margin", "sweep.replicate", "sweep.seeds", "sweep.detach", "sweep.then",
)  # fmt: skip
"""The keys and sections that say which runs a sweep is of, and what it compares."""

OFF = ("null", "[]")


def train(
    raw: DictConfig, edge: Callable[[], AbstractContextManager[None]] = reported
) -> tuple[str, str]:
    """Train the composed config: Hydra's task. Returns the store's folder and the fingerprint.

    What goes wrong is told at the edge to the shell, since Hydra would add words of its own. A job
    of a sweep raises instead, so that the others go on.
    """
    sweep = raw.get("sweep")
    if not isinstance(sweep, Mapping):  # what is wrong is told where the whole config is read
        sweep = {}
    is_job = sweep.get("id") is not None and config.is_job()
    with nullcontext() if is_job else edge():
        if not is_job:
            _refuse_keys_of_sweeps(sweep)
        if sweep.get("plan") in (True, "json"):
            return _show_plan(raw)
        with _checked(raw) as (job, splits):
            from sweeplab import store, tracking
            from sweeplab.runs import run
            from sweeplab.train import distributed

            home = store.Store(job.config.store.root)
            if not ranks.is_main_process():
                distributed.reported_by_torchrun(run.follow)(job, splits)
            elif job.finished and not home.writable:
                _show(job, home)
            else:
                place = _open(job, home)
                is_single = job.config.sweep.id is None  # else the sweep's command exports it
                exported = {"run": job.fingerprint} if is_single else None
                with tracking.feeding(home, job.config.tracking, exported) as client:
                    result = run.train(job, home, splits, client.tend)
                    _report(job, home.run(job.fingerprint), result, place, client)
            return job.config.store.root, job.fingerprint


def _refuse_keys_of_sweeps(sweep: Mapping[Any, Any]) -> None:
    """Raise UserError for a key that a single run cannot heed.

    A rule may stand in an experiment of which one run is tried out: only a typed one is refused.
    """
    if sweep.get("id") is not None:
        problem = "is set by the sweep that a run belongs to; leave it out"
        raise UserError(f"sweep.id={sweep['id']}: {problem}")
    if sweep.get("from") is not None:
        problem = "is where a sweep starts from; add -m, for one run, too"
        raise UserError(f"sweep.from={sweep['from']}: {problem}")
    for word in config.overrides_of_sweeps():
        problem = "is about the runs of a sweep; add -m, for one run, too"
        raise UserError(f"{config.redact_override(word)}: {problem}")
    for word in config.task_overrides():
        if _is_rule(word):
            problem = "is for a sweep over configs that are compared; add -m"
            raise UserError(f"{config.redact_override(word).lstrip('+')}: {problem}")


def _is_rule(word: str) -> bool:
    """Whether an override sets a key of RULES, or all of `sweep` with one of them."""
    text = word.partition("=")[2]
    if word.startswith("~") or text in OFF:
        return False
    value = config.from_text(text)
    keys = config.flatten({config.key_of(word): value if isinstance(value, dict) else text})
    return any(f"{key}.".startswith(f"{rule}.") for rule in RULES for key in keys)


def _show_plan(raw: DictConfig) -> tuple[str, str]:
    """Show the plan of a single run: `sweep.plan=true` without -m."""
    from sweeplab.sweep.plan import make
    from sweeplab.sweep.preview import show

    overrides = config.task_overrides()
    plan = make([overrides], overrides, lambda _: raw, is_single_run=True)
    show(plan)
    return plan.settings.store.root, plan.cells[0].job.fingerprint


@contextmanager
def _checked(raw: DictConfig) -> Iterator[tuple[Job, data.Splits | None]]:
    """Load PyTorch, check the config, and connect the ranks, if there are several.

    Yields the job and its examples; None in their place if it is finished.
    """
    from sweeplab import tracking

    with head_start.allowed(tracking.early(raw)):
        with console.waiting("loading PyTorch"):
            from sweeplab.runs import run  # noqa: F401  # all that training needs
            from sweeplab.runs.job import prepare
            from sweeplab.train import distributed
        settings = config.parse(raw)
        with console.waiting("checking the config"):
            job = prepare(settings, config.task_overrides())
        with distributed.process_group(settings):
            splits = None if job.finished else job.load()  # wrong ones show before anything is made
            yield job, splits


def _show(job: Job, home: store.Store) -> None:
    """Say what came out of a run that is finished in a store that can only be read."""
    from sweeplab.runs import report

    run = home.run(job.fingerprint)
    result = run.result()
    assert result is not None
    console.say(
        f"run {run.id} is finished already; {home.root} cannot be written, and nothing is sent to MLflow"
    )
    report.report(job, run, result)


def _open(job: Job, home: store.Store) -> str | None:
    """Open the store and say what is to be known; return the run's place in a sweep, if any."""
    from sweeplab.runs import parts, report

    home.open()
    report.say_copied(home, job.config)
    place = None if job.config.sweep.id is None else report.planned(job, home)
    if place is None:  # of a sweep the plan has said it
        console.warn(job.notes)
    if names := parts.of_script(job.config):
        console.complain(
            f"{', '.join(names.values())}: known to this script only; put it into a module for load_model"
        )
    return place


def _report(
    job: Job, run: store.Run, result: store.Result, place: str | None, client: tracking.Client
) -> None:
    """Say what came out; for a single run, wait for MLflow."""
    from sweeplab.runs import report

    if place is not None:
        console.say(f"{place}: {report.brief(job, result, report.best(job, run, result))}")
        return
    report.report(job, run, result)
    report.say_tracking(client.wait([run], job.config.tracking.wait), job.config, [run])
