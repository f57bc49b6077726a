"""A name that several runs or sweeps have is refused by each command, and one of the other kind told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from sweeplab.store import Event, Store

RUNS = ("1a", "1b", "2a", "3a", "3b")
SWEEPS = ("2b", "3c", "4a", "4b", "5a")


@pytest.fixture(autouse=True)
def _stored(home: Store) -> None:
    for number, digits in enumerate(RUNS):
        run = home.run(digits * 32)
        run.folder.mkdir()
        run.journal.append(Event.START, time=number)
    for number, digits in enumerate(SWEEPS):
        of_nothing = {"time": number, "status": "finished", "cells": [], "experiment": None}
        home.write_manifest({"id": digits * 32, **of_nothing})


BOTH = "2: sweep 2b2b2b2b2b2b and run 2a2a2a2a2a2a2a2a begin so; give more of the id"
MIXED = "3: sweep 3c3c3c3c3c3c and run 3"
SEVERAL_SWEEPS = "4: several sweeps begin so: 4a4a4a4a4a4a, 4b4b4b4b4b4b; give more of the id"
SEVERAL_RUNS = "1: several runs begin so: 1"
STEERING = ("stop", "pause", "resume", "retry", "ui")


@pytest.mark.parametrize("command", STEERING)
@pytest.mark.parametrize(
    ("name", "said"), [("1", SEVERAL_RUNS), ("2", BOTH), ("3", MIXED), ("4", SEVERAL_SWEEPS)]
)
def test_a_name_of_several_is_refused_whatever_they_are(
    sweeplab: Command, command: str, name: str, said: str
) -> None:
    refused = sweeplab(command, name)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(said)
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("command", ["watch", "compare", "pack"])
def test_a_run_is_told_from_a_sweep(sweeplab: Command, command: str) -> None:
    refused = sweeplab(command, "2a")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("2a: begins the id of a run, not of a sweep; sweeplab show 2a ")


def test_a_sweep_is_told_from_a_run(sweeplab: Command) -> None:
    refused = sweeplab("show", "5a")
    assert (refused.code, refused.out) == (2, "")
    way = "sweeplab runs --sweep 5a lists its runs"
    assert refused.err == f"5a: begins the id of a sweep, not of a run; {way}\n"


def test_latest_is_no_run(sweeplab: Command) -> None:
    refused = sweeplab("show", "latest")
    assert refused.code == 2
    assert refused.err == "latest: names a sweep; sweeplab runs lists the runs by their ids\n"


def test_a_wrong_name_is_told_before_pytorch_is_loaded(root: Path) -> None:
    program = """
import sys
from sweeplab.commands.cli import main

for words in (
    *([name, "nothere"] for name in "compare pack replay resume retry show ui unpack verify".split()),
    *([name, "nothere"] for name in "pause runs stop watch work".split()),
    ["predict", "nothere", "a.png"],
    ["predict", "2a", "a.png"],
    ["show", "2a"],
    ["replay", "1a"],
    ["verify", "5a"],
    ["replay", "1a", "trainer.epochs=3"],
):
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code == 2, words
    assert not {"torch", "mlflow"} & set(sys.modules), words
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root
    )
    assert (done.stdout, done.stderr.count("\n")) == ("done\n", 20), done.stderr
    assert "1a1a1a1a1a1a1a1a: has no config.yaml" in done.stderr
    assert "none of its runs is finished" in done.stderr
    assert done.stderr.count("has no weights; its status is ") == 2
