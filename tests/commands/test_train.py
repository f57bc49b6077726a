"""What train.py does with its config can be read from the command to a step."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Command
from walk import our_frames

from sweeplab.runs import build

WALK = [
    ("train.py", "main"),
    ("src/sweeplab/commands/train.py", "train"),
    ("src/sweeplab/runs/run.py", "train"),
    ("src/sweeplab/train/loop.py", "epochs"),
    ("src/sweeplab/train/loop.py", "train_epoch"),
    ("src/sweeplab/train/loop.py", "train_step"),
]


def test_six_functions_lead_from_the_command_to_a_step(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[list[tuple[str, str]]] = []
    add_gradients = build.add_gradients

    def noted(*given: Any) -> Any:
        walks.append(our_frames())
        return add_gradients(*given)

    monkeypatch.setattr(build, "add_gradients", noted)
    assert train("data=digits", "model=linear", "trainer.epochs=1", "tracking=off").code == 0
    start, end = walks[0].index(WALK[0]), walks[0].index(WALK[-1])
    assert walks[0][start : end + 1] == WALK
