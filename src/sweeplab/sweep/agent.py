"""The agent of a sweep on a node of a cluster: it starts jobs, and reports how they ended."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
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
        return self._store_problem() or self._code_problem()

    def _store_problem(self) -> str | None:
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

    def _code_problem(self) -> str | None:
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
    """An actor of Ray's. All its methods run in one thread, in turn."""

    def __init__(self, path: Sequence[str], folder: str, *, gpus: bool) -> None:
        # The launcher's folders come first, as in a job on its own machine.
        sys.path[:] = dict.fromkeys([*path, *sys.path])
        with suppress(OSError):  # the launcher alone may have this folder; `join` checks the store
            os.chdir(folder)
        if not gpus:
            # Otherwise trainer.device=auto would take a GPU that was not leased.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        server.start()
        self._local = Local()
        self._at_work: dict[int, LocalProcess] = {}
        self._tried: set[str] = set()  # data sets

    async def join(self, probe: Probe) -> tuple[str | None, list[str]]:
        """Return what is wrong here, or None, and the GPUs as CUDA_VISIBLE_DEVICES names them."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return probe.problem(), [gpu for gpu in visible.split(",") if gpu]

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

    async def send(self, number: int, sent: signal.Signals) -> None:
        """Send a job a signal, if it is at work."""
        process = self._at_work.get(number)
        if process is not None:
            process.send(sent)
