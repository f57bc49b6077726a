"""Workers that take the jobs of a sweep from its board: by hand here, by Slurm in test_slurm."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import kill
import pytest
from conftest import Command
from sweeps import BY_HAND, MAIN, OURS, SMALL, digests, starts, work
from waiting import until

from sweeplab.errors import RunFailed, UserError
from sweeplab.store import Store
from sweeplab.sweep import posts, slurm_options, slurm_queue
from sweeplab.sweep.board import LaunchersBoard, Posted, Terms, WorkerInfo, WorkersBoard
from sweeplab.sweep.board_worker import BoardWorker
from sweeplab.sweep.leases import Leases
from sweeplab.sweep.posts import Posts
from sweeplab.sweep.slurm_news import SlurmNews
from sweeplab.sweep.slurm_queue import Element, Ended, Report, SlurmQueue, worker_script
from sweeplab.sweep.worker import LOST, NEVER

WORDS = ("-m", *SMALL, "model.dropout=0.1", "sweep.report=false", "model.hidden=16,24", "seed=0,1")


@pytest.mark.long
def test_two_workers_and_one_that_is_killed_train_the_same_bits(root: Path, train: Command) -> None:
    words = (*WORDS, "trainer.epochs=20", "trainer.patience=null")  # more than one before a kill
    assert train(*words, OURS, "store.root=here").code == 0
    launcher = kill.train(root, [*words, BY_HAND])
    until(lambda: len(list(root.glob("runs/sweeps/*.work/open/*"))) == 4)
    (doomed,) = [work(root)]
    until(lambda: any(root.glob("runs/sweeps/*.work/taken/*/*")))
    doomed.kill()
    doomed.communicate()
    others = [work(root), work(root)]
    said = "".join(other.communicate(timeout=120)[0] for other in others)
    assert kill.end(launcher, "the launcher") == 0
    out = (root / "out").read_text()
    assert [f"{number}/4" in out for number in range(1, 5)] == [True] * 4, out
    assert "4 runs of 2 configs: 4 finished" in out
    assert "was lost" in out, "the one that was killed"
    assert " trained here" in said
    assert digests(root, "runs") == digests(root, "here")
    assert all(starts(run) == 1 for run in Store(root / "runs").runs())


NO_LOCKS = """
import errno, fcntl, os, sys
def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
"""
OWN_LOCKS = "import fcntl; fcntl.flock = lambda *_: None\n"


@pytest.mark.full
def test_a_worker_without_the_gpus_that_all_jobs_need_takes_none(
    root: Path, sweeplab: Command
) -> None:
    gpus = ("trainer.device=auto", "sweep.gpus_per_worker=1", "model.hidden=16", "seed=0,1")
    launcher = kill.train(root, ["-m", *SMALL, *gpus, BY_HAND])
    until(lambda: len(list(root.glob("runs/sweeps/*.work/open/*"))) == 2)
    launcher.kill()
    launcher.wait()
    (board,) = root.glob("runs/sweeps/*.work")
    ended = sweeplab("work", board.name[:12])
    assert ended.code == 2
    assert "and 0 GPUs; a job needs 1 core and 1 GPU" in ended.err
    assert len(list(board.glob("open/*"))) == 2, "they are left to others"


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        (
            NO_LOCKS,
            "cannot lock files there (No locks available); mount it with locks, as NFS 4 is",
        ),
        (OWN_LOCKS, "this machine does not see a lock that is held in "),
    ],
)
@pytest.mark.full
def test_a_worker_whose_file_system_has_no_locks_ends_with_a_line_before_any_work(
    fake: str, said: str, root: Path
) -> None:
    """Such a file system is faked: `flock` fails, or holds on that machine alone."""
    launcher = kill.train(root, [*WORDS, BY_HAND])
    until(lambda: len(list(root.glob("runs/sweeps/*.work/open/*"))) == 4)
    (folder,) = (root / "runs" / "sweeps").glob("*.work")
    program = [sys.executable, "-c", f"{fake}\n{MAIN}", "work", folder.name[:12]]
    worker = subprocess.run(program, cwd=root, capture_output=True, text=True, check=False)
    os.kill(launcher.pid, signal.SIGINT)
    assert kill.end(launcher, "the launcher") == 130
    assert (worker.returncode, len(worker.stderr.splitlines())) == (2, 1), worker.stderr
    assert worker.stderr.startswith("store.root=")
    assert said in worker.stderr
    assert len(list(root.glob("runs/sweeps/*.work/open/*"))) == 4
    assert Store(root / "runs").runs() == []


@pytest.mark.full
def test_workers_go_on_without_the_launcher_and_the_command_takes_up_what_they_did(
    root: Path, train: Command
) -> None:
    assert train(*WORDS, OURS, "store.root=here").code == 0
    launcher = kill.train(root, [*WORDS, BY_HAND])
    until(lambda: len(list(root.glob("runs/sweeps/*.work/open/*"))) == 4)
    os.kill(launcher.pid, signal.SIGINT)
    assert kill.end(launcher, "the launcher") == 130
    assert (
        "4 jobs left to workers, which go on; to join them: sweeplab work"
        in (root / "out").read_text()
    )
    worker = work(root)
    said, _ = worker.communicate(timeout=120)
    assert (worker.returncode, said.splitlines()[-1]) == (0, "4 jobs trained here")
    again = train(*WORDS, BY_HAND)
    assert again.code == 0
    assert "4 jobs: 4 reused" in again.out
    assert digests(root, "runs") == digests(root, "here")


def test_what_cannot_be_is_one_message_before_any_work(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = (*WORDS, "hydra/launcher=slurm", "sweep.plan=true")  # else sbatch is looked for first
    ended = train(*slurm, "+hydra.launcher.wrkers=1")
    assert (
        ended.err
        == "hydra.launcher.wrkers=1: no such key; did you mean 'hydra.launcher.workers'?\n"
    )
    ended = train(*slurm, "hydra.launcher.time=soon")
    times = "minutes, HH:MM:SS or D-HH:MM:SS, or null"
    assert (ended.code, ended.err) == (2, f"hydra.launcher.time=soon: must be {times}\n")
    ended = train(*slurm, "hydra.launcher.time=00:00")
    assert (ended.code, ended.err) == (2, f"hydra.launcher.time=00:00: must be {times}\n")
    ended = train(*slurm, "+hydra.launcher.reservation=class")
    assert "options, partition, qos, setup, time, workers; another option of sbatch" in ended.err
    ended = train(*slurm, "hydra.launcher.time=00:30")
    stops = (
        "a worker would stop at once, hydra.launcher.grace=60 seconds before the end of its time"
    )
    assert (ended.code, ended.err) == (2, f"hydra.launcher.time=00:30: {stops}\n")
    ended = train(*slurm, 'hydra.launcher.options=["--job-name=mine"]')
    assert 'options of sbatch, as ["--exclusive"], without those that sweeplab gives' in ended.err
    ended = train(*slurm, 'hydra.launcher.options=["--exclusive","--nodes=2"]')
    assert "those that sweeplab gives itself: job-name, nodes, ntasks, array" in ended.err, (
        ended.err
    )
    ended = train(*slurm, 'hydra.launcher.options="[--mail-type=END]"')
    assert (ended.code, ended.out) == (2, "")
    assert "must be a list of options of sbatch" in ended.err
    monkeypatch.setenv("PATH", "")
    ended = train(*slurm[:-1])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("hydra/launcher=slurm: there is no sbatch here; ")
    monkeypatch.setenv("PATH", str(root))
    (root / "sbatch").touch(0o755)
    monkeypatch.setenv("SLURM_CONF", "nowhere.conf")
    ended = train(*slurm[:-1])
    said = "hydra/launcher=slurm: SLURM_CONF=nowhere.conf: no such file\n"
    assert (ended.code, ended.err) == (2, said)
    assert not (root / "runs").exists()


def test_workers_find_a_store_whose_path_has_blanks_and_other_letters(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "squeue").write_text("#!/bin/sh\n")
    (root / "sbatch").write_text(f"#!/bin/sh\ncat > {root}/script\nexit 1\n")
    for name in ("squeue", "sbatch"):
        (root / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(root), prepend=":")
    monkeypatch.delenv("SLURM_CONF", raising=False)
    ended = train(*WORDS, "hydra/launcher=slurm", "store.root='mein Läufe 연구'")
    assert (ended.code, "nothing was submitted: sbatch " in ended.err) == (2, True), ended.err
    word = f'store.root="{root}/mein Läufe 연구"'
    assert (root / "script").read_text().endswith(f" '{word}'\n")


def test_a_sweep_that_is_not_there_has_no_work(sweeplab: Command) -> None:
    ended = sweeplab("work", "abcdef")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("abcdef: no such sweep in ")


def test_a_plan_shows_what_would_be_submitted(root: Path, train: Command) -> None:
    given = ("trainer.threads=3", "sweep.gpus_per_worker=2", "sweep.plan=true")
    of_slurm = ("hydra.launcher.time=01:00:00", "hydra.launcher.memory=4G")
    odd = ("hydra.launcher.workers=3", "store.root=runs%A")
    ended = train(*WORDS, "hydra/launcher=slurm", *given, *of_slurm, *odd)
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if line.startswith("would submit: ")]
    words = line.split()
    asked = {"--cpus-per-task=3", "--gpus-per-node=2", "--time=01:00:00", "--mem=4G"}
    assert asked | {"--array=0-2", "--requeue", "--signal=B:USR1@60"} <= set(words)
    assert "/runs%%A/sweeps/" in line, "Slurm would take %A for a number of its own"
    assert " with 3 workers\n" in ended.out, "of those, not of this machine's cores"
    assert list(root.glob("runs*")) == []


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (("sweep.gpus_per_worker=0.4", "hydra.launcher.gpus=2"), "--cpus-per-task=4"),
        (("sweep.gpus_per_worker=1", "hydra.launcher.gpus=a100:2"), "--gpus-per-node=a100:2"),
        (("sweep.gpus_per_worker=1", "hydra.launcher.cores=3"), "--array=0-3"),
    ],
)
def test_a_worker_does_as_many_jobs_at_once_as_its_gpus_are_for(
    given: tuple[str, ...], asked: str, train: Command
) -> None:
    ended = train(*WORDS, "hydra/launcher=slurm", *given, "sweep.plan=true")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if line.startswith("would submit: ")]
    assert asked in line.split()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("sweep.gpus_per_worker=2", "hydra.launcher.gpus=1"),
            "hydra.launcher.gpus=1: a job needs 2 (sweep.gpus_per_worker), and a worker would do none",
        ),
        (("hydra.launcher.gpus=1",), "hydra.launcher.gpus=1: no job would use a GPU; trainer."),
        (
            ("trainer.threads=2", "hydra.launcher.cores=1"),
            "hydra.launcher.cores=1: a job needs 2 (trainer.threads), and a worker would do none",
        ),
    ],
)
def test_workers_that_could_do_no_job_are_not_submitted(
    given: tuple[str, ...], said: str, root: Path, train: Command
) -> None:
    slurm = ("hydra/launcher=slurm", "sweep.plan=true")  # else sbatch is looked for first
    ended = train(*WORDS, *slurm, *given)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not (root / "runs").exists()


# --- the board


POSTED = Posted(fingerprint="f" * 64, name="", overrides=[], config={}, threads=1, gpus=0.0)


@pytest.fixture
def boards(home: Store) -> tuple[LaunchersBoard, WorkersBoard]:
    ours = LaunchersBoard(home, "a" * 64)
    ours.make()
    ours.write_terms(Terms(sweep="a" * 64, folder=".", path=[]))
    return ours, WorkersBoard(home, "a" * 64)


def info(name: str) -> WorkerInfo:
    return WorkerInfo(name=name, host="there", pid=1, cores=2, gpus=[])


def test_nobody_joins_whose_file_system_refuses_locks(
    boards: tuple[LaunchersBoard, WorkersBoard], home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = boards

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    worker = BoardWorker(home, theirs, Leases(cores=1), None)
    refused = f"host {platform.node()} cannot lock files there (No locks available)"
    with pytest.raises(UserError, match=re.escape(f"store.root={home.root}: {refused}; mount it")):
        worker.run()
    assert ours.members() == []


def test_a_job_is_taken_once_put_back_and_ended(
    boards: tuple[LaunchersBoard, WorkersBoard],
) -> None:
    ours, theirs = boards
    with theirs.joined(info("one")), theirs.joined(info("two")):
        ours.post("2-b", POSTED)
        ours.post("1-a", POSTED)
        assert theirs.open() == ["1-a", "2-b"]
        assert theirs.read("1-a") == POSTED
        assert theirs.take("1-a", "one")
        assert not theirs.take("1-a", "two")
        assert not ours.withdraw("1-a")
        assert ours.withdraw("2-b")
        ours.ask("one", "1-a", signal.SIGTERM)
        assert [(order.job, order.number) for order in theirs.asked("one")] == [
            ("1-a", signal.SIGTERM)
        ]
        assert theirs.asked("one") == []
        theirs.put_back("1-a", "one")
        assert theirs.take("1-a", "two")
        assert ours.taken() == {"one": [], "two": ["1-a"]}
        theirs.end("1-a", "two", -9)
        assert ours.ended() == {"1-a": -9}
        assert ours.ended() == {}
    assert ours.members() == []


def test_without_a_launcher_the_jobs_of_lost_workers_are_put_back_three_times(
    boards: tuple[LaunchersBoard, WorkersBoard],
) -> None:
    ours, theirs = boards
    name = "1-a"
    ours.post(name, POSTED)
    for _ in range(4):
        (ours.folder / "taken" / "gone").mkdir(exist_ok=True)
        assert theirs.take(theirs.open()[0], "gone")
        theirs.rescue()
    assert theirs.open() == []
    assert ours.taken() == {"gone": ["1-a+++"]}


def test_what_becomes_of_posts(
    boards: tuple[LaunchersBoard, WorkersBoard], home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(posts, "LOOK", 0.0)
    ours, theirs = boards

    async def follow() -> None:
        with ours.leading(1) as leads:
            assert leads
            mine = Posts(ours)
            first, second = (mine.add(POSTED, home.run(x * 64)) for x in "bc")
            (ours.folder / "taken" / "gone").mkdir()
            assert theirs.take(theirs.open()[0], "gone")
            mine.look()
            assert first.since is not None, "it was taken before it was seen that nobody is there"
            assert await first.ended() == LOST
            second.send(signal.SIGTERM)
            assert await second.ended() == NEVER
            with theirs.joined(info("one")):
                third = mine.add(POSTED, home.run("d" * 64))
                assert theirs.take(theirs.open()[0], "one")
                mine.look()
                assert third.since is not None
                theirs.put_back(ours.taken_by("one")[0], "one")
                mine.look()
                assert third.since is None
                assert theirs.take(theirs.open()[0], "one")
                later = Posts(ours)  # of another launcher, which takes it up
                adopted = later.add(POSTED, home.run("d" * 64))
                assert adopted.since is not None
                theirs.end(ours.taken_by("one")[0], "one", -9)
                later.look()
                assert await adopted.ended() == -9
                assert len(later) == 0

    asyncio.run(follow())


@pytest.mark.parametrize(
    "reason", ["PartitionTimeLimit", "BadConstraints", "QOSMaxWallDurationPerJobLimit"]
)
def test_workers_that_slurm_will_never_start_are_not_waited_for(reason: str) -> None:
    def tell(*reasons: str) -> None:
        elements = [
            Element(id=f"1_{number}", state="PENDING", reason=why, node="")
            for number, why in enumerate(reasons)
        ]
        SlurmNews(Path()).tell(Report(elements=elements), (), has_jobs=True)

    tell("Resources", reason)
    with pytest.raises(RunFailed, match=rf"Slurm will never start its workers \({reason}\)"):
        tell(reason, reason)


def end(*names: str, state: str = "FAILED") -> list[Ended]:
    return [Ended(id=name, state=state, words=state) for name in names]


def test_workers_of_no_use_end_a_sweep_only_once_no_other_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news = SlurmNews(tmp_path)
    at_work = [Element(id="1_0", state="RUNNING", reason="None", node="n1")]
    news.tell(Report(elements=at_work, ended=end("1_1", "1_2")), (), has_jobs=True)
    assert news.may_submit
    (tmp_path / "1_3.txt").write_text("no such module\n")
    news.tell(Report(elements=at_work, ended=end("1_3")), (), has_jobs=True)
    assert not news.may_submit
    said = "3 workers in a row ended without a job, and no more are submitted; the others go on."
    assert f"{said} The last said:\n    no such module\n" in capsys.readouterr().out
    news.tell(Report(elements=at_work), ("1_0-a1b2",), has_jobs=True)
    assert news.may_submit, "it has had a job"
    news.tell(
        Report(elements=at_work, ended=end("2_0", "2_1", "2_2")), ("1_0-a1b2",), has_jobs=True
    )
    waiting = [Element(id="2_3", state="PENDING", reason="Resources", node="")]
    with pytest.raises(RunFailed, match="3 workers in a row ended without a job; the last said:"):
        news.tell(Report(elements=waiting), ("1_0-a1b2",), has_jobs=True)


def test_workers_that_could_not_be_launched_at_once_count_as_one(tmp_path: Path) -> None:
    news = SlurmNews(tmp_path)
    for job in (1, 2):
        held = end(f"{job}_0", f"{job}_1", f"{job}_2", state="LAUNCH_FAILED")
        news.tell(Report(ended=held), (), has_jobs=True)
    with pytest.raises(RunFailed, match="3 workers in a row"):
        news.tell(Report(ended=end("3_0", "3_1", state="LAUNCH_FAILED")), (), has_jobs=True)
    assert not news.may_submit


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("5", 300), ("5:01", 360), ("1:00:00", 3600), ("1-2", 93600), ("2-0:30", 174600)],
)
def test_a_time_of_slurms_is_in_whole_minutes(time: str, seconds: int) -> None:
    assert slurm_options._seconds(time) == seconds


def test_workers_that_wait_for_an_administrator_are_told_how_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news = SlurmNews(tmp_path)

    def tell(*reasons: str) -> str:
        elements = [
            Element(id=f"{number}_0", state="PENDING", reason=reason, node="")
            for number, reason in enumerate(reasons, start=7)
        ]
        news.tell(Report(elements=elements), (), has_jobs=True)
        return capsys.readouterr().out

    assert tell("ReqNodeNotAvail", "Priority") == "Slurm: 2 pending (Priority, ReqNodeNotAvail)\n"
    ends = "none begins until that has changed; to end them: scancel 7 8"
    assert tell("DOWN", "DOWN") == f"Slurm: 2 pending (DOWN); {ends}\n"


def test_the_job_that_has_the_id_of_a_forgotten_worker_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Slurm that has lost its state gives the same ids again."""
    queue = SlurmQueue("ours", [], "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    (tmp_path / "scontrol").chmod(0o755)
    cancelled = "JobId=9 JobName={} ArrayTaskId={} JobState=CANCELLED Reason=None\n"
    (tmp_path / "said").write_text(cancelled.format("theirs", "0"))
    worker = Element(id="9_0", state="RUNNING", reason="None", node="n1")
    ended = queue._fate(worker)
    assert (ended.state, ended.words) == ("", "it has left the queue")
    (tmp_path / "said").write_text(cancelled.format("ours", "0"))
    assert queue._fate(worker).state == "CANCELLED"


@pytest.mark.parametrize("numbers", ["0,2-3", "4294967294"])
def test_workers_that_were_cancelled_while_they_waited_are_known_by_their_array(
    numbers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        f"JobId=9 ArrayJobId=9 ArrayTaskId={numbers} JobName=ours JobState=CANCELLED Reason=None",
        "JobId=10 ArrayJobId=9 ArrayTaskId=1 JobName=ours JobState=RUNNING Reason=None",
    )
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{''.join(f'echo {line};' for line in lines)}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    queue = SlurmQueue("ours", [], "")
    workers = [Element(id=name, state="", reason="", node="") for name in ("9_0", "9_1")]
    assert [queue._fate(worker).state for worker in workers] == ["CANCELLED", "RUNNING"]


def test_a_worker_that_slurm_holds_since_it_could_not_launch_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "squeue": "echo '9_0|PENDING|launch failed requeued held|'; echo '9_1|RUNNING|None|n1'",
        "sbatch": "echo 10",
        "scancel": f"echo $* >> {tmp_path}/cancelled",
    }
    for name, line in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    report = SlurmQueue("ours", [], "").look(2)
    assert (tmp_path / "cancelled").read_text() == "--quiet 9_0\n"
    assert [(ended.id, ended.words) for ended in report.ended] == [
        ("9_0", "launch failed requeued held")
    ]
    assert [element.id for element in report.elements] == ["9_1", "10_0"]
    assert report.submitted == ["10"]


@pytest.mark.parametrize(
    ("setup", "code", "said"),
    [
        (["cd /nowhere", "echo never"], 1, "hydra.launcher.setup: exit code 1 of: cd /nowhere\n"),
        (["odd() { return 3; }", "odd 1"], 3, "hydra.launcher.setup: exit code 3 of: odd 1\n"),
        (["source ./false"], 1, "hydra.launcher.setup: exit code 1 of: source ./false\n"),
        (["source ./true", "[ -e no ] && echo never", "if false; then", "echo never", "fi"], 0, ""),
    ],
)
def test_a_line_of_the_setup_that_fails_ends_the_worker(
    setup: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "MAIN", "print('at work')")
    (tmp_path / "false").write_text("false\n")
    (tmp_path / "true").write_text("false\ntrue\n")
    (tmp_path / "script").write_text(worker_script(setup, []))
    ended = subprocess.run(
        ["bash", "script"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, "" if code else "at work\n")
    assert ended.stderr.endswith(said)
