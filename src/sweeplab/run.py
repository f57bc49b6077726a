"""One run from a composed config to its result; and the trained network back."""

from __future__ import annotations

import errno
import logging
import math
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from sweeplab import (
    checkpoint,
    code,
    config,
    data,
    database,
    ddp,
    fused,
    loop,
    metrics,
    parts,
    ranks,
    screen,
    stopping,
    store,
    tracking,
)
from sweeplab.config import Config
from sweeplab.errors import Interrupted, Pruned, RunFailed, UserError
from sweeplab.job import Job, prepare
from sweeplab.training import Asking, Training

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_logged: ContextVar[Path | None] = ContextVar("logged", default=None)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(raw: DictConfig) -> None:
    """What train.py does with a composed config: check it, train it, say what came out, and wait for MLflow."""
    settings = config.parse(raw)
    with screen.waiting("checking the config"):
        job = prepare(settings, config.task_overrides())
    with ddp.joined(settings):
        splits = None if job.finished else data.load(settings.data)  # what is wrong shows before anything is made
        (_lead if ranks.is_first() else ddp.told_by_torchrun(_follow))(job, splits)


def _lead(job: Job, splits: data.Splits | None) -> None:
    settings = job.config
    home = store.Store(settings.store.root).open()
    place = None if settings.sweep.id is None else planned(job, home)
    with tracking.feeding(home, settings.tracking) as client:
        result = train(job, home, splits, client.tend)
        run = home.run(job.fingerprint)
        if place is not None:
            screen.say(f"{place}: {brief(job, result, best(job, run, result))}")
        else:
            report(job, run, result)
            say_tracking(client.wait([run], settings.tracking.wait), settings)


def _follow(job: Job, splits: data.Splits | None) -> None:
    """What a rank does that is not the first: it computes its share, and what it writes is thrown away."""
    with _sigterm(), tempfile.TemporaryDirectory(prefix="sweeplab-") as folder, ddp.ended_together():
        if ddp.from_first(True):
            loop.alone(Training(job, store.Run(Path(folder)), splits or data.load(job.config.data)).steps())


def train(
    job: Job,
    home: store.Store,
    splits: data.Splits | None = None,
    after_epoch: Callable[[], None] = lambda: None,
) -> store.Result:
    """The run's result: from the store if it is finished there, else trained now, on `splits` if they are loaded.

    An unfinished run goes on from its last checkpoint. Raises RunFailed if training raises, KeyboardInterrupt after
    Ctrl-C or SIGTERM; both are recorded before.
    """
    return loop.alone(_steps(job, home, splits, after_epoch))


def train_fused(
    jobs: Sequence[Job], home: store.Store, splits: data.Splits | None = None
) -> list[store.Result | BaseException]:
    """Runs that see the same batches, trained as one: the result of each, or what `train` would have raised."""
    splits = splits or data.load(jobs[0].config.data)
    order = sorted(jobs, key=lambda job: job.fingerprint)  # two that claim the same runs do not wait for each other
    with _sigterm(), _informed():  # until the last of them has ended
        ended = fused.drive([_steps(job, home, splits, fused=len(jobs)) for job in order])
    found = {job.fingerprint: outcome for job, outcome in zip(order, ended, strict=True)}
    return [found[job.fingerprint] for job in jobs]


def _steps(
    job: Job,
    home: store.Store,
    splits: data.Splits | None = None,
    after_epoch: Callable[[], None] = lambda: None,
    fused: int = 1,
) -> Asking[store.Result]:
    run = home.run(job.fingerprint)
    with run.claim(lambda: screen.say(f"run {run.id} is being trained by another process: waiting for it")):
        done = run.result() or _journalled(job, run)
        if done is not None and done.status == store.FINISHED:
            ddp.from_first(False)  # there is nothing to compute
            want(run, job.config)
            run.drop_checkpoints()
            _export(run, job.config)
            if job.config.sweep.id is None:
                screen.say(f"run {run.id} is finished already: reused from {run.folder}")
            return done
        with _recording(run, job), ddp.ended_together():
            ddp.from_first(True)
            training = Training(job, run, splits or data.load(job.config.data), fused)
            result = yield from training.steps(after_epoch)
        run.write_result(result)
        run.drop_checkpoints()
        _export(run, job.config)
    return result


def _journalled(job: Job, run: store.Run) -> store.Result | None:
    """The result of a run that was killed after its journal said that it had finished, written now; else None."""
    ends = [e for e in run.journal.events() if e["event"] in (store.START, store.RESUME, store.END)]
    if not ends or ends[-1].get("status") != store.FINISHED:
        return None
    said = ends[-1]
    values, digest = store.numbers(said["metrics"]), said["weights_sha256"]
    result = job.result(store.FINISHED, said["stop_reason"], metrics=values, weights_sha256=digest)
    run.journal.mend()
    run.write_result(result)
    return result


def want(run: store.Run, settings: Config) -> None:
    """A run that is asked for under another MLflow experiment than before is to be seen there too."""
    experiment = tracking.experiment_name(settings.tracking)
    known = {event.get("experiment") for event in run.journal.events() if event["event"] in (store.START, store.TRACK)}
    if settings.tracking.enabled and settings.sweep.id is None and experiment not in known:
        run.journal.append(store.TRACK, experiment=experiment)


def _export(run: store.Run, settings: Config) -> None:
    """`tracking.log_model`: the network as a model that MLflow serves, in the run's folder, whence the feeder takes it.

    Done here, where the user's classes can be imported; what cannot be exported leaves the run as it is.
    """
    asked = settings.tracking.enabled and settings.tracking.log_model and settings.sweep.id is None
    if not asked or not run.weights_file.exists():
        return
    about = {"run": run.id, "data": settings.data.name, "mean": settings.data.mean, "std": settings.data.std}
    try:
        if not (run.folder / store.MODEL).exists():
            network, example = _load(run), torch.zeros(2, *parts.input_shape(settings.data))
            tracking.save_model(network, example, run.folder / store.MODEL, about)
        if all(event["event"] != store.MODEL for event in run.journal.events()):
            run.journal.append(store.MODEL)
    except Exception as error:  # of the user's network, or of torch.export
        reason = " ".join(str(error).split())[:200]
        screen.complain(f"tracking.log_model=true: run {run.id} cannot be exported: {type(error).__name__}: {reason}")


@contextmanager
def _recording(run: store.Run, job: Job) -> Iterator[None]:
    """Record what is asked for; whatever ends the run early is journalled, too, and kept as its result."""
    run.journal.mend()
    if run.status == store.FAILED:
        run.drop_checkpoints()  # it raised, and would again
    run.result_file.unlink(missing_ok=True)
    run.write_config(config.redact(config.to_dict(job.config)), job.overrides)
    try:
        with _log_to(run.log_file), _sigterm():
            yield
    except Pruned:
        _end(run, job, store.PRUNED, stopping.PRUNED)
        raise
    except KeyboardInterrupt:
        _end(run, job, store.INTERRUPTED, stopping.INTERRUPTED)
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if _taken_away(error):  # no time left, or Slurm has requeued the job before submitit could ask it to
            _end(run, job, store.INTERRUPTED, stopping.INTERRUPTED, said)
            raise SystemExit(said) from error  # an exception would be a result to submitit, and the job be over
        if _may_go_on(error):
            with suppress(OSError):  # the disk may still be full; a run without a result is unfinished just as well
                _end(run, job, store.INTERRUPTED, stopping.INTERRUPTED, said)
            raise RunFailed(
                f"run {run.id} ({job.name}) had to stop: {said}\nmake room and issue the same command again: "
                "it goes on from its last checkpoint"
            ) from error
        _end(run, job, store.FAILED, None, said)
        raise RunFailed(f"run {run.id} ({job.name}) failed: {said}\nits log: {run.log_file}") from error


def _taken_away(error: Exception) -> bool:
    """Whether it was raised by submitit's handler of a signal, which interrupts the training wherever that is."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "submitit.core.job_environment" for frame, _ in frames)


def _may_go_on(error: Exception) -> bool:
    """Whether the machine was at fault, not the run: no space left, no memory left."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return out_of_memory or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _end(run: store.Run, job: Job, status: str, reason: str | None, error: str | None = None) -> None:
    """A run that did not come to its end: the journal first, then the result."""
    run.journal.append(store.END, status=status, stop_reason=reason, metrics={}, error=error)
    run.write_result(job.result(status, reason))


@contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """Everything that is logged, and Python's warnings, go to the run's log meanwhile; of fused runs, to its own."""
    handler = logging.FileHandler(file)
    handler.addFilter(lambda _: _logged.get() in (file, None))
    _logged.set(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with _informed():
            yield
    except Exception:
        log.exception("the run failed")
        raise
    finally:
        _logged.set(None)
        root.removeHandler(handler)
        handler.close()


@contextmanager
def _informed() -> Iterator[None]:
    """What is of level INFO is logged meanwhile."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.setLevel(level)


@contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM raises Interrupted meanwhile, where signals can be handled (the main thread) and nobody does.

    Slurm sends one before it takes a node away: submitit ignores it, and has the job requeued at the next signal.
    """
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def interrupt(*_: object) -> None:
        raise Interrupted

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report(job: Job, run: store.Run, result: store.Result) -> None:
    """The one table at the end of a run."""
    values, score = result.metrics, metrics.score(job.config.data.task)
    last, best = int(values[metrics.EARLY_STOP_EPOCH]), values.get(metrics.BEST_EPOCH)
    tested = f"{metrics.TEST}/{score}"
    screen.result(
        f"run {run.id}",
        {
            f"{metrics.TEST} {score}": screen.number(values.get(tested)),
            f"{metrics.TEST} {metrics.LOSS}": screen.number(values.get(f"{metrics.TEST}/{metrics.LOSS}")),
            "best epoch": "-" if best is None else f"{int(best)} (by {job.config.monitor})",
            "early-stop epoch": f"{last} ({result.stop_reason})",
            "parameters": f"{int(values[metrics.PARAMETERS]):,}",
            "seconds": f"{values[metrics.SECONDS]:.1f}",
            "examples per second": f"{values[metrics.EXAMPLES_PER_SECOND]:,.0f}",
            "run folder": str(run.folder),
        },
    )


def best(job: Job, run: store.Run, result: store.Result) -> float | None:
    """The monitored metric at the best epoch: what runs are chosen by."""
    epoch = result.metrics.get(metrics.BEST_EPOCH)
    return None if epoch is None else run.journal.epochs()[int(epoch)][job.config.monitor]


def best_of(job: Job, home: store.Store) -> float | None:
    """The same of a job's finished run in this store; None if it has none."""
    run = home.run(job.fingerprint)
    result = run.result()
    return None if result is None else best(job, run, result)


def value_of(job: Job, home: store.Store, metric: str) -> float:
    """A metric of a finished run: a final one, else that of its best epoch; nan if it has none."""
    found = home.run(job.fingerprint)
    result = found.result()
    assert result is not None
    if metric in result.metrics:
        return result.metrics[metric]
    epoch = result.metrics.get(metrics.BEST_EPOCH, math.nan)
    return math.nan if math.isnan(epoch) else found.journal.epochs()[int(epoch)].get(metric, math.nan)


def brief(job: Job, result: store.Result, best: float | None) -> str:
    """A finished run of a sweep in one line."""
    values, tested = result.metrics, f"{metrics.TEST}/{metrics.score(job.config.data.task)}"
    return (
        f"{job.config.monitor} {screen.number(best)}, {tested} {screen.number(values.get(tested))}, "
        f"{int(values[metrics.EARLY_STOP_EPOCH])} epochs ({result.stop_reason}), {values[metrics.SECONDS]:.1f} s"
    )


def planned(job: Job, home: store.Store) -> str:
    """`3/8 hidden=392`: the place and name of a run in the sweep that a launcher of Hydra's trains it for.

    Raises UserError if it is not the run that was planned: such a launcher composes each job only when it starts it.
    """
    cells = home.manifest(str(job.config.sweep.id))["cells"]
    names = {cell["fingerprint"]: f"{i}/{len(cells)} {cell['name']}" for i, cell in enumerate(cells, 1)}
    if job.fingerprint not in names:
        raise UserError(f"{job.name}: a config or the code was changed after the sweep was planned; issue it again")
    return names[job.fingerprint]


def say_tracking(lag: str | None, settings: Config, sweep: str | None = None) -> None:
    """Where to look next; or, if MLflow lags behind, why and what brings it level."""
    if not settings.tracking.enabled:
        screen.say("tracking is off: nothing was sent to MLflow")
        return
    if lag is not None:
        screen.say(f"{lag}\nnothing is lost; bring it level with: {screen.command('sweeplab sync')}", style="yellow")
        return
    if sweep is None:
        screen.say(f"compare runs in MLflow: {screen.command('sweeplab ui')}")
        return
    uri, home = tracking.resolve_uri(settings.tracking), store.Store(settings.store.root)
    base = tracking.base_of(uri)
    screen.say("in MLflow:" if database.served(uri) else f"in MLflow, while {screen.command('sweeplab ui')} serves it:")
    for what, link in tracking.links(home, home.manifest(sweep), uri, base).items():
        screen.say(f"  {what}: {link}")


def load_model(run: str | Path, root: str | Path | None = None) -> nn.Module:
    """The trained network of a run, on the CPU, in eval mode.

    `run` is the run's folder, its id or the beginning of one (in the store `root`; default: `runs` in the root), or an
    MLflow run id. Raises UserError if there is no such run, or it has no weights. What comes from an MLflow server is
    built only if it is a class of torch.nn or sweeplab.
    """
    home = store.Store(root or config.root() / config.Store().root)
    try:
        found = home.find(str(run))
    except UserError as missing:
        return _load_from_mlflow(str(run), missing)
    return _load(found)


def _load(run: store.Run) -> nn.Module:
    if not run.weights_file.exists():
        raise UserError(f"{run.folder}: has no weights; its status is {run.status}")
    model: nn.Module = code.instantiate(run.config()["model"])
    model.load_state_dict(checkpoint.load_weights(run.weights_file))
    return model.eval()


def _load_from_mlflow(run_id: str, missing: UserError) -> nn.Module:
    if len(run_id) != 32:  # MLflow's run ids are 32 hex digits
        raise missing
    with tempfile.TemporaryDirectory() as folder:
        tracking.download(tracking.resolve_uri(config.Tracking()), run_id, Path(folder))
        found = store.Run(Path(folder))
        code.ensure_trusted(found.config()["model"], "model")
        return _load(found)
