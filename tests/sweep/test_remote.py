"""Past one machine: the same sweep on two nodes of Ray and by submitit has the bits that it has here."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import kill
import pytest
import ready
import slurm_here
from conftest import PROJECT, Command, can_mount
from hydra import compose, initialize_config_dir
from sweeps import FAULTY, OURS, SMALL, runs, starts, statuses
from torch import Tensor, nn
from waiting import until

from sweeplab import targets
from sweeplab.config import conf_dir
from sweeplab.errors import RunFailed
from sweeplab.store import Event, Store
from sweeplab.sweep import cluster
from sweeplab.sweep.agent import Probe, versions
from sweeplab.sweep.paths import same_modules

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray has no wheel for this Python")
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed"
)
WORDS = ("-m", *SMALL, "model.dropout=0.1", "sweep.report=false")
FOUR = ("model.hidden=16,24", "seed=0,1")
ALL = ("model.hidden=16,24", "model.batch_norm=true,false", "seed=range(6)")
SUBMITIT = (
    "hydra/launcher=submitit_local",
    "hydra.launcher.submitit_folder=${store.root}/submitit/%j",
)


class Nodes:
    """Two nodes of a Ray cluster, with a CPU each."""

    def __init__(self) -> None:
        program = [sys.executable, str(PROJECT / "tests/ray_nodes.py"), "1"]
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.words = ("hydra/launcher=ray_cluster", f"hydra.launcher.address={self.heard()}")

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.heard() == "killed"

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    there = Nodes()
    yield there
    there.end()


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Ray takes this machine's own address for 127.0.0.1, where its nodes do not listen."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def digests(root: Path, store: str) -> dict[str, str | None]:
    """Fingerprint -> digest of the weights."""
    return {
        r.fingerprint: r.weights_sha256 for run in Store(root / store).runs() if (r := run.result())
    }


def table(out: str) -> str:
    """The comparison, but for its last column: seconds."""
    lines = out.partition("ranked by")[2].partition("mean ±")[0].splitlines()
    return "\n".join(
        " ".join(line.split()[:-1] if "±" not in line.split()[-2:] else line.split()[:-3])
        for line in lines
    )


@needs_ray
def test_the_nodes_write_nothing_where_ray_keeps_what_runs_on_this_machine(nodes: Nodes) -> None:
    _, equals, address = nodes.words[1].partition("=")
    assert (equals, address.partition(":")[0]) == ("=", "127.0.0.1"), (
        "they run, also where there is no /tmp/ray"
    )
    kept = Path("/tmp/ray/ray_current_cluster")  # noqa: S108  # a place of Ray's
    assert not kept.exists() or address not in kept.read_text()


@needs_ray
def test_two_nodes_of_ray_train_the_same_bits(
    root: Path, train: Command, command: Command, nodes: Nodes
) -> None:
    here = train(*WORDS, *FOUR, OURS, "store.root=here")
    there = command("train.py", *WORDS, *FOUR, *nodes.words, "store.root=there", loaded=True)
    assert (here.code, there.code) == (0, 0), here.err + there.err
    assert len(digests(root, "here")) == 4
    assert digests(root, "there") == digests(root, "here")
    assert table(there.out) == table(here.out)
    assert sorted(re.findall(r"^(\d/4) hidden=", there.out, re.MULTILINE)) == [
        "1/4",
        "2/4",
        "3/4",
        "4/4",
    ]
    assert list((root / "there").glob(".*")) == []
    again = train(*WORDS, *FOUR, *nodes.words, "store.root=there")
    assert "4 jobs: 4 reused" in again.out


@needs_ray
@pytest.mark.full
def test_on_ray_too_what_raises_dies_or_hangs_fails_alone(
    root: Path, command: Command, faults: Callable[..., None], nodes: Nodes
) -> None:
    faults(h1="raise", h2="kill", h3="hang")
    sweep = (
        "-m",
        *FAULTY,
        "+model.hidden=1,2,3,4",
        "sweep.job_timeout=15",
        "sweep.retries=1",
        "sweep.report=false",
    )
    ended = command("train.py", *sweep, *nodes.words)
    assert ended.code == 1, ended.err
    assert statuses(root) == {1: "failed", 2: "unfinished", 3: "interrupted", 4: "finished"}
    assert ended.out.count("hidden=1: failed\n") == 1
    assert ended.out.count("hidden=2: died: SIGKILL; unfinished\n") == 2
    assert ended.out.count("hidden=3: stopped after sweep.job_timeout=15 s\n") == 2
    assert "    started again (1 of 1)\n" in ended.out
    assert "3 of 4 runs did not finish" in ended.err


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


@needs_ray
@pytest.mark.full
def test_24_jobs_here_on_ray_and_by_submitit(
    root: Path, train: Command, command: Command, nodes: Nodes
) -> None:
    here = train(*WORDS, *ALL, OURS, "store.root=here")
    ended = {"ray": command("train.py", *WORDS, *ALL, *nodes.words, "store.root=ray")}
    ended["submitit"] = command(
        "train.py", *WORDS, *ALL, *SUBMITIT, "store.root=submitit", timeout=240
    )
    assert len(digests(root, "here")) == 24
    for name, there in ended.items():
        assert there.code == 0, there.err
        assert digests(root, name) == digests(root, "here")
        assert table(there.out) == table(here.out)


@needs_ray
@pytest.mark.full
def test_the_jobs_of_a_node_that_is_lost_go_on_elsewhere(root: Path, train: Command) -> None:
    words = (*WORDS, *ALL, "trainer.epochs=60", "trainer.patience=null")
    assert train(*words, OURS, "store.root=here").code == 0
    there = Nodes()
    process = kill.train(root, [*words, *there.words])
    until(lambda: sum(value is not None for value in digests(root, "runs").values()) >= 8)
    there.kill_one()
    assert kill.end(process, "the sweep") == 0
    there.end()
    said = (root / "out").read_text()
    assert "of the Ray cluster was lost\n" in said
    assert said.count("its node was lost; started again on another\n") == 1
    assert "24 runs of 4 configs: 24 finished" in said
    assert len(digests(root, "here")) == 24
    assert digests(root, "runs") == digests(root, "here")
    again = sum(starts(run) - 1 for run in Store(root / "runs").runs())
    assert again <= 1, "the lost one went on from its checkpoint, unless it had none yet"


@needs_ray
@pytest.mark.full
def test_ctrl_c_on_ray_stops_the_jobs_at_their_last_checkpoint(
    root: Path, faults: Callable[..., None], nodes: Nodes
) -> None:
    faults(h1="hang", h2="hang")
    process = kill.train(root, ["-m", *FAULTY, "+model.hidden=1,2,3", *nodes.words])
    until(lambda: len(runs(root)) == 2 and all(run.epochs() for run in runs(root).values()))
    os.kill(process.pid, signal.SIGINT)
    assert kill.end(process, "the sweep") == 130
    assert statuses(root) == {1: "interrupted", 2: "interrupted"}


@needs_ray
@pytest.mark.full
def test_a_search_prunes_on_ray(root: Path, command: Command, nodes: Nodes) -> None:
    words = ("data=digits", "tracking=off", "trainer.epochs=300", "trainer.patience=null", "sweep.report=false",
             "hydra/sweeper=optuna", "hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner",
             "+hydra.sweeper.pruner.lower=0.5", "+hydra.sweeper.pruner.n_warmup_steps=3",
             "hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler")  # fmt: skip
    ended = command("train.py", "-m", *words, *nodes.words, "optimizer.lr=choice(1e-9,0.01)")
    assert ended.code == 0, ended.err
    found = {run.config()["optimizer"]["lr"]: run.status for run in Store(root / "runs").runs()}
    assert found == {1e-9: "pruned", 0.01: "finished"}


@needs_ray
@can_mount
@pytest.mark.full
def test_a_node_that_does_not_see_the_store_is_refused(root: Path, nodes: Nodes) -> None:
    """The command has a file system of its own there, which the nodes, started outside of it, do not see."""
    (root / "runs").mkdir()
    words = [
        "--apart",
        "mount -t tmpfs none runs",
        str(PROJECT / "train.py"),
        *WORDS,
        *FOUR,
        *nodes.words,
    ]
    ended = ready.run(
        [sys.executable, *words], cwd=root, capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        f"runs: node 127.0.0.1 does not see {root}/runs; the store must lie on a file system that all"
        in ended.stderr
    )


@needs_ray
def test_nodes_without_gpus_are_refused_for_jobs_that_need_one(
    train: Command, nodes: Nodes
) -> None:
    ended = train(*WORDS, *FOUR, *nodes.words, "sweep.gpus_per_worker=1")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"{nodes.words[1]}: its nodes have no GPU for a job\n"


@needs_ray
def test_a_result_that_is_not_to_be_seen_yet_is_waited_for(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS remembers for some time that a file was not there."""
    monkeypatch.setattr(cluster, "SETTLING", 5.0)
    process = object.__new__(cluster.RemoteProcess)
    process._run = home.run("f" * 64)

    async def ended() -> None:
        process._exit_code = asyncio.get_running_loop().create_future()
        process._exit_code.set_result(0)
        waiting = asyncio.create_task(process.ended())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        process._run.folder.mkdir()
        process._run.result_file.touch()
        assert await waiting == 0
        process._run = home.run("e" * 64)
        monkeypatch.setattr(cluster, "SETTLING", 0.01)
        assert await process.ended() == 0

    asyncio.run(ended())


def test_a_sweep_ends_of_which_no_node_is_left() -> None:
    nodes = cluster.Cluster("auto")
    nodes._nodes._looked, nodes._nodes._alone = time.monotonic(), time.monotonic() - 121
    with pytest.raises(
        RunFailed, match="address=auto: no node was left for 120 s; issue the same command again"
    ):
        nodes.tend()


def test_what_a_node_must_find(home: Store) -> None:
    token = home.root / "token"
    mine = targets.parts(["faulty.Net"])
    probe = Probe(token=token, targets=["faulty.Net"], code=mine, versions=versions())
    assert str(probe.problem()).startswith(
        f"does not see {home.root}; the store must lie on a file system that all"
    )
    token.touch()
    assert str(probe.problem()).startswith(
        f"does not see a lock that is held in {home.root}; its file system must be"
    )
    held = [
        sys.executable,
        "-c",
        f"from filelock import FileLock as L\nwith L({str(token)!r}): print(); input()",
    ]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert probe.problem() is None
        other = replace(probe, versions={"sweeplab": "0.0.1", "torch": "1.0"})
        assert (
            "and this machine sweeplab 0.0.1, torch 1.0; results would not be the same bits"
            in str(other.problem())
        )
        other = replace(probe, code={**mine, "faulty": "0" * 12})
        assert other.problem() == "has other code of faulty; it must lie where all nodes see it"
        other = replace(probe, targets=["no.such.Net"])
        assert str(other.problem()).startswith("has other code of ") or "no.such" in str(
            other.problem()
        )
        holder.communicate("\n")


@needs_ray
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=127.0.0.1:1"), "127.0.0.1:1: [Errno 111] Connection refused"),
        (("hydra/launcher=ray_cluster",), "hydra.launcher.address=auto: [Errno 111] Connection refused"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=ray://h:1"), "hydra.launcher.address=ray://h:1: "),
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=[]"), "hydra.launcher.address=[]: must be auto, local, or"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.cpus_per_node=x"), "hydra.launcher.cpus_per_node=x: must be a whole"),
        (("hydra/launcher=basic", "sweep.retries=2"), "sweep.retries=2: this launcher is not sweeplab's, and knows only"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_message_before_any_work(
    train: Command,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # what auto means
    ended = train(*WORDS, *FOUR, *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert Store(root / "runs").runs() == []


def test_without_ray_the_extra_is_named(train: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_plugins.hydra_sweeplab import ray as plugin

    monkeypatch.setattr(plugin, "find_spec", lambda _: None)
    ended = train(*WORDS, *FOUR, "hydra/launcher=ray_local")
    assert (ended.code, ended.err) == (
        2,
        'hydra/launcher=ray: Ray is not installed; pip install "sweeplab[ray]"\n',
    )


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


@needs_submitit
@pytest.mark.full
@pytest.mark.skipif(not slurm_here.can(), reason="there is no Slurm here, or we are not root")
def test_preempted_by_slurm_itself_a_job_is_requeued_and_goes_on_with_the_same_bits(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "-m",
        *SMALL,
        "trainer.epochs=1200",
        "trainer.patience=null",
        "model.dropout=0.1",
        "sweep.report=false",
    )
    assert train(*words, "seed=0,1", OURS, "store.root=here").code == 0
    (root / "slurm").mkdir()
    slurm = slurm_here.Slurm(root / "slurm", cpus=2)
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    until(slurm.ready)
    process = kill.train(root, [*words, "seed=0,1", "hydra/launcher=slurm"])
    home = Store(root / "runs")
    until(lambda: [len(run.epochs()) > 50 for run in home.runs()] == [True, True])
    jobs = slurm.say("squeue", "--noheader", "--format=%A").split()
    slurm.say("sbatch", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: "low PD" in slurm.say("squeue", "--noheader", "--format=%P %t"))
    until(lambda: "high" not in slurm.say("squeue", "--noheader", "--format=%P %t"))
    for job in jobs:
        slurm.say(
            "scontrol", "update", f"JobId={job}", "StartTime=now"
        )  # else they wait for two minutes
    code = kill.end(process, "the sweep")
    until(lambda: not slurm.say("squeue", "--noheader"))
    slurm.end()
    assert code == 0, (root / "out").read_text()
    assert [
        [e["event"] for e in run.journal.events() if e["event"] in (Event.START, Event.RESUME)]
        for run in home.runs()
    ] == [
        [Event.START, Event.RESUME],
        [Event.START, Event.RESUME],
    ]
    assert digests(root, "runs") == digests(root, "here")
    reference = {run.id: run.epochs() for run in Store(root / "here").runs()}
    assert {run.id: run.epochs() for run in home.runs()} == reference
    assert len(reference) == 2


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


@pytest.mark.parametrize(
    ("preset", "target", "values"),
    [
        pytest.param(
            "ray_local",
            "hydra_plugins.hydra_sweeplab.ray.RayLauncher",
            {"address": "local"},
            marks=needs_ray,
        ),
        pytest.param(
            "ray_cluster",
            "hydra_plugins.hydra_sweeplab.ray.RayLauncher",
            {"address": "auto"},
            marks=needs_ray,
        ),
        pytest.param(
            "slurm",
            "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
            {
                "cpus_per_task": 3,
                "gpus_per_node": 2,
                "submitit_folder": "there/submitit/%j",
                "max_num_timeout": 100,
            },
            marks=needs_submitit,
        ),
    ],
)
def test_a_preset_takes_what_a_job_needs_from_the_keys_of_the_sweep(
    preset: str, target: str, values: dict[str, object]
) -> None:
    given = [
        f"hydra/launcher={preset}",
        "trainer.threads=3",
        "sweep.gpus_per_worker=2",
        "store.root=there",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", overrides=given, return_hydra_config=True)
    assert config.hydra.launcher._target_ == target
    assert {key: config.hydra.launcher[key] for key in values} == values
