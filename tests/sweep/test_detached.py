"""`sweep.detach`, `sweep.then`, and a terminal that closes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kill
import pytest
from conftest import PROJECT, Command
from sweeps import PACED, PACED_SWEEP, SMALL, runs, statuses
from waiting import until

import sweeplab as library
from sweeplab.errors import HungUp, Interrupted, RunFailed, UserError, exit_code
from sweeplab.store import Store

TELL = "sweep.then=env | grep ^SWEEPLAB_ | sort > told"


def told(root: Path) -> dict[str, str]:
    """What the command of `sweep.then` found in its environment."""
    lines = (root / "told").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("SWEEPLAB_LEASES"))


def test_what_follows_a_sweep_knows_how_it_ended(root: Path, train: Command) -> None:
    words = ("-m", *SMALL, "model.hidden=8,16")
    assert train(*words, TELL).code == 0
    home = Store(root / "runs")
    sweep = home.manifests()[-1]
    assert sweep["exit"] == 0
    assert told(root) == {
        "SWEEPLAB_SWEEP": sweep["id"],
        "SWEEPLAB_STATUS": "finished",
        "SWEEPLAB_EXIT": "0",
        "SWEEPLAB_REPORT": "",
        "SWEEPLAB_STORE": str(root / "runs"),
        "SWEEPLAB_FINISHED": "2",
        "SWEEPLAB_FAILED": "0",
    }
    again = train(*words, "sweep.then=exit 3", "sweep.report=true")
    assert again.code == 0
    assert "sweep.then ended with exit code 3; the sweep's own exit code stays 0\n" in again.err
    assert len(home.manifests()) == 1, "it is no part of the sweep's id"
    assert train(*words, TELL).code == 0
    assert Path(told(root)["SWEEPLAB_REPORT"]).is_file()


def test_what_follows_a_failed_sweep(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    faults(h1="raise")
    words = ("-m", *SMALL, "model=linear", "model._target_=faulty.Net", "+model.hidden=1,2")
    ended = train(*words, "sweep.then=curl https://me:pa55word@host/done; " + TELL[11:])
    assert ended.code == 1
    outcome = told(root)
    assert (outcome["SWEEPLAB_STATUS"], outcome["SWEEPLAB_EXIT"]) == ("failed", "1")
    assert (outcome["SWEEPLAB_FINISHED"], outcome["SWEEPLAB_FAILED"]) == ("1", "1")
    written = [file.read_bytes() for file in (root / "runs").rglob("*") if file.is_file()]
    assert not any(b"pa55word" in content for content in written)


@pytest.mark.full
def test_what_cannot_be_detached_is_refused(root: Path, train: Command) -> None:
    for words, problem in (
        (SMALL, "sweep.detach=true: is for a sweep over configs"),
        (("-m", *SMALL, "seed=0,1"), "sweep.detach=True: this launcher is not"),
    ):
        refused = train(*words, "sweep.detach=true")
        assert refused.code == 2
        assert refused.err.startswith(problem)
    with pytest.raises(UserError, match="from Python there is no command that could go on"):
        library.sweep(*SMALL, "seed=0,1", "sweep.detach=true")
    assert not (root / "runs").exists()


def test_each_end_has_its_exit_code() -> None:
    errors = (None, RunFailed(), UserError(), KeyboardInterrupt(), Interrupted(), HungUp())
    assert [exit_code(error) for error in errors] == [0, 1, 2, 130, 143, 129]
    assert exit_code(ZeroDivisionError()) == 1


@pytest.mark.full
def test_a_detached_sweep_goes_on_without_its_terminal(
    root: Path, command: Command, sweeplab: Command, faults: Callable[..., None]
) -> None:
    (root / "slow").touch()
    begun = command("train.py", *PACED_SWEEP, TELL, "sweep.detach=true")
    assert begun.code == 0, begun.err
    sweep = Store(root / "runs").manifests()[-1]
    log = root / "runs" / "sweeps" / f"{sweep['id'][:16]}.log"
    name = sweep["id"][:12]
    said = f"sweep {name} goes on without this terminal; its log: {log}\n"
    assert begun.out.endswith(
        f"{said}  sweeplab watch {name}\n  sweeplab stop {name}\n  sweeplab compare {name}\n"
    )
    until(lambda: len(runs(root)) == 2)
    assert sweeplab("stop", name).code == 0
    until(lambda: (root / "told").exists() and len(told(root)) == 7)
    assert told(root)["SWEEPLAB_STATUS"] == "stopped"
    assert statuses(root) == {16: "interrupted", 24: "interrupted"}
    assert "stopped by sweeplab stop" in log.read_text()
    wrong = command("train.py", *PACED_SWEEP, "trainer.epochs=0", "sweep.detach=true")
    assert wrong.code == 2
    assert "trainer.epochs=0: must be" in wrong.err


@pytest.mark.full
@pytest.mark.parametrize("words", [PACED_SWEEP, (*PACED, "+model.hidden=16")])
def test_a_closed_terminal_ends_runs_at_their_checkpoints(
    root: Path, words: tuple[str, ...], faults: Callable[..., None]
) -> None:
    (root / "slow").touch()
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "train.py"), *words],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    begun = 2 if "-m" in words else 1
    until(lambda: len(runs(root)) == begun and all(run.epochs() for run in runs(root).values()))
    os.close(master)  # from now on each write to the terminal fails
    process.send_signal(signal.SIGHUP)
    assert kill.end(process, "the command") == 129
    assert set(statuses(root).values()) == {"interrupted"}
    assert all(run.saved_epochs() for run in runs(root).values())
