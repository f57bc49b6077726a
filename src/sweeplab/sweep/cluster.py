"""The nodes of a Ray cluster as the workers of a sweep; on each an agent forks jobs.

Ray starts the agents, carries jobs to them, and notices when a node has gone. An agent holds its
node's cores and GPUs for as long as the sweep takes. Which job gets which of them is decided here:
asking Ray would take much longer than the milliseconds in which a job starts.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from sweeplab import console, store, targets
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import RunFailed, UserError, one_line
from sweeplab.runs import parts
from sweeplab.runs.job import Job
from sweeplab.sweep import leases
from sweeplab.sweep.agent import Probe, versions
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease, Leases
from sweeplab.sweep.place import Process, SweepPlace, result_seen
from sweeplab.sweep.ray_driver import NodeEntry
from sweeplab.sweep.ray_link import AgentLostError, CallFailedError, Link, LinkLostError
from sweeplab.sweep.worker import LOST, TERMINATED
from sweeplab.train import cpus

KEY = "hydra.launcher.address"
HERE = "local"  # the address of a cluster of this machine alone
CONNECTING = 120.0  # seconds that Ray gets to connect in; it gives up itself before that
JOINING = 60.0  # seconds that nodes get to join before the first job; others may join later
GREETING = 0.5  # seconds between two looks at the clock while they do
LOOK = 2.0  # seconds between two looks for new nodes
SILENT = 10.0  # seconds without an answer after which the head may have gone
ALONE = 120.0  # seconds without a node that is large enough, after which a sweep ends
MOST_ASKED = 1000  # jobs for which an autoscaler is asked at once
PROBE = ".probe-"  # the beginning of the name of the file by which nodes know the store
LEFT = 60.0  # seconds after which such a file that is not locked is of no launcher
AGAIN = "issue the same command again for the rest"
START = (
    "start a cluster with `ray start --head`, name its head by hydra.launcher.address=HOST:PORT,"
    " or take hydra/launcher=ray_local"
)
AUTHENTICATE = (
    "the cluster asks for the token of its head's user: copy ~/.ray/auth_token from there, and"
    " `export RAY_AUTH_MODE=token` here"
)
LOWER = "lower trainer.threads or sweep.gpus_per_worker"
LARGER = (
    f"{LOWER}, start a larger node,"
    " or let hydra.launcher.nodes_within=900 seconds pass for one that an autoscaler adds"
)


@dataclass(frozen=True, slots=True)
class Size:
    """What a job needs on its node, or what a node has."""

    cores: int
    gpus: float

    def fits(self, node: Size) -> bool:
        """Tell whether a node has what this job needs."""
        return self.cores <= node.cores and self.gpus <= node.gpus


@dataclass(slots=True)
class Node:
    """A node that has joined, or has been asked to."""

    entry: NodeEntry
    leases: Leases
    answer: Future[Any] | None  # of the probe, while it is awaited


class Nodes:
    """The nodes that have joined a sweep, and those that were asked to."""

    def __init__(self, address: str, cores: int | None) -> None:
        """`cores`: at most so many of each node, None for all."""
        self._place = f"{KEY}={address}"
        self._is_here_alone = address == HERE
        self._cores = cores or sys.maxsize
        self._nodes: dict[str, Node] = {}  # by Lease.node; a node that comes back gets another key
        self._count = 0  # of keys
        self._refused: set[str] = set()  # ids
        self._list: Future[list[NodeEntry]] | None = None  # while it is awaited
        self._looked = 0.0  # when
        self._is_silent = False  # the head, for some time
        self._alone = 0.0  # since when
        self._sizes: list[Size] | None = None  # of all nodes; None: not known yet

    @property
    def _advice(self) -> str:
        """Say what helps where no node is large enough for a job."""
        if any(need.cores > self._cores for need in self._needs):
            return f"{LOWER}, or raise hydra.launcher.cpus_per_node={self._cores}"
        return LOWER if self._is_here_alone else LARGER

    @property
    def ready(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is None]

    def get(self, key: str) -> Node | None:
        """Return a node; None if it has gone."""
        return self._nodes.get(key)

    def lack(self, needs: Sequence[Size]) -> str:
        """Say that no node is large enough for one of these jobs; '' if all have one."""
        sizes = self._sizes or []
        for need in needs:
            if not any(need.fits(size) for size in sizes):
                return f"a job needs {_worded(need, need)}; {_worded_largest(sizes, need)}"
        return ""

    def gather(self, link: Link, probe: Probe, needs: Sequence[Size], within: float) -> None:
        """Wait until all nodes have joined, or time is over and one has.

        The other nodes are not free, and may join later. Only nodes that are large enough for one
        of these jobs are asked; nodes for all of them may come `within` so many seconds. Raises
        UserError if none does, or if a node cannot do the jobs.
        """
        self._link, self._probe, self._needs = link, pickle.dumps(probe), needs
        self._root = probe.token.parent
        began = time.monotonic()
        said = ""
        while True:
            self._look()
            for problem in self._greet(GREETING):
                raise UserError(problem)
            waited = time.monotonic() - began
            lack = self.lack(needs)
            if self._sizes is None:
                continue
            if lack and waited >= within:
                raise UserError(f"{self._place}: {lack}", self._advice)
            if not lack and (not self._awaited or (waited > JOINING and self.ready)):
                return
            note = ""
            if lack:
                note = f"{lack}: waiting at most {within:g} s for one that is large enough"
            elif waited > JOINING:
                note = "no node of the Ray cluster is free: waiting for one"
            if note and not said:
                console.say(note)
                said = note

    @property
    def _awaited(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.answer is not None]

    def _look(self) -> None:
        """Ask for the list of nodes, unless that was done just now."""
        since = time.monotonic() - self._looked
        if self._list is None and since > LOOK:
            self._looked = time.monotonic()
            self._list = self._link.call("nodes")
        elif self._list is not None and since > SILENT and not self._is_silent:
            self._is_silent = True
            goes_on = "jobs at work on other nodes go on while Ray waits for it"
            console.say(f"the head of the Ray cluster does not answer; {goes_on}", style="yellow")

    def _ask_to_join(self, entries: Sequence[NodeEntry]) -> None:
        """Ask those nodes of a list to join that are new and large enough."""
        self._sizes = [Size(min(entry.cpus, self._cores), entry.gpus) for entry in entries]
        known = self._refused | {node.entry.id for node in self._nodes.values()}
        uses_gpus = any(need.gpus for need in self._needs)
        for entry, size in zip(entries, self._sizes, strict=True):
            if entry.id in known or not any(need.fits(size) for need in self._needs):
                continue
            self._count += 1
            key = str(self._count)
            part = replace(entry, cpus=size.cores, gpus=entry.gpus if uses_gpus else 0)
            answer = self._link.call("join", key, part, str(Path.cwd()), self._probe)
            self._nodes[key] = Node(part, Leases(cores=size.cores, node=key), answer)

    def _greet(self, seconds: float) -> Iterator[str]:
        """Take in what nodes have answered; yield what is wrong with those that are refused."""
        awaited = [node.answer for node in self._nodes.values() if node.answer is not None]
        if self._list is not None:
            awaited.append(self._list)
        if awaited:
            wait(awaited, seconds, FIRST_COMPLETED)
        else:
            time.sleep(seconds)
        if self._list is not None and self._list.done():
            entries, self._list = self._list.result(), None
            self._is_silent = False
            self._ask_to_join(entries)
        for key, node in list(self._nodes.items()):
            if node.answer is None or not node.answer.done():
                continue
            try:
                problem, node.leases.gpus = node.answer.result()
            except AgentLostError:  # it may come back
                del self._nodes[key]
                continue
            node.answer = None
            if problem is not None:
                del self._nodes[key]
                self._refused.add(node.entry.id)
                self._link.call("drop", key)
                yield f"store.root={self._root}: node {node.entry.name} {problem}"

    def lose(self, key: str) -> None:
        """Drop a node whose agent does not answer, and end its jobs should it be alive."""
        node = self._nodes.pop(key, None)
        if node is not None:
            self._link.call("drop", key)
            console.say(f"node {node.entry.name} of the Ray cluster was lost", style="yellow")

    def tend(self) -> None:
        """Take in new nodes now and then. Raises RunFailed if there has been none for long."""
        self._look()
        for problem in self._greet(0):
            console.complain(problem)
        if self.ready or not self._alone:
            self._alone = time.monotonic()
        elif time.monotonic() - self._alone > ALONE:
            raise RunFailed(f"{self._place}: no node was left for {ALONE:g} s; {AGAIN}")


class RemoteProcess(Process):
    """A job at work on a node."""

    def __init__(
        self, nodes: Nodes, link: Link, number: int, job: Job, lease: Lease, run: store.Run
    ) -> None:
        super().__init__()
        self._nodes = nodes
        self._link = link
        self._number = number
        self._key = lease.node
        self._run = run
        self._told = asyncio.Event()  # to end
        self._exit_code = link.call("run", self._key, number, pickle.dumps((job, lease)))

    async def ended(self) -> int:
        """Wait for its end; return its exit code, minus a signal, or LOST."""
        try:
            code: int = await asyncio.wrap_future(self._exit_code)
        except AgentLostError:
            self._nodes.lose(self._key)
            return LOST
        except LinkLostError:  # `Cluster.tend` reports it, and the sweep ends
            await self._told.wait()
            return TERMINATED
        except CallFailedError as error:
            raise RunFailed(f"Ray could not start a job: {one_line(error)}; {AGAIN}") from error
        if code == 0:
            await result_seen(self._run)
        return code

    def send(self, number: signal.Signals) -> None:
        self._told.set()
        self._link.call("send", self._key, self._number, number)


class Cluster(SweepPlace):
    """Workers on all nodes of a Ray cluster, those that come later included."""

    def __init__(self, address: str, cpus: int | None = None, nodes_within: float = 0.0) -> None:
        self._address = address
        self._cpus = cpus
        self._within = 0.0 if address == HERE else nodes_within
        self._key = f"{KEY}={address}"
        self._nodes = Nodes(address, cpus)
        self._count = 0  # of processes
        self._out: list[Lease] = []
        self._lacking = 0.0  # since when the next job needs a larger node than there is
        self._open = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- nodes

    def expect(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def open(self, home: store.Store, settings: Config) -> None:
        """Connect, and let the nodes join. Raises UserError if one of them cannot do the jobs."""
        self._home, self._settings = home, settings
        probe = self._open.enter_context(_held_probe(home, settings))
        needs = self._needs()
        self._link = Link()
        self._open.callback(self._link.close)  # which ends the agents, and their jobs with them
        try:
            with console.waiting("connecting to Ray"):
                self._connect(probe.token)
            self._link.call("ask_for", _bundles(needs, settings.sweep.workers))
            with console.waiting("waiting for the nodes of the Ray cluster"):
                self._nodes.gather(self._link, probe, list(dict.fromkeys(needs)), self._within)
        except LinkLostError as error:
            raise UserError(self._say_lost()) from error
        except CallFailedError as error:
            raise UserError(f"{self._key}: {one_line(error)[:300]}") from error

    def _connect(self, token: Path) -> None:
        cores = self._cpus or cpus.count()
        connecting = self._link.call("connect", sys.path, token, self._address, cores)
        try:
            connecting.result(CONNECTING)
        except CallFailedError as error:
            problem = f"{self._key}: {one_line(error)[:300]}"
            raise UserError(problem, _advice(self._link.log)) from error
        except TimeoutError as error:
            problem = f"Ray has not connected in {CONNECTING:g} s"
            raise UserError(f"{self._key}: {problem}", START) from error

    def _say_lost(self) -> str:
        return f"{self._key}: the cluster was lost (what Ray says: {self._link.log})"

    def _needs(self) -> list[Size]:
        """List what each job needs, those of a search as far as they are known."""
        needs = []
        for cell in self._jobs.possible:
            if not cell.job.finished:
                threads = self._home.run(cell.job.fingerprint).threads
                needs.append(_need(cell.job.config, threads or cell.job.config.trainer.threads))
        return needs or [_need(self._settings, self._settings.trainer.threads)]

    # --- leases

    @property
    def full(self) -> bool:
        workers = self._settings.sweep.workers
        if self._link.is_lost or (workers != "auto" and len(self._out) >= int(workers)):
            return True
        return bool(self._nodes.ready) and all(node.leases.full for node in self._nodes.ready)

    @property
    def expecting(self) -> bool:
        return self._link.is_lost or self._lacking > 0 or not self._nodes.ready

    def tend(self) -> None:
        if self._link.is_lost:
            raise RunFailed(f"{self._say_lost()}; what was finished is kept: {AGAIN}")
        try:
            self._nodes.tend()
        except LinkLostError:
            return  # the next call reports that the link is lost
        if self._lacking and time.monotonic() - self._lacking > max(ALONE, self._within):
            raise RunFailed(f"{self._key}: {self._lack}; {AGAIN}")

    def take(self, settings: Config, threads: int) -> Lease | None:
        if self.full:
            return None
        need = _need(settings, threads)
        lack = self._nodes.lack([need])
        if lack:
            self._note_lack(lack)
            return None
        self._lacking = 0.0
        for node in self._nodes.ready:
            has = Size(node.leases.cores, len(node.leases.gpus))
            lease = node.leases.take(threads, need.gpus) if need.fits(has) else None
            if lease is not None:
                self._out.append(lease)
                return lease
        return None

    def _note_lack(self, lack: str) -> None:
        """Say once, while it lasts, that the next job needs a larger node than there is."""
        if not self._lacking:
            self._lacking, self._lack = time.monotonic(), lack
            console.say(f"{lack}: waiting for one that is large enough", style="yellow")

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
        return RemoteProcess(self._nodes, self._link, self._count, job, lease, run)


def _need(settings: Config, threads: int | None) -> Size:
    return Size(threads or 1, leases.gpus_elsewhere(settings))


def _worded(size: Size, need: Size) -> str:
    """Write a size, with its GPUs where some are needed."""
    return leases.described(size.cores, size.gpus if need.gpus else None)


def _worded_largest(sizes: Sequence[Size], need: Size) -> str:
    """Say what the node has that comes nearest to what is needed."""
    if not sizes:
        return "the cluster has no node"
    largest = max(sizes, key=lambda size: (min(size.gpus, need.gpus), size.cores))
    return f"the largest of {counted(len(sizes), 'node')} has {_worded(largest, need)}"


def _advice(log: Path) -> str:
    """Say what to do about a cluster that cannot be reached, by what Ray has logged."""
    if "InvalidAuthToken" in log.read_text(encoding="utf-8", errors="replace"):
        return AUTHENTICATE
    return START


def _bundles(needs: Sequence[Size], workers: str | int) -> list[dict[str, float]]:
    """List what an autoscaler is to provide: room for all jobs that may be at work at once."""
    most = MOST_ASKED if workers == "auto" else int(workers)
    bundles = []
    for need in needs[:most]:
        bundle: dict[str, float] = {"CPU": need.cores}
        if need.gpus:
            bundle["GPU"] = need.gpus
        bundles.append(bundle)
    return bundles


@contextmanager
def _held_probe(home: store.Store, settings: Config) -> Iterator[Probe]:
    """Lock a file in the store, for the nodes to find."""
    _remove_left_probes(home)
    token = Path(home.root, f"{PROBE}{uuid.uuid4().hex}").absolute()
    paths = parts.class_paths(settings)
    # Leave out the files of the data, which may be large: a job that does not see them says so.
    words = parts.words(settings, held=True)
    pieces = targets.parts(paths, words)
    with FileLock(token):
        try:
            yield Probe(token=token, targets=paths, words=words, code=pieces, versions=versions())
        finally:
            token.unlink(missing_ok=True)


def _remove_left_probes(home: store.Store) -> None:
    """Remove files of launchers that were killed. A new one may be about to be locked."""
    for token in home.root.glob(f"{PROBE}*"):
        with suppress(OSError):
            if time.time() - token.stat().st_mtime > LEFT and not store.locked(token):
                token.unlink()
