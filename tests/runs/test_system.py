"""`tracking.system_metrics`: what the machine does, journalled by the run and carried to MLflow under MLflow's names."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from conftest import Command

from sweeplab import tracking
from sweeplab.errors import UserError
from sweeplab.runs import system
from sweeplab.store import Journal, Store
from sweeplab.tracking import terms

NAMES = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/disk_usage_percentage",
    "system/disk_usage_megabytes",
    "system/disk_available_megabytes",
    "system/network_receive_megabytes",
    "system/network_transmit_megabytes",
}


def test_without_psutil_it_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"tracking\.system_metrics=true: needs psutil, which is not installed"
    ):
        system.check()


def test_off_it_leaves_nothing(tmp_path: Path) -> None:
    with system.sampled(Journal(tmp_path / "journal.jsonl"), on=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_samples_come_at_intervals_and_at_the_end_whatever_that_is(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    journal = Journal(tmp_path / "journal.jsonl")
    with suppress(KeyboardInterrupt), system.sampled(journal, on=True, interval=0.05):
        until = time.monotonic() + 0.2
        while time.monotonic() < until:  # so that the CPU has something to do
            pass
        raise KeyboardInterrupt
    samples = [event["metrics"] for event in journal.events()]
    assert 2 <= len(samples) <= 5
    assert any(sample["system/cpu_utilization_percentage"] > 0 for sample in samples)
    for sample in samples:
        assert set(sample) >= NAMES - {name for name in NAMES if "network" in name}
        assert 0 < sample["system/system_memory_usage_percentage"] < 100
        assert all(value >= 0 for value in sample.values())
        assert 0 <= sample["system/cpu_utilization_percentage"] <= 100


@pytest.mark.full
def test_a_run_journals_them_and_its_bits_are_the_same(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psutil")
    monkeypatch.setattr(
        tracking, "feeding", lambda *_: nullcontext(tracking.Client())
    )  # nothing needs to be fed here
    few = ("data=digits", "model.hidden=8", "trainer.epochs=1", "trainer.threads=1")
    assert train(*few, "store.root=plain", tracking=True).code == 0
    assert (
        train(*few, "store.root=watched", "tracking.system_metrics=true", tracking=True).code == 0
    )
    (plain,), (watched,) = (Store(root / name).runs() for name in ("plain", "watched"))
    assert plain.id == watched.id
    assert plain.result().weights_sha256 == watched.result().weights_sha256
    events = [[event["event"] for event in run.journal.events()] for run in (plain, watched)]
    assert events == [["start", "epoch", "end"], ["start", "epoch", "system", "end"]]


def test_their_step_is_their_number_and_their_time_the_journals() -> None:
    events = [
        {"event": "start", "time": 1.0},
        {"event": "system", "time": 2.0, "metrics": {"system/cpu_utilization_percentage": 50.0}},
        {"event": "epoch", "time": 3.0, "epoch": 1, "metrics": {"train/loss": 0.5}},
        {"event": "system", "time": 4.0, "metrics": {"system/cpu_utilization_percentage": 75.0}},
    ]
    assert sorted(terms.values(events, 0)) == [
        ("system/cpu_utilization_percentage", 50.0, 2000, 0),
        ("system/cpu_utilization_percentage", 75.0, 4000, 1),
        ("train/loss", 0.5, 3000, 1),
    ]
    assert terms.values(events, 3) == [("system/cpu_utilization_percentage", 75.0, 4000, 1)]
