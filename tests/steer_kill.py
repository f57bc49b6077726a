"""The steering program: a sweep is stopped, paused, resumed, retried, detached, hung up and killed at random moments.

    uv run python tests/steer_kill.py --count 50

In the end its runs must have the weights of an undisturbed sweep, none may have been trained to its end twice, MLflow
must hold one parent with all children, each metric once, and no lease, request or process may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import kill
import kill_sweep
from kill import WrongError

from sweeplab import store
from sweeplab.store import Status, Store

JOBS = 4
SWEEP = (
    "-m",
    "data=digits",
    "model=linear",
    "model._target_=faulty.Paced",
    "+model.hidden=1,2",
    "+model.dropout=0.2",
    "seed=0,1",
    "trainer.limit_batches=2",
    "trainer.epochs=60",
    "trainer.patience=null",
    "sweep.workers=2",
    "sweep.report=false",
    "tracking.wait=120",
    "sweep.then=echo $SWEEPLAB_STATUS $SWEEPLAB_EXIT >> then",
)
MARK = b"faulty.Paced"  # in the words of each process that is or becomes a launcher
STEERED = ("stop", "pause", "resume", "retry")
OTHERS = ("command", "detach", "SIGKILL", "SIGHUP", "fault")
LIMIT = 600.0  # seconds in which a sweep that nobody disturbs any more ends


@dataclass
class Trial:
    """A sweep that is disturbed."""

    root: Path
    rng: random.Random
    done: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def disturb(self) -> None:
        """Do one thing to it, at a random moment."""
        time.sleep(self.rng.expovariate(1 / 0.8))
        what = self.rng.choice([*STEERED, *STEERED, *OTHERS])
        if what in STEERED:
            self.steer(what)
        elif what in ("SIGKILL", "SIGHUP"):
            self.kill(signal.Signals[what])
        elif what == "fault":
            self.fault({"1": "raise"})
            time.sleep(self.rng.uniform(0, 2))
            self.fault({})
            self.done.append("a run raises")
        elif not launchers(self.root):
            self.begin(detach=what == "detach")

    def begin(self, *, detach: bool = False) -> None:
        """Issue the command."""
        words = [*SWEEP, "sweep.detach=true"] if detach else SWEEP
        self.processes.append(kill.train(self.root, words, loaded=False))
        self.done.append("detached" if detach else "begun")

    def steer(self, word: str) -> None:
        """Issue one of the commands, for the sweep or one of its runs; it may become the sweep's."""
        names = ["latest", *[run.id for run in Store(self.root / "runs").runs()]]
        name = self.rng.choice([names[0], self.rng.choice(names)])
        program = ("-m", "sweeplab.commands.cli", word, name)
        process = kill.command(self.root, *program, loaded=False)
        self.processes.append(process)
        while process.poll() is None and not is_launcher(process.pid, self.root):
            time.sleep(0.02)
        if process.poll() not in (None, 0, 2):
            raise WrongError(f"sweeplab {word} {name} ended with {process.returncode}")
        self.done.append(f"{word} {'SWEEP' if name == 'latest' else 'RUN'} ({process.poll()})")

    def kill(self, number: signal.Signals) -> None:
        """Send all launchers a signal."""
        for pid in launchers(self.root):
            os.kill(pid, number)
            self.done.append(number.name)

    def fault(self, kinds: dict[str, str]) -> None:
        new = self.root / "faults.new"
        new.write_text(json.dumps(kinds))
        new.replace(self.root / "faults.json")

    def finish(self) -> None:
        """Let it come to its end. Raises WrongError if it does not."""
        (self.root / "slow").unlink()
        until = time.monotonic() + LIMIT
        while launchers(self.root) or not is_finished(self.root):
            if time.monotonic() > until:
                raise WrongError("it does not end")
            if not launchers(self.root):
                self.begin()
            self.steer("resume")
            time.sleep(1)
        self.begin()
        kill._same("the last exit code", kill.end(self.processes[-1], "the sweep"), 0)
        for process in self.processes:
            process.wait(kill.LIMIT)


def is_launcher(pid: int, root: Path) -> bool:
    """Whether this process trains a sweep in this root, or is about to."""
    folder = Path("/proc") / str(pid)
    try:
        is_here = (folder / "cwd").resolve() == root.resolve()
        return is_here and MARK in (folder / "cmdline").read_bytes()
    except OSError:  # gone meanwhile
        return False


def launchers(root: Path) -> list[int]:
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if is_launcher(pid, root)]


def is_finished(root: Path) -> bool:
    states = Counter(run.status for run in Store(root / "runs").runs())
    return states == {Status.FINISHED: JOBS}


def left(root: Path) -> list[str]:
    """Name the leases and requests that are there although nothing is at work."""
    home = Store(root / "runs")
    requests = [home.request(home.manifests()[-1]["id"]), *(run.request for run in home.runs())]
    found = [str(request.file) for request in requests if request.file.exists()]
    leases = Path(f"{root}.leases")
    return found + [file.name for file in leases.glob("*") if store.locked(file)]


def prepare(root: Path, *, slow: bool) -> None:
    root.mkdir()
    (root / "faults.json").write_text("{}")
    if slow:
        (root / "slow").touch()


def refer(folder: Path) -> dict[str, str | None]:
    """Return the weights of an undisturbed sweep."""
    root = folder / "reference"
    prepare(root, slow=False)
    process = kill.train(root, SWEEP, loaded=False)
    kill._same("the reference's exit code", kill.end(process, "the reference"), 0)
    return kill_sweep.weights(root)


def trial(number: int, count: int, reference: dict[str, str | None], folder: Path) -> Trial:
    """Disturb a sweep so often. Raises WrongError if it does not end as the reference."""
    root = folder / f"trial{number}"
    prepare(root, slow=True)
    done = Trial(root, random.Random(number))
    done.begin(detach=number % 3 == 1)
    kill_sweep.come(root, done.processes[0], 1, done.rng.uniform(0, 3))
    until = time.monotonic() + LIMIT
    while not Store(root / "runs").manifests() and time.monotonic() < until:
        time.sleep(0.05)
    begun = len(done.done)
    while len(done.done) < count + begun:
        done.disturb()
    done.finish()
    kill_sweep.gone(root)
    kill._same("weights", kill_sweep.weights(root), reference)
    kill.sync(root)
    kill_sweep.mlflow(root, JOBS)
    kill._same("what is left", left(root), [])
    kill._same("the last outcome", (root / "then").read_text().splitlines()[-1], "finished 0")
    kill.leave(root)
    shutil.rmtree(root)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20, help="disturbances in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    given = parser.parse_args()
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    folder = Path(tempfile.mkdtemp(prefix="steer-kill-"))
    reference = refer(folder)
    seen: Counter[str] = Counter()
    number = given.first
    while sum(seen.values()) < given.count:
        most = min(6, given.count - sum(seen.values()))
        done = trial(number, most, reference, folder)
        seen.update(done.done[1 : most + 1])
        print(f"trial {number}: as the reference; {', '.join(done.done)}", flush=True)
        number += 1
    listed = ", ".join(f"{name} {times}" for name, times in sorted(seen.items()))
    print(f"{number - given.first} sweeps ended as the reference after {listed}")
    shutil.rmtree(folder)
    sys.exit(0)


if __name__ == "__main__":
    main()
