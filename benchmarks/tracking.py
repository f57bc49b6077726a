"""What MLflow costs a training: the same run with tracking on and off, in turn."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.measure import TRAIN, Row, command, fresh, say
from benchmarks.stores import our_epochs

EPOCHS = 5
KINDS = ("mlflow", "off")


def measure(data: Path, rounds: int, threads: int) -> tuple[list[Row], Any]:
    """(rows, all that was measured)."""
    epochs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    whole: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS:
            with fresh() as folder:
                words = [
                    f"data.root={data}",
                    f"tracking={kind}",
                    f"trainer.epochs={EPOCHS}",
                    f"trainer.threads={threads}",
                ]
                done = command([*TRAIN, *words, "trainer.patience=null"], folder)
                whole[kind].append(done.seconds)
                epochs[kind].append(statistics.median(our_epochs(folder)[1:]))
        say(
            f"tracking, round {number}: "
            + ", ".join(f"{k} {epochs[k][-1]:.3f} s, command {whole[k][-1]:.2f} s" for k in KINDS)
        )
    rows = [
        Row(
            part="tracking",
            what=what,
            ours="sweeplab",
            peer="tracking=off",
            ours_seconds=found["mlflow"],
            peer_seconds=found["off"],
        )
        for what, found in (
            ("median epoch after the first", epochs),
            (f"command of {EPOCHS} epochs", whole),
        )
    ]
    return rows, {"epochs": epochs, "whole command": whole}
