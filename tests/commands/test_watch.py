"""`sweeplab watch`: how a sweep stands while it runs, from another process, and that it stays undisturbed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kill
import pytest
from compared import Node, add, begin, manifest
from conftest import Command, ended
from sweeps import FAULTY, SMALL, statuses
from waiting import until

from sweeplab.commands import cli, watch
from sweeplab.compare import following
from sweeplab.compare.following import FollowedSweep
from sweeplab.store import Event, Store
from sweeplab.store.requests import Wish

JOBS = ("seed=0,1", "+model.hidden=2,3,1", "sweep.workers=1", "sweep.report=false")


@pytest.mark.full
def test_a_sweep_is_watched_while_it_runs(
    root: Path,
    sweeplab: Command,
    faults: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults(h2="raise", h1="hang")
    process = kill.train(root, ["-m", *FAULTY, *JOBS])
    until(lambda: statuses(root) == {2: "failed", 3: "finished", 1: "unfinished"})
    (run,) = [run for run in Store(root / "runs").runs() if run.status == "unfinished"]
    until(run.epochs)

    seen = json.loads(sweeplab("watch", "--json").out)
    assert (seen["is_over"], seen["is_deserted"]) == (False, False)
    counts = {state: number for state, number in seen["counts"].items() if number}
    assert counts == {"finished": 1, "at_work": 1, "waiting": 3, "failed": 1}
    configs = {config["name"]: (config["n"], config["interim"]) for config in seen["configs"]}
    assert configs == {"hidden=3": (1, True), "hidden=2": (0, True), "hidden=1": (0, True)}
    (job,) = seen["at_work"]
    assert (job["name"], job["epoch"], job["epochs"]) == ("seed=0 hidden=1", 1, 3)
    assert job["value"] == run.epochs()[1]["valid/accuracy"]
    assert job["seconds_left"] == pytest.approx(2 / job["epochs_per_second"])
    (failure,) = seen["failures"]
    assert failure["why"] == "failed: RuntimeError: no more"
    assert seen["seconds_left"] > 0

    shown = sweeplab("watch", "--once")
    assert (shown.code, shown.err) == (0, "")
    assert "1 finished, 1 at work, 3 waiting, 1 failed" in shown.out
    row = next(line.split() for line in shown.out.splitlines() if line.rstrip().endswith("interim"))
    assert row[:4] == ["3", "1", "of", "2"]
    assert "seed=0 hidden=2: failed: RuntimeError: no more" in shown.out

    watcher = kill.command(root, "-m", "sweeplab.commands.cli", "watch", out="watched")
    until(lambda: (root / "watched").exists() and _is_watching(watcher.pid))
    os.kill(watcher.pid, signal.SIGINT)
    assert watcher.wait(60) == 130
    assert process.poll() is None, "Ctrl-C ended the watching only"

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not run.claimed)
    monkeypatch.setattr(following, "QUIET", 0.0)
    left = sweeplab("watch")
    assert left.code == 1
    assert left.err == (
        f"nobody carries out this sweep any more; sweeplab resume {seen['sweep']['id'][:12]} takes it up\n"
    )
    assert "1 finished, 3 waiting, 1 failed, 1 unfinished" in left.out
    assert "  2/6   \n" in left.out, "what was killed is not done, and nobody works on the rest"
    assert "seed=0 hidden=1: unfinished after epoch 1" in left.out


def _is_watching(pid: int) -> bool:
    """Whether a process waits for the next look: it is asleep, with its handlers in place."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "SigCgt:\t0000000000004002" in status and "State:\tS" in status


def test_it_ends_by_itself_with_the_sweep(
    root: Path, train: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("-m", *SMALL, "model.hidden=8,9").code == 0
    good = ended(lambda: cli.main(["watch"]), capfd)
    assert (good.code, good.err) == (0, "")
    assert "2 finished" in good.out
    assert "interim" not in good.out


def test_one_that_has_failed_ends_with_1(home: Store, sweeplab: Command) -> None:
    _running(home, add(home, "seed=0"), add(home, "seed=1", status="failed"), status="failed")
    failed = sweeplab("watch", "latest")
    assert (failed.code, failed.err) == (1, "the sweep has ended: failed\n")
    assert "1 finished, 1 failed" in failed.out


def test_without_a_terminal_each_end_is_a_line(
    home: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = add(home, "seed=0", valid=(0.5, 0.75))
    run, cell = begin(home, ["seed=1"])
    made = _running(home, done, cell | {"name": "second"})
    view = watch.SweepView(FollowedSweep(home, made))

    def end(_: float) -> None:
        run.journal.append(Event.EPOCH, epoch=1, metrics={"valid/accuracy": 0.625})
        final = {"best_epoch": 1.0}
        run.journal.append(Event.END, status="finished", stop_reason=None, metrics=final)
        home.write_manifest(made | {"status": "finished"})

    monkeypatch.setattr(time, "sleep", end)
    with home.carrying_out(made["id"]):
        view.look()
        watch._watch(view)
    assert capsys.readouterr().out == "2/2 second: finished: valid/accuracy 0.6250\n"
    assert view.sweep.is_over


def test_a_journal_is_read_as_it_grows_and_no_line_twice(home: Store) -> None:
    run, cell = begin(home, ["seed=1"], config={"trainer": {"epochs": 10}})
    followed = FollowedSweep(home, _running(home, cell))
    with run.claim():
        assert len(followed.look()) == 1
        assert followed.look() == []
        for epoch, at in ((1, 0.5), (2, 0.75)):
            run.journal.append(
                Event.EPOCH, epoch=epoch, metrics={"valid/accuracy": at}, seconds=0.25
            )
            assert len(followed.look()) == 1
        (working,) = [one.working for one in followed.runs]
        assert (working.epoch, working.epochs, working.value) == (2, 10, 0.75)
        assert working.seconds_left == pytest.approx(8 / working.speed)
    assert [one.replica.status for one in followed.look()] == ["unfinished"]
    run.journal.path.unlink()
    assert [one.replica.status for one in followed.look()] == ["missing"]


def test_one_that_an_earlier_command_left_waits(home: Store) -> None:
    cell = add(home, "seed=0", status="failed")
    followed = FollowedSweep(home, _running(home, cell, time=time.time() + 60))
    followed.look()
    assert followed.states == {"waiting": 1}
    assert followed.seconds_left() is None


def test_one_that_is_paused_waits(home: Store, sweeplab: Command) -> None:
    run, cell = begin(home, ["seed=1"])
    run.journal.append(Event.END, status="interrupted", stop_reason=None, request="pause")
    made = _running(home, cell)
    home.request(made["id"]).write(Wish.PAUSE)
    with home.carrying_out(made["id"]):
        seen = json.loads(sweeplab("watch", "--json").out)
        shown = sweeplab("watch", "--once")
    assert (seen["is_paused"], seen["is_deserted"], seen["counts"]["waiting"]) == (True, False, 1)
    assert shown.code == 0
    assert "paused: sweeplab resume goes on" in shown.out


def test_what_a_paused_sweep_has_ended_waits_until_it_goes_on(home: Store) -> None:
    run, cell = begin(home, ["seed=1"])
    run.journal.append(Event.END, status="interrupted", stop_reason=None)
    failed = add(home, "seed=2", status="failed")
    made = _running(home, cell, failed, time=1.0)
    followed = FollowedSweep(home, made)
    followed.look()
    assert followed.states == {"interrupted": 1, "failed": 1}
    home.request(made["id"]).write(Wish.PAUSE)
    assert len(followed.look()) == 1
    assert followed.states == {"waiting": 1, "failed": 1}
    home.request(made["id"]).withdraw()
    followed.look()
    assert followed.states == {"interrupted": 1, "failed": 1}


def test_who_carries_a_sweep_out_is_seen_by_others(home: Store) -> None:
    assert not home.is_carried_out("a" * 64)
    with home.carrying_out("a" * 64):
        assert home.is_carried_out("a" * 64)
        with home.carrying_out("a" * 64):
            assert home.is_carried_out("a" * 64)
    assert not home.is_carried_out("a" * 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "nope: no sweep in "),
        (["one", "two"], "one two: one sweep is watched at a time\n"),
        ([], "no sweep in "),
    ],
)
def test_a_wrong_name_is_one_line(
    root: Path, sweeplab: Command, words: list[str], said: str
) -> None:
    refused = sweeplab("watch", *words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(said)
    assert refused.err.count("\n") == 1


def _running(home: Store, *cells: Node, **more: Any) -> Node:
    """A manifest of these cells, which is in the store, of a sweep that runs."""
    made = home.manifest(manifest(home, cells)) | {"status": "running", "time": 1.0} | more
    home.write_manifest(made)
    return made
