"""The local launcher: real processes that raise, die, hang and are interrupted, and sweeps that go on without them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import kill
import kill_sweep
import pytest
import ready
import torch
from conftest import PROJECT, Command, can_mount
from sweeps import FAULTY, OURS, SMALL, runs, starts, statuses
from waiting import until

from sweeplab import data
from sweeplab.config import Data
from sweeplab.errors import UserError
from sweeplab.runs import job as planned
from sweeplab.store import Event, Status, Store
from sweeplab.sweep import leases
from sweeplab.sweep.dispatch import Dispatch


@pytest.mark.long
def test_one_job_raises_one_is_killed_one_segfaults_one_hangs_and_the_others_finish(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    sweep = ("-m", OURS, *FAULTY, "+model.hidden=range(1,13)", "sweep.job_timeout=10")
    faults(h3="raise", h5="kill", h7="segfault", h9="hang")
    first = train(*sweep)
    assert first.code == 1, first.err
    expected = dict.fromkeys(range(1, 13), "finished") | {
        3: "failed",
        5: "unfinished",
        7: "unfinished",
    }
    assert statuses(root) == expected | {9: "interrupted"}
    told = {hidden: first.out.index(f"hidden={hidden}: {how}") for hidden, how in (
        (3, "failed\n"), (5, "died: SIGKILL; unfinished\n"), (7, "died: SIGSEGV; unfinished\n"),
    )}  # fmt: skip
    assert "hidden=9: stopped after sweep.job_timeout=10 s\n" in first.out
    assert told[3] < first.out.index("hidden=12: valid/accuracy"), "when it happens, not at the end"
    assert "RuntimeError: no more" in first.out
    assert "Segmentation fault" in first.out, "the last lines of its log"
    assert f"log: {runs(root)[5].log_file}\n" in first.out
    assert "4 of 12 runs did not finish:\n  hidden=3: failed, its log: " in first.err
    assert first.err.endswith("issue the same command again for just those\n")
    before = {
        hidden: run.journal.path.read_bytes()
        for hidden, run in runs(root).items()
        if hidden not in (3, 5, 7, 9)
    }
    faults()
    again = train(*sweep)
    assert again.code == 0, again.err
    assert set(statuses(root).values()) == {"finished"}
    assert {hidden: runs(root)[hidden].journal.path.read_bytes() for hidden in before} == before
    assert starts(runs(root)[3]) == 2, "it raised: from the start"
    assert starts(runs(root)[5]) == 1, "it died: from its checkpoint"
    assert re.findall(r"^(\d+/12) ", again.out, re.MULTILINE) == ["9/12", "10/12", "11/12", "12/12"]


def test_what_died_is_started_again_and_what_raised_is_not(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    faults(h1="kill", h2="raise")
    ended = train("-m", OURS, *FAULTY, "+model.hidden=1,2,3", "sweep.retries=1")
    assert ended.code == 1
    assert statuses(root) == {1: "unfinished", 2: "failed", 3: "finished"}
    assert ended.out.count("hidden=1: died: SIGKILL; unfinished") == 2, (
        "in the second epoch, and then in the third"
    )
    assert "    started again (1 of 1)\n" in ended.out
    assert ended.out.count("hidden=2: failed") == 1
    assert "2 of 3 runs did not finish" in ended.err


@pytest.mark.full
def test_a_sweep_issued_again_after_a_kill_has_its_metrics_once(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    words = (
        "-m",
        OURS,
        *FAULTY,
        "+model.hidden=1,2,3",
        "sweep.report=true",
        "tracking.enabled=true",
    )

    def best() -> list[tuple[str, int, float]]:
        kill.sync(root)
        with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database:
            query = "select key, step, value from metrics where key like 'best/%' order by key"
            return database.execute(query).fetchall()

    faults(h3="kill")
    assert train(*words, tracking=True).code == 1
    assert best() == [], "what a part of the runs gives does not hold"
    faults()
    assert train(*words, tracking=True).code == 0
    first = best()
    assert [(key, step) for key, step, _ in first] == [("best/parameters", 3), ("best/test/accuracy", 3), ("best/valid/accuracy", 3)]  # fmt: skip
    shutil.rmtree(next(Store(root / "runs").sweeps.glob("*/")))  # its report, which is drawn anew
    assert train(*words, tracking=True).code == 0
    assert best() == first


IN_A_SMALL_STORE = """
import os, runpy, subprocess, sys
for size in ("1500k", "60m"):
    subprocess.run(["mount", "-o", f"remount,size={size}", "runs"], check=True)
    if not (child := os.fork()):
        runpy.run_path(sys.argv[0], run_name="__main__")
        os._exit(0)
    print("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@can_mount
@pytest.mark.full
def test_a_full_disk_stops_the_jobs_that_it_has_no_room_for(root: Path) -> None:
    (root / "runs").mkdir()
    # What there is no room for is the checkpoints of the largest.
    each = "trainer.checkpoint_every=0"
    words = ("-m", *SMALL, each, "model.hidden=8,2000,16", "sweep.report=false", OURS)
    program = f"import sys; sys.argv = {[str(PROJECT / 'train.py'), *words]}{IN_A_SMALL_STORE}"
    small = [sys.executable, "--apart", "mount -t tmpfs tmpfs runs", "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    done = ready.run(small, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert re.findall(r"^code \d", done.stdout, re.MULTILINE) == ["code 1", "code 0"], (
        done.stdout + done.stderr
    )
    assert "3 runs of 3 configs: 2 finished, 1 interrupted" in done.stdout
    assert "had to stop: OSError: [Errno 28] No space left on device" in done.stdout
    assert "3 jobs: 2 reused, 1 " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_store_that_vanishes_during_a_sweep_ends_it_with_its_list(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_it = Dispatch.run

    def vanish(dispatch: Dispatch, *more: Any) -> str | None:
        said = run_it(dispatch, *more)
        shutil.rmtree(root / "runs")
        return said

    monkeypatch.setattr(Dispatch, "run", vanish)
    ended = train("-m", OURS, *SMALL, "model.hidden=8,16")
    assert ended.code == 1
    assert "2 of 2 runs did not finish:\n  hidden=8: not started\n" in ended.err
    assert "Traceback" not in ended.err


def test_fail_fast_and_a_time_limit_leave_the_rest(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    faults(h1="raise", h2="slow", h3="slow")
    one = ("-m", OURS, *FAULTY, "+model.hidden=range(1,9)", "sweep.workers=1")
    ended = train(*one, "sweep.fail_fast=true")
    assert ended.code == 1
    assert statuses(root) == {1: "failed"}
    assert (
        "8 of 8 runs did not finish (sweep.fail_fast=true, and hidden=1 did not finish):"
        in ended.err
    )
    assert "  hidden=8: not started\n" in ended.err
    faults(h1="slow")
    ended = train(*one, "sweep.time_limit=1")
    assert ended.code == 1
    assert statuses(root) == {1: "finished"}
    assert "7 of 8 runs did not finish (sweep.time_limit=1 seconds are over):" in ended.err


@pytest.mark.full
def test_a_job_that_does_not_listen_is_killed(
    root: Path, train: Command, faults: Callable[..., None]
) -> None:
    faults(h1="deaf")
    ended = train("-m", OURS, *FAULTY, "+model.hidden=1,2", "sweep.job_timeout=8")
    assert ended.code == 1
    assert statuses(root) == {1: "unfinished", 2: "finished"}
    assert "hidden=1: stopped after sweep.job_timeout=8 s" in ended.out


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.full)],
)
def test_ctrl_c_once_stops_the_jobs_at_their_last_checkpoint(
    root: Path, faults: Callable[..., None], number: int, code: int
) -> None:
    faults(h1="hang", h2="hang")
    process = kill.train(root, ["-m", *FAULTY, "+model.hidden=1,2,3", "sweep.workers=2"])
    until(lambda: len(runs(root)) == 2 and all(run.saved_epochs() for run in runs(root).values()))
    os.kill(process.pid, number)
    assert kill.end(process, "the sweep") == code
    said = (root / "out").read_text()
    assert "stopping 2 runs at the last checkpoint; Ctrl-C again: at once" in said
    assert "what was finished is kept; issue the same command again for the rest" in said
    assert statuses(root) == {1: "interrupted", 2: "interrupted"}
    assert kill_sweep.processes(root) == []
    faults()
    process = kill.train(root, ["-m", *FAULTY, "+model.hidden=1,2,3", "sweep.workers=2"])
    assert kill.end(process, "the sweep") == 0
    assert [starts(run) for run in runs(root).values()] == [1, 1, 1]


PATIENT = """
import runpy, sys
from sweeplab.sweep import watch
assert watch.GRACE == 5
watch.GRACE = 10_000
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_ctrl_c_twice_ends_it_at_once(root: Path, faults: Callable[..., None]) -> None:
    """And not after the time that a job has to end in."""
    faults(h1="deaf")
    words = ("-m", *FAULTY, "+model.hidden=1,2", "sweep.workers=1")
    process = kill.command(root, "-c", PATIENT, str(PROJECT / "train.py"), *words)
    until(lambda: (root / "deaf").exists() and runs(root)[1].epochs())
    os.kill(process.pid, signal.SIGINT)
    until(lambda: "Ctrl-C again: at once" in (root / "out").read_text())
    os.kill(process.pid, signal.SIGINT)
    assert kill.end(process, "the sweep") == 130
    assert statuses(root) == {1: "unfinished"}


@pytest.mark.full
def test_a_fork_server_that_is_killed_takes_its_jobs_and_is_started_anew(
    root: Path, faults: Callable[..., None]
) -> None:
    faults(h1="hang")
    process = kill.train(
        root, ["-m", *FAULTY, "+model.hidden=1,2", "sweep.workers=1", "sweep.retries=1"]
    )
    until(lambda: runs(root) and runs(root)[1].epochs())
    server = min(kill_sweep.processes(root))
    faults()
    os.kill(server, signal.SIGKILL)
    assert kill.end(process, "the sweep") == 0
    assert statuses(root) == {1: "finished", 2: "finished"}
    assert starts(runs(root)[1]) == 1


def test_the_same_bits_with_one_worker_with_two_and_alone(root: Path, train: Command) -> None:
    def digests(store: str) -> dict[str, str | None]:
        return {
            r.fingerprint: r.weights_sha256
            for run in Store(root / store).runs()
            if (r := run.result())
        }

    jobs = ("model.hidden=16,24", "seed=0,1", "model.dropout=0.1")
    for workers in (1, 2):
        ended = train(
            "-m", OURS, *SMALL, *jobs, f"sweep.workers={workers}", f"store.root=w{workers}"
        )
        assert ended.code == 0, ended.err
    alone = train(*SMALL, "model.hidden=24", "seed=1", "model.dropout=0.1", "trainer.threads=1")
    assert alone.code == 0
    assert digests("w1") == digests("w2")
    assert len(digests("w1")) == 4
    assert digests("runs").items() <= digests("w1").items()


@pytest.mark.full
def test_a_config_that_is_edited_while_a_sweep_runs_changes_nothing_in_it(
    root: Path, faults: Callable[..., None]
) -> None:
    shutil.copytree(PROJECT / "conf", root / "conf")
    shutil.copy(PROJECT / "train.py", root)
    faults(h1="slow", h2="slow")
    words = [
        "-m",
        *SMALL,
        "model._target_=faulty.Net",
        "model=linear",
        "+model.hidden=1,2",
        "sweep.workers=1",
    ]
    process = kill.command(root, str(root / "train.py"), *words)
    until(lambda: len(runs(root)) == 1)
    trainer = root / "conf/trainer/default.yaml"
    trainer.write_text(trainer.read_text().replace("batch_size: 128", "batch_size: 64"))
    assert kill.end(process, "the sweep") == 0
    assert [run.config()["trainer"]["batch_size"] for run in runs(root).values()] == [128, 128]


EDITING = """
from pathlib import Path
from torch import nn
class Net(nn.Linear):
    def __init__(self, in_features, out_features, hidden):
        super().__init__(in_features, out_features)
    def forward(self, input):
        if self.training and input.device.type != "meta":
            Path(__file__).write_text(Path(__file__).read_text().replace("x = 1", "x = 2"))
        return super().forward(input)
x = 1
"""


def test_code_that_is_edited_while_a_sweep_runs_is_not_trained_under_the_old_name(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (root / "editing.py").write_text(EDITING)
    sweep = (
        "-m",
        OURS,
        *SMALL,
        "model=linear",
        "model._target_=editing.Net",
        "+model.hidden=1,2",
        "sweep.workers=1",
    )
    ended = train(*sweep)
    assert ended.code == 1
    assert "editing: changed after the run was planned; issue the command again" in ended.out
    assert {number: run.status for number, run in runs(root).items()} == {1: "finished"}
    del sys.modules["editing"]  # as in a new process
    assert train(*sweep).code == 0
    assert [run.status for run in Store(root / "runs").runs()] == ["finished"] * 3
    del sys.modules["editing"]


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.full)])
def test_hydras_own_launchers_train_the_same_runs_and_skip_what_is_finished(
    root: Path, train: Command, command: Command, launcher: str
) -> None:
    for hidden, store in ((8, "runs"), (16, "alone")):
        assert (
            train(*SMALL, f"model.hidden={hidden}", "trainer.threads=1", f"store.root={store}").code
            == 0
        )
    ended = command(
        "train.py",
        "-m",
        *SMALL,
        f"hydra/launcher={launcher}",
        "model.hidden=8,16",
        "sweep.report=false",
        loaded=True,
    )
    assert ended.code == 0, ended.err
    assert statuses(root) == {8: "finished", 16: "finished"}
    assert [starts(run) for run in runs(root).values()] == [1, 1]
    (alone,) = Store(root / "alone").runs()
    mine, other = runs(root)[16].result(), alone.result()
    assert mine is not None
    assert other is not None
    assert (mine.fingerprint, mine.weights_sha256) == (other.fingerprint, other.weights_sha256)


ELSEWHERE = """
import multiprocessing
from torch import nn
if multiprocessing.current_process().name != "MainProcess":
    raise OSError("this node has no driver")
class Net(nn.Linear):
    def __init__(self, in_features, out_features, hidden): super().__init__(in_features, out_features)
"""


@pytest.mark.full
def test_why_a_job_was_not_started_is_said_under_another_launcher(
    root: Path, command: Command
) -> None:
    (root / "elsewhere.py").write_text(ELSEWHERE)
    words = (
        *SMALL,
        "model=linear",
        "model._target_=elsewhere.Net",
        "+model.hidden=1,2",
        "hydra/launcher=joblib",
    )
    ended = command("train.py", "-m", *words, PYTHONPATH=str(root), loaded=True)
    assert ended.code == 1, ended.err
    why = (
        "model._target_=elsewhere.Net: the module 'elsewhere' exists, but failed to import: "
        "OSError: this node has no driver"
    )
    assert (
        f"2 of 2 runs did not finish:\n  hidden=1: not started: {why}\n  hidden=2: not started: {why}\n"
        in ended.err
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (UserError("the job was not to be\ntrained here"), "the job was not to be trained here"),
        (SystemExit("no room"), "the launcher gave up: SystemExit: no room"),
    ],
    ids=["refused", "launcher"],
)
def test_why_a_job_was_not_started_is_said_in_the_same_process(
    train: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, why: str
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(planned, "prepare", end)
    ended = train("-m", "hydra/launcher=basic", "sweep.report=false", *SMALL, "model.hidden=8,16")
    assert ended.code == 1
    assert f"  hidden=16: not started: {why}\n" in ended.err


SCRIPT = """
import hydra
from torch import nn
from sweeplab.commands.cli import guarded, train
class Net(nn.Linear):
    pass
@guarded
@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config):
    train(config)
if __name__ == "__main__":
    main()
"""


def test_a_class_of_the_script_is_for_single_runs(root: Path, train: Command) -> None:
    shutil.copytree(PROJECT / "conf", root / "conf")
    (root / "mine.py").write_text(SCRIPT)
    words = (*SMALL, "model=linear", "model._target_=__main__.Net")
    single = train(*words, script=root / "mine.py")
    assert single.code == 0, single.err
    assert (
        "__main__.Net: known to this script only; put it into a module for load_model" in single.err
    )
    swept = train("-m", *words, "seed=1,2", script=root / "mine.py")
    assert swept.code == 2
    assert (
        "model._target_=__main__.Net: the jobs of a sweep cannot import it from the script"
        in swept.err
    )
    assert len(list(Store(root / "runs").runs())) == 1


def test_another_sweeper_may_use_our_launcher(root: Path, train: Command) -> None:
    ended = train("-m", OURS, *SMALL, "model.hidden=8,16", "hydra/sweeper=basic")
    assert ended.code == 0, ended.err
    assert statuses(root) == {8: "finished", 16: "finished"}


def test_a_sweeper_of_hydras_may_have_settings(root: Path, train: Command) -> None:
    own = ("hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2", "hydra/launcher=basic")
    ended = train("-m", *SMALL, "model.hidden=8,16", *own)
    assert ended.code == 0, ended.err
    assert statuses(root) == {8: "finished", 16: "finished"}


@pytest.mark.long
def test_a_sweep_whose_launcher_is_killed(
    root: Path, train: Command, faults: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("full"):
        program = [sys.executable, str(PROJECT / "tests/kill_sweep.py"), "--count", "20"]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    sweep = ("-m", *FAULTY, "+model.hidden=1,2", "seed=0,1", "+model.dropout=0.2")
    assert train(*sweep, "store.root=reference").code == 0
    sweep = (*sweep, "tracking.enabled=true", "tracking.wait=90")
    faults(h1="hang")
    process = kill.train(root, (*sweep, "sweep.workers=2"))
    until(lambda: [bool(run.epochs()) for run in Store(root / "runs").runs()] == [True, True])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert kill_sweep.gone(root) <= kill_sweep.OUTLIVE
    assert {run.status for run in Store(root / "runs").runs()} == {"unfinished"}
    faults()
    assert train(*sweep, OURS, tracking=True).code == 0
    reference = {run.id: run.result() for run in Store(root / "reference").runs()}
    assert list(kill_sweep.weights(root).values()) == [
        reference[run.id].weights_sha256
        for run in Store(root / "runs").runs()  # type: ignore[union-attr]
    ]
    kill_sweep.mlflow(root, 4)


@pytest.mark.full
def test_eight_workers_on_one_database_lose_nothing(root: Path, train: Command) -> None:
    words = (
        "-m",
        OURS,
        "data=digits",
        "trainer.epochs=5",
        "seed=range(16)",
        "model.hidden=8",
        "sweep.workers=8",
        "tracking.wait=60",
        "sweep.report=true",
    )
    ended = train(*words, tracking=True)
    assert ended.code == 0, ended.err
    kill.sync(root)
    found = Store(root / "runs").runs()
    assert len(found) == 16
    assert "lock" not in (root / "runs/feeder.log").read_text()
    database = sqlite3.connect(root / "mlflow.db")
    child = "run_uuid in (select run_uuid from tags where key = 'fingerprint')"
    counted = f"select count(*), count(distinct run_uuid || key || step) from metrics where {child}"
    rows = database.execute(counted).fetchone()
    states = database.execute("select status, count(*) from runs group by status").fetchall()
    of_parent = dict(
        database.execute(f"select key, value from metrics where not {child}").fetchall()
    )
    note = database.execute("select value from tags where key = 'mlflow.note.content'").fetchone()[
        0
    ]
    database.close()
    assert rows == (16 * (5 * 5 + 7), 16 * (5 * 5 + 7))
    assert states == [("FINISHED", 17)]
    assert of_parent["best/parameters"] == 626
    assert "16 runs of 1 config: 16 finished" in note
    assert len(list(root.glob("mlruns/**/comparison/report.html"))) == 1
    ends = [[e["status"] for e in run.journal.events() if e["event"] == Event.END] for run in found]
    assert ends == [[Status.FINISHED]] * 16


def test_shared_splits_are_the_same_and_nobody_elses_to_write() -> None:
    splits = data.load(
        Data(
            name="digits",
            in_features=64,
            out_features=10,
            dataset={"_target_": "sweeplab.data.Digits"},
        )
    )
    shared = data.share(splits)
    copies = [data.mapped(shared.file.fileno(), shared.layout) for _ in range(2)]
    for name in ("train", "valid", "test"):
        mine, other, original = (getattr(each, name) for each in (*copies, splits))
        assert torch.equal(mine.inputs, original.inputs)
        assert torch.equal(mine.targets, original.targets)
        assert mine.targets.dtype == torch.int64
        mine.inputs[0] = 7.0
        assert torch.equal(other.inputs, original.inputs)
    assert copies[0].digest == splits.digest
    shared.file.close()


def test_leases_of_cores() -> None:
    machine = leases.Leases(cores=4)
    first, second = machine.take(1), machine.take(2)
    assert first is not None
    assert second is not None
    assert machine.take(2) is None
    machine.give(second)
    assert machine.take(2) == leases.Lease(2)
    machine.give(first)
    assert machine.take(64) is None, "two are out"
    assert leases.Leases(cores=4).take(64) == leases.Lease(4), "all there are"
    one_at_a_time = leases.Leases(cores=4, workers=1)
    assert one_at_a_time.take(1) is not None
    assert one_at_a_time.take(1) is None


def test_leases_of_gpus_and_shares_of_them() -> None:
    machine = leases.Leases(cores=8, gpus=["0", "1"])
    halves = [machine.take(1, 0.5) for _ in range(4)]
    assert [lease.gpus for lease in halves if lease] == [("0",), ("1",), ("0",), ("1",)]
    assert machine.take(1, 0.5) is None
    assert halves[0] is not None
    machine.give(halves[0])
    assert machine.take(1, 1.0) is None, "the other half is out"
    both = leases.Leases(cores=8, gpus=["0", "1"]).take(1, 2)
    assert both is not None
    assert both.environment("cuda") == {"CUDA_VISIBLE_DEVICES": "0,1"}
    without = leases.Leases(cores=8).take(1)
    assert without is not None
    assert without.environment("cuda:1") == {}, "it names its GPU"
    assert without.environment("auto") == {"CUDA_VISIBLE_DEVICES": ""}, "it may take none"


@pytest.mark.parametrize(
    ("cores", "gpus", "workers", "each", "most"),
    [
        (16, 0, None, 0.0, 16),
        (16, 0, 3, 0.0, 3),
        (16, 1, None, 1.0, 1),
        (16, 1, None, 0.25, 4),
        (16, 2, None, 0.3, 6),
        (16, 2, None, 0.4, 4),
        (16, 1, None, 1 / 3, 3),
        (16, 4, None, 2.0, 2),
        (2, 4, None, 0.5, 2),
        (16, 4, 1, 1.0, 1),
        (16, 8, None, 3.0, 2),
    ],
)
def test_how_many_jobs_can_be_at_work_at_once(
    cores: int, gpus: int, workers: int | None, each: float, most: int
) -> None:
    room = leases.Leases(cores=cores, gpus=[str(n) for n in range(gpus)], workers=workers)
    assert room.most(each) == most
    taken = 0
    while room.take(1, each) is not None:
        taken += 1
    assert taken == most


class Card(NamedTuple):
    """What torch says of a GPU."""

    name: str
    uuid: str


@pytest.mark.parametrize(
    ("visible", "there", "slurm", "names"),
    [
        (None, [Card("NVIDIA H200", "57cd")], False, ["GPU-57cd"]),
        ("0", [Card("NVIDIA H200", "57cd")], False, ["GPU-57cd"]),
        ("GPU-57", [Card("NVIDIA H200", "57cd")], False, ["GPU-57cd"]),
        # CUDA counts as many as it takes of a list
        ("0,1", [Card("NVIDIA H200", "57cd")], False, ["GPU-57cd"]),
        ("0,-1", [Card("NVIDIA H200", "57cd")], False, ["GPU-57cd"]),
        ("0,0", [], False, []),
        ("-1", [], False, []),
        ("1,0", [Card("NVIDIA H200", "aa"), Card("NVIDIA H200", "bb")], True, ["GPU-aa", "GPU-bb"]),
        ("MIG-5c,MIG-6d", [Card("NVIDIA A100 MIG 1g.5gb", "5c")], False, ["MIG-5c"]),
        (None, [Card("NVIDIA A100 MIG 1g.5gb", "5c")], False, ["0"]),
        (None, [Card("NVIDIA H200", "57cd")], True, []),
        ("", [], False, []),
    ],
)
def test_gpus_of_a_machine_have_one_name_each(
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    there: list[Card],
    slurm: bool,
    names: list[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(there))
    monkeypatch.setattr(torch.cuda, "get_device_properties", there.__getitem__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if slurm:  # which has given nothing, where it names no GPU
        monkeypatch.setenv("SLURM_JOB_ID", "39")
    found = leases.of_worker()
    assert found.gpus == names
    assert found.could_take(1, 0.0)
    assert [found.could_take(1, gpus) for gpus in (0.25, 1.0)] == [bool(names)] * 2
    assert not found.could_take(found.cores + 1, 0.0)


@pytest.mark.full
def test_two_sweeps_that_overlap_share_their_runs(root: Path, train: Command) -> None:
    words = ("-m", "data=digits", "trainer.epochs=1", "trainer.threads=1", "tracking.wait=60")
    first = train(*words, "model.hidden=8,16", tracking=True)
    second = train(*words, "model.hidden=8,16,24", tracking=True)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "3 jobs: 2 reused, 1 new" in second.out
    shown = [
        line.split()[0]
        for line in second.out.splitlines()
        if line.strip().startswith(("8 ", "16 ", "24 "))
    ]
    assert sorted(shown) == ["16", "24", "8"]
    assert [starts(run) for run in runs(root).values()] == [1, 1, 1]
    kill.sync(root)
    tagged = (
        "select key, count(*) from tags where key like 'sweep.%' and key <> 'sweep.id' group by key"
    )
    database = sqlite3.connect(root / "mlflow.db")
    counts = dict(database.execute(tagged).fetchall())
    database.close()
    sweeps = Store(root / "runs").manifests()
    assert counts == {f"sweep.{sweep['id'][:12]}": len(sweep["cells"]) for sweep in sweeps}, (
        "what the links filter by"
    )
    assert sorted(counts.values()) == [2, 3]
