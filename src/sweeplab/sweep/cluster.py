"""The nodes of a Ray cluster as the workers of a sweep: on each an agent that forks jobs, as on one machine.

Ray starts the agents, carries jobs to them, and notices when a node has gone. An agent holds its node's cores and GPUs
for as long as the sweep takes; which job gets which of them is decided here, since a job takes milliseconds to start.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from sweeplab import console, data, store, targets
from sweeplab.config import Config
from sweeplab.errors import RunFailed, UserError
from sweeplab.runs import parts
from sweeplab.runs.job import Job
from sweeplab.sweep import leases
from sweeplab.sweep.agent import Agent, Probe, versions
from sweeplab.sweep.leases import Lease, Leases
from sweeplab.sweep.server import LOST
from sweeplab.train import cpus

JOINING = 60.0  # seconds that nodes get to join before the first job; later ones join when they can
LOOK = 5.0  # seconds between two looks for new nodes
ALONE = 120.0  # seconds after which a sweep ends of which no node is left
SETTLING = 60.0  # seconds until a file that a node has written is surely seen here: NFS remembers what was not there
LOCAL = "local"  # the address that means a cluster of this machine alone, for this sweep
OBJECTS = 100 * 2**20  # bytes; jobs are small, and a data set is loaded on each node
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or Ray would make an environment anew for each agent, under `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns that it will not always
}


@dataclass(slots=True)
class Node:
    """One that has been asked to join, or has."""

    id: str  # Ray's
    name: str
    agent: Any
    leases: Leases
    answer: Any = None  # of the probe, while it is awaited


@dataclass(slots=True)
class Sent:
    """A job at work somewhere."""

    number: int
    node: str
    found: store.Run


class Cluster:
    """Workers on all nodes of a Ray cluster, those that come later included."""

    def __init__(self, address: str, cpus: int | None = None) -> None:
        self._address, self._cpus = address, cpus
        self._nodes: dict[str, Node] = {}  # by a name that a lease bears; a node that comes back gets another
        self._count = 0
        self._refused: set[str] = set()  # ids
        self._sent: dict[Any, Sent] = {}  # by the reference to its end
        self._unseen: dict[int, tuple[store.Run, float]] = {}  # ended, with a result that is not to be seen yet
        self._out: list[Lease] = []
        self._looked = self._alone = 0.0
        self._open = ExitStack()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- nodes

    def open(self, home: store.Store, settings: Config) -> None:
        """Connect, and let all nodes join that are there. Raises UserError if one cannot do the jobs."""
        self._home, self._settings = home, settings
        self._gpus = gpus_per_worker(settings)
        self._probe = self._prepared_probe()
        with console.waiting("connecting to Ray"):
            self._connect()
        with console.waiting("waiting for the nodes of the Ray cluster"):
            self._gather()
        if not self._ready:
            raise UserError(f"{self._key}: its nodes have no {'GPU' if self._gpus else 'CPU'} for a job")

    def _gather(self) -> None:
        """Let nodes join until all have, or time is over and one has: the others are not free, and may come later."""
        self._look()
        until, said = time.monotonic() + JOINING, False
        while self._awaited and (time.monotonic() < until or not self._ready):
            for problem in self._greet(1.0):
                raise UserError(problem)
            if not said and time.monotonic() > until:
                console.say("no node of the Ray cluster is free: waiting for one")
                said = True
            self._look()

    @property
    def _key(self) -> str:
        return f"hydra.launcher.address={self._address}"

    @property
    def _ready(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is None]

    @property
    def _awaited(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is not None]

    def _connect(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        how: dict[str, Any] = {}
        if self._address == LOCAL:
            cores = self._cpus or cpus.count()
            how = {"num_cpus": cores, "object_store_memory": OBJECTS, "_node_ip_address": "127.0.0.1"}
            how["include_dashboard"] = False
        try:
            self._reach()
            ray.init(address=self._address, log_to_driver=False, logging_level="ERROR", **how)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self._key}: {reason}\nstart a cluster with `ray start --head`, or take hydra/launcher=ray_local"
            ) from error
        self._open.callback(ray.shutdown)  # and so the agents end, and their jobs with them

    def _reach(self) -> None:
        """Raise OSError or ValueError at once where Ray would try for minutes."""
        if self._address == LOCAL:
            return
        from ray._private.services import canonicalize_bootstrap_address  # what `auto` means, nothing public tells

        if (address := canonicalize_bootstrap_address(self._address)) is None:
            raise ConnectionError("there is no cluster")
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()

    def _prepared_probe(self) -> Probe:
        """With a locked file in the store, for the nodes to find, until the end of the sweep."""
        token = Path(self._home.root, f".probe-{uuid.uuid4().hex}").absolute()
        self._open.callback(token.unlink, missing_ok=True)
        self._open.enter_context(FileLock(token))
        # Without the files of the data, which may be large: a job that does not see them says so.
        paths, words = parts.class_paths(self._settings), parts.words(self._settings, held=True)
        pieces = targets.parts(paths, words)
        return Probe(token=token, targets=paths, words=words, code=pieces, versions=versions())

    def _look(self) -> None:
        """Ask nodes that are new to join."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._looked = time.monotonic()
        known = self._refused | {node.id for node in self._nodes.values()}
        for found in ray.nodes():
            has = found["Resources"]
            cpus = min(int(has.get("CPU", 0)), self._cpus or sys.maxsize)
            gpus = int(has.get("GPU", 0)) if self._gpus else 0
            if not found["Alive"] or not cpus or gpus < min(self._gpus, 1) or found["NodeID"] in known:
                continue
            here = NodeAffinitySchedulingStrategy(found["NodeID"], soft=False)
            actor = ray.remote(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=here)(Agent)
            agent = actor.remote(sys.path, str(Path.cwd()), gpus=gpus > 0)
            self._count += 1
            name, room = found["NodeManagerAddress"], Leases(cores=cpus, node=str(self._count))
            self._nodes[room.node] = Node(found["NodeID"], name, agent, room, agent.join.remote(self._probe))

    def _greet(self, seconds: float) -> Iterator[str]:
        """Take in the nodes that have answered; yields what is wrong with those that are refused."""
        import ray
        from ray.exceptions import RayActorError

        answers = [node.answer for node in self._awaited]
        for answer in ray.wait(answers, num_returns=len(answers), timeout=seconds)[0]:
            key, node = next((key, node) for key, node in self._nodes.items() if node.answer == answer)
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
                yield f"store.root={self._settings.store.root}: node {node.name} {problem}"

    # --- leases

    @property
    def full(self) -> bool:
        workers = self._settings.sweep.workers
        if workers != "auto" and len(self._out) >= int(workers):
            return True
        return bool(self._ready) and all(node.leases.full for node in self._ready)

    @property
    def expecting(self) -> bool:
        return not self._ready

    def take(self, settings: Config, threads: int) -> Lease | None:
        for node in [] if self.full else self._ready:
            if (lease := node.leases.take(threads, gpus_per_worker(settings))) is not None:
                self._out.append(lease)
                return lease
        return None

    def give(self, lease: Lease) -> None:
        self._out.remove(lease)
        if lease.node in self._nodes:
            self._nodes[lease.node].leases.give(lease)

    # --- jobs

    @property
    def workers(self) -> int:
        """As if there were none: a lost node is to lose no more than it must."""
        return 0

    def share(self, name: str, splits: data.Splits) -> None:
        """Nothing: each agent loads a data set when it gets the first job for it, and shares it on its node."""

    def start(self, number: int, jobs: list[Job], lease: Lease, splits: str) -> None:
        del splits
        (job,) = jobs  # `workers` is 0
        end = self._nodes[lease.node].agent.run.remote(number, job, lease)
        self._sent[end] = Sent(number, lease.node, self._home.run(job.fingerprint))

    def stop(self, number: int, *, hard: bool = False) -> None:
        for agent in self._agent_of(number):
            agent.stop.remote(number, hard=hard)

    def prune(self, number: int) -> None:
        for agent in self._agent_of(number):
            agent.prune.remote(number)

    def _agent_of(self, number: int) -> list[Any]:
        """Nobody, if the job has ended or its node has gone."""
        nodes = [sent.node for sent in self._sent.values() if sent.number == number]
        return [self._nodes[node].agent for node in nodes if node in self._nodes]

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        self._tend()
        told, now = [], time.monotonic()
        for sent, exit_code in self._ended(seconds):
            if exit_code == 0:
                self._unseen[sent.number] = sent.found, now + SETTLING
            else:
                told.append((sent.number, exit_code))
        for number, (found, until) in list(self._unseen.items()):
            if found.result_file.exists() or now > until:
                del self._unseen[number]
                told.append((number, 0))
        return told

    def _ended(self, seconds: float) -> Iterator[tuple[Sent, int]]:
        if not self._sent:
            time.sleep(seconds)
            return
        import ray
        from ray.exceptions import RayActorError

        ray.wait(list(self._sent), timeout=seconds)  # for the first; then for all that are there
        for end in ray.wait(list(self._sent), num_returns=len(self._sent), timeout=0)[0]:
            sent = self._sent.pop(end)
            try:
                yield sent, ray.get(end)
            except RayActorError:
                self._lose(sent.node)
                yield sent, LOST

    def _lose(self, key: str) -> None:
        """Its agent does not answer any more. Should it be alive all the same, its jobs must not be."""
        import ray

        if (node := self._nodes.pop(key, None)) is not None:
            ray.kill(node.agent)
            console.say(f"node {node.name} of the Ray cluster was lost", style="yellow")

    def _tend(self) -> None:
        """Take in nodes that are new, now and then. Raises RunFailed if there has been none for long."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
        if self._awaited:
            for problem in self._greet(0):
                console.complain(problem)
        if self._ready or not self._alone:
            self._alone = time.monotonic()
        elif time.monotonic() - self._alone > ALONE:
            raise RunFailed(f"{self._key}: no node was left for {ALONE:g} s; issue the same command again for the rest")


def gpus_per_worker(settings: Config) -> float:
    """As on one machine; and `sweep.gpus_per_worker` with `trainer.device=auto` asks for GPUs that only nodes have."""
    if settings.trainer.device == "auto" and settings.sweep.gpus_per_worker:
        return settings.sweep.gpus_per_worker
    return leases.gpus_per_worker(settings)
