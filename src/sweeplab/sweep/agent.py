"""What a sweep has on each node of a cluster: a fork server, and somebody who tells the launcher how its jobs ended."""

from __future__ import annotations

import asyncio
import os
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
from sweeplab.sweep import fork
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.pool import Pool

TICK = 0.005  # seconds between two looks at the fork server


@dataclass(kw_only=True, slots=True, frozen=True)
class Probe:
    """What the launcher's machine has, and each node must find."""

    token: Path  # a file in the store, locked by the launcher
    targets: list[str]
    code: dict[str, str]  # of these targets and words, as targets.parts gives it
    versions: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)  # the other strings of the config

    def problem(self) -> str | None:
        """What keeps this machine from working with that one; None if nothing does."""
        try:
            if not self.token.exists():
                return f"does not see {self.token.parent}; the store must lie on a file system that all nodes share"
            with tempfile.TemporaryFile(dir=self.token.parent):
                pass
        except OSError as error:
            return f"cannot write in {self.token.parent}: {error.strerror}"
        if not store.locked(self.token):
            return (
                f"does not see a lock that is held in {self.token.parent}; its file system must be mounted with locks "
                "for all nodes, as NFS 4 is, and Lustre with -o flock"
            )
        return self._other_code()

    def _other_code(self) -> str | None:
        if (found := versions()) != self.versions:
            return (
                f"has {_listed(found)}, and this machine {_listed(self.versions)}; results would not be the same bits"
            )
        try:
            here = targets.parts(self.targets, self.words)
        except UserError as error:
            return f"cannot do the job: {error}"
        changed = sorted(name for name in {**here, **self.code} if here.get(name) != self.code.get(name))
        return f"has other code of {', '.join(changed)}; it must lie where all nodes see it" if changed else None


def versions() -> dict[str, str]:
    """Of what the bits of a result depend on."""
    return {name: metadata.version(name) for name in ("sweeplab", "torch")}


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


class Agent:
    """An actor of Ray's. All its methods run in one thread, in turn."""

    def __init__(self, path: Sequence[str], folder: str, *, gpus: bool) -> None:
        sys.path[:] = dict.fromkeys([*path, *sys.path])  # the launcher's first, as in a job of its own machine
        with suppress(OSError):  # a folder that only the launcher has; the store is looked for by itself
            os.chdir(folder)
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or trainer.device=auto would take what was not leased
        self._pool = Pool(fork.start())
        self._at_work: dict[int, asyncio.Future[int]] = {}
        self._tried: set[str] = set()  # data sets

    async def join(self, probe: Probe) -> tuple[str | None, list[str]]:
        """What is wrong here, if anything is; and the GPUs, as CUDA_VISIBLE_DEVICES names them."""
        return probe.problem(), [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]

    async def run(self, number: int, job: Job, lease: Lease) -> int:
        """Start a job; returns how it ended: its exit code, or minus the signal."""
        name = repr(job.config.data)
        if name not in self._tried:
            self._tried.add(name)
            with suppress(Exception):  # the job finds the same, and its log says so
                splits = job.load()
                if data.can_be_shared(splits):
                    self._pool.share(name, splits)
        ended = self._at_work[number] = asyncio.get_running_loop().create_future()
        self._pool.start(number, [job], lease, name)
        if len(self._at_work) == 1:
            self._listening = asyncio.create_task(self._listen())
        exit_code: int = await ended
        return exit_code

    async def _listen(self) -> None:
        while self._at_work:
            for number, exit_code in self._pool.wait(0):
                self._at_work.pop(number).set_result(exit_code)
            await asyncio.sleep(TICK)

    async def stop(self, number: int, *, hard: bool) -> None:
        """As Pool.stop."""
        self._pool.stop(number, hard=hard)

    async def prune(self, number: int) -> None:
        """As Pool.prune."""
        self._pool.prune(number)
