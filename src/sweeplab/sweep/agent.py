"""The agent of a sweep on a node of a cluster: it starts jobs, and reports how they ended."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sweeplab import data, store, targets
from sweeplab.errors import UserError
from sweeplab.runs.job import Job
from sweeplab.sweep import server
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.local import Local, LocalProcess

LOOK = 2.0  # seconds between two looks for the launcher
MISSED = 2  # looks that have not seen it, after which it has gone


@dataclass(kw_only=True, slots=True, frozen=True)
class Probe:
    """What the launcher's machine has, and each node must find."""

    token: Path  # a file in the store, locked by the launcher
    targets: list[str]
    code: dict[str, str]  # of these targets and words, as targets.parts gives it
    versions: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)  # the other strings of the config

    def problem(self) -> str | None:
        """Say what keeps this machine from working with the launcher's; None if nothing does."""
        return self._store_problem() or self.code_problem()

    def _store_problem(self) -> str | None:
        """Say why this machine cannot work in the launcher's store; None if it can."""
        folder = self.token.parent
        try:
            if not self.token.exists():
                rule = "the store must lie on a file system that all nodes share"
                return f"does not see {folder}; {rule}"
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            return f"cannot write in {folder}: {error.strerror}"
        if not store.locked(self.token):
            rule = "its file system must be mounted with locks for all nodes"
            example = "as NFS 4 is, and Lustre with -o flock"
            return f"does not see a lock that is held in {folder}; {rule}, {example}"
        return None

    def code_problem(self) -> str | None:
        """Say how packages or code differ from the launcher's; None if they do not."""
        installed = versions()
        if installed != self.versions:
            both = f"has {_listed(installed)}, and this machine {_listed(self.versions)}"
            return f"{both}; results would not be the same bits"
        try:
            code = targets.parts(self.targets, self.words)
        except UserError as error:
            return f"cannot do the job: {error}"
        names = sorted(code.keys() | self.code.keys())
        changed = [name for name in names if code.get(name) != self.code.get(name)]
        if changed:
            return f"has other code of {', '.join(changed)}; it must lie where all nodes see it"
        return None


def versions() -> dict[str, str]:
    """Return the versions of the packages on which the bits of a result depend."""
    return {name: metadata.version(name) for name in ("sweeplab", "torch")}


def _listed(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


class Agent:
    """Trains jobs on its node, for as long as there is a launcher. `node` is Ray's id of the node."""

    def __init__(self, folder: str, *, gpus: bool, node: str) -> None:
        with suppress(OSError):  # the launcher alone may have this folder; `join` checks the store
            os.chdir(folder)
        if not gpus:
            # Otherwise trainer.device=auto would take a GPU that was not leased.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["RAY_NODE_ID"] = node  # which a run records
        server.start()
        self._raylet = os.getppid()
        self._local = Local()
        self._at_work: dict[int, LocalProcess] = {}
        self._tried: set[str] = set()  # data sets that it has tried to load

    def join(self, probe: Probe) -> tuple[str | None, list[str]]:
        """Return what is wrong here, or None, and the GPUs as CUDA_VISIBLE_DEVICES names them."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        problem = probe.problem()
        if problem is None:
            threading.Thread(target=self._end_with_launcher, args=[probe], daemon=True).start()
        return problem, [gpu for gpu in visible.split(",") if gpu]

    def _end_with_launcher(self, probe: Probe) -> None:
        """End this process, and its jobs with it, when its launcher or the node's Ray has gone.

        Ray does so by itself, but may take minutes.
        """
        missed = 0  # looks, one after the other: a file server may lose a lock for a moment
        while missed < MISSED and os.getppid() == self._raylet:
            time.sleep(LOOK)
            missed = 0 if store.locked(probe.token) else missed + 1
        os.kill(os.getpid(), signal.SIGKILL)

    async def run(self, number: int, job: Job, lease: Lease) -> int:
        """Train a job; return its exit code, or minus the signal that it died of."""
        name = repr(job.config.data)
        if name not in self._tried:
            self._tried.add(name)
            with suppress(Exception):  # the job finds the same, and its log says so
                splits = job.load()
                if data.can_be_shared(splits):
                    self._local.share(name, splits)
        process = self._at_work[number] = self._local.start([job], lease, name)
        exit_code = await process.ended()
        del self._at_work[number]
        return exit_code

    def send(self, number: int, sent: signal.Signals) -> None:
        """Send a job a signal, if it is at work."""
        process = self._at_work.get(number)
        if process is not None:
            process.send(sent)
