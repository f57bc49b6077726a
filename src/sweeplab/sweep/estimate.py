"""How long the jobs of a plan will take: from earlier runs in the store, else from a few timed steps."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from sweeplab import config, metrics, store
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.runs import parts
from sweeplab.runs.build import build
from sweeplab.runs.job import Job
from sweeplab.sweep import fate, leases
from sweeplab.sweep.fate import Fate
from sweeplab.train import loop
from sweeplab.train.device import Runtime, choose_device

SEEDS, NETWORK, STEPS = "other seeds", "same network", "timed steps"
"""Where an estimate comes from: finished runs of the same config but the seed; others of the same network, data, batch
size and precision, scaled by epochs; steps on random examples, scaled by steps and epochs."""

BUDGET = 5.0  # seconds for all timed steps of a plan
LONGEST = 0.5  # of them for one network
NETWORKS = 20  # that are timed at most; the others are estimated from these


@dataclass(kw_only=True, slots=True, frozen=True)
class Estimate:
    """Of a job: at most so long, since early stopping may end it sooner. Unknown is None."""

    seconds: float | None = None
    source: str = ""


def estimates(jobs: Sequence[tuple[Job, Fate]]) -> list[Estimate]:
    """One for each job, 0 s where nothing is trained."""
    past = _past(jobs)
    unknown = [job for job, its in jobs if its.kind != fate.REUSE and not any(key in past for key in _keys(job.config))]
    steps = _timed(unknown)
    return [_estimate(job, its, past, steps) for job, its in jobs]


def _estimate(job: Job, its: Fate, past: dict[Hashable, list[float]], steps: dict[str, float]) -> Estimate:
    if its.kind == fate.REUSE:
        return Estimate(seconds=0.0)
    left = max(job.config.trainer.epochs - its.epoch, 0)
    seeds, network = _keys(job.config)
    if seeds in past:
        seconds = statistics.median(past[seeds])
        found, source = seconds * left / job.config.trainer.epochs, SEEDS
    elif network in past:
        found, source = statistics.median(past[network]) * left, NETWORK
    elif job.fingerprint in steps:
        found, source = steps[job.fingerprint] * left, STEPS
    else:
        return Estimate()
    return Estimate(seconds=min(found, job.config.trainer.time_limit or found), source=source)


def wall(seconds: Iterable[float], settings: Config) -> tuple[float, int]:
    """(how long jobs of so many seconds each take side by side on this machine, on how many workers)."""
    room, count = leases.of_this_machine(settings), 0
    while room.take(settings.trainer.threads or 1, leases.gpus_per_worker(settings)):
        count += 1
    busy_until = [0.0] * max(count, 1)
    for each in seconds:
        heapq.heapreplace(busy_until, busy_until[0] + each)
    return max(busy_until), len(busy_until)


# --- Earlier runs


def _keys(settings: Config) -> tuple[Hashable, Hashable]:
    """What runs have in common that take equally long, and those that take equally long for an epoch."""
    canonical = config.canonical(settings)
    canonical.pop("seed")
    trainer = {key: canonical["trainer"].get(key) for key in ("batch_size", "precision", "compile", "limit_batches")}
    epoch = [canonical["model"], canonical["data"], trainer, settings.trainer.overfit_batches]
    return (SEEDS, config.canonical_json(canonical)), (NETWORK, config.canonical_json(epoch))


def _past(jobs: Sequence[tuple[Job, Fate]]) -> dict[Hashable, list[float]]:
    """Of the finished runs: key -> seconds of a run, or of an epoch."""
    found: dict[Hashable, list[float]] = {}
    if all(its.kind == fate.REUSE for _, its in jobs):
        return found
    for run in store.Store(jobs[0][0].config.store.root).runs():
        result = run.result()
        if result is None or result.status != store.Status.FINISHED:
            continue
        try:
            seeds, network = _keys(config.validate(run.start().get("config", {})))
        except UserError:  # of another version, or without a record
            continue
        seconds, epochs = result.metrics[metrics.SECONDS], result.metrics[metrics.EARLY_STOP_EPOCH]
        found.setdefault(seeds, []).append(seconds)
        found.setdefault(network, []).append(seconds / epochs)
    return found


# --- Timed steps


def _timed(jobs: Sequence[Job]) -> dict[str, float]:
    """Fingerprint -> seconds of an epoch, from steps of the networks in `jobs`, on one thread.

    Of many networks those are timed that have the fewest parameters, the most, and some in between; the others take as
    long as the nearest of these, by their parameters.
    """
    alike: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=_size):
        alike.setdefault(_cost(job.config), []).append(job)
    groups = list(alike.values())
    chosen = sorted({round(i * (len(groups) - 1) / max(NETWORKS - 1, 1)) for i in range(NETWORKS)}) if groups else []
    until = time.perf_counter() + BUDGET
    costs: list[tuple[int, tuple[float, float]]] = []
    with _one_thread():
        for index, which in enumerate(chosen):
            left = until - time.perf_counter()
            if left > 0 and (cost := _step_seconds(groups[which][0], min(LONGEST, left / (len(chosen) - index)))):
                costs.append((which, cost))
    found: dict[str, float] = {}
    for which, group in enumerate(groups if costs else []):
        nearest, cost = min(costs, key=lambda known: abs(known[0] - which))
        scale = 1.0 if nearest == which else (_size(group[0]) or 1) / (_size(groups[nearest][0]) or 1)
        found |= {job.fingerprint: _epoch(job, cost) * scale for job in group}
    return found


def _size(job: Job) -> int:
    return sum(layer.parameters for layer in job.layers)


def _cost(settings: Config) -> str:
    """What the time of a step is a matter of; learning rates and the like are not."""
    classes = [getattr(settings, name).get("_target_") for name in ("loss", "optimizer", "scheduler")]
    trainer, shape = settings.trainer, parts.input_shape(settings.data)
    return repr([settings.model, classes, shape, trainer.batch_size, trainer.precision, trainer.device])


def _epoch(job: Job, cost: tuple[float, float]) -> float:
    """Seconds of an epoch from those of a training step and of the evaluation of one example."""
    trainer, facts = job.config.trainer, job.facts
    limit = trainer.overfit_batches or trainer.limit_batches
    steps, valid = facts.train // trainer.batch_size, facts.valid
    if limit is not None:
        size = trainer.batch_size if trainer.overfit_batches else trainer.eval_batch_size
        steps, valid = min(steps, limit), min(valid, limit * size)
    return steps * cost[0] + valid * cost[1]


def _step_seconds(job: Job, budget: float) -> tuple[float, float] | None:
    """(a training step, the evaluation of one example) in seconds; None if the network cannot be run so."""
    settings = replace(job.config, trainer=replace(job.config.trainer, compile=False))
    device, trainer = choose_device(settings.trainer.device), settings.trainer
    try:
        task = build(settings, Runtime(device=device, threads=1, precision=trainer.precision), 100_000)
        batch = _random_batch(settings.data, trainer.batch_size, device)
        task.model.train()
        step = _clocked(lambda: loop.train_step(task, *batch)[0], budget * 0.8)
        task.model.eval()
        with torch.no_grad():
            forward = _clocked(lambda: task.model(batch[0]).sum(), budget * 0.2)
    except Exception:  # whatever a user's class does to examples that are none: no estimate, and no harm
        return None
    return step, forward / trainer.batch_size


def _random_batch(needs: config.Data, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    classes = needs.task == metrics.CLASSIFICATION
    targets = torch.randint(needs.out_features, (size,)) if classes else torch.randn(size, needs.out_features)
    return torch.randn(size, *parts.input_shape(needs)).to(device), targets.to(device)


def _clocked(call: Callable[[], torch.Tensor], budget: float, most: int = 10) -> float:
    """The median time of a call, the first of several left out: it allocates."""
    times: list[float] = []
    until = time.perf_counter() + budget
    while len(times) < most and (not times or time.perf_counter() < until):
        began = time.perf_counter()
        call().item()  # waits for the device
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:] or times)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
