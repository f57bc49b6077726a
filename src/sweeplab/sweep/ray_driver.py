"""The process that is connected to Ray for a launcher: it does what it is told through a pipe.

Ray's own code ends a process that has lost its cluster, and writes what it thinks of that. The
launcher has to outlive it, to say what happened, and to keep order in the store.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LOCAL = "local"  # the address that means a cluster of this machine alone, for this sweep
OBJECTS = 100 * 2**20  # bytes; jobs are small, and a data set is loaded on each node
REACHING = 10.0  # seconds until a head that says nothing is taken for missing
LEAVING = 10.0  # seconds that Ray gets to disconnect in
QUICK = ("run", "send")  # what asks nothing of the head, which may be slow to answer
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or each agent gets a new environment under `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns that it will not always
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a launcher wants to be done."""

    number: int
    name: str  # of a method of Driver
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call."""

    number: int
    value: Any = None
    problem: str = ""  # why there is no value
    is_gone: bool = False  # the agent that was asked has gone


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node of the cluster, as Ray lists it."""

    id: str
    name: str
    cpus: int
    gpus: int


class Carrier:
    """The actor on a node: it loads the agent once it knows the launcher's folders.

    All its methods run in one thread, in turn.
    """

    def __init__(self, path: Sequence[str], folder: str, gpus: int, node: str) -> None:
        # The launcher's folders come first, as in a job on its own machine.
        sys.path[:] = dict.fromkeys([*path, *sys.path])
        from sweeplab.sweep.agent import Agent

        self._agent = Agent(folder, gpus=gpus > 0, node=node)

    async def join(self, probe: bytes) -> tuple[str | None, list[str]]:
        return self._agent.join(pickle.loads(probe))  # noqa: S301  # the launcher's

    async def run(self, number: int, work: bytes) -> int:
        job, lease = pickle.loads(work)  # noqa: S301  # the launcher's
        return await self._agent.run(number, job, lease)

    async def send(self, number: int, sent: signal.Signals) -> None:
        self._agent.send(number, sent)


class Driver:
    """Carries out the calls of a launcher."""

    def __init__(self, connection: Connection, log: Path) -> None:
        """`log` is the file to which Ray writes; it goes when the launcher does."""
        self._connection = connection
        self._sending = threading.Lock()
        self._agents: dict[str, Any] = {}  # by the key that the launcher has given them
        self._slow = ThreadPoolExecutor(1)
        self._files = [log]

    def serve(self) -> None:
        """Do what the launcher says until it has gone, and clean up after it."""
        while True:
            try:
                call = self._connection.recv()
            except (EOFError, OSError):
                break
            if call is None:
                break
            if call.name in QUICK:
                self._do(call)
            else:
                self._slow.submit(self._do, call)
        for file in self._files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        threading.Thread(target=self._leave, daemon=True).start()
        threading.Event().wait(LEAVING)

    def _leave(self) -> None:
        """Disconnect, which ends the agents, and their jobs with them; and end."""
        try:
            import ray
            from ray.autoscaler.sdk import request_resources

            if ray.is_initialized():
                with suppress(Exception):
                    request_resources(bundles=[])
                ray.shutdown()
        finally:
            os._exit(0)

    def _do(self, call: Call) -> None:
        try:
            method: Callable[..., Any] = getattr(self, call.name)
            value = method(*call.arguments)
        except Exception as error:
            self._send(Answer(call.number, problem=str(error) or type(error).__name__))
            return
        if hasattr(value, "future"):  # a reference to what an agent will answer
            value.future().add_done_callback(partial(self._pass_on, call.number))
        else:
            self._send(Answer(call.number, value))

    def _pass_on(self, number: int, done: Any) -> None:
        """Send what an agent has answered."""
        from ray.exceptions import RayActorError

        try:
            self._send(Answer(number, done.result()))
        except RayActorError:
            self._send(Answer(number, is_gone=True))
        except Exception as error:
            self._send(Answer(number, problem=f"{type(error).__name__}: {error}"))

    def _send(self, answer: Answer) -> None:
        with self._sending, suppress(OSError):  # the launcher has gone: `serve` hears of it
            self._connection.send(answer)

    # --- the calls

    def connect(self, path: Sequence[str], token: Path, address: str, cpus: int) -> None:
        """Connect to the cluster, or start one with so many cores.

        `token` is a file of the launcher's that is not to outlive it.
        """
        sys.path[:] = path
        self._files.append(token)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL:
            settings["num_cpus"] = cpus
            settings["object_store_memory"] = OBJECTS
            settings["_node_ip_address"] = "127.0.0.1"
            settings["include_dashboard"] = False
        else:
            _ensure_reachable(address)
        ray.init(address=address, **settings)

    def nodes(self) -> list[NodeEntry]:
        """List the nodes that are alive."""
        import ray

        return [
            NodeEntry(
                id=entry["NodeID"],
                name=entry["NodeName"] or entry["NodeManagerAddress"],
                cpus=int(entry["Resources"].get("CPU", 0)),
                gpus=int(entry["Resources"].get("GPU", 0)),
            )
            for entry in ray.nodes()
            if entry["Alive"]
        ]

    def join(self, key: str, node: NodeEntry, folder: str, probe: bytes) -> Any:
        """Start an agent that takes so much of a node; what it answers comes once there is room."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        options = {"num_cpus": node.cpus, "num_gpus": node.gpus, "scheduling_strategy": there}
        actor = ray.remote(**options)(Carrier)
        agent = self._agents[key] = actor.remote(sys.path, folder, node.gpus, node.id)
        return agent.join.remote(probe)

    def run(self, key: str, number: int, work: bytes) -> Any:
        """Have an agent train a job."""
        return self._agents[key].run.remote(number, work)

    def send(self, key: str, number: int, sent: signal.Signals) -> None:
        """Have an agent send a job a signal."""
        self._agents[key].send.remote(number, sent)

    def drop(self, key: str) -> None:
        """End an agent, and its jobs with it."""
        import ray

        ray.kill(self._agents.pop(key))

    def ask_for(self, bundles: list[Mapping[str, float]]) -> None:
        """Tell the autoscaler, if there is one, what is needed at once, in all."""
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=[dict(bundle) for bundle in bundles])


def _ensure_reachable(address: str) -> None:
    """Raise ConnectionError at once where Ray would try for minutes."""
    import socket

    # There is no public way to learn what `auto` means.
    from ray._private.services import canonicalize_bootstrap_address

    known = canonicalize_bootstrap_address(address)
    if known is None:
        raise ConnectionError("this machine is in no Ray cluster")
    host, _, port = known.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=REACHING).close()
    except OSError as error:
        origin = "" if known == address else f", which is what {address} means here{_source(known)}"
        raise ConnectionError(f"no Ray cluster answers at {known}{origin}: {error}") from error


def _source(known: str) -> str:
    """Say where an address comes from, if the environment says so."""
    return " (by RAY_ADDRESS)" if os.environ.get("RAY_ADDRESS") == known else ""


def main() -> None:
    """Serve the launcher at the other end of a pipe; arguments: its descriptor, and the log."""
    Driver(Connection(int(sys.argv[1])), Path(sys.argv[2])).serve()
    os._exit(0)
