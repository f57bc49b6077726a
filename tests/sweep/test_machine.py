"""Leases that the sweeps of a machine share: holders that die, a queue, priorities, and real sweeps side by side."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import kill
import lease_kill
import pytest
from sweeps import statuses

from sweeplab.sweep import ledger, machine
from sweeplab.sweep.leases import Lease, Leases
from sweeplab.train import cpus


@pytest.fixture(autouse=True)
def _folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ledger.VARIABLE, str(root / "leases"))
    monkeypatch.setattr(cpus, "count", lambda: 4)


def leases(
    who: str, cores: int = 4, priority: int = 0, gpus: tuple[str, ...] = ()
) -> machine.MachineLeases:
    return machine.MachineLeases(Leases(cores=cores, gpus=list(gpus)), who, priority)


def test_two_sweeps_have_no_more_than_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = leases("one"), leases("other")
    three, last = one.take(3), other.take(1)
    assert three is not None
    assert last is not None
    assert other.take(1) is None
    assert other.is_queued
    one.give(three)
    assert other.take(3) == Lease(3)
    assert not other.is_queued
    assert capsys.readouterr().out == ""


def test_a_job_of_many_threads_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = leases("one"), leases("other")
    ones = [one.take(1) for _ in range(4)]
    assert other.take(2) is None
    for lease in ones[:2]:
        assert lease is not None
        one.give(lease)
        assert one.take(1) is None, "the other is first"
    assert other.take(2) == Lease(2)
    assert one.take(1) is None, "all four are out"
    monkeypatch.setattr(ledger, "STALE", -1.0)
    third = leases("third")
    assert ones[2] is not None
    one.give(ones[2])
    assert third.take(1) == Lease(1), "the first in the queue no longer looks: it was stopped, say"


def test_a_lease_that_was_waited_for_does_not_grow_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = leases("one"), leases("other")
    first = one.take(4)
    assert first is not None
    assert other.take(3) is None
    one.give(first)
    assert other.take(3) == Lease(3)
    monkeypatch.setattr(ledger, "STALE", -1.0)
    assert one.take(2) is None, "although the other has taken it more than so many seconds ago"


def test_the_higher_priority_is_served_first() -> None:
    holder, low, high = leases("holder"), leases("low"), leases("high", priority=1)
    all_ = holder.take(4)
    assert all_ is not None
    assert low.take(1) is None
    assert high.take(4) is None
    holder.give(all_)
    assert low.take(1) is None
    assert high.take(4) == Lease(4)


def test_who_has_the_cores_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, other = leases("sweep 1"), leases("sweep 2"), leases("sweep 3")
    assert one.take(3) is not None
    assert two.take(1) is not None
    monkeypatch.setattr(machine, "PATIENCE", -1.0)
    assert other.take(1) is None
    assert other.take(1) is None
    assert capsys.readouterr().out == "waiting for cores: sweep 1 has 3, sweep 2 has 1\n"


def test_workers_above_the_cores_share_them() -> None:
    many, other = leases("many", cores=8), leases("other")
    assert other.take(2) is not None
    assert [many.take(1) is not None for _ in range(5)] == [True] * 4 + [False], "two cores of four"


def test_gpus_are_shared_and_wait_for_nobody_who_needs_cores() -> None:
    one, other = leases("one", gpus=("0", "1")), leases("other", gpus=("0", "1"))
    half = one.take(1, 0.5)
    assert half is not None
    assert half.gpus == ("0",)
    whole = other.take(1, 1)
    assert whole is not None
    assert whole.gpus == ("1",)
    assert other.take(1, 1) is None
    assert other.is_queued, "for a GPU"
    assert one.take(1, 0.5) is None, "the half would be taken from who waits for a whole one"
    assert leases("cores").take(2) == Lease(2)


def test_other_cores_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: [0, 1, 2, 3])
    one = leases("one")
    assert one.take(4) is not None
    monkeypatch.setattr(cpus, "usable", lambda: [4, 5, 6, 7])
    assert leases("other").take(4) == Lease(4)


def test_a_lease_lasts_as_long_as_its_job_and_no_longer() -> None:
    reading, writing = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        lease = leases("launcher").take(4)
        assert lease is not None
        assert lease.file is not None
        job = os.fork()
        if job == 0:
            time.sleep(60)
        lease.file.close()
        os.write(writing, f"{job}\n".encode())
        time.sleep(60)
    job = int(os.read(reading, 100))
    other = leases("other")
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert other.take(1) is None, "its job is still at work"
    os.kill(job, signal.SIGKILL)
    until = time.monotonic() + 10
    while (lease := other.take(4)) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert lease == Lease(4)


@pytest.mark.parametrize("place", ["file", "off"])
def test_without_a_place_a_sweep_is_alone(
    place: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "file").touch()
    monkeypatch.setenv(ledger.VARIABLE, "off" if place == "off" else str(root / "file"))
    assert leases("one").take(4) == Lease(4)
    assert leases("other").take(4) == Lease(4)
    said = f"cores are not shared with other sweeps of this machine: {root / 'file'}: File exists\n"
    assert capsys.readouterr().out == ("" if place == "off" else said * 2)


def test_a_folder_that_others_can_write_to_is_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ledger.VARIABLE)
    monkeypatch.setattr(ledger.tempfile, "gettempdir", lambda: str(root))
    assert leases("one").take(1) == Lease(1)
    (folder,) = root.glob(f"sweeplab-{os.getuid()}-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().out == ""
    folder.chmod(0o777)
    assert leases("other").take(4) == Lease(4)
    assert capsys.readouterr().out.endswith(f"{folder}: is not a folder of yours alone\n")


def test_a_folder_that_goes_while_a_sweep_runs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = leases("one")
    (root / "leases").rmdir()
    assert one.take(4) == Lease(4)
    assert "leases: No such file or directory\n" in capsys.readouterr().out


def test_kills_lose_no_lease_and_give_no_core_twice(
    root: Path, pytestconfig: pytest.Config
) -> None:
    program = [sys.executable, lease_kill.__file__, "--count"]
    count = "1000" if pytestconfig.getoption("full") else "15"
    with kill.command(root, *program[1:], count, loaded=False) as process:
        assert process.wait(1800) == 0
    said = (root / "out").read_text()
    assert "ended 0, job " in said
    assert "left 0, lost 0, turn-" in said
    assert "TOO-MANY" not in said
    assert "turn-3" in said, "those of two cores, too"


@pytest.mark.full
def test_two_sweeps_side_by_side_both_end(root: Path) -> None:
    words = ("-m", "data=digits", "tracking=off", "trainer.epochs=2", "sweep.report=false")
    one = kill.train(root, (*words, "model.hidden=8,9,10,11"))
    other = kill.train(root, (*words, "model.hidden=12,13,14,15", "trainer.threads=2"))
    assert (kill.end(one, "one"), kill.end(other, "the other")) == (0, 0)
    assert set(statuses(root).values()) == {"finished"}
    assert len(statuses(root)) == 8
