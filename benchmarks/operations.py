"""Where the time of a training step goes: the default network, operation by operation, by torch's profiler.

    uv run python -m benchmarks.operations --data data --threads 2

An epoch gets warm, the second is timed, the third is profiled, on real MNIST. The time of an operation is without that of the
operations that it calls; "the rest" is Python and what the profiler itself takes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import fresh
from sweeplab import config, data
from sweeplab.runs import run
from sweeplab.runs.job import prepare
from sweeplab.store import Store
from sweeplab.train import loop
from sweeplab.train.train_state import Batch, TrainState

EPOCHS = 3
SHOWN = 14  # operations
PRODUCTS = ("aten::addmm", "aten::mm")


class Profiled:
    """Trains as the loop does, and profiles the last epoch."""

    def __init__(self) -> None:
        self._train_epoch = loop.train_epoch
        self._epochs = 0
        self.seconds: list[float] = []
        self.profile = profile(activities=[ProfilerActivity.CPU])

    def __call__(self, state: TrainState, batches: Iterable[Batch]) -> loop.Trained:
        self._epochs += 1
        if self._epochs < EPOCHS:
            trained = self._train_epoch(state, batches)
        else:
            with self.profile:
                trained = self._train_epoch(state, batches)
        self.seconds.append(trained.seconds)
        return trained


def train(folder: Path, threads: int) -> Profiled:
    """Train the default network for three epochs."""
    overrides = [f"data.root={folder}", f"trainer.epochs={EPOCHS}", f"trainer.threads={threads}"]
    overrides += ["trainer.patience=null", "scheduler=constant", "tracking=off"]
    with fresh() as place:
        os.environ["SWEEPLAB_ROOT"] = str(place)
        settings = config.compose(overrides)
        job, splits = prepare(settings, overrides), data.load(settings.data)
        loop.train_epoch = profiled = Profiled()  # type: ignore[assignment]
        run.train(job, Store(settings.store.root).open(), splits, lambda: None)
    return profiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    profiled = train(given.data.resolve(), given.threads)
    averages = profiled.profile.key_averages()
    found = sorted(averages, key=lambda each: each.self_cpu_time_total, reverse=True)
    steps = next(each.count for each in found if "fused_adam" in each.key)
    _, timed, whole = (seconds / steps * 1e6 for seconds in profiled.seconds)
    print(f"a step: {timed:,.0f} us, while it is profiled {whole:,.0f} us; {steps} steps\n")
    print("| operation | calls a step | us a step | share |\n|---|---:|---:|---:|")
    lines = [(each.key, each.count / steps, each.self_cpu_time_total / steps) for each in found]
    products = [line for line in lines if line[0] in PRODUCTS]
    others = [line for line in lines if line[0] not in PRODUCTS]
    shown = [("matrix products", *_sums(products)), *others[:SHOWN]]
    left = others[SHOWN:]
    shown.append((f"{len(left)} other operations", *_sums(left)))
    shown.append(("the rest", 0, whole - _sums(lines)[1]))
    for name, calls, microseconds in shown:
        count = f"{calls:.3g}" if calls else ""
        print(f"| {name} | {count} | {microseconds:,.0f} | {100 * microseconds / whole:.0f} % |")


def _sums(lines: list[tuple[str, float, float]]) -> tuple[float, float]:
    """Calls and microseconds of several operations."""
    return sum(calls for _, calls, _ in lines), sum(microseconds for _, _, microseconds in lines)


if __name__ == "__main__":
    main()
