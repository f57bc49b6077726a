"""The nodes of Ray as the place of a sweep: the same bits as here, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import kill
import pytest
import ready
from conftest import PROJECT, Command, can_mount
from hydra import compose, initialize_config_dir
from sweeps import ALL, FAULTY, FOUR, OURS, WORDS, digests, runs, starts, statuses, table
from waiting import until

from sweeplab import targets
from sweeplab.config import conf_dir
from sweeplab.errors import RunFailed
from sweeplab.store import Store
from sweeplab.sweep import cluster
from sweeplab.sweep.agent import Probe, versions

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray has no wheel for this Python")


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


@needs_ray
@pytest.mark.full
def test_24_jobs_here_and_on_ray(
    root: Path, train: Command, command: Command, nodes: Nodes
) -> None:
    here = train(*WORDS, *ALL, OURS, "store.root=here")
    there = command("train.py", *WORDS, *ALL, *nodes.words)
    assert there.code == 0, there.err
    assert len(digests(root, "here")) == 24
    assert digests(root, "runs") == digests(root, "here")
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


@needs_ray
@pytest.mark.parametrize(("preset", "address"), [("ray_local", "local"), ("ray_cluster", "auto")])
def test_a_preset_says_which_cluster(preset: str, address: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        given = [f"hydra/launcher={preset}"]
        launcher = compose("config", overrides=given, return_hydra_config=True).hydra.launcher
    assert launcher._target_ == "hydra_plugins.hydra_sweeplab.ray.RayLauncher"
    assert launcher.address == address
