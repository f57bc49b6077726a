"""Holders of leases are killed at random moments: no lease may be lost, and no core be given twice.

    uv run python tests/lease_kill.py --count 1000

A holder is what a launcher does with leases, in a loop: it takes one, forks a job that holds it, closes its own copy,
waits for the job, and gives the lease back. Killed (SIGKILL) is a holder; its job lives on for a moment, as a job of a
killed launcher does. The truth is told by other means than the leases: a job locks a file for each of its cores while it
works, and unlocks it before it ends. A job that finds none of them free is one too many.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

from sweeplab.sweep import ledger, machine
from sweeplab.sweep.leases import Leases

CORES = 4
HOLDERS = 4
ORPHANED = 0.005  # seconds after which a job sees that its holder has died
PASSES = 5  # over the files of all cores: another job may take one while it is looked at the next


class Truth:
    """The cores that are really in use, and a line for each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, line: str) -> None:
        os.write(self.log, f"{line}\n".encode())

    def use(self, cores: int) -> list[int] | None:
        """Lock so many cores, until these files are closed; None if they are in use."""
        free = [os.open(self._folder / f"core-{n}", os.O_RDWR | os.O_CREAT) for n in range(CORES)]
        held: list[int] = []
        for _ in range(PASSES):
            for file in list(free):
                if len(held) < cores and _locked(file):
                    free.remove(file)
                    held.append(file)
        for file in free:
            os.close(file)
        return held if len(held) == cores else None

    def lines(self) -> Counter[str]:
        return Counter((self._folder / "log").read_text(encoding="utf-8").split())


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def leases(who: str) -> machine.MachineLeases:
    """As those of a sweep on a machine of this many cores."""
    shared = machine.MachineLeases(Leases(cores=CORES), who)
    shared._workers_per_core = 1.0
    return shared


def job(truth: Truth, cores: int, holder: int, seconds: float) -> NoReturn:
    """Use cores for a while, or until the holder has died."""
    held = truth.use(cores)
    truth.note("TOO-MANY" if held is None else "job")
    until = time.monotonic() + seconds
    while time.monotonic() < until and os.getppid() == holder:
        time.sleep(ORPHANED)
    for file in held or []:  # before the lease, which ends with this process
        os.close(file)
    os._exit(0)


def hold(truth: Truth, number: int) -> NoReturn:
    """Take and give leases for ever; the last holder asks for two cores at a time."""
    rng = random.Random(os.getpid())
    shared = leases(f"holder {number}")
    cores = 2 if number == HOLDERS - 1 else 1
    at_work: list[tuple[int, machine.Lease]] = []
    while True:
        lease = shared.take(cores)
        if lease is not None:
            assert lease.file is not None
            holder = os.getpid()
            child = os.fork()
            if child == 0:
                job(truth, cores, holder, rng.uniform(0.0, 0.03))
            lease.file.close()
            at_work.append((child, lease))
            truth.note(f"turn-{number}")
        for child, lease in list(at_work):
            if os.waitpid(child, os.WNOHANG)[0]:
                at_work.remove((child, lease))
                shared.give(lease)
        time.sleep(0.001)


def start(truth: Truth, number: int) -> int:
    holder = os.fork()
    if holder == 0:
        try:
            hold(truth, number)
        finally:
            os._exit(1)
    return holder


def trial(count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Kill so many holders, and return what was seen: jobs, turns, TOO-MANY, ended, lost, left."""
    os.environ[ledger.VARIABLE] = str(folder / "leases")
    ctypes.CDLL(None).prctl(
        36, 1, 0, 0, 0
    )  # PR_SET_CHILD_SUBREAPER: orphaned jobs come to this process
    truth, rng = Truth(folder), random.Random(seed)
    holders = [start(truth, number) for number in range(HOLDERS)]
    ended = 0
    for _ in range(count):
        time.sleep(rng.expovariate(1 / 0.015))
        number = rng.randrange(HOLDERS)
        os.kill(holders[number], signal.SIGKILL)
        _, status = os.waitpid(holders[number], 0)
        ended += status != signal.SIGKILL  # by itself, before
        holders[number] = start(truth, number)
    for holder in holders:
        os.kill(holder, signal.SIGKILL)
    while True:
        try:
            os.wait()  # the jobs of killed holders, too
        except ChildProcessError:
            break
    seen = truth.lines()
    os.close(truth.log)
    seen["ended"] = ended
    one = leases("afterwards")
    seen["lost"] = CORES - sum(one.take(1) is not None for _ in range(CORES))
    seen["left"] = sum(1 for _ in (folder / "leases").iterdir()) - (CORES - seen["lost"])
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        seen = trial(arguments.count, Path(folder), arguments.seed)
        words = ", ".join(f"{name} {number}" for name, number in sorted(seen.items()))
        print(f"{arguments.count} kills in {time.monotonic() - began:.0f} s: {words}")


if __name__ == "__main__":
    main()
