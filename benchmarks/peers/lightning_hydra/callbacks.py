"""What the benchmarks hang onto the Lightning program: when to train an epoch, and when the first step was done."""

from __future__ import annotations

import time
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from benchmarks.peers.turns import Turns


class TakesTurns(Callback):
    """Times the training part of each epoch, validation taken off, and waits for its turn."""

    def __init__(self, epochs: int) -> None:
        self.turns = Turns(epochs)
        self.began = self.validating = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        self.began, self.validating = time.perf_counter(), 0.0

    def on_validation_start(self, *_: object) -> None:
        self.validating -= time.perf_counter()

    def on_validation_end(self, *_: object) -> None:
        self.validating += time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.turns.trained(time.perf_counter() - self.began - self.validating)

    def on_test_end(self, trainer: lightning.Trainer, *_: object) -> None:
        self.turns.tested(float(trainer.callback_metrics["test/accuracy"]))


class FirstStep(Callback):
    """Writes the time of the first step's end into a file."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, *_: object) -> None:
        if not self.file.exists():
            self.file.write_text(str(time.time()))
