"""sweeplab: what train.py does with a composed config, MLflow on, waiting for its turn after each epoch.

Its own arguments: further overrides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from benchmarks.measure import fresh
from benchmarks.peers.turns import Turns, arguments
from sweeplab import config, data, metrics, tracking
from sweeplab.runs import run
from sweeplab.runs.job import prepare
from sweeplab.store import Store
from sweeplab.train import loop
from sweeplab.train.train_state import Batch, TrainState


class Clock:
    """The seconds of the latest training part of an epoch, and what it trained."""

    def __init__(self) -> None:
        self._train_epoch = loop.train_epoch
        self.seconds = 0.0
        self.train_state: TrainState

    def __call__(self, train_state: TrainState, batches: Iterable[Batch]) -> loop.Trained:
        trained = self._train_epoch(train_state, batches)
        self.seconds, self.train_state = trained.seconds, train_state
        return trained


def main() -> None:
    given = arguments()
    turns = Turns(given.epochs)
    overrides = [f"data.root={given.data}", f"seed={given.seed}", f"trainer.epochs={given.epochs}"]
    overrides += [
        f"trainer.threads={given.threads}",
        f"trainer.device={given.device}",
        "trainer.patience=null",
        "scheduler=constant",
        *given.more,
    ]
    with fresh() as folder:
        os.environ["SWEEPLAB_ROOT"] = str(folder)
        settings = config.compose(overrides)
        job, splits = prepare(settings, overrides), data.load(settings.data)
        home = Store(settings.store.root).open()
        loop.train_epoch = clock = Clock()  # type: ignore[assignment]
        accuracies: list[float] = []

        def after_epoch() -> None:
            client.tend()
            if (
                len(accuracies) + 1 == given.epochs
            ):  # of the last weights, as the others; a run tests its best ones
                found = loop.evaluate(
                    clock.train_state, data.Batches(splits.test, 1000, device=given.device).epoch(0)
                )
                accuracies.append(found[metrics.ACCURACY])
            else:
                accuracies.append(0.0)
            turns.trained(clock.seconds)

        with tracking.feeding(home, settings.tracking) as client:
            run.train(job, home, splits, after_epoch)
            client.wait([home.run(job.fingerprint)], settings.tracking.wait)
    turns.tested(accuracies[-1])


if __name__ == "__main__":
    main()
