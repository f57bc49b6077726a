"""This machine as the place of a sweep: its leases, and processes that a fork server starts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from sweeplab import data
from sweeplab.config import Config
from sweeplab.runs.job import Job
from sweeplab.store import Store
from sweeplab.sweep import leases, server, worker
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.machine import MachineLeases, name_of
from sweeplab.sweep.place import LOOK, Process, SweepPlace

if TYPE_CHECKING:
    from sweeplab.sweep.jobs import Jobs

QUEUE_LOOK = 0.02  # seconds between two looks for what other sweeps give back


class LocalProcess(Process):
    """A process on this machine."""

    def __init__(self, process: ForkServerProcess) -> None:
        super().__init__()
        self._process = process
        self._server = server.pid()
        self.is_running = process.pid is not None

    async def ended(self) -> int:
        """Wait for its end; return its exit code, or minus the signal that it died of."""
        if not self.is_running:
            return -signal.SIGKILL
        loop, has_ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, has_ended.set)
        try:
            await has_ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self.send(signal.SIGKILL)  # to what it has left behind
        self.is_running = False
        code = self._process.exitcode
        self._process.close()
        if code == server.DIED:
            await server.replace(self._server)
        if code is None or code == server.DIED:
            return -signal.SIGKILL
        return code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL goes to all that it has started, too."""
        pid = self._process.pid if self.is_running else None
        if pid is None:
            return
        if number == signal.SIGKILL:
            with suppress(ProcessLookupError):  # ended, or so new that it has no group yet
                os.killpg(pid, number)
                return
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Local(SweepPlace):
    """Leases of this machine, and its processes."""

    def __init__(self) -> None:
        self._leases = leases.Leases(cores=0)
        self._most = 0
        self._who = ""
        self._shared: dict[str, data.Shared] = {}
        self._processes: list[LocalProcess] = []

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send(signal.SIGKILL)
        for shared in self._shared.values():
            shared.file.close()
        server.end()

    def expect(self, jobs: Jobs) -> None:
        self._who = name_of(jobs.plan.id)

    def open(self, home: Store, settings: Config) -> None:
        del home
        room = leases.of_this_machine(settings)
        self._leases = MachineLeases(room, self._who, settings.sweep.priority)
        self._most = room.most(leases.gpus_per_worker(settings))

    def share(self, name: str, splits: data.Splits) -> None:
        self._shared[name] = data.share(splits)

    @property
    def workers(self) -> int:
        return self._most

    @property
    def full(self) -> bool:
        return self._leases.full

    @property
    def expecting(self) -> bool:
        return self._leases.is_queued

    @property
    def look(self) -> float:
        return QUEUE_LOOK if self._leases.is_queued else LOOK

    def take(self, settings: Config, threads: int) -> Lease | None:
        return self._leases.take(threads, leases.gpus_per_worker(settings))

    def give(self, lease: Lease) -> None:
        self._leases.give(lease)

    def start(self, jobs: Sequence[Job], lease: Lease, splits: str) -> LocalProcess:
        """Start a process; it never runs if the fork server is killed meanwhile."""
        server.start()
        shared = self._shared.get(splits)
        environment = lease.environment(jobs[0].config.trainer.device)
        work = (jobs, Path.cwd(), environment, shared, lease.file)
        process = server.context.Process(target=worker.main, args=work)
        try:
            with _without_script(), suppress(EOFError, ConnectionError):
                process.start()
        finally:
            if lease.file is not None:
                # Only the job holds it from now on, so that it lasts as long as the job: a killed
                # launcher takes no cores from jobs that are about to end, nor keeps them.
                lease.file.close()
        local = LocalProcess(process)
        self._processes = [known for known in self._processes if known.is_running]
        self._processes.append(local)
        return local


@contextmanager
def _without_script() -> Iterator[None]:
    """Keep processes that are started meanwhile from running the script of this one anew.

    It may have been edited, may import much, and may lack the guard `if __name__ == "__main__"`.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
