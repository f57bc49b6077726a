"""Sweeps on Ray that are disturbed: something is killed or told to end at a random moment, and the command issued again.

    uv run python tests/disturb_ray.py --count 30

All runs must then have the weights of an undisturbed sweep on this machine, none may have been trained to its end twice,
and exit code and words must be those of the disturbance. No job may outlive its launcher or its node's Ray by more than
15 s, and nothing of the launcher's may be left in the store. Linux only: processes are found in /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kill
from kill import WrongError
from kill_sweep import processes, weights

from sweeplab.store import Store

PROJECT = Path(__file__).parent.parent
EPOCHS = 100
WORDS = (
    "-m", "data=digits", "tracking=off", "sweep.report=false", "model.dropout=0.2", "trainer.patience=null",
    f"trainer.epochs={EPOCHS}", "model.hidden=16,24", "seed=0,1", "sweep.retries=1",
)  # fmt: skip
JOBS = 4
OUTLIVE = 15.0  # seconds
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes this machine's own address for 127.0.0.1
    "RAY_AUTH_MODE": "disabled",  # whatever token this user has
    "RAY_gcs_rpc_server_reconnect_timeout_s": "2",  # for which Ray waits for a head; 60 unless told otherwise
}
ALONE, LOST = "started again (1 of 1)", "its node was lost; started again on another"


class Nodes:
    """A Ray cluster of nodes with so many CPUs."""

    def __init__(self, *cpus: int) -> None:
        program = [sys.executable, str(PROJECT / "tests/ray_nodes.py"), *map(str, cpus)]
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.words = ("hydra/launcher=ray_cluster", f"hydra.launcher.address={self.heard()}")

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, what: str) -> None:
        """Do what tests/ray_nodes.py lists."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        if self.heard() != "done":
            raise WrongError(f"the cluster could not do: {what}")

    def end(self) -> None:
        self.process.communicate(timeout=60)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def jobs(root: Path) -> list[int]:
    """The processes in which jobs of this root train: a fork server's children."""
    found = processes(root)
    return [pid for pid in found if parent(pid) in found]


def agents(root: Path) -> list[int]:
    """Those from which the fork servers were started."""
    found = processes(root)
    return sorted({parent(pid) for pid in found} - set(found))


def ended(pids: list[int]) -> float:
    """Seconds until these processes have ended. Raises WrongError if that takes too long."""
    began = time.monotonic()
    while left := [pid for pid in pids if Path(f"/proc/{pid}/cwd").exists() and _lives(pid)]:
        if time.monotonic() - began > OUTLIVE:
            raise WrongError(f"{len(left)} processes are there after {OUTLIVE:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Trial:
    """A sweep in a root of its own, which is disturbed once."""

    def __init__(self, kind: str, number: int, nodes: Nodes, root: Path) -> None:
        self.kind = kind
        self.nodes = nodes
        self.root = root
        self.rng = random.Random(number)
        self.home = Store(root / "runs")

    def start(self, *more: str, out: str = "out") -> subprocess.Popen[bytes]:
        return kill.train(self.root, [*WORDS, *self.nodes.words, *more], out)

    def come(
        self, process: subprocess.Popen[bytes], latest: int = EPOCHS // 2, at_work: int = 1
    ) -> None:
        """Wait until so many jobs are in their midst, at most so many epochs after their start."""
        epochs = self.rng.randint(2, latest)
        deadline = time.monotonic() + 180
        while at_work > sum(epochs <= len(run.epochs()) < EPOCHS - 10 for run in self.home.runs()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise WrongError(f"the sweep did not get to a moment (see {self.root})")
            time.sleep(0.01)

    def said(self, out: str = "out") -> str:
        return (self.root / out).read_text(errors="replace")

    def expect(self, code: int, process: subprocess.Popen[bytes], *words: str) -> None:
        kill._same("exit code", kill.end(process, "the sweep"), code)
        for text in words:
            if text not in self.said():
                raise WrongError(f"{text!r} was not said (see {self.root})")
        if "[state-dump]" in self.said() or "Traceback" in self.said():
            raise WrongError(f"Ray's own words were said (see {self.root})")

    def disturb(self) -> str:
        """Disturb the sweep; return what was seen."""
        kinds: dict[str, Callable[[], str]] = {
            "job": self.job,
            "agent": self.agent,
            "raylet": self.raylet,
            "node": self.node,
            "head": self.head,
            "kill": self.killed,
            "term": lambda: self.signalled(signal.SIGTERM, 143),
            "int": lambda: self.signalled(signal.SIGINT, 130),
            "twice": self.twice,
            "limit": self.limit,
        }
        return kinds[self.kind]()

    def job(self) -> str:
        process = self.start()
        self.come(process)
        os.kill(self.rng.choice(jobs(self.root)), signal.SIGKILL)
        self.expect(0, process, "died: SIGKILL; unfinished", ALONE)
        return "retried"

    def agent(self) -> str:
        process = self.start()
        self.come(process, 3, at_work=2)  # or the killed one's job may just have finished
        os.kill(self.rng.choice(agents(self.root)), signal.SIGKILL)
        self.expect(0, process, "of the Ray cluster was lost\n", LOST)
        return "went on"

    def raylet(self) -> str:
        process = self.start()
        self.come(process)
        at_work = processes(self.root)
        self.nodes.do("raylet")
        deadline = time.monotonic() + OUTLIVE
        while set(at_work) <= set(processes(self.root)):
            if time.monotonic() > deadline:
                raise WrongError("the jobs of a node whose Ray was killed go on")
            time.sleep(0.05)
        seconds = time.monotonic() - deadline + OUTLIVE
        self.expect(0, process, "of the Ray cluster was lost\n")  # its job may just have finished
        self.nodes.do("kill")
        self.nodes.do("add 1")
        return f"its jobs were gone after {seconds:.1f} s"

    def node(self) -> str:
        process = self.start()
        self.come(process)
        self.nodes.do("kill")
        self.expect(0, process, "of the Ray cluster was lost\n")  # its job may just have finished
        self.nodes.do("add 1")
        return "went on"

    def head(self) -> str:
        process = self.start()
        self.come(process, 3)  # or the other node has done all before Ray gives up
        self.nodes.do("head")
        began = time.monotonic()
        self.expect(1, process, "the cluster was lost (what Ray says: ", "issue the same command")
        seconds = time.monotonic() - began
        for log in re.findall(r"what Ray says: ([^)]*)", self.said()):
            Path(log).unlink()
        (manifest,) = self.home.manifests()
        if manifest["status"] == "running":
            raise WrongError("the sweep's manifest says that it is running")
        ended(processes(self.root))
        self.nodes.end()
        self.nodes = Nodes(1, 1)
        return f"said after {seconds:.0f} s"

    def killed(self) -> str:
        process = self.start()
        self.come(process)
        at_work = processes(self.root)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return f"its jobs were gone after {ended(at_work):.1f} s"

    def signalled(self, number: signal.Signals, code: int) -> str:
        process = self.start()
        self.come(process)
        at_work = processes(self.root)
        os.kill(process.pid, number)
        self.expect(code, process, "at the last checkpoint; Ctrl-C again: at once")
        return f"its jobs were gone after {ended(at_work):.1f} s"

    def twice(self) -> str:
        """The other gets the nodes once this one has ended, and finds all runs finished."""
        process, other = self.start(), self.start(out="other")
        kill._same("exit code", kill.end(other, "the other sweep"), 0)
        self.expect(0, process)
        return "both ended"

    def limit(self) -> str:
        process = self.start(f"sweep.time_limit={self.rng.uniform(1, 3):.1f}")
        self.expect(1, process, "sweep.time_limit=", "runs did not finish", "for just those")
        return "cut"

    def finish(self, reference: dict[str, str | None]) -> None:
        """Issue the command again, and compare. Raises WrongError if the end is not as the reference."""
        self.expect(0, self.start(out="again"))
        kill._same("weights", weights(self.root), reference)
        ended(processes(self.root))
        kill._same("files of launchers", [file.name for file in self.home.root.glob(".*")], [])


KINDS = ("job", "agent", "kill", "raylet", "int", "twice", "node", "term", "limit", "head")


def trial(
    kind: str, number: int, nodes: Nodes, root: Path, reference: dict[str, str | None]
) -> tuple[str, Nodes]:
    """Disturb a sweep and let it end; return what was seen, and the cluster that is there now."""
    root.mkdir()
    done = Trial(kind, number, nodes, root)
    seen = done.disturb()
    done.finish(reference)
    shutil.rmtree(root)
    return seen, done.nodes


def refer(root: Path) -> dict[str, str | None]:
    """The weights of an undisturbed sweep on this machine."""
    root.mkdir()
    process = kill.train(root, [*WORDS, "hydra/launcher=sweeplab"])
    kill._same("the reference's exit code", kill.end(process, "the reference"), 0)
    found = weights(root)
    kill._same("runs of the reference", len(found), JOBS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=len(KINDS), help="disturbances in all")
    parser.add_argument("--only", choices=KINDS, nargs="*", default=KINDS)
    given = parser.parse_args()
    os.environ |= ENVIRONMENT
    folder = Path(tempfile.mkdtemp(prefix="disturb-ray-"))
    reference = refer(folder / "reference")
    nodes = Nodes(1, 1)
    for number in range(given.count):
        kind = given.only[number % len(given.only)]
        began = time.monotonic()
        seen, nodes = trial(kind, number, nodes, folder / f"trial{number}", reference)
        seconds = time.monotonic() - began
        print(f"trial {number + 1}: {kind}: {seen}; as the reference, {seconds:.0f} s", flush=True)
    nodes.end()
    print(f"{given.count} sweeps ended as the reference")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
