"""From the command to the first training step, and to a network of 98 % test accuracy; the data are on the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.measure import LIGHTNING, TRAIN, Row, command, fresh, say
from benchmarks.stores import lightning_metric, our_metric

FAST = ("trainer=fast",)
LIGHTNING_FAST = ("one_cycle=true", "lr=0.003", "trainer.max_epochs=3", "data.batch_size=256")
IMPORTS = [sys.executable, "-c", "import torch; import torch._dynamo"]
SHORT = ("trainer.epochs=1", "trainer.limit_batches=2")
LIGHTNING_SHORT = (
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=2",
    "+trainer.limit_test_batches=2",
)
TARGET = 0.98
T = TypeVar("T")


def _imports(_: Path, folder: Path) -> float:
    return command(IMPORTS, folder).seconds


def _our_step(data: Path, folder: Path) -> float:
    file = folder / "first"
    words = [
        sys.executable,
        "-m",
        "benchmarks.peers.first_step",
        str(file),
        f"data.root={data}",
        *SHORT,
    ]
    return -command(words, folder).began + float(file.read_text())


def _lightning_step(data: Path, folder: Path) -> float:
    file = folder / "first"
    first = f"+callbacks.first={{_target_:benchmarks.peers.lightning_hydra.callbacks.FirstStep,file:{file}}}"
    began = command([*LIGHTNING, f"data.root={data}", *LIGHTNING_SHORT, first], folder).began
    return float(file.read_text()) - began


def _our_training(data: Path, folder: Path) -> tuple[float, float]:
    seconds = command([*TRAIN, f"data.root={data}", *FAST], folder).seconds
    return seconds, our_metric(folder, "test/accuracy")[0]


def _lightning_training(data: Path, folder: Path) -> tuple[float, float]:
    seconds = command([*LIGHTNING, f"data.root={data}", *LIGHTNING_FAST], folder).seconds
    return seconds, lightning_metric(folder, "test/accuracy")[0]


def measure(data: Path, rounds: int) -> tuple[list[Row], Any]:
    """(rows, all that was measured)."""
    steps = {"imports": _imports, "sweeplab": _our_step, "Lightning": _lightning_step}
    trainings = {"sweeplab": _our_training, "Lightning": _lightning_training}
    first: dict[str, list[float]] = {name: [] for name in steps}
    whole: dict[str, list[float]] = {name: [] for name in trainings}
    accuracies: dict[str, list[float]] = {name: [] for name in trainings}
    for number in range(rounds):
        for name, step in steps.items():
            first[name].append(_fresh(step, data))
        for name, training in trainings.items():
            seconds, accuracy = _fresh(training, data)
            whole[name].append(seconds)
            accuracies[name].append(accuracy)
        say(
            f"start, round {number}: "
            + ", ".join(f"{name} {each[-1]:.2f} s" for name, each in first.items())
        )
        say(
            "  whole command: "
            + ", ".join(
                f"{n} {each[-1]:.2f} s, {accuracies[n][-1]:.4f}" for n, each in whole.items()
            )
        )
    reached = [
        f"{n} {min(a):.4f} to {max(a):.4f}, {sum(v >= TARGET for v in a)}/{len(a)} at 98 %"
        for n, a in accuracies.items()
    ]

    def row(what: str, peer: str, ours: list[float], its: list[float], *notes: str) -> Row:
        return Row(
            part="start",
            what=what,
            ours="sweeplab",
            peer=peer,
            ours_seconds=ours,
            peer_seconds=its,
            notes=[*notes],
        )

    floor = "import torch, torch._dynamo"
    rows = [
        row("command to first step", floor, first["sweeplab"], first["imports"], "the floor"),
        row("command to first step", "Lightning, Hydra", first["sweeplab"], first["Lightning"]),
        row("command to 98 %", floor, whole["sweeplab"], first["imports"], "the floor"),
        row("command to 98 %", "Lightning, Hydra", whole["sweeplab"], whole["Lightning"], *reached),
    ]
    return rows, {"first step": first, "whole command": whole, "test accuracies": accuracies}


def _fresh(call: Callable[[Path, Path], T], data: Path) -> T:
    with fresh() as folder:
        return call(data, folder)
