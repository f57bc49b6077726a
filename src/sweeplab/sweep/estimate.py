"""Estimate how long the jobs of a plan take: from earlier runs, else from a few timed steps."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from sweeplab import config, metrics, store
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.runs import parts
from sweeplab.runs.build import build
from sweeplab.runs.job import Job
from sweeplab.runs.once import Once
from sweeplab.sweep import leases
from sweeplab.sweep.fate import REUSE, Fate
from sweeplab.train.device import Runtime, choose_device
from sweeplab.train.loop import train_step

SEEDS, NETWORK, STEPS = "other seeds", "same network", "timed steps"
"""Where an estimate comes from:

- finished runs of the same config but the seed;
- finished runs of the same network, data, batch size and precision, scaled by epochs;
- steps on random examples, scaled by steps and epochs.
"""

BUDGET = 5.0  # seconds for all timed steps of a plan
LONGEST = 0.5  # seconds of these for one network, at most
MOST_CALLS = 10  # of a step that is timed
NETWORKS = 20  # timed at most; the others are estimated from these


@dataclass(kw_only=True, slots=True, frozen=True)
class Estimate:
    """The longest that a job takes: early stopping may end it sooner. None is unknown."""

    seconds: float | None = None
    source: str = ""


@dataclass(kw_only=True, slots=True, frozen=True)
class StepCost:
    """What steps cost, in seconds."""

    train: float  # a training step
    evaluate: float  # the evaluation of one example


def estimates(jobs: Sequence[tuple[Job, Fate]]) -> list[Estimate]:
    """Estimate each job, 0 s where nothing is trained."""
    past = _past(jobs)
    unknown = []
    for job, fate in jobs:
        if fate.kind != REUSE and past.keys().isdisjoint(_keys(job.config)):
            unknown.append(job)
    epochs = _timed(unknown)
    return [_estimate(job, fate, past, epochs) for job, fate in jobs]


def _estimate(
    job: Job,
    fate: Fate,
    past: dict[Hashable, list[float]],
    epochs: dict[str, float],
) -> Estimate:
    """Estimate one job by the seconds of earlier runs, or else of its epochs by fingerprint."""
    if fate.kind == REUSE:
        return Estimate(seconds=0.0)
    trainer = job.config.trainer
    left = max(trainer.epochs - fate.epoch, 0)
    seeds, network = _keys(job.config)
    if seeds in past:
        seconds = statistics.median(past[seeds]) * left / trainer.epochs
        source = SEEDS
    elif network in past:
        seconds = statistics.median(past[network]) * left
        source = NETWORK
    elif job.fingerprint in epochs:
        seconds = epochs[job.fingerprint] * left
        source = STEPS
    else:
        return Estimate()
    return Estimate(seconds=min(seconds, trainer.time_limit or seconds), source=source)


def wall(seconds: Iterable[float], settings: Config, elsewhere: int = 0) -> tuple[float, int]:
    """Return how long jobs of so many seconds take, and on how many workers.

    `elsewhere` is the number of workers on other machines, taken to be as fast as this one; with
    0 the workers are this machine's.
    """
    workers = elsewhere
    room = None if elsewhere else leases.of_this_machine(settings)
    while room and room.take(settings.trainer.threads or 1, leases.gpus_per_worker(settings)):
        workers += 1
    busy_until = [0.0] * max(workers, 1)
    for duration in seconds:
        heapq.heapreplace(busy_until, busy_until[0] + duration)
    return max(busy_until), len(busy_until)


# --- Earlier runs


def _keys(settings: Config) -> tuple[Hashable, Hashable]:
    """Return two keys: one of runs that take equally long, one of runs whose epochs do."""
    canonical = config.canonical(settings)
    canonical.pop("seed")
    names = ("batch_size", "precision", "compile", "limit_batches")
    trainer = {name: canonical["trainer"].get(name) for name in names}
    overfit = settings.trainer.overfit_batches
    epoch = [canonical["model"], canonical["data"], trainer, overfit]
    return (SEEDS, config.canonical_json(canonical)), (NETWORK, config.canonical_json(epoch))


def _recorded_keys(recorded: Node) -> tuple[Hashable, Hashable]:
    """Return the `_keys` of a config that a run has recorded."""
    return _keys(config.validate(recorded))


def _past(jobs: Sequence[tuple[Job, Fate]]) -> dict[Hashable, list[float]]:
    """Read the finished runs: map each of their keys to seconds, of a run or of an epoch."""
    past: dict[Hashable, list[float]] = {}
    if all(fate.kind == REUSE for _, fate in jobs):
        return past
    once = Once()
    for run in store.Store(jobs[0][0].config.store.root).runs():
        result = run.result()
        if result is None or result.status != store.Status.FINISHED:
            continue
        try:
            seeds, network = once(_recorded_keys, {**run.start().get("config", {}), "seed": 0})
        except UserError:  # of another version, or without a record
            continue
        seconds = result.metrics[metrics.SECONDS]
        epochs = result.metrics[metrics.EARLY_STOP_EPOCH]
        past.setdefault(seeds, []).append(seconds)
        past.setdefault(network, []).append(seconds / epochs)
    return past


# --- Timed steps


def _timed(jobs: Sequence[Job]) -> dict[str, float]:
    """Map fingerprints to seconds of an epoch, from steps of the networks in `jobs`.

    A network that is not timed takes as long as the nearest that is, scaled by their parameters.
    """
    alike: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=lambda job: job.parameters):
        alike.setdefault(_cost_key(job.config), []).append(job)
    networks = list(alike.values())
    costs = _step_costs([network[0] for network in networks])
    if not costs:
        return {}
    seconds = {}
    for index, network in enumerate(networks):
        nearest = min(costs, key=lambda timed: abs(timed - index))
        scale = 1.0
        if nearest != index:
            scale = (network[0].parameters or 1) / (networks[nearest][0].parameters or 1)
        for job in network:
            seconds[job.fingerprint] = _epoch_seconds(job, costs[nearest]) * scale
    return seconds


def _step_costs(jobs: Sequence[Job]) -> dict[int, StepCost]:
    """Time steps of some of the jobs, on one thread: the first, the last, and some in between.

    Returns the costs by index.
    """
    if not jobs:
        return {}
    last, gaps = len(jobs) - 1, max(NETWORKS - 1, 1)
    chosen = sorted({round(number * last / gaps) for number in range(NETWORKS)})
    costs: dict[int, StepCost] = {}
    deadline = time.perf_counter() + BUDGET
    with _one_thread():
        for done, index in enumerate(chosen):
            left = deadline - time.perf_counter()
            if left <= 0:
                break
            cost = _time_steps(jobs[index], min(LONGEST, left / (len(chosen) - done)))
            if cost is not None:
                costs[index] = cost
    return costs


def _cost_key(settings: Config) -> str:
    """Return what the time of a step depends on; learning rates and the like do not matter."""
    nodes = (settings.loss, settings.optimizer, settings.scheduler)
    classes = [node.get("_target_") for node in nodes]
    trainer, shape = settings.trainer, parts.input_shape(settings.data)
    computed = [trainer.batch_size, trainer.precision, trainer.device]
    return repr([settings.model, classes, shape, *computed])


def _epoch_seconds(job: Job, cost: StepCost) -> float:
    trainer, facts = job.config.trainer, job.facts
    limit = trainer.overfit_batches or trainer.limit_batches
    steps, valid = facts.train // trainer.batch_size, facts.valid
    if limit is not None:
        size = trainer.batch_size if trainer.overfit_batches else trainer.eval_batch_size
        steps, valid = min(steps, limit), min(valid, limit * size)
    return steps * cost.train + valid * cost.evaluate


def _time_steps(job: Job, budget: float) -> StepCost | None:
    """Time a training step and an evaluation; return None if the network cannot be run so."""
    if job.config.step:
        return None  # it need not work on random numbers
    trainer = replace(job.config.trainer, compile=False)
    settings = replace(job.config, trainer=trainer)
    device = choose_device(trainer.device)
    try:
        runtime = Runtime(device=device, threads=1, precision=trainer.precision)
        task = build(settings, runtime, 100_000)
        batch = _random_batch(settings.data, trainer.batch_size, device)
        task.model.train()
        train = _clocked(lambda: train_step(task, *batch)[0], budget * 0.8)
        task.model.eval()
        with torch.no_grad():
            forward = _clocked(lambda: task.model(batch[0]).sum(), budget * 0.2)
    except Exception:  # a user's class may fail on random examples: no estimate, and no harm
        return None
    return StepCost(train=train, evaluate=forward / trainer.batch_size)


def _random_batch(
    needs: config.Data,
    size: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    if needs.task == metrics.CLASSIFICATION:
        targets = torch.randint(needs.out_features, (size,))
    else:
        targets = torch.randn(size, needs.out_features)
    inputs = torch.randn(size, *parts.input_shape(needs))
    return inputs.to(device), targets.to(device)


def _clocked(call: Callable[[], torch.Tensor], budget: float) -> float:
    """Return the median time of a call; of several the first is left out, since it allocates."""
    times: list[float] = []
    until = time.perf_counter() + budget
    while len(times) < MOST_CALLS and (not times or time.perf_counter() < until):
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
