"""The nodes of Ray as the place of a sweep: the same bits as here, whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import disturb_ray
import kill
import pytest
import ready
from conftest import PROJECT, Command, can_mount
from disturb_ray import Nodes
from filelock import FileLock
from hydra import compose, initialize_config_dir
from sweeps import ALL, FAULTY, FOUR, OURS, WORDS, digests, statuses, table
from waiting import until

from sweeplab import config, targets
from sweeplab.config import conf_dir
from sweeplab.errors import RunFailed
from sweeplab.store import History, Store
from sweeplab.sweep import cluster, place
from sweeplab.sweep.agent import Probe, versions
from sweeplab.sweep.leases import Leases
from sweeplab.sweep.ray_driver import NodeEntry

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray has no wheel for this Python")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    there = Nodes(1, 1)
    yield there
    there.end()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in disturb_ray.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@needs_ray
def test_the_nodes_write_nothing_where_ray_keeps_what_runs_on_this_machine(nodes: Nodes) -> None:
    _, equals, address = nodes.words[1].partition("=")
    assert (equals, address.partition(":")[0]) == ("=", "127.0.0.1"), (
        "they run, also where there is no /tmp/ray"
    )
    kept = Path("/tmp/ray/ray_current_cluster")  # noqa: S108  # a place of Ray's
    assert not kept.exists() or address not in kept.read_text()


@needs_ray
@pytest.mark.full
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
    histories = [History.of(run.journal) for run in Store(root / "there").runs()]
    assert len({history.whereabouts["ray.node"] for history in histories}) == 2, "both took jobs"
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


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    return disturb_ray.refer(tmp_path_factory.mktemp("reference") / "root")


@needs_ray
@pytest.mark.full  # on a busy machine a job may have ended when its node is lost
@pytest.mark.parametrize("kind", disturb_ray.KINDS)
def test_disturbed_it_ends_as_if_it_had_not_been(
    kind: str, tmp_path: Path, reference: dict[str, str | None], nodes: Nodes
) -> None:
    """On a cluster of its own where nodes are killed: other tests go on with theirs."""
    kills_nodes = kind in ("raylet", "node", "head")
    there = Nodes(1, 1) if kills_nodes else nodes
    root = tmp_path / "root"
    root.mkdir()
    trial = disturb_ray.Trial(kind, 7, there, root)
    trial.disturb()
    trial.finish(reference)
    if kills_nodes:
        trial.nodes.end()
    assert disturb_ray.weights(root) == reference


@needs_ray
@pytest.mark.full
def test_nodes_that_join_late_take_jobs(root: Path) -> None:
    there = Nodes(1)
    words = [*WORDS, *ALL, "trainer.epochs=40", "trainer.patience=null", *there.words]
    process = kill.train(root, words)
    until(lambda: disturb_ray.jobs(root))
    there.do("add 1")
    until(lambda: len(disturb_ray.jobs(root)) == 2)
    assert kill.end(process, "the sweep") == 0
    large = [*WORDS, *FOUR, *there.words, "trainer.threads=2", "store.root=large"]
    process = kill.train(root, [*large, "hydra.launcher.nodes_within=100"], "said")
    said = "a job needs 2 cores; the largest of 2 nodes has 1 core: waiting at most 100 s for one"
    until(lambda: said in (root / "said").read_text())
    there.do("add 2")
    assert kill.end(process, "the sweep") == 0
    assert (root / "said").read_text().count("waiting at most") == 1
    there.end()
    assert len(digests(root, "large")) == 4


needs_network = pytest.mark.skipif(
    shutil.which("ip") is None
    or subprocess.run(["unshare", "-np", "true"], check=False, capture_output=True).returncode != 0,
    reason="no network of one's own",
)


def apart(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in a network of its own, whose ports are free; all processes end with the first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["unshare", "-np", "--fork", "--mount-proc", "--kill-child", "sh", "-ec", script],
        cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


DOCUMENTED = """
ip link set lo up
mkdir home ray
export HOME=$PWD/home RAY_TMPDIR=$PWD/ray OMP_NUM_THREADS=1
ray start --head > head
ray start --address=127.0.0.1:6379 > node
python {train} -m hydra/launcher=ray_cluster model.hidden=392,256 'seed=range(5)' {words} &
until ray status | grep -A 2 request_resources | tee asked | grep CPU; do sleep 0.1; done
wait $!
"""


@needs_ray
@pytest.mark.full
@needs_network
def test_a_cluster_that_is_started_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    documented = (conf_dir() / "hydra/launcher/ray_cluster.yaml").read_text()
    for line in ("ray start --head ", "ray start --address=HEAD:6379 "):
        assert f"#   {line}" in documented
    for name in disturb_ray.ENVIRONMENT:
        monkeypatch.delenv(name)
    train = f"{PROJECT}/train.py"
    words = "data=digits trainer.epochs=30 trainer.patience=null tracking=off sweep.report=false"
    # Below /tmp, whatever TMPDIR says: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        done = apart(DOCUMENTED.format(train=train, words=words), Path(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        asked = (Path(folder) / "asked").read_text()
        assert "10 runs of 2 configs: 10 finished" in done.stdout
        assert re.search(r"{'CPU': 1(\.0)?}: 10 from request_resources", asked), asked


# As `ray.cluster_utils.AutoscalingCluster` writes it, whose own file is missing in Ray 2.60's wheel.
AUTOSCALER = {
    "cluster_name": "here",
    "max_workers": 3,
    "idle_timeout_minutes": 0.05,
    "upscaling_speed": 1.0,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": 100 * 2**20},
            "node_config": {},
            "max_workers": 3,
        },
    },
    "head_node_type": "ray.head.default",
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{
        name: []
        for name in (
            "initialization_commands", "setup_commands", "head_setup_commands",
            "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
            "cluster_synced_files", "rsync_exclude", "rsync_filter",
        )
    },
    "file_mounts_sync_continuously": False,
}  # fmt: skip
AUTOSCALED = """
ip link set lo up
mkdir home ray
export HOME=$PWD/home RAY_TMPDIR=$PWD/ray OMP_NUM_THREADS=1
export RAY_FAKE_CLUSTER=1 AUTOSCALER_UPDATE_INTERVAL_S=1
ray start --head --num-cpus=0 --object-store-memory=104857600 --autoscaling-config=$PWD/config > head
train() {{ python {train} -m hydra/launcher=ray_cluster data=digits model.hidden=16 "$@" \
    trainer.epochs=600 trainer.patience=null tracking=off sweep.report=false; }}
train seed=0,1 hydra.launcher.nodes_within=60 > said
ls ray/ray/session_latest/logs/raylet*.out > nodes
until [ "$(pgrep -cx raylet)" = 1 ]; do sleep 0.5; done
train seed=2,3 trainer.threads=2 hydra.launcher.nodes_within=4 > too_large 2>&1 || echo "code $?"
"""


@needs_ray
@pytest.mark.full
@needs_network
def test_an_autoscaler_adds_the_nodes_that_the_jobs_need_and_takes_them_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in disturb_ray.ENVIRONMENT:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as name:
        folder = Path(name)
        (folder / "config").write_text(json.dumps(AUTOSCALER))
        done = apart(AUTOSCALED.format(train=f"{PROJECT}/train.py"), folder)
        assert done.returncode == 0, done.stdout + done.stderr
        said, started, too_large = (
            (folder / file).read_text() for file in ("said", "nodes", "too_large")
        )
    waits = "a job needs 1 core; the largest of 1 node has 0 cores: waiting at most 60 s for one"
    assert said.count(waits) == 1
    assert "2 runs of 1 config: 2 finished" in said
    assert len(started.splitlines()) == 3, "the head, and a node for each job"
    assert "code 2" in done.stdout
    assert (
        "a job needs 2 cores; the largest of 1 node has 0 cores\nlower trainer.threads" in too_large
    )


def test_nothing_is_asked_of_ray_all_the_time_while_no_node_is_there() -> None:
    nodes = cluster.Nodes("here", None)
    began = time.monotonic()
    assert list(nodes._greet(0.2)) == []
    assert time.monotonic() - began >= 0.2


def test_a_cluster_that_asks_for_a_token_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    """Ray raises the same for both, after 20 seconds, and logs this for the first."""
    log = tmp_path / "log"
    log.write_text("Failed to connect\n")
    assert cluster._advice(log).startswith("start a cluster with `ray start --head`")
    log.write_text(
        "Failed to get cluster ID: Unauthenticated: RPC error: InvalidAuthToken: missing\n"
    )
    assert "copy ~/.ray/auth_token from there, and `export RAY_AUTH_MODE=token`" in cluster._advice(
        log
    )


class Room:
    """A cluster of two nodes, without Ray: one with a core, and one with four and two GPUs."""

    def __init__(self) -> None:
        self.place = cluster.Cluster("auto")
        self.place._link = cast(Any, SimpleNamespace(is_lost=False))
        self.place._settings = config.compose(["data=digits"])
        nodes = self.place._nodes
        nodes._sizes = [cluster.Size(1, 0), cluster.Size(4, 2)]
        for key, size in enumerate(nodes._sizes):
            gpus = [str(number) for number in range(int(size.gpus))]
            held = Leases(cores=size.cores, gpus=gpus, node=str(key))
            entry = NodeEntry(id=str(key), name="here", cpus=size.cores, gpus=len(gpus))
            nodes._nodes[str(key)] = cluster.Node(entry, held, None)

    def take(self, threads: int, gpus: float = 0) -> str | None:
        """The node on which there was room."""
        words = ["data=digits", f"sweep.gpus_per_worker={gpus or 'null'}"]
        lease = self.place.take(config.compose(words), threads)
        return None if lease is None else lease.node


def test_no_job_is_placed_on_a_node_that_is_too_small_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    room = Room()
    assert [room.take(2), room.take(2), room.take(2), room.take(1), room.take(1)] == [
        "1",
        "1",
        None,
        "0",
        None,
    ]
    room = Room()
    assert [room.take(1, 2), room.take(1, 0.5), room.take(1)] == ["1", None, "0"]
    assert not room.place.expecting
    assert capsys.readouterr().out == ""
    assert [room.take(1, 4), room.take(1, 4)] == [None, None]
    said = "a job needs 1 core and 4 GPUs; the largest of 2 nodes has 4 cores and 2 GPUs"
    assert capsys.readouterr().out == f"{said}: waiting for one that is large enough\n"
    assert room.place.expecting
    room.place._lacking -= 121
    room.place._nodes._list = Future()
    room.place._nodes._looked = time.monotonic()
    with pytest.raises(RunFailed, match=f"address=auto: {said}; issue the same command again"):
        room.place.tend()


def test_files_that_killed_launchers_have_left_are_removed(home: Store) -> None:
    left, held, new = (home.root / f".probe-{name}" for name in ("left", "held", "new"))
    for file in (left, held, new):
        file.touch()
    for file in (left, held):
        os.utime(file, (0, 0))
    with FileLock(held):
        os.utime(held, (0, 0))
        cluster._remove_left_probes(home)
        assert [left.exists(), held.exists(), new.exists()] == [False, True, True]


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
@pytest.mark.parametrize(
    ("word", "lack"),
    [
        ("sweep.gpus_per_worker=4", "1 core and 4 GPUs; the largest of 2 nodes has 1 core and 0 GPUs"),
        pytest.param("trainer.threads=2", "2 cores; the largest of 2 nodes has 1 core", marks=pytest.mark.full),
    ],
)  # fmt: skip
def test_a_job_that_is_too_large_for_all_nodes_is_refused(
    train: Command, root: Path, nodes: Nodes, word: str, lack: str
) -> None:
    ended = train(*WORDS, *FOUR, *nodes.words, word)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[0] == f"{nodes.words[1]}: a job needs {lack}"
    assert "hydra.launcher.nodes_within=900" in ended.err
    assert Store(root / "runs").runs() == []


@pytest.mark.parametrize(
    ("address", "cores", "advice"),
    [
        ("local", None, cluster.LOWER),
        ("local", 2, f"{cluster.LOWER}, or raise hydra.launcher.cpus_per_node=2"),
        ("auto", None, cluster.LARGER),
        ("auto", 8, cluster.LARGER),
    ],
)
def test_what_helps_where_no_node_is_large_enough(
    address: str, cores: int | None, advice: str
) -> None:
    nodes = cluster.Nodes(address, cores)
    nodes._needs = [cluster.Size(4, 1)]
    assert nodes._advice == advice


def test_a_result_that_is_not_to_be_seen_yet_is_waited_for(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS remembers for some time that a file was not there."""
    monkeypatch.setattr(place, "SETTLING", 5.0)

    async def ended() -> None:
        process = object.__new__(cluster.RemoteProcess)
        process._run = home.run("f" * 64)
        process._exit_code = Future()
        process._exit_code.set_result(0)
        waiting = asyncio.create_task(process.ended())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        process._run.folder.mkdir()
        process._run.result_file.touch()
        assert await waiting == 0
        process._run = home.run("e" * 64)
        monkeypatch.setattr(place, "SETTLING", 0.01)
        assert await process.ended() == 0

    asyncio.run(ended())


def test_a_sweep_ends_of_which_no_node_is_left() -> None:
    nodes = cluster.Nodes("here", None)
    nodes._link = cast(Any, SimpleNamespace(call=lambda *_: Future()))
    nodes._alone = time.monotonic() - 121
    with pytest.raises(
        RunFailed, match="here: no node was left for 120 s; issue the same command again"
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
        (("hydra/launcher=ray_cluster",), "hydra.launcher.address=auto: no Ray cluster answers at 127.0.0.1:1, which is what auto means here (by RAY_ADDRESS): [Errno 111] Connection refused"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=ray://h:1"), "hydra.launcher.address=ray://h:1: must be auto, local, or HOST:PORT"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=h"), "hydra.launcher.address=h: must be auto, local, or HOST:PORT"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.address=[]"), "hydra.launcher.address=[]: must be auto, local, or"),
        (("hydra/launcher=ray_cluster", "hydra.launcher.nodes_within=-1"), "hydra.launcher.nodes_within=-1: must be a number of seconds >= 0"),
        (("hydra/launcher=ray_local", "+hydra.launcher.num_cpus=2"), "hydra.launcher.num_cpus=2: no such key; did you mean 'hydra.launcher.cpus_per_node'?"),
        (("hydra/launcher=ray_local", "hydra.launcher.cpus_per_node=0", "sweep.plan=true"), "hydra.launcher.cpus_per_node=0: must be a whole"),
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
    from hydra.core.plugins import Plugins

    from hydra_plugins.hydra_sweeplab import ray as plugin

    Plugins.instance()  # which executes the modules of all plugins again, for the first time
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
