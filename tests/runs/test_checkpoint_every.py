"""`trainer.checkpoint_every`: few waits for the disk, and no other bits, whenever a run is cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from stored import facts, only
from sweeps import FAULTY

from sweeplab.runs import checkpoint, saving
from sweeplab.store import Journal

RUN = ("data=digits", "trainer.threads=1", "trainer.patience=null", "model.hidden=8")
FIVE = (*RUN, "trainer.epochs=5")


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Those that a checkpoint is written of."""
    written: list[int] = []
    save = checkpoint.save

    def counted(folder: Path, saved: checkpoint.Checkpoint) -> None:
        written.append(saved.epoch)
        save(folder, saved)

    monkeypatch.setattr(checkpoint, "save", counted)
    return written


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        ((), []),
        (("trainer.checkpoint_every=0",), [1, 2, 3, 4, 5]),
        (("store.keep=last",), [5]),
    ],
)
def test_short_epochs_write_none_and_the_run_is_the_same_one(
    train: Command, root: Path, epochs: list[int], further: tuple[str, ...], expected: list[int]
) -> None:
    assert train(*FIVE, *further).code == 0
    assert epochs == expected
    again = train(*FIVE, "trainer.checkpoint_every=7")
    assert f"run {only(root).id} is finished already" in again.out


def test_they_are_written_after_so_many_seconds(
    train: Command, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock that this test sets goes on by a second when it is looked at, as after each epoch."""
    seconds = iter(range(10_000))

    class Clock:
        @staticmethod
        def monotonic() -> int:
            return next(seconds)

    monkeypatch.setattr(saving, "time", Clock)
    assert train(*RUN, "trainer.epochs=9", "trainer.checkpoint_every=3").code == 0
    assert epochs == [3, 6, 9]


def test_a_killed_run_trains_again_what_has_no_checkpoint_and_keeps_its_first_lines(
    command: Command, root: Path, faults: Callable[..., None]
) -> None:
    run = (*FAULTY, "+model.hidden=1", "trainer.checkpoint_every=30", "+model.dropout=0.2")
    assert command("train.py", *run, "store.root=whole", loaded=True).code == 0
    faults(h1="kill")
    assert command("train.py", *run, loaded=True).code == -9
    killed = only(root)
    (first,) = [line for line in killed.journal.events() if line["event"] == "epoch"]
    assert killed.saved_epochs() == []
    faults()
    again = command("train.py", *run, loaded=True)
    assert (again.code, again.err) == (0, "")
    assert facts(killed) == facts(only(root, "whole"))
    lines = killed.journal.events()
    assert next(line for line in lines if line["event"] == "epoch") == first
    kinds = [line["event"] for line in lines]
    assert (kinds.count("start"), kinds.count("resume"), kinds.count("differs")) == (2, 0, 0)


def test_epochs_without_a_checkpoint_are_trained_again_on_the_same_number_of_threads(
    train: Command, root: Path, die_at: Callable[[int], None]
) -> None:
    assert train(*FIVE, "store.root=whole").code == 0
    die_at(3)
    train(*FIVE)
    only(root).drop_checkpoints()
    again = train(*FIVE, "trainer.threads=2")
    assert (again.code, again.err) == (0, "")
    starts = [line for line in only(root).journal.events() if line["event"] == "start"]
    assert [line["provenance"]["threads"] for line in starts] == [1, 1]
    assert facts(only(root)) == facts(only(root, "whole"))


def test_the_journal_is_on_the_disk_before_a_checkpoint_and_before_the_result(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave a checkpoint of epochs that no journal tells of."""
    told: list[str] = []
    fsync, sync = os.fsync, Journal.sync

    def synced(journal: Journal) -> None:
        sync(journal)
        told.append(f"{len(journal.events())} lines")

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        told.append(name.rpartition(".")[0])  # without what makes a temporary name unique

    monkeypatch.setattr(Journal, "sync", synced)
    monkeypatch.setattr(os, "fsync", flushed)
    assert train(*RUN, "trainer.epochs=2", "trainer.checkpoint_every=0").code == 0
    order = [name for name in told if name in (".1.pt", ".2.pt", ".result.json") or "lines" in name]
    assert order == ["2 lines", ".1.pt", "3 lines", ".2.pt", "4 lines", ".result.json"]
    assert told.count("journal") == 3


def test_less_than_nothing_is_refused(train: Command) -> None:
    refused = train(*FIVE, "trainer.checkpoint_every=-1")
    assert refused.code == 2
    assert "trainer.checkpoint_every=-1: must be a number >= 0 (seconds)" in refused.err
