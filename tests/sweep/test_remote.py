"""Past one machine: the same sweep by submitit has the bits that it has here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

import kill
import pytest
from conftest import PROJECT, Command
from sweeps import ALL, FOUR, OURS, SMALL, WORDS, digests, table
from torch import Tensor, nn
from waiting import until

from sweeplab.store import Event, Store
from sweeplab.sweep.paths import same_modules

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed"
)
SUBMITIT = (
    "hydra/launcher=submitit_local",
    "hydra.launcher.submitit_folder=${store.root}/submitit/%j",
)


def test_programs_that_a_launcher_starts_find_the_modules_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "either.py").write_text(f"print({name!r})")
    (tmp_path / "second" / "beside.py").write_text("print('beside')")
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path, "second"])
    monkeypatch.chdir(tmp_path)
    with same_modules():
        found = os.environ["PYTHONPATH"].split(os.pathsep)
        program = [sys.executable, "-c", "import either, beside"]
        done = subprocess.run(program, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "first\nbeside\n"
    assert (found[0], found[-1]) == (str(tmp_path / "first"), str(tmp_path / "second"))
    assert not {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")} & set(found)
    assert os.environ["PYTHONPATH"] == "before"
    monkeypatch.delenv("PYTHONPATH")
    with same_modules():
        assert "PYTHONPATH" in os.environ
    assert "PYTHONPATH" not in os.environ


@needs_submitit
@pytest.mark.full
def test_what_lies_beside_the_script_is_found_by_jobs_of_submitit(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "conf", project / "conf")
    shutil.copy(PROJECT / "train.py", project)
    (project / "beside.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    words = (
        "-m",
        "data=digits",
        "tracking=off",
        "trainer.epochs=1",
        "model=linear",
        "model._target_=beside.Net",
    )
    done = subprocess.run(
        [
            sys.executable,
            str(project / "train.py"),
            *words,
            "seed=1,2",
            *SUBMITIT,
            "sweep.report=false",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [run.status for run in Store(root / "runs").runs()] == ["finished", "finished"]


@needs_submitit
@pytest.mark.full
def test_24_jobs_here_and_by_submitit(root: Path, train: Command, command: Command) -> None:
    here = train(*WORDS, *ALL, OURS, "store.root=here")
    there = command("train.py", *WORDS, *ALL, *SUBMITIT, timeout=240)
    assert there.code == 0, there.err
    assert len(digests(root, "here")) == 24
    assert digests(root, "runs") == digests(root, "here")
    assert table(there.out) == table(here.out)


def test_a_launcher_of_hydras_is_refused_what_it_does_not_know(train: Command, root: Path) -> None:
    ended = train(*WORDS, *FOUR, "hydra/launcher=basic", "sweep.retries=2")
    assert (ended.code, ended.out) == (2, "")
    assert "sweep.retries=2: this launcher is not sweeplab's, and knows only" in ended.err
    assert Store(root / "runs").runs() == []


@needs_submitit
@pytest.mark.full
def test_a_job_of_submitit_is_requeued_and_goes_on_with_the_same_bits(
    root: Path, train: Command
) -> None:
    """The signals are Slurm's, when it takes a node away: SIGTERM, which is to be ignored, and SIGUSR2."""
    words = (*WORDS, "model.hidden=64", "trainer.epochs=200", "trainer.patience=null")
    assert train(*words, "store.root=here").code == 0
    process = kill.train(root, [*words, *SUBMITIT])
    until(lambda: any(len(run.epochs()) > 20 for run in Store(root / "runs").runs()))
    (worker,) = jobs(root)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        os.kill(worker, number)
        time.sleep(0.2)
    assert kill.end(process, "the sweep") == 0
    (run,) = Store(root / "runs").runs()
    assert [event["event"] for event in run.journal.events() if event["event"] != Event.EPOCH] == [
        Event.START,
        Event.RESUME,
        Event.END,
    ]
    assert digests(root, "runs") == digests(root, "here")
    assert "1 run of 1 config: 1 finished" in (root / "out").read_text()


class Requeued(nn.Linear):
    """What submitit's handler of a signal raises in the midst of a training, if Slurm was first to requeue the job."""

    calls = 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        Requeued.calls += self.training and input.device.type != "meta"
        if Requeued.calls == 20:
            from submitit.core.job_environment import JobEnvironment

            Requeued.calls = 21
            JobEnvironment()  # there is none here
        return super().forward(input)


@needs_submitit
def test_what_submitit_raises_is_no_failure_of_the_run(train: Command, root: Path) -> None:
    words = (*SMALL, "model=linear", "model._target_=test_remote.Requeued")
    ended = train(*words)
    assert ended.code == 1
    (run,) = Store(root / "runs").runs()
    assert run.status == "interrupted"
    assert "RuntimeError: " in run.journal.events()[-1]["error"]
    assert train(*words).code == 0
    assert [event["event"] for event in run.journal.events() if event["event"] != Event.EPOCH] == [
        Event.START,
        Event.END,
        Event.RESUME,
        Event.END,
    ]


def jobs(root: Path) -> list[int]:
    """The processes in which submitit's jobs train in this root."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
                if (
                    "submitit.core._submit" in words
                    and (folder / "cwd").resolve() == root.resolve()
                ):
                    found.append(int(folder.name))
            except OSError:  # gone meanwhile
                continue
    return found
