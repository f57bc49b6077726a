"""One run from a composed config to its result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from sweeplab import console, data, store, tracking
from sweeplab.config import Config
from sweeplab.errors import one_line
from sweeplab.runs import checkpoint, longer, parts, recording
from sweeplab.runs.job import Job, changed_code
from sweeplab.runs.loading import load
from sweeplab.runs.training import begin
from sweeplab.train import distributed


def train(
    job: Job,
    home: store.Store,
    splits: data.Splits | None = None,
    after_epoch: Callable[[], None] = lambda: None,
) -> store.Result:
    """Return the run's result: from the store if it is finished there, else by training it now.

    An unfinished run goes on from its last checkpoint. `splits` are the examples, if they are
    loaded already. Raises RunFailed if training raises, KeyboardInterrupt after Ctrl-C or SIGTERM;
    both are recorded before.
    """
    run = home.run(job.fingerprint)
    if job.config.sweep.id is None:  # whoever issues the command wants it to be trained
        run.request.withdraw()
    with claimed(run):
        if (result := finished(run)) is not None:
            distributed.broadcast(False)  # there is nothing to compute
            return reuse(run, job, result)
        job.ensure_unchanged()
        with recording.recorded(run, job), distributed.await_torchrun():
            distributed.broadcast(True)
            training = begin(job, run, splits or job.load())
            with training.at_work():
                for epoch in training.epochs():
                    is_last = training.take(epoch)
                    after_epoch()
                    if is_last:
                        break
            result = training.finish()
        keep(run, job, result)
    return result


def follow(job: Job, splits: data.Splits | None) -> None:
    """Train as a rank that is not the first: compute a share, and throw away what is written."""
    with (
        recording.sigterm(),
        tempfile.TemporaryDirectory(prefix="sweeplab-") as folder,
        distributed.await_torchrun(),
    ):
        if not distributed.broadcast(True):  # there is nothing to compute
            return
        training = begin(job, store.Run(Path(folder)), splits or job.load())
        with training.at_work():
            for epoch in training.epochs():
                if training.take(epoch):
                    break
        training.finish()


def claimed(run: store.Run) -> AbstractContextManager[None]:
    """Keep other processes from training a run meanwhile; wait for one that does."""
    return run.claim(
        lambda: console.say(f"run {run.id} is being trained by another process: waiting for it")
    )


def reuse(run: store.Run, job: Job, result: store.Result) -> store.Result:
    """Take a run for granted that is finished, and say so."""
    want(run, job.config)
    _drop_checkpoints(run, job.config)
    _export(run, job.config)
    if job.config.sweep.id is None:
        changed = changed_code(job, run.start())
        other = f" (store.reuse=any: {changed} since)" if changed else ""
        console.say(f"run {run.id} is finished already: reused from {run.folder}{other}")
        if result.weights_sha256 is not None and (reason := store.weights.why_none(run)):
            console.say(reason)
        every = job.config.trainer.keep_every
        if store.weights.lacks(run, every):
            replay = console.command(f"sweeplab replay {run.id} trainer.keep_every={every}")
            console.say(f"it was trained without trainer.keep_every={every}; {replay} keeps them")
    return result


def keep(run: store.Run, job: Job, result: store.Result) -> None:
    """Write a result; the checkpoints are needed no more."""
    run.write_result(result)
    run.request.withdraw()  # a finished run cannot be stopped any more
    _drop_checkpoints(run, job.config)
    _export(run, job.config)


def _drop_checkpoints(run: store.Run, settings: Config) -> None:
    """Delete the checkpoints of a finished run, but for what `store.keep` says."""
    if settings.store.keep == longer.LAST:
        checkpoint.keep_last(run.checkpoints)
    else:
        run.drop_checkpoints()


def finished(run: store.Run) -> store.Result | None:
    """Return the result of a claimed run if it is finished; None if it is still to be trained.

    A result that is damaged, or was never written, is written from the journal first.
    """
    if (wrong := store.repair.mend_result(run)) is not None:
        console.complain(f"{wrong}; what the journal says is taken")
    result = run.result()
    if result is None:  # it may have been killed after its journal said that it had finished
        result = run.journalled()
        if result is not None and result.status == store.Status.FINISHED:
            run.journal.mend()
            run.write_result(result)
    return result if result is not None and result.status == store.Status.FINISHED else None


def want(run: store.Run, settings: Config) -> None:
    """Note another MLflow experiment under which a finished run is asked for."""
    experiment = tracking.experiment_name(settings.tracking)
    try:
        _, history = run.history()
    except store.DamagedError as error:
        console.complain(
            f"{error}; the result stands, its epochs are lost: remove {run.folder} to train it again"
        )
        return
    known = {**history.experiments, **history.tracked}
    if settings.tracking.enabled and settings.sweep.id is None and experiment not in known:
        run.journal.append(store.Event.TRACK, experiment=experiment)


def _export(run: store.Run, settings: Config) -> None:
    """Export the network for MLflow (`tracking.log_model`) to the run's folder.

    It is done here, where the user's classes can be imported; the feeder takes it from there. A
    network that cannot be exported leaves the run as it is.
    """
    asked = settings.tracking.enabled and settings.tracking.log_model and settings.sweep.id is None
    if not asked or not run.weights_file.exists():
        return
    about = {
        "run": run.id,
        "data": settings.data.name,
        "mean": settings.data.mean,
        "std": settings.data.std,
    }
    try:
        if not (run.folder / store.MODEL).exists():
            network, example = (
                load(run, settings.model),
                torch.zeros(2, *parts.input_shape(settings.data)),
            )
            tracking.save_model(network, example, run.folder / store.MODEL, about)
        if not store.History.of(run.journal).has_model:
            run.journal.append(store.Event.MODEL)
    except Exception as error:  # of the user's network, or of torch.export
        reason = one_line(error)[:200]
        console.complain(
            f"tracking.log_model=true: run {run.id} cannot be exported: {type(error).__name__}: {reason}"
        )
