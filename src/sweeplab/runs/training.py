"""One training, from the first batch to the result, with a checkpoint after each epoch from which it goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from sweeplab import config, console, data, metrics, store, tracking
from sweeplab.metrics import EpochResult
from sweeplab.runs import attachments, checkpoint, screen, system
from sweeplab.runs.build import build
from sweeplab.runs.identity import initial_run
from sweeplab.runs.job import Job
from sweeplab.train import loop, runtime, stopping
from sweeplab.train.attributes import Attributes
from sweeplab.train.distributed import Share, from_first, placed, spread
from sweeplab.train.ranks import count, is_first
from sweeplab.train.state import State, collect, restore, restore_loss, snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")
Asking = Generator[loop.Pass, loop.Passed, T]
"""Asks for the training parts of epochs, and returns a T."""

CHEAP = 1.0  # seconds of a last epoch that is rather trained again, after a kill before the result, than written out


class Training:
    """The parts of a training and where it has got to."""

    def __init__(self, job: Job, run: store.Run, splits: data.Splits, fused: int = 1) -> None:
        """`fused`: how many runs, with this one, are trained as one."""
        trainer = job.config.trainer
        self.job, self.folder, self._fused = job, run, fused
        saved = from_first(checkpoint.latest(run.checkpoints, job.fingerprint, console.complain))
        # Another number of threads would give other bits: a resumed run keeps its own.
        alone = job.config.sweep.id is None
        self.runtime = runtime.start(placed(trainer), saved["threads"] if saved else None, alone=alone)
        self.train, self.valid, self.test = self._batches(splits)
        self._streamed = [s for s in (splits.train, splits.valid, splits.test) if isinstance(s, data.Streamed)]
        self.task = build(job.config, self.runtime, len(self.train))
        checkpoint.try_saving(self.task.model, self.task.loss)
        owners = {"model": self.task.model, "loss": self.task.loss, "optimizer": self.task.optimizer}
        self.attributes = Attributes(owners | {f"metrics.{n}": each for n, each in self.task.metrics.items()})
        spread(self.task)
        self.stopping = stopping.Stopping(
            monitor=job.config.monitor,
            mode=job.config.mode,
            epochs=trainer.epochs,
            patience=trainer.patience,
            target=trainer.target,
            time_limit=trainer.time_limit,
            min_delta=trainer.min_delta,
        )
        self.best: State | None = None
        self.epoch = 0
        self.reason: str | None = None
        self.trained_examples, self.train_seconds = 0, 0.0
        optimizer, scheduler = self.task.optimizer.state_dict(), self.task.scheduler.state_dict()
        checkpoint.refuse_unsafe({"optimizer": optimizer, "scheduler": scheduler})
        self._begin(saved)

    def _batches(self, splits: data.Splits) -> tuple[data.Batches, data.Batches, data.Batches]:
        trainer, device = self.job.config.trainer, self.runtime.device
        if trainer.overfit_batches is not None:
            few = data.Batches(splits.train, trainer.batch_size, device=device, limit=trainer.overfit_batches)
            return few, few, few
        batches = Share if count() > 1 else data.Batches
        train = batches(
            splits.train,
            trainer.batch_size,
            device=device,
            seed=self.job.config.seed,
            drop_last=True,
            limit=trainer.limit_batches,
            shift=self._shift(),
        )
        size, limit = trainer.eval_batch_size, trainer.limit_batches
        valid, test = (batches(s, size, device=device, limit=limit) for s in (splits.valid, splits.test))
        return train, valid, test

    def _shift(self) -> data.Shift | None:
        pictures, most = self.job.config.data, self.job.config.trainer.shift
        if most is None or pictures.shape is None:
            return None
        channels, height, width = pictures.shape
        return data.Shift((channels, height, width), most, blank=-(pictures.mean or 0.0) / (pictures.std or 1.0))

    def _begin(self, saved: checkpoint.Saved | None) -> None:
        """Start from the seed (or another run's weights), or go on from a checkpoint; journalled either way."""
        settings = self.job.config
        origin = runtime.provenance(self.runtime, Path.cwd())
        if self._fused > 1:
            origin["fused"] = self._fused
        if saved is not None:
            self._restore(saved)
            before = [e["provenance"].get("ranks", 1) for e in self.folder.journal.events() if "provenance" in e]
            if before and before[-1] != count():
                console.say(
                    f"run {self.folder.id} had {before[-1]} ranks and now has {count()}, which gives other bits"
                )
            self.folder.journal.append(store.RESUME, epoch=self.epoch, provenance=origin)
            console.say(f"run {self.folder.id} goes on after epoch {self.epoch}")
            return
        if settings.trainer.init_from is not None:
            run, _ = initial_run(settings, store.Store(settings.store.root))
            initial = checkpoint.verified_weights(run)
            restore(initial, self.task.model)
            if run.recorded("loss") == config.redact(config.to_dict(settings))["loss"]:  # else it keeps its own
                restore_loss(initial, self.task.loss)
        self.folder.journal.append(
            store.START,
            **self.job.record(),
            provenance=origin,
            experiment=tracking.experiment_name(settings.tracking) if settings.tracking.enabled else None,
            sweep=settings.sweep.id,
        )

    def steps(self, after_epoch: Callable[[], None] = lambda: None) -> Asking[store.Result]:
        """Train, choose the best epoch, test once, record; asks for the training parts of its epochs."""
        settings = self.job.config
        shown, alone = settings.trainer.progress, settings.sweep.id is None
        if shown and alone:
            screen.layers(f"{settings.model['_target_']} on {self.runtime.device}", self.job.layers)
        view = screen.RunScreen(settings.trainer.epochs, len(self.train), bar=shown, lines=shown and alone)
        watched = system.sampled(self.folder.journal, on=settings.tracking.enabled and settings.tracking.system_metrics)
        with view, watched, _profiled(self.folder, self.runtime.device, on=settings.trainer.profile):
            reason = self.reason or (yield from self._epochs(view, after_epoch))
        return self._finish(reason)

    def _epochs(self, view: screen.RunScreen, after_epoch: Callable[[], None]) -> Asking[str]:
        """Epoch after epoch until there is a reason to stop, which is returned."""
        known = self.folder.journal.epochs()
        while True:
            number = self.epoch + 1
            result = yield from loop.epoch(
                self.task, number, lambda n: view.batches(n, self.train.epoch(n)), lambda: self.valid.epoch(0)
            )
            result = from_first(result)  # seconds, too: what stops one rank stops all
            self.epoch, self.reason = result.epoch, self.stopping.update(result)
            if result.epoch == 1 and result.finite and self.stopping.best is None:
                console.complain(
                    f"run {self.folder.id}: {self.stopping.monitor} is nan, by which no epoch can be chosen"
                )
            if self.stopping.best_epoch == result.epoch:
                self.best = snapshot(self.task.model, self.task.loss)
            if self.stopping.best_epoch in (result.epoch, None):
                attachments.keep(self.folder.folder, metrics.VALID, self.task.others, self.task.metrics)
            self.trained_examples += result.examples
            self.train_seconds += result.train_seconds
            self._journal(result, known.get(result.epoch))
            if is_first() and (self.reason is None or result.seconds > CHEAP):
                checkpoint.save(self.folder.checkpoints, self.epoch, self._state())
            log.info("%s", view.epoch(result, self.stopping.best_epoch))
            after_epoch()
            if self.reason is not None:
                return self.reason

    def _journal(self, result: EpochResult, before: dict[str, float] | None) -> None:
        """Write an epoch down, the first time; one that was trained before must have come out the same."""
        if before is None:
            seconds = round(result.seconds, 6)
            self.folder.journal.append(store.EPOCH, epoch=result.epoch, metrics=result.metrics, seconds=seconds)
            return
        for name in store.differing(before, result.metrics):
            now = result.metrics.get(name)
            console.complain(
                f"run {self.folder.id}: epoch {result.epoch} was trained again, and {name} is {now!r}, "
                f"it was {before.get(name)!r}: something in this run is not deterministic"
            )
            self.folder.journal.append(store.DIFFERS, epoch=result.epoch, metric=name, before=before.get(name), now=now)

    def _state(self) -> checkpoint.Saved:
        return {
            "fingerprint": self.job.fingerprint,
            "epoch": self.epoch,
            "reason": self.reason,
            "threads": self.runtime.threads,
            "model": collect(self.task.model, self.task.loss),
            "best": self.best,
            "optimizer": self.task.optimizer.state_dict(),
            "scheduler": self.task.scheduler.state_dict(),
            "stopping": self.stopping.state_dict(),
            "attributes": self.attributes.changed(),
            "random": runtime.random_state(self.runtime.device),
            "trained_examples": self.trained_examples,
            "train_seconds": self.train_seconds,
        }

    def _restore(self, saved: checkpoint.Saved) -> None:
        self.epoch, self.reason = saved["epoch"], saved["reason"]
        restore(saved["model"], self.task.model, self.task.loss)
        self.best = saved["best"]
        self.task.optimizer.load_state_dict(saved["optimizer"])
        self.task.scheduler.load_state_dict(saved["scheduler"])
        self.stopping.load_state_dict(saved["stopping"])
        self.attributes.restore(saved["attributes"], self.runtime.device)
        runtime.set_random_state(self.runtime.device, saved["random"])
        self.trained_examples, self.train_seconds = saved["trained_examples"], saved["train_seconds"]

    def _finish(self, reason: str) -> store.Result:
        """Test with the best weights, keep them, and write down what came out; the journal first."""
        if any(split.changed() for split in self._streamed):
            console.complain(
                f"run {self.folder.id}: data.dataset: the same seeds do not give the same examples any more, since "
                "reading changes the set; a resumed run, or one with other data.workers, has other bits"
            )
        values: dict[str, float] = {
            metrics.EARLY_STOP_EPOCH: self.epoch,
            metrics.PARAMETERS: sum(p.numel() for p in self.task.parameters),
            metrics.EXAMPLES_PER_SECOND: self.trained_examples / self.train_seconds,
            metrics.SECONDS: self.stopping.seconds,
        }
        digest = None
        if self.best is not None and self.stopping.best_epoch is not None:
            restore(self.best, self.task.model, self.task.loss)
            tested = loop.evaluate(self.task, self.test.epoch(0))
            attachments.keep(self.folder.folder, metrics.TEST, self.task.others, self.task.metrics)
            values |= metrics.with_prefix(metrics.TEST, tested) | {metrics.BEST_EPOCH: self.stopping.best_epoch}
            digest = checkpoint.weights_sha256(self.best)
            checkpoint.write_weights(self.folder, self.best)
        self.folder.journal.append(
            store.END, status=store.FINISHED, stop_reason=reason, metrics=values, weights_sha256=digest
        )
        return self.job.result(store.FINISHED, reason, metrics=values, weights_sha256=digest)


@contextmanager
def _profiled(run: store.Run, device: torch.device, *, on: bool) -> Iterator[None]:
    """A torch profiler around the epochs: `profile/trace.json` (for chrome://tracing) and `profile/table.txt`."""
    if not on:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities, acc_events=True) as profiler:
        yield
    folder = run.folder / "profile"
    folder.mkdir(exist_ok=True)
    text = profiler.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=20)
    (folder / "table.txt").write_text(text, encoding="utf-8")
    profiler.export_chrome_trace(str(folder / "trace.json"))
    console.say(f"{text}\nprofile: {folder}/table.txt, trace.json (open it in chrome://tracing or Perfetto)")
