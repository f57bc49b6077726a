"""The nodes of a Ray cluster as the workers of a sweep; on each an agent forks jobs.

Ray starts the agents, carries jobs to them, and notices when a node has gone. An agent holds its
node's cores and GPUs for as long as the sweep takes. Which job gets which of them is decided here:
asking Ray would take much longer than the milliseconds in which a job starts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from sweeplab import console, store, targets
from sweeplab.config import Config
from sweeplab.errors import RunFailed, UserError, one_line
from sweeplab.runs import parts
from sweeplab.runs.job import Job
from sweeplab.sweep import leases
from sweeplab.sweep.agent import Agent, Probe, versions
from sweeplab.sweep.leases import Lease, Leases
from sweeplab.sweep.place import SweepPlace
from sweeplab.sweep.worker import LOST
from sweeplab.train import cpus

JOINING = 60.0  # seconds that nodes get to join before the first job; others may join later
LOOK = 5.0  # seconds between two looks for new nodes
ALONE = 120.0  # seconds without a node after which a sweep ends
SETTLING = 60.0  # seconds until a file of a node is surely seen here: NFS caches what is missing
SETTLING_LOOK = 0.1  # seconds between two looks for it
LOCAL = "local"  # the address that means a cluster of this machine alone, for this sweep
OBJECTS = 100 * 2**20  # bytes; jobs are small, and a data set is loaded on each node
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or each agent gets a new environment under `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns that it will not always
}


@dataclass(slots=True)
class Node:
    """A node that has joined, or has been asked to."""

    id: str  # Ray's
    name: str
    agent: Any
    leases: Leases
    answer: Any = None  # of the probe, while it is awaited


class Nodes:
    """The nodes that have joined a sweep, and those that were asked to."""

    def __init__(self, place: str, cores: int | None) -> None:
        """`place` begins messages; `cores`: at most so many of each node, None for all."""
        self._place = place
        self._cores = cores
        self._nodes: dict[str, Node] = {}  # by Lease.node; a node that comes back gets another key
        self._count = 0  # of keys
        self._refused: set[str] = set()  # ids
        self._looked = 0.0  # when
        self._alone = 0.0  # since when

    @property
    def ready(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is None]

    @property
    def _awaited(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is not None]

    def get(self, key: str) -> Node | None:
        """Return a node; None if it has gone."""
        return self._nodes.get(key)

    def gather(self, probe: Probe, root: str, gpus: float) -> None:
        """Wait until all nodes have joined, or time is over and one has.

        The other nodes are not free, and may join later. Only nodes that have GPUs, if a job needs
        some, are asked. `root` is the store. Raises UserError if one of them cannot do the jobs.
        """
        self._probe, self._root, self._gpus = probe, root, gpus
        self._look()
        deadline = time.monotonic() + JOINING
        is_said = False
        while self._awaited and (time.monotonic() < deadline or not self.ready):
            for problem in self._greet(1.0):
                raise UserError(problem)
            if not is_said and time.monotonic() > deadline:
                console.say("no node of the Ray cluster is free: waiting for one")
                is_said = True
            self._look()

    def _look(self) -> None:
        """Ask nodes that are new to join."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._looked = time.monotonic()
        known = self._refused | {node.id for node in self._nodes.values()}
        for entry in ray.nodes():
            node_id, resources = entry["NodeID"], entry["Resources"]
            cpus = min(int(resources.get("CPU", 0)), self._cores or sys.maxsize)
            gpus = int(resources.get("GPU", 0)) if self._gpus else 0
            if not entry["Alive"] or node_id in known:
                continue
            if not cpus or gpus < min(self._gpus, 1):
                continue
            there = NodeAffinitySchedulingStrategy(node_id, soft=False)
            actor = ray.remote(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=there)(Agent)
            agent = actor.remote(sys.path, str(Path.cwd()), gpus=gpus > 0)
            self._count += 1
            key = str(self._count)
            self._nodes[key] = Node(
                id=node_id,
                name=entry["NodeManagerAddress"],
                agent=agent,
                leases=Leases(cores=cpus, node=key),
                answer=agent.join.remote(self._probe),
            )

    def _greet(self, seconds: float) -> Iterator[str]:
        """Take in the nodes that have answered; yield what is wrong with those that are refused."""
        import ray
        from ray.exceptions import RayActorError

        answers = [node.answer for node in self._awaited]
        for answer in ray.wait(answers, num_returns=len(answers), timeout=seconds)[0]:
            key = next(key for key, node in self._nodes.items() if node.answer == answer)
            node = self._nodes[key]
            try:
                problem, node.leases.gpus = ray.get(answer)
            except RayActorError:  # it has gone; it may come back
                del self._nodes[key]
                continue
            node.answer = None
            if problem is not None:
                del self._nodes[key]
                self._refused.add(node.id)
                ray.kill(node.agent)
                yield f"store.root={self._root}: node {node.name} {problem}"

    def lose(self, key: str) -> None:
        """Drop a node whose agent does not answer, and end its jobs should it be alive."""
        import ray

        node = self._nodes.pop(key, None)
        if node is not None:
            ray.kill(node.agent)
            console.say(f"node {node.name} of the Ray cluster was lost", style="yellow")

    def tend(self) -> None:
        """Take in new nodes now and then. Raises RunFailed if there has been none for long."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
        if self._awaited:
            for problem in self._greet(0):
                console.complain(problem)
        if self.ready or not self._alone:
            self._alone = time.monotonic()
        elif time.monotonic() - self._alone > ALONE:
            advice = "issue the same command again for the rest"
            raise RunFailed(f"{self._place}: no node was left for {ALONE:g} s; {advice}")


class RemoteProcess:
    """A job at work on a node."""

    def __init__(self, nodes: Nodes, number: int, job: Job, lease: Lease, run: store.Run) -> None:
        node = nodes.get(lease.node)
        assert node is not None  # it has just given the lease
        self._nodes = nodes
        self._agent = node.agent
        self._number = number
        self._key = lease.node
        self._run = run
        self._exit_code = node.agent.run.remote(number, job, lease)

    async def ended(self) -> int:
        """Wait for its end; return its exit code, minus a signal, or LOST."""
        from ray.exceptions import RayActorError

        try:
            code: int = await self._exit_code
        except RayActorError:
            self._nodes.lose(self._key)
            return LOST
        if code == 0:
            await self._result_seen()
        return code

    async def _result_seen(self) -> None:
        """Wait until this machine sees the result, too, but not for ever."""
        deadline = time.monotonic() + SETTLING
        while not self._run.result_file.exists() and time.monotonic() < deadline:
            await asyncio.sleep(SETTLING_LOOK)

    def send(self, number: signal.Signals) -> None:
        self._agent.send.remote(self._number, number)


class Cluster(SweepPlace):
    """Workers on all nodes of a Ray cluster, those that come later included."""

    def __init__(self, address: str, cpus: int | None = None) -> None:
        self._address = address
        self._cpus = cpus
        self._nodes = Nodes(_key(address), cpus)
        self._count = 0  # of processes
        self._out: list[Lease] = []
        self._open = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- nodes

    def open(self, home: store.Store, settings: Config) -> None:
        """Connect, and let the nodes join. Raises UserError if one of them cannot do the jobs."""
        self._home, self._settings = home, settings
        gpus = gpus_per_worker(settings)
        probe = self._make_probe()
        with console.waiting("connecting to Ray"):
            _connect(self._address, self._cpus)
        import ray

        self._open.callback(ray.shutdown)  # which ends the agents, and their jobs with them
        with console.waiting("waiting for the nodes of the Ray cluster"):
            self._nodes.gather(probe, settings.store.root, gpus)
        if not self._nodes.ready:
            kind = "GPU" if gpus else "CPU"
            raise UserError(f"{_key(self._address)}: its nodes have no {kind} for a job")

    def _make_probe(self) -> Probe:
        """Lock a file in the store until the end of the sweep, for the nodes to find."""
        token = Path(self._home.root, f".probe-{uuid.uuid4().hex}").absolute()
        self._open.callback(token.unlink, missing_ok=True)
        self._open.enter_context(FileLock(token))
        paths = parts.class_paths(self._settings)
        # Leave out the files of the data, which may be large: a job that does not see them says so.
        words = parts.words(self._settings, held=True)
        pieces = targets.parts(paths, words)
        return Probe(token=token, targets=paths, words=words, code=pieces, versions=versions())

    # --- leases

    @property
    def full(self) -> bool:
        workers = self._settings.sweep.workers
        if workers != "auto" and len(self._out) >= int(workers):
            return True
        return bool(self._nodes.ready) and all(node.leases.full for node in self._nodes.ready)

    @property
    def expecting(self) -> bool:
        return not self._nodes.ready

    def tend(self) -> None:
        self._nodes.tend()

    def take(self, settings: Config, threads: int) -> Lease | None:
        if self.full:
            return None
        for node in self._nodes.ready:
            lease = node.leases.take(threads, gpus_per_worker(settings))
            if lease is not None:
                self._out.append(lease)
                return lease
        return None

    def give(self, lease: Lease) -> None:
        self._out.remove(lease)
        node = self._nodes.get(lease.node)
        if node is not None:
            node.leases.give(lease)

    # --- jobs

    def start(self, jobs: Sequence[Job], lease: Lease, splits: str) -> RemoteProcess:
        del splits  # each agent loads a data set for its first job, and shares it on its node
        (job,) = jobs  # none are trained as one: a lost node costs one run only
        self._count += 1
        run = self._home.run(job.fingerprint)
        return RemoteProcess(self._nodes, self._count, job, lease, run)


def gpus_per_worker(settings: Config) -> float:
    """Return how many GPUs a job leases on a node.

    Unlike on this machine, `trainer.device=auto` with `sweep.gpus_per_worker` asks for GPUs: the
    nodes may have some where the launcher has none.
    """
    if settings.trainer.device == "auto" and settings.sweep.gpus_per_worker:
        return settings.sweep.gpus_per_worker
    return leases.gpus_per_worker(settings)


def _key(address: str) -> str:
    return f"hydra.launcher.address={address}"


def _connect(address: str, cores: int | None) -> None:
    """Connect to the cluster, or start one for this sweep. Raises UserError if that fails."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        settings["num_cpus"] = cores or cpus.count()
        settings["object_store_memory"] = OBJECTS
        settings["_node_ip_address"] = "127.0.0.1"
        settings["include_dashboard"] = False
    try:
        if address != LOCAL:
            _ensure_reachable(address)
        ray.init(address=address, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        advice = "start a cluster with `ray start --head`, or take hydra/launcher=ray_local"
        raise UserError(f"{_key(address)}: {one_line(error)[:300]}\n{advice}") from error


def _ensure_reachable(address: str) -> None:
    """Raise OSError or ValueError at once where Ray would try for minutes."""
    # There is no public way to learn what `auto` means.
    from ray._private.services import canonicalize_bootstrap_address

    known = canonicalize_bootstrap_address(address)
    if known is None:
        raise ConnectionError("there is no cluster")
    host, _, port = known.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()
