"""One run: config -> parts -> loop -> store -> result; and the trained network back."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sweeplab import checkpoint, code, config, data, loop, metrics, parts, runtime, screen, stopping, store, tracking
from sweeplab.config import Config
from sweeplab.errors import Interrupted, RunFailed, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, frozen=True)
class Job:
    """A run that was found to be in order: everything is checked, nothing is made yet."""

    config: Config
    overrides: list[str]
    facts: data.Facts
    layers: list[screen.Layer]
    fingerprint: str
    question: str
    finished: bool  # the store has its result

    @property
    def name(self) -> str:
        """What sets the run apart, for people: `hidden=392 seed=1`, or the network's name."""
        shown = [o for o in self.overrides if not o.startswith(("store.", "tracking", "data.root", "sweep."))]
        short = (f"{key.rpartition('.')[2]}={value}" for key, _, value in (o.partition("=") for o in shown))
        return " ".join(short) or str(self.config.model["_target_"]).rpartition(".")[2]


def main(raw: DictConfig) -> None:
    """What train.py does with a composed config: check it, train it, say what came out, and wait for MLflow."""
    settings = config.parse(raw)
    job = prepare(settings, config.task_overrides())
    splits = None if job.finished else data.load(settings.data)  # what is wrong with it shows before anything is made
    home = store.Store(settings.store.root).open()
    with tracking.feeding(home, settings.tracking) as client:
        result = train(job, home, splits)
        run = home.run(job.fingerprint)
        if settings.sweep.id is not None:
            say_briefly(job, result, home.manifest(settings.sweep.id))
        else:
            report(job, run, result)
            say_tracking(client.wait([run], settings.tracking.wait), settings)


def prepare(settings: Config, overrides: list[str]) -> Job:
    """Check everything that can be checked before any work. Raises UserError with all that is wrong."""
    if problems := parts.problems(settings):
        raise UserError("\n".join(problems))
    runtime.choose_device(settings.trainer.device)
    facts = data.facts(settings.data)
    if settings.trainer.batch_size > facts.train:
        raise UserError(
            f"trainer.batch_size={settings.trainer.batch_size}: the training split has {facts.train} examples; "
            "give at most that"
        )
    fingerprint, question = store.fingerprint(
        config.canonical(settings), facts.digest, code.digest(parts.targets(settings))
    )
    finished = store.Store(settings.store.root).check().run(fingerprint).status == store.FINISHED
    return Job(
        config=settings,
        overrides=overrides,
        facts=facts,
        layers=[] if finished else parts.fit(settings),  # what was trained was in order
        fingerprint=fingerprint,
        question=question,
        finished=finished,
    )


def train(job: Job, home: store.Store, splits: data.Splits | None = None) -> store.Result:
    """The run's result: from the store if it is finished there, else trained now, on `splits` if they are loaded.

    Raises RunFailed if training raises, KeyboardInterrupt after Ctrl-C or SIGTERM; both are recorded before.
    """
    run = home.run(job.fingerprint)
    with run.claim(lambda: screen.say(f"run {run.id} is being trained by another process: waiting for it")):
        done = run.result()
        if done is not None and done.status == store.FINISHED:
            _want(run, job.config)
            if job.config.sweep.id is None:
                screen.say(f"run {run.id} is finished already: reused from {run.folder}")
            return done
        with _recording(run, job):
            result = _Training(job, run, splits or data.load(job.config.data)).run()
        run.write_result(result)
    return result


def _want(run: store.Run, settings: Config) -> None:
    """A finished run that is asked for under another MLflow experiment is to be seen there too."""
    experiment = tracking.experiment_name(settings.tracking)
    known = {event.get("experiment") for event in run.journal.events() if event["event"] in (store.START, store.TRACK)}
    if settings.tracking.enabled and settings.sweep.id is None and experiment not in known:
        run.journal.append(store.TRACK, experiment=experiment)


@contextmanager
def _recording(run: store.Run, job: Job) -> Iterator[None]:
    """Journal the start; whatever ends the run early is journalled, too, and kept as its result."""
    recorded = config.redact(config.to_dict(job.config))
    run.journal.mend()
    run.write_config(recorded, job.overrides)
    try:
        with _log_to(run.log_file), _sigterm():
            yield
    except KeyboardInterrupt:
        _end(run, job, store.INTERRUPTED, stopping.INTERRUPTED)
        raise
    except Exception as error:
        _end(run, job, store.FAILED, None, error=f"{type(error).__name__}: {error}")
        raise RunFailed(
            f"run {run.id} ({job.name}) failed: {type(error).__name__}: {error}\nits log: {run.log_file}"
        ) from error


def _end(run: store.Run, job: Job, status: str, reason: str | None, error: str | None = None) -> None:
    """A run that did not come to its end: the journal first, then the result."""
    run.journal.append(store.END, status=status, stop_reason=reason, metrics={}, error=error)
    run.write_result(_result(job, status, reason, {}, None))


def _result(
    job: Job, status: str, reason: str | None, values: dict[str, float], weights_sha256: str | None
) -> store.Result:
    return store.Result(
        fingerprint=job.fingerprint,
        question=job.question,
        status=status,
        stop_reason=reason,
        metrics=values,
        weights_sha256=weights_sha256,
        overrides=job.overrides,
    )


@contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """Everything that is logged, and Python's warnings, go to the run's log meanwhile."""
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    except Exception:
        log.exception("the run failed")
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM raises Interrupted meanwhile, where signals can be handled (the main thread)."""

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


class _Training:
    """The parts of one training, from the first batch to the result."""

    def __init__(self, job: Job, run: store.Run, splits: data.Splits) -> None:
        trainer = job.config.trainer
        self.job, self.folder = job, run
        self.runtime = runtime.start(trainer)
        self.train, self.valid, self.test = self._batches(splits)
        self.task = parts.build(job.config, self.runtime, len(self.train))
        self.stopping = stopping.Stopping(
            monitor=job.config.monitor,
            mode=job.config.mode,
            epochs=trainer.epochs,
            patience=trainer.patience,
            target=trainer.target,
            time_limit=trainer.time_limit,
            min_delta=trainer.min_delta,
        )
        self.best: checkpoint.State | None = None
        self.trained_examples = 0
        self.train_seconds = 0.0

    def _batches(self, splits: data.Splits) -> tuple[data.Batches, data.Batches, data.Batches]:
        trainer, device = self.job.config.trainer, self.runtime.device
        if trainer.overfit_batches is not None:
            few = data.Batches(splits.train, trainer.batch_size, device=device, limit=trainer.overfit_batches)
            return few, few, few
        train = data.Batches(
            splits.train,
            trainer.batch_size,
            device=device,
            seed=self.job.config.seed,
            drop_last=True,
            limit=trainer.limit_batches,
        )
        size, limit = trainer.eval_batch_size, trainer.limit_batches
        valid, test = (data.Batches(s, size, device=device, limit=limit) for s in (splits.valid, splits.test))
        return train, valid, test

    def run(self) -> store.Result:
        """Train, choose the best epoch, test once, record."""
        self._journal_start()
        sections = self.job.config
        shown = sections.trainer.progress
        alone = sections.sweep.id is None
        if shown and alone:
            screen.layers(f"{sections.model['_target_']} on {self.runtime.device}", self.job.layers)
        with (
            screen.RunScreen(sections.trainer.epochs, len(self.train), bar=shown, lines=shown and alone) as view,
            _profiled(self.folder, self.runtime.device, on=sections.trainer.profile),
        ):
            reason = self._epochs(view)
        return self._finish(reason)

    def _journal_start(self) -> None:
        settings, facts = self.job.config, self.job.facts
        self.folder.journal.append(
            store.START,
            fingerprint=self.job.fingerprint,
            question=self.job.question,
            name=self.job.name,
            overrides=self.job.overrides,
            config=config.redact(config.to_dict(settings)),
            data={"name": settings.data.name, **asdict(facts)},
            provenance=runtime.provenance(self.runtime, Path.cwd()),
            experiment=tracking.experiment_name(settings.tracking) if settings.tracking.enabled else None,
            sweep=settings.sweep.id,
        )

    def _epochs(self, view: screen.RunScreen) -> str:
        """Epoch after epoch until there is a reason to stop, which is returned."""
        results = loop.epochs(self.task, lambda n: view.batches(n, self.train.epoch(n)), lambda: self.valid.epoch(0))
        for epoch in results:
            reason = self.stopping.update(epoch)
            if self.stopping.best_epoch == epoch.epoch:
                self.best = checkpoint.snapshot(self.task.model)
            self.trained_examples += epoch.examples
            self.train_seconds += epoch.train_seconds
            self.folder.journal.append(
                store.EPOCH, epoch=epoch.epoch, metrics=epoch.metrics, seconds=round(epoch.seconds, 6)
            )
            log.info("%s", view.epoch(epoch, self.stopping.best_epoch))
            if reason is not None:
                self.last_epoch = epoch.epoch
                return reason
        raise AssertionError("the loop ends by our own break only")

    def _finish(self, reason: str) -> store.Result:
        """Test with the best weights, keep them, and write down what came out; the journal first."""
        values: dict[str, float] = {
            metrics.EARLY_STOP_EPOCH: self.last_epoch,
            metrics.PARAMETERS: sum(p.numel() for p in self.task.model.parameters()),
            metrics.EXAMPLES_PER_SECOND: self.trained_examples / self.train_seconds,
            metrics.SECONDS: self.stopping.seconds,
        }
        digest = None
        if self.best is not None and self.stopping.best_epoch is not None:
            self.task.model.load_state_dict(self.best)
            tested = loop.evaluate(self.task, self.test.epoch(0))
            values |= metrics.with_prefix(metrics.TEST, tested) | {metrics.BEST_EPOCH: self.stopping.best_epoch}
            digest = checkpoint.weights_sha256(self.best)
            store.write_atomic(self.folder.weights_file, checkpoint.weights_bytes(self.best))
        result = _result(self.job, store.FINISHED, reason, values, digest)
        self.folder.journal.append(
            store.END, status=store.FINISHED, stop_reason=reason, metrics=values, weights_sha256=digest
        )
        return result


@contextmanager
def _profiled(run: store.Run, device: torch.device, *, on: bool) -> Iterator[None]:
    """A torch profiler around the epochs: `profile/trace.json` (for chrome://tracing) and `profile/table.txt`."""
    if not on:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiler:
        yield
    folder = run.folder / "profile"
    folder.mkdir(exist_ok=True)
    text = profiler.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=20)
    (folder / "table.txt").write_text(text)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    screen.say(f"{text}\nprofile: {folder}/table.txt, trace.json (open it in chrome://tracing or Perfetto)")


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


def say_briefly(job: Job, result: store.Result, sweep: Mapping[str, Any]) -> None:
    """A run of a sweep in one line."""
    names = {
        cell["fingerprint"]: f"{i}/{len(sweep['cells'])} {cell['name']}" for i, cell in enumerate(sweep["cells"], 1)
    }
    tested = f"{metrics.TEST}/{metrics.score(job.config.data.task)}"
    screen.say(
        f"{names[job.fingerprint]}: {tested} {screen.number(result.metrics.get(tested))}, "
        f"{int(result.metrics[metrics.EARLY_STOP_EPOCH])} epochs ({result.stop_reason}), "
        f"{result.metrics[metrics.SECONDS]:.1f} s"
    )


def say_tracking(lag: str | None, settings: Config) -> None:
    """Where to look next; or, if MLflow lags behind, why and what brings it level."""
    if not settings.tracking.enabled:
        screen.say("tracking is off: nothing was sent to MLflow")
    elif lag is None:
        screen.say(f"compare runs in MLflow: {screen.command('sweeplab ui')}")
    else:
        screen.say(f"{lag}\nnothing is lost; bring it level with: {screen.command('sweeplab sync')}", style="yellow")


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
    import tempfile

    if len(run_id) != 32:  # MLflow's run ids are 32 hex digits
        raise missing
    with tempfile.TemporaryDirectory() as folder:
        tracking.download(tracking.resolve_uri(config.Tracking()), run_id, Path(folder))
        found = store.Run(Path(folder))
        code.ensure_trusted(found.config()["model"], "model")
        return _load(found)
