"""Sweeps on a real Slurm of two nodes, whose daemons all run on this machine."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import kill
import pytest
import slurm_here
import slurm_kill
from conftest import Command
from slurm_here import Slurm
from sweeps import FOUR, OURS, SMALL, WORDS, digests, starts
from waiting import until

from sweeplab.store import Store

pytestmark = pytest.mark.skipif(slurm_here.missing() is not None, reason=str(slurm_here.missing()))
with_accounting = pytest.mark.skipif(
    slurm_here.missing(accounting=True) is not None, reason=str(slurm_here.missing(accounting=True))
)
ON_SLURM = "hydra/launcher=slurm"
LONG = (
    *(*WORDS, *FOUR, "trainer.epochs=600", "trainer.patience=null"),
    "trainer.checkpoint_every=1",  # seconds
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm that takes arrays of at most two elements, of two GPUs a node, which are none."""
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_here.slurm(folder, nodes=2, cpus=2, max_array=2, gpus=2) as there:
        yield there


@pytest.fixture
def slurm(running: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    monkeypatch.setenv("SLURM_CONF", str(running.conf))
    yield running
    running.clear()


def out(root: Path) -> str:
    return (root / "out").read_text()


def are_at_work(root: Path, runs: int) -> bool:
    """Whether so many runs are well at work."""
    return len([run for run in Store(root / "runs").runs() if len(run.epochs()) > 5]) >= runs


def submitted(text: str) -> list[str]:
    """List the Slurm jobs that a command says it has submitted."""
    return re.findall(r"Slurm job (\d+): \d+ workers? submitted", text)


@pytest.mark.full
def test_a_cancelled_worker_leaves_its_run_to_the_others_beyond_the_longest_array(
    root: Path, train: Command, slurm: Slurm
) -> None:
    assert train(*LONG, OURS, "store.root=here").code == 0
    launcher = kill.train(root, [*LONG, ON_SLURM, "hydra.launcher.workers=3"])
    until(lambda: are_at_work(root, 1))
    cancelled = next(line.split()[0] for line in slurm.queue() if line.endswith(" R"))
    slurm.say("scancel", cancelled)
    assert kill.end(launcher, "the launcher") == 0, out(root)
    assert f"Slurm job {cancelled}: CANCELLED" in out(root)
    assert "4 runs of 2 configs: 4 finished" in out(root)
    assert digests(root, "runs") == digests(root, "here")
    *others, last = sorted(starts(run) for run in Store(root / "runs").runs())
    assert others == [1] * 3
    assert last <= 2, "that of the cancelled worker may not have had a checkpoint yet"
    assert len(submitted(out(root))) >= 2, "an array has two elements at most"


@pytest.mark.full
def test_workers_that_are_cancelled_before_they_begin_end_the_command(
    root: Path, slurm: Slurm
) -> None:
    for node in slurm.nodes:
        slurm.say(
            "scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=none is to begin"
        )
    launcher = kill.train(root, [*LONG, ON_SLURM])
    until(lambda: "to end them: scancel" in out(root) and len(slurm.queue()) == 4)
    slurm.say(*re.findall(r"scancel [\d ]+", out(root))[-1].split())
    assert kill.end(launcher, "the launcher") == 1
    assert "its Slurm jobs were cancelled" in out(root)
    slurm.until(lambda: slurm.queue() == [])
    for node in slurm.nodes:
        slurm.say("scontrol", "update", f"NodeName={node}", "State=RESUME")


@pytest.mark.full
def test_a_command_that_was_interrupted_takes_its_workers_up_again(
    root: Path, train: Command, slurm: Slurm
) -> None:
    launcher = kill.train(root, [*LONG, ON_SLURM, "hydra.launcher.workers=2"])
    until(lambda: are_at_work(root, 1))
    os.kill(launcher.pid, signal.SIGINT)
    assert kill.end(launcher, "the launcher") == 130
    (job,) = submitted(out(root))
    assert f"scancel {job}" in out(root)
    assert slurm.queue(), "the workers go on"
    again = train(*LONG, ON_SLURM, "hydra.launcher.workers=2")
    assert (again.code, submitted(again.out)) == (0, []), again.out
    assert "4 runs of 2 configs: 4 finished" in again.out
    runs = Store(root / "runs").runs()
    assert [starts(run) for run in runs] == [1] * 4
    recorded = [run.journal.events()[0]["provenance"] for run in runs]
    assert {each["slurm"]["array_job"] for each in recorded} == {job}
    assert {each["slurm"]["node"] for each in recorded} <= {"n1", "n2"}


@pytest.mark.parametrize("large", ["trainer.threads=3", "sweep.gpus_per_worker=3"])
def test_workers_that_no_node_has_room_for_are_refused_with_slurms_reason(
    large: str, train: Command, slurm: Slurm
) -> None:
    ended = train(*WORDS, *FOUR, ON_SLURM, large)
    assert ended.code == 2
    assert "Requested node configuration is not available" in ended.err
    assert "nothing was submitted: sbatch " in ended.err
    assert slurm.queue() == []


SEEN = """
import os
from sweeplab.models import MLP

class Net(MLP):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        if os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("GPU-"):  # a job, and no plan of one
            with open("seen", "a") as file:
                print(*map(os.environ.get, ("SLURM_ARRAY_TASK_ID", "CUDA_VISIBLE_DEVICES")), file=file)
"""
FAKE_GPUS = """
import os
if "SLURM_JOB_ID" in os.environ:
    import torch, types
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    fake = lambda index: types.SimpleNamespace(name="fake", uuid=names[index])
    torch.cuda.device_count, torch.cuda.get_device_properties = lambda: len(names), fake
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        (("hydra.launcher.workers=2",), {"0 GPU-0", "1 GPU-1"}),
        (("hydra.launcher.workers=1", "hydra.launcher.gpus=2"), {"0 GPU-0", "0 GPU-1"}),
    ],
)
def test_each_job_has_a_gpu_of_its_own(
    words: tuple[str, ...], gpus: set[str], root: Path, command: Command, slurm: Slurm
) -> None:
    (root / "seen.py").write_text(SEEN)
    (root / "sitecustomize.py").write_text(FAKE_GPUS)
    slurm.say("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=one node will do")
    long = ("trainer.epochs=100", "trainer.patience=null", "seed=range(6)", "model.hidden=16")
    mine = ("model._target_=seen.Net", "sweep.gpus_per_worker=1", ON_SLURM, *words)
    ended = command("train.py", *WORDS, *long, *mine, loaded=True)
    slurm.say("scontrol", "update", "NodeName=n2", "State=RESUME")
    assert ended.code == 0, ended.out
    assert set((root / "seen").read_text().splitlines()) == gpus


@pytest.mark.full
def test_workers_whose_gpus_pytorch_does_not_see_are_not_submitted_for_ever(
    train: Command, slurm: Slurm
) -> None:
    ended = train(*WORDS, *FOUR, "sweep.gpus_per_worker=1", ON_SLURM)
    assert ended.code == 1
    assert "3 workers in a row ended without a job" in ended.err
    has = "has 1 core and 0 GPUs, of CUDA_VISIBLE_DEVICES=[01] as PyTorch sees it"
    assert re.search(has, ended.err), ended.err
    assert "a job needs 1 core and 1 GPU" in ended.err
    assert "Traceback" not in ended.err
    slurm.until(lambda: slurm.queue() == [])  # the last ones may just be ending


@pytest.mark.full
def test_a_search_waits_for_the_run_of_a_cancelled_worker(root: Path, slurm: Slurm) -> None:
    words = ("-m", *SMALL, ON_SLURM, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4")
    sizes = ("model.hidden=range(8,64)", "trainer.epochs=300", "trainer.patience=null")
    launcher = kill.train(root, [*words, *sizes, "sweep.workers=2", "sweep.report=false"])
    until(lambda: are_at_work(root, 1))
    slurm.say("scancel", next(line.split()[0] for line in slurm.queue() if line.endswith(" R")))
    assert kill.end(launcher, "the launcher") == 0, out(root)
    results = [run.result() for run in Store(root / "runs").runs()]
    assert [result.status for result in results if result] == ["finished"] * len(results)


@pytest.mark.full
@with_accounting
def test_more_workers_than_one_may_submit_are_submitted_as_others_end(
    root: Path, train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slurm_here.slurm(tmp_path / "slurm", nodes=2, cpus=2, accounting=True) as limited:
        monkeypatch.setenv("SLURM_CONF", str(limited.conf))
        limited.account("modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=2")
        ended = train(*WORDS, *FOUR, ON_SLURM, "hydra.launcher.workers=4")
        assert ended.code == 0, ended.out
        assert "QOSMaxSubmitJobPerUserLimit" in ended.out
        assert "4 runs of 2 configs: 4 finished" in ended.out
        limited.account("modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=0")
        ended = train(*WORDS, "seed=7,8", ON_SLURM)
    assert ended.code == 2
    assert "QOSMaxSubmitJobPerUserLimit" in ended.err


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    return slurm_kill.refer(tmp_path_factory.mktemp("slurm-kill"))


@pytest.mark.full
@pytest.mark.parametrize("name", sorted({*slurm_kill.DISTURBANCES} - {"time_limit"}))
def test_disturbed_it_ends_as_on_one_machine(
    name: str, slurm: Slurm, reference: dict[str, str | None], tmp_path: Path
) -> None:
    trial = slurm_kill.Trial(tmp_path / "trial", slurm, random.Random(name))
    assert slurm_kill.torment(name, trial, reference) == ""
