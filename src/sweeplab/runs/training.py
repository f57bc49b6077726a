"""One training, from the first batch to the result, with checkpoints on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeplab import config, console, data, metrics, store, tracking
from sweeplab.errors import UserError
from sweeplab.metrics import EpochResult
from sweeplab.runs import (
    attachments,
    batches,
    checkpoint,
    kept_code,
    longer,
    profiling,
    screen,
    system,
    weights,
)
from sweeplab.runs.build import build
from sweeplab.runs.checkpoint import Checkpoint
from sweeplab.runs.core_wait import CoreWait
from sweeplab.runs.identity import initial_run
from sweeplab.runs.job import Job
from sweeplab.runs.provenance import provenance
from sweeplab.runs.resuming import captured, copied, put_back, stateful_parts, updater_states
from sweeplab.runs.saving import Checkpoints
from sweeplab.runs.steering import Listener
from sweeplab.train import by_class, loop, stopping
from sweeplab.train.attributes import Attributes
from sweeplab.train.device import Runtime, set_up
from sweeplab.train.distributed import broadcast, place_rank, wrap_ddp
from sweeplab.train.metric_values import Metric
from sweeplab.train.ranks import is_main_process, world_size
from sweeplab.train.state import State, collect, restore, restore_loss, snapshot
from sweeplab.train.stopping import StopReason
from sweeplab.train.train_state import Batch, TrainState

log = logging.getLogger(__name__)

BY_CLASS = "by_class"  # the name of what a classification gets right by class


def begin(
    job: Job, run: store.Run, splits: data.Splits, together: Mapping[str, int] | None = None
) -> Training:
    """Build a training, resume it if it has a checkpoint, and journal its start.

    `together` says how many runs, this one included, are trained as one in which way.
    """
    company = together or {}
    saved = broadcast(checkpoint.latest(run.checkpoints, job.fingerprint, console.complain))
    shorter = broadcast(longer.find(job)) if saved is None else None
    before = saved if shorter is None else shorter.checkpoint
    # Another number of threads would give other bits: a resumed run keeps its own.
    threads = broadcast(before.threads if before else run.threads)
    how = set_up(place_rank(job.config.trainer), threads, alone=job.config.sweep.id is None)
    training = Training(job, run, splits, how)
    if saved is None:
        training.start(company)
    if shorter is not None:
        _take_over(training, shorter)
    if before is not None:
        training.resume(before, company)
    # This run may end where the shorter one did: by its target, say.
    if shorter is not None and training.reason is None:
        training.reason = training.stopping.reason(training.epoch, shorter.epochs[training.epoch])
    return training


class Training:
    """The parts of a training, and where it has got to."""

    def __init__(self, job: Job, run: store.Run, splits: data.Splits, how: Runtime) -> None:
        trainer = job.config.trainer
        self.job: Job = job
        self.folder: store.Run = run
        self.runtime: Runtime = how
        self.train, self.valid, self.test = batches.of_run(job.config, how, splits)
        parts = (splits.train, splits.valid, splits.test)
        self._streamed = [part for part in parts if isinstance(part, data.StreamingSplit)]
        self.state: TrainState = build(
            job.config, how, len(self.train) // (trainer.accumulate or 1)
        )
        weights.try_saving(self.state.model, self.state.loss)
        self.attributes: Attributes = Attributes(stateful_parts(self.state))
        wrap_ddp(self.state)
        self.stopping: stopping.Stopping = _early_stopping(job.config)
        weights.refuse_unsafe(updater_states(self.state.updaters))
        self.best: State | None = None
        self.epoch = 0
        self.reason: StopReason | None = None
        self.trained_examples, self.train_seconds = 0, 0.0
        self._checkpoints = Checkpoints(run, trainer.checkpoint_every)
        self._core_wait = CoreWait()
        self._listener = Listener(run, job)
        self._known: Mapping[int, dict[str, float]] = {}  # epochs of the journal, and their metrics
        alone = job.config.sweep.id is None
        self._view = screen.RunScreen(
            trainer.epochs, len(self.train), bar=trainer.progress, lines=trainer.progress and alone
        )

    def start(self, together: Mapping[str, int]) -> None:
        """Start from the seed, or from another run's weights."""
        settings = self.job.config
        if settings.trainer.init_from is not None:
            _load_initial_weights(settings, settings.trainer.init_from, self.state)
        experiment = None
        if settings.tracking.enabled:
            experiment = tracking.experiment_name(settings.tracking)
        self.folder.journal.append(
            store.Event.START,
            **self.job.record(),
            provenance=_provenance(settings, self.runtime, together),
            experiment=experiment,
            sweep=settings.sweep.id,
            command=config.issued_command() if settings.sweep.id is None else None,
        )
        self._known = store.History.of(self.folder.journal).epochs

    def resume(self, saved: Checkpoint, together: Mapping[str, int]) -> None:
        """Go on from a checkpoint."""
        put_back(self, saved)
        history = store.History.of(self.folder.journal)
        _say_other_ranks(self.folder, history)
        facts = _provenance(self.job.config, self.runtime, together)
        self.folder.journal.append(store.Event.RESUME, epoch=self.epoch, provenance=facts)
        console.say(f"run {self.folder.id} goes on after epoch {self.epoch}")
        self._known = history.epochs

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Show the progress meanwhile; sample the system, and profile, where the config says so.

        A training that is cut off leaves a checkpoint.
        """
        settings = self.job.config
        if settings.trainer.progress and settings.sweep.id is None:
            screen.layers(f"{settings.model['_target_']} on {self.runtime.device}", self.job.layers)
        watched = system.sampled(
            self.folder.journal, on=settings.tracking.enabled and settings.tracking.system_metrics
        )
        with (
            self._view,
            watched,
            profiling.profiled(self.folder, self.runtime.device, on=settings.trainer.profile),
            self._checkpoints.written_at_the_end(),
        ):
            yield

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch; the progress is shown."""
        return self._view.batches(epoch, batches.counted(self.state, self.train, epoch))

    def valid_batches(self) -> Iterator[Batch]:
        """Yield the validation batches, which are the same for each epoch."""
        return batches.counted(self.state, self.valid, 0)

    def epochs(self) -> Iterator[EpochResult]:
        """Train epoch after epoch, on from the last; none if the training is over already."""
        if self.reason is not None:
            return iter(())
        return loop.epochs(self.state, self.train_batches, self.valid_batches, first=self.epoch + 1)

    def take(self, result: EpochResult) -> bool:
        """Keep the best weights, journal the epoch, checkpoint; return whether it was the last."""
        result = broadcast(result)  # with its seconds: a time limit stops all ranks at once
        self.epoch, self.reason = result.epoch, self.stopping.update(result)
        if result.epoch == 1:
            _look_at_first_epoch(self, result)
        if self.stopping.best_epoch == result.epoch:
            self.best = snapshot(self.state.evaluated, self.state.loss)
        if self.stopping.best_epoch in (result.epoch, None):
            attachments.keep(
                self.folder.folder, metrics.VALID, self.state.others, self.state.metrics
            )
        self.trained_examples += result.examples
        self.train_seconds += result.train_seconds
        self._journal(result, self._known.get(result.epoch))
        _keep_weights(self)
        if is_main_process():
            self._save()
        log.info("%s", self._view.epoch(result, self.stopping.best_epoch))
        self._notice_core_wait()
        if self.reason is None:
            self._listener.heed(result.epoch)
        return self.reason is not None

    def _notice_core_wait(self) -> None:
        """Say that other programs take the cores; a job of a sweep says it in its log."""
        alone = self.job.config.sweep.id is None
        if notice := self._core_wait.notice(self.runtime.threads, alone=alone):
            say = console.complain if alone else log.warning
            say(f"run {self.folder.id}: {notice}")

    def _save(self) -> None:
        """Write a checkpoint if it is time, or the last one is to be kept; else hold one ready."""
        is_kept = self.reason is not None and self.job.config.store.keep == longer.LAST
        if is_kept or self._checkpoints.are_due:
            self._checkpoints.write(captured(self))
        else:
            self._checkpoints.hold(copied(captured(self)))

    def _journal(self, result: EpochResult, before: dict[str, float] | None) -> None:
        """Journal an epoch the first time; one that is trained again must come out the same."""
        if before is None:
            seconds = round(result.seconds, 6)
            self.folder.journal.append(
                store.Event.EPOCH, epoch=result.epoch, metrics=result.metrics, seconds=seconds
            )
            return
        _note_differences(self.folder, result, before)

    def finish(self) -> store.Result:
        """Test with the best weights, keep them, and write down what came out."""
        with self._checkpoints.written_at_the_end():
            return _finish(self)


def _finish(training: Training) -> store.Result:
    """Test, keep the weights, and journal the end."""
    _complain_of_changed_data(training.folder, training._streamed)
    values: dict[str, float] = {
        metrics.EARLY_STOP_EPOCH: training.epoch,
        metrics.PARAMETERS: sum(p.numel() for p in training.state.parameters),
        metrics.EXAMPLES_PER_SECOND: training.trained_examples / training.train_seconds,
        metrics.SECONDS: training.stopping.seconds,
    }
    digest = None
    if training.best is not None and training.stopping.best_epoch is not None:
        restore(training.best, training.state.evaluated, training.state.loss)
        training.state.metrics = _test_metrics(training.state, training.job.config)
        tested = loop.evaluate(training.state, batches.counted(training.state, training.test, 0))
        attachments.keep(
            training.folder.folder, metrics.TEST, training.state.others, training.state.metrics
        )
        values |= metrics.with_prefix(metrics.TEST, tested) | {
            metrics.BEST_EPOCH: training.stopping.best_epoch
        }
        digest = weights.weights_sha256(training.best)
        weights.write_weights(training.folder, training.best)
    training.folder.journal.append(
        store.Event.END,
        status=store.Status.FINISHED,
        stop_reason=training.reason,
        metrics=values,
        weights_sha256=digest,
    )
    return training.job.result(
        store.Status.FINISHED, training.reason, metrics=values, weights_sha256=digest
    )


def _test_metrics(state: TrainState, settings: config.Config) -> Mapping[str, Metric]:
    """Return the further metrics; of a classification also what it gets right by class."""
    classes = settings.data.out_features
    is_known = settings.data.task == metrics.CLASSIFICATION and classes <= by_class.MOST
    if not is_known or world_size() > 1:  # each rank would see a share only
        return state.metrics
    return {BY_CLASS: by_class.ByClass(classes), **state.metrics}


def _look_at_first_epoch(training: Training, result: EpochResult) -> None:
    """Say what the first epoch shows: a metric without numbers, a part that is not trained."""
    name, watched = f"run {training.folder.id}", training.stopping
    if result.finite and watched.best is None:
        console.complain(f"{name}: {watched.monitor} is nan, by which no epoch can be chosen")
    for part, updater in training.state.updaters.items():
        if part and updater.updates == 0:
            why = "the step yielded no loss for this part in the first epoch: it is not trained"
            console.complain(f"{name}: optimizer.{part}: {why}")


def _keep_weights(training: Training) -> None:
    """Keep the weights of this epoch as they are evaluated, if it is one of `keep_every`.

    That is done before its checkpoint is written: a run that is killed in between trains it again.
    """
    every = training.job.config.trainer.keep_every
    if every is not None and training.epoch % every == 0 and is_main_process():
        state = collect(training.state.evaluated, training.state.loss)
        weights.write_weights_of(training.folder, training.epoch, state)


def _take_over(training: Training, shorter: longer.Shorter) -> None:
    """Journal the epochs of a shorter run as this one's; it may have been killed in between."""
    name = f"run {training.folder.id}"
    console.say(f"{name} begins with the epochs of run {shorter.run.id}, which was shorter")
    known = store.History.of(training.folder.journal).epochs
    for epoch, values in shorter.epochs.items():
        if epoch not in known:
            training.folder.journal.append(store.Event.EPOCH, epoch=epoch, metrics=values)
    every = training.job.config.trainer.keep_every or len(shorter.epochs) + 1
    for epoch in range(every, len(shorter.epochs) + 1, every):
        try:
            state = weights.verified_weights_of(shorter.run, epoch)
            weights.write_weights_of(training.folder, epoch, state)
        except UserError as error:  # what was not kept then cannot be had now
            console.complain(str(error))


def _say_other_ranks(run: store.Run, history: store.History) -> None:
    before = (history.provenance or {}).get("ranks", 1)
    if history.provenance and before != world_size():
        others = f"had {before} ranks and now has {world_size()}, which gives other bits"
        console.say(f"run {run.id} {others}")


def _provenance(
    settings: config.Config, how: Runtime, together: Mapping[str, int]
) -> dict[str, Any]:
    facts = provenance(how, Path.cwd())
    facts["git"] = facts["git"] | kept_code.keep(settings, Path.cwd())
    return {**facts, **together}


def _complain_of_changed_data(run: store.Run, splits: Sequence[data.StreamingSplit]) -> None:
    if any(split.changed() for split in splits):
        console.complain(
            f"run {run.id}: data.dataset: the same seeds do not give the same examples any more, since "
            "reading changes the set; a resumed run, or one with other data.workers, has other bits"
        )


def _load_initial_weights(settings: config.Config, init_from: str, state: TrainState) -> None:
    """Take the weights of another run, those of the loss only if it was the same one."""
    run, _ = initial_run(init_from, settings.store.root)
    initial = weights.verified_weights(run)
    restore(initial, state.model)
    if run.recorded("loss") == config.redact(config.to_dict(settings))["loss"]:
        restore_loss(initial, state.loss)


def _early_stopping(settings: config.Config) -> stopping.Stopping:
    trainer = settings.trainer
    return stopping.Stopping(
        monitor=settings.monitor,
        mode=settings.mode,
        epochs=trainer.epochs,
        patience=trainer.patience,
        target=trainer.target,
        time_limit=trainer.time_limit,
        min_delta=trainer.min_delta,
    )


def _note_differences(run: store.Run, result: EpochResult, before: dict[str, float]) -> None:
    """Say which metrics of an epoch that was trained again are other than before, and journal it."""
    for name in store.differing(before, result.metrics):
        now = result.metrics.get(name)
        console.complain(
            f"run {run.id}: epoch {result.epoch} was trained again, and {name} is {now!r}, "
            f"it was {before.get(name)!r}: something in this run is not deterministic"
        )
        run.journal.append(
            store.Event.DIFFERS, epoch=result.epoch, metric=name, before=before.get(name), now=now
        )
