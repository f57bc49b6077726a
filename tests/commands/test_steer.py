"""`sweeplab stop`, `pause`, `resume` and `retry`, on sweeps and runs at work in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kill
import pytest
from conftest import Command
from sweeps import FAULTY, PACED, PACED_SWEEP, SMALL, WORDS, runs, starts, statuses
from waiting import until

from sweeplab.commands import cli
from sweeplab.config import conf_dir
from sweeplab.store import Event, Run, Status, Store, Wish, write_json

TAKEN_UP = """\
import os, sys
from sweeplab.store import Store
resumption = Store(sys.argv[1]).resumption(sys.argv[2])
if resumption.begin():
    os.execv(sys.executable, [sys.executable, "-uc", "print(True); input()"])
"""  # a process that takes a sweep up, and plans


@pytest.fixture(autouse=True)
def _paced(root: Path, faults: Callable[..., None]) -> None:
    """Let runs of `faulty.Paced` go slowly until the file is removed."""
    (root / "slow").touch()


def hurry(root: Path) -> None:
    (root / "slow").unlink()


def at_epoch(root: Path, hidden: int, epoch: int = 3) -> Callable[[], bool]:
    """Whether a run has come to this epoch, or further."""
    return lambda: hidden in runs(root) and max(runs(root)[hidden].epochs(), default=0) >= epoch


def said(root: Path) -> str:
    return (root / "out").read_text()


def manifest(root: Path) -> dict[str, Any]:
    return Store(root / "runs").manifests()[-1]


def requested(run: Run) -> list[str]:
    """By which requests a run has ended."""
    ends = [event for event in run.journal.events() if event["event"] == Event.END]
    return [event["request"] for event in ends if "request" in event]


def test_a_paused_sweep_trains_nothing_until_it_is_resumed(root: Path, sweeplab: Command) -> None:
    process = kill.train(root, PACED_SWEEP)
    until(at_epoch(root, 24))
    until(at_epoch(root, 16))
    asked = sweeplab("pause", "latest")
    assert asked.code == 0
    name = manifest(root)["id"][:12]
    assert f"sweep {name} is asked to pause: it ends at a checkpoint" in asked.out
    until(lambda: statuses(root) == {16: "interrupted", 24: "interrupted"})
    assert not any(run.claimed for run in runs(root).values())
    until(lambda: not any(Path(f"{root}.leases").iterdir()))  # its cores are given back
    again = sweeplab("resume", name)
    assert (again.code, again.out) == (0, f"sweep {name} goes on\n")
    hurry(root)
    assert kill.end(process, "the sweep") == 0
    assert said(root).count("paused by sweeplab pause: nothing is trained until ") == 1
    assert statuses(root) == {16: "finished", 24: "finished"}
    assert [starts(run) for run in runs(root).values()] == [1, 1]
    for word in ("stop", "pause", "resume", "retry"):
        assert sweeplab(word, name).code == 2
    assert not runs(root)[16].request.file.exists()


@pytest.mark.full
def test_a_run_is_paused_and_stopped_and_the_sweep_is_resumed_when_it_has_ended(
    root: Path, sweeplab: Command, command: Command
) -> None:
    process = kill.train(root, PACED_SWEEP)
    until(at_epoch(root, 24))
    until(at_epoch(root, 16))
    first, second = runs(root)[16].id, runs(root)[24].id
    assert sweeplab("pause", first).code == 0
    until(lambda: "hidden=16: paused after epoch " in said(root))
    assert sweeplab("resume", first).code == 0
    until(lambda: "hidden=16: is started again" in said(root))
    assert sweeplab("stop", second).code == 0
    until(lambda: "hidden=24: stopped after epoch " in said(root))
    assert sweeplab("stop", "latest").code == 0
    assert kill.end(process, "the sweep") == 1
    assert "2 of 2 runs did not finish (stopped by sweeplab stop):" in said(root)
    assert "  hidden=24: ended by sweeplab stop, its log: " in said(root)
    assert f"for just those, or sweeplab resume {manifest(root)['id'][:12]}\n" in said(root)
    assert manifest(root)["status"] == Status.INTERRUPTED
    assert [requested(run) for run in map(runs(root).get, (16, 24)) if run] == [["pause"], ["stop"]]
    again = sweeplab("stop", "latest")
    assert again.err.endswith("is not at work: it is interrupted\n")
    hurry(root)
    resumed = command("sweeplab", "resume", second, loaded=True)
    assert resumed.code == 0, resumed.err
    assert f"goes on by its command, in {root}: python " in resumed.out
    assert statuses(root) == {16: "finished", 24: "finished"}
    assert [starts(run) for run in runs(root).values()] == [1, 1]


def sweep_whose_first(
    root: Path, faults: Callable[..., None], fault: str, told: str
) -> subprocess.Popen[bytes]:
    """Start a sweep of two jobs; return once the first has come to grief, as told, and the second is at work."""
    faults(h1=fault, h2="slow")
    words = ("-m", *FAULTY, "+model.hidden=1,2", "sweep.workers=1", "sweep.report=false")
    process = kill.train(root, words)
    until(lambda: told in said(root) and 2 in runs(root))
    faults(h2="slow")
    return process


def test_a_failed_run_is_tried_again_in_a_sweep_at_work(
    root: Path, sweeplab: Command, faults: Callable[..., None]
) -> None:
    process = sweep_whose_first(root, faults, "raise", "hidden=1: failed")
    assert sweeplab("retry", runs(root)[2].id).err.endswith("has not failed: it is at work\n")
    assert sweeplab("retry", "latest").code == 0
    assert kill.end(process, "the sweep") == 0
    assert statuses(root) == {1: "finished", 2: "finished"}
    assert "hidden=1: is started again" in said(root)


def test_a_run_that_was_killed_goes_on_in_a_sweep_at_work(
    root: Path, sweeplab: Command, faults: Callable[..., None]
) -> None:
    process = sweep_whose_first(root, faults, "kill", "hidden=1: died: SIGKILL")
    name = runs(root)[1].id[:12]
    refused = sweeplab("retry", name)
    way = f"sweeplab resume {name} goes on"
    assert refused.err == f"run {name} has not failed: it is unfinished; {way}\n"
    assert sweeplab("resume", name).out == f"run {name} goes on\n"
    assert kill.end(process, "the sweep") == 0
    assert statuses(root) == {1: "finished", 2: "finished"}
    assert "hidden=1: is started again" in said(root)


@pytest.mark.full
def test_a_single_run_ends_at_a_checkpoint_and_its_command_is_issued_again(
    root: Path, sweeplab: Command, command: Command
) -> None:
    process = kill.train(root, (*PACED, "+model.hidden=16"))
    until(at_epoch(root, 16))
    run = runs(root)[16]
    assert sweeplab("stop", run.id).code == 0
    assert kill.end(process, "the run") == 1
    assert "ended after epoch " in said(root)
    assert f"by sweeplab stop; sweeplab resume {run.id}, or the same command, goes on" in said(root)
    assert (run.status, run.request.read()) == (Status.INTERRUPTED, None)
    assert run.saved_epochs()
    asked = sweeplab("pause", run.id)
    assert (asked.code, asked.err) == (2, f"run {run.id[:12]} is not at work: it is interrupted\n")
    hurry(root)
    again = command("sweeplab", "resume", run.id, loaded=True)
    assert again.code == 0, again.err
    assert f"run {run.id} goes on after epoch " in again.out
    assert (run.status, starts(run)) == (Status.FINISHED, 1)


@pytest.mark.full
def test_runs_that_are_trained_as_one_are_stopped_one_by_one(root: Path, sweeplab: Command) -> None:
    lr = "optimizer.lr=0.001,0.002,0.004"
    process = kill.train(
        root, [*WORDS, "trainer.epochs=200", "trainer.patience=null", "model.hidden=8", lr]
    )
    until(lambda: any(run.epochs() for run in Store(root / "runs").runs()))
    first = Store(root / "runs").runs()[0]
    assert sweeplab("stop", first.id).code == 0
    assert kill.end(process, "the sweep") == 1
    states = sorted(run.status for run in Store(root / "runs").runs())
    assert states == ["finished", "finished", "interrupted"]
    assert "1 of 3 runs did not finish:" in said(root)


@pytest.mark.full
def test_a_search_is_steered_like_any_sweep(
    root: Path, sweeplab: Command, command: Command
) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "+model.hidden=range(8,64)")
    ours = ("trainer.epochs=400", "sweep.workers=2", "sweep.report=false")
    process = kill.train(root, ("-m", *PACED, *search, *ours))

    def are_at_work(count: int) -> Callable[[], bool]:
        return lambda: (
            sum(run.claimed and len(run.epochs()) > 2 for run in runs(root).values()) == count
        )

    until(are_at_work(2))
    first, second = runs(root)
    assert sweeplab("stop", runs(root)[first].id).code == 0
    until(lambda: f"hidden={first}: stopped after epoch " in said(root))
    until(are_at_work(2))  # another trial has begun
    assert sweeplab("pause", runs(root)[second].id).code == 0
    until(lambda: f"hidden={second}: paused after epoch " in said(root))
    assert sweeplab("resume", runs(root)[second].id).code == 0
    until(lambda: f"hidden={second}: is started again" in said(root))
    assert sweeplab("pause", "latest").code == 0
    until(are_at_work(0))
    assert sweeplab("resume", "latest").code == 0
    until(are_at_work(2))
    retried = sweeplab("retry", "latest")
    assert (retried.code, retried.err.count("\n")) == (2, 1)
    assert sweeplab("stop", "latest").code == 0
    assert kill.end(process, "the search") == 1
    assert manifest(root)["status"] == Status.INTERRUPTED
    hurry(root)
    resumed = command("sweeplab", "resume", "latest", loaded=True)
    assert resumed.code == 0, resumed.err
    assert set(statuses(root).values()) == {"finished"}
    assert {starts(run) for run in runs(root).values()} == {1}
    assert manifest(root)["status"] == Status.FINISHED
    assert len(manifest(root)["cells"]) == len(runs(root))


@pytest.mark.full
@pytest.mark.parametrize("by_run", [True, False])
def test_failed_runs_of_a_search_that_has_ended_are_tried_again(
    by_run: bool, root: Path, command: Command, faults: Callable[..., None]
) -> None:
    faults(h8="raise")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1")
    drawn = ("+model.hidden=choice(8,16)", "seed=0,1", "sweep.report=false")
    ended = command("train.py", "-m", *FAULTY, *search, *drawn, loaded=True)
    assert ended.code == 1
    way = f"sweeplab retry {manifest(root)['id'][:12]}"
    assert ended.err.endswith(f"\nthose that failed are trained anew by {way}\n")
    before = [run for run in Store(root / "runs").runs() if run.status == Status.FAILED]
    assert {run.config()["model"]["hidden"] for run in before} == {8}
    faults()
    name = before[0].id if by_run else "latest"
    again = command("sweeplab", "retry", name, loaded=True)
    assert again.code == 0, again.err
    finished = Store(root / "runs").runs()
    assert [run.status for run in finished] == [Status.FINISHED] * 4
    assert {starts(run) for run in before} == {2}
    assert [run.request.read() for run in finished] == [None] * 4


@pytest.fixture
def recorded(root: Path, command: Command) -> dict[str, Any]:
    """The manifest of a sweep whose command has ended, with a run that did not finish."""
    words = ("-m", *SMALL, "model.hidden=8", "seed=0,1", "sweep.report=false")
    assert command("train.py", *words, loaded=True).code == 0
    found = manifest(root)
    Store(root / "runs").run(found["cells"][0]["fingerprint"]).result_file.unlink()
    found["status"] = Status.FAILED
    return found


def record(root: Path, sweep: dict[str, Any], **changes: object) -> None:
    write_json(root / "runs" / "sweeps" / f"{sweep['id'][:16]}.json", {**sweep, **changes})


def test_what_cannot_be_issued_again_is_refused_in_one_line(
    root: Path, sweeplab: Command, recorded: dict[str, Any]
) -> None:
    name = recorded["id"][:12]
    command = recorded["command"]
    assert command["folder"] == str(root)
    assert command["words"][:2] == ["-m", "data=digits"]
    secret = {**command, "words": ["data.dataset.token=*** (sha256 ba7816bf)"]}
    gone = {**command, "folder": f"{root}/gone"}
    for changes, problem in (
        ({"command": None}, f"sweep {name}: its command is not known (it was called from Python"),
        (
            {"command": secret},
            f"sweep {name}: data.dataset.token=*** (sha256 ba7816bf) is a secret",
        ),
        ({"command": gone}, f"sweep {name}: {root}/gone, of its command, is not there"),
        (
            {"origin": "other.zip"},
            f"sweep {name} was unpacked from other.zip: nothing of it is run",
        ),
    ):
        record(root, recorded, **changes)
        refused = sweeplab("resume", name)
        assert refused.code == 2
        assert refused.err.startswith(problem)
        assert refused.err.count("\n") == 1
        assert refused.out == ""
    run = recorded["cells"][0]["fingerprint"][:8]
    refused = sweeplab("verify", run)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"{run}: is a run; sweeplab replay {run} trains it again\n"
    record(root, recorded, status="running")  # its command was killed
    assert f"{name} is not at work: it is interrupted" in sweeplab("pause", name).err
    unknown = "nor is an experiment of that name; sweeplab runs lists the runs\n"
    assert sweeplab("stop", "abc").err.endswith(unknown)
    assert sweeplab("retry", name).code == 2


def test_what_is_taken_up_already_is_not_taken_up_twice(
    root: Path, sweeplab: Command, recorded: dict[str, Any]
) -> None:
    name = recorded["id"][:12]
    record(root, recorded, status=Status.INTERRUPTED)
    planning = subprocess.Popen(
        [sys.executable, "-c", TAKEN_UP, str(root / "runs"), recorded["id"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert planning.stdout is not None
    assert planning.stdout.readline() == b"True\n"
    refused = sweeplab("resume", name)
    assert refused.code == 2
    assert refused.err.startswith(f"sweep {name}: process {planning.pid} takes it up already; ")
    assert refused.err.count("\n") == 1
    planning.kill()
    planning.communicate()
    resumption = Store(root / "runs").resumption(recorded["id"])
    assert resumption.begin()
    resumption.leave()


def test_a_request_that_nobody_understands_is_none(root: Path) -> None:
    run = Run(root / "0123456789abcdef")
    assert run.request.read() is None
    run.request.write(Wish.STOP)
    assert run.request.read() is Wish.STOP
    run.request.file.write_text(json.dumps({"request": "stop"}))
    assert run.request.read() is None
    assert [run.request.withdraw(), run.request.withdraw()] == [True, False]


def test_a_presence_lasts_until_the_last_has_left(home: Store) -> None:
    first, second = home.presence("ab" * 32), home.presence("ab" * 32)
    assert not first.is_there
    first.enter()
    second.enter()
    first.leave()
    assert home.presence("ab" * 32).is_there
    second.leave()
    assert not home.presence("ab" * 32).is_there


NAMED = [
    (["stop", ""], "'': an empty name; latest is the latest sweep, sweeplab runs lists the runs"),
    (
        ["verify", " "],
        "'': an empty name; latest is the latest sweep, sweeplab runs lists the runs",
    ),
    (["ui", ""], "'': an empty name; latest is the latest sweep, sweeplab runs lists the runs"),
    (["watch", ""], "'': an empty name; latest is the latest sweep, sweeplab runs lists the runs"),
    (["unpack", "a.tgz", "b.tgz"], "b.tgz: is a second name; sweeplab unpack takes one at a time"),
    (
        ["unpack", "store.root=x"],
        "store.root=x: sets a key; the file comes first, as in: sweeplab unpack FILE",
    ),
    (["resume", "latest", "width"], "width: is a second name; sweeplab resume takes one at a time"),
    (
        ["verify", "latest", "latest"],
        "latest: is a second name; sweeplab verify takes one at a time",
    ),
    (["verify", "latest", "--seed", "-1"], "--seed=-1: must be a whole number >= 0"),
    (
        ["retry", "store.root=elsewhere"],
        "store.root=elsewhere: sets a key; the name of a sweep or a run comes first, as in: sweeplab retry latest",
    ),
    (["stop", "-9", "latest"], "sweeplab stop -9: no such option; sweeplab stop --help lists all"),
    (
        ["resume", "latest", "trainer.epochs=3"],
        "trainer.epochs=3: sweeplab resume changes no setting, and takes store.* and tracking.* only; to train with another one, issue the command itself with it",
    ),
    (["why", ""], "'': an empty name; name a key, as in: sweeplab why trainer.epochs"),
    (
        ["why", "+model.width=3"],
        "name a key, as in: sweeplab why model.width +model.width=3",
    ),
    (["unpack", "."], ".: is a folder, no file; sweeplab pack SWEEP makes one"),
    (["watch", "once=true"], "once=true: no such key; did you mean '--once'?"),
    (["ui", "port=5000"], "port=5000: no such key; did you mean '--port 5000'?"),
    (
        ["ui", "--port", "abc"],
        "sweeplab ui --port=abc: must be a whole number from 0 to 65535; 0 takes any that is free; sweeplab ui --help says more",
    ),
    (
        ["stop", "latest", "--config-name", "confg"],
        "confg: no such config in {conf}; did you mean 'config'?",
    ),
]


@pytest.mark.parametrize(("words", "message"), NAMED)
def test_a_name_that_is_none_is_told_in_one_line(
    words: list[str],
    message: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{message.format(conf=conf_dir())}\n"
    assert not (root / "runs").exists()


def test_a_name_may_stand_after_an_override(root: Path, sweeplab: Command) -> None:
    refused = sweeplab("stop", "store.root=elsewhere", "latest")
    assert refused.code == 2
    missing = f"no sweep in {root / 'elsewhere'} (there is no such folder) yet; as in: "
    assert refused.err.startswith(missing)


def test_a_store_that_can_only_be_read_is_not_steered(
    home: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "writable", False)  # root may write whatever its mode
    with pytest.raises(SystemExit) as ended:
        cli.main(["stop", "latest", f"store.root={home.root}"])
    assert ended.value.code == 2
    assert "cannot be written, so nothing in it can be steered" in capsys.readouterr().err
