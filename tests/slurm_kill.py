"""The kill program for sweeps on Slurm: something is taken away at a random moment, and nothing may come of it.

    uv run python tests/slurm_kill.py --count 30

Each trial is a sweep on a Slurm of two nodes of its own, and one disturbance of those in DISTURBANCES; a command that
was ended is issued again. All runs must then have the weights of one machine's sweep; none may have been started or
ended twice; and no job, process or leased core may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import kill
import kill_sweep
from kill import WrongError
from slurm_here import Slurm, missing

from sweeplab.store import Event, Run, Store

SWEEP = (
    *("-m", "data=digits", "tracking=off", "model.dropout=0.2", "model.hidden=16,32"),
    *("seed=range(4)", "trainer.epochs=100", "trainer.patience=null", "trainer.threads=1"),
    *("trainer.checkpoint_every=0", "sweep.report=false"),  # a checkpoint after each epoch
)
RUNS = 8
LONG = "trainer.epochs=400"  # for runs that a minute of Slurm's does not do for
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.workers=3")
SETTLING = 100.0  # seconds in which the last worker must have left Slurm's queue: it asks a lost node again after 60
WORKER, JOB, STEP = "sweeplab.commands.cli", "sweeplab.sweep.preload", "slurmstepd"


@dataclass
class Trial:
    """A sweep, and what is done to it."""

    root: Path
    slurm: Slurm
    rng: random.Random
    codes: list[int] = field(default_factory=list)  # of the commands, in their order
    said: str = ""  # by the last command
    victim: str = ""
    words: tuple[str, ...] = ()  # further overrides

    def issue(self, out: str = "out") -> subprocess.Popen[bytes]:
        self.out = out
        os.environ["SLURM_CONF"] = str(self.slurm.conf)  # for `kill.command`, which hands it on
        return kill.train(self.root, (*SWEEP, *ON_SLURM, *self.words), out, loaded=False)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the command's end."""
        self.codes.append(kill.end(process, "the sweep"))
        self.said = (self.root / self.out).read_text()

    def finish_all(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the command's end, and issue it once more if it was not done."""
        self.finish(process)
        if self.codes[-1] != 0:
            self.finish(self.issue("again"))

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until some runs have begun, and a moment more."""
        begun, seconds = self.rng.randint(1, RUNS - 1), self.rng.uniform(0, 1.5)
        kill_sweep.come(self.root, process, begun, seconds)

    def processes(self, words: str) -> list[int]:
        """List the processes below this Slurm's daemons whose command line has these words."""
        found = []
        conf = f"SLURM_CONF={self.slurm.conf}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    line = (folder / "cmdline").read_bytes().decode(errors="replace")
                    if words in line and conf in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
                except OSError:  # gone meanwhile
                    continue
        return found

    def workers(self) -> list[int]:
        return [pid for pid in self.processes(WORKER) if "\0work\0" in command_line(pid)]

    def jobs(self) -> list[int]:
        """List the processes that train: the children of the fork servers."""
        servers = self.processes(JOB)
        return [pid for pid in servers if parent(pid) in servers]

    def strike(self, find: Callable[[], list[int]], process: subprocess.Popen[bytes]) -> None:
        """Kill one of these, at a random moment."""
        self.wait(process)
        while process.poll() is None:
            pids = find()
            if pids:
                pid = self.rng.choice(pids)
                self.victim = str(pid)
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


# --- disturbances; each waits for the end of the sweep, and says what it expects


def cancel_one(trial: Trial) -> None:
    """One element of the array is cancelled: the others take over its run."""
    process = trial.issue()
    trial.wait(process)
    running = [line.split()[0] for line in trial.slurm.queue() if line.endswith(" R")]
    said = []
    if running:
        trial.victim = trial.rng.choice(running)
        trial.slurm.say("scancel", trial.victim)
        state = trial.slurm.say("scontrol", "show", "job", trial.victim)
        if "JobState=COMPLETED" not in state:  # it may just have ended by itself
            said = [f"Slurm job {trial.victim}: CANCELLED"]
    trial.finish(process)
    expect(trial, [0], *said)


def kill_worker(trial: Trial) -> None:
    process = trial.issue()
    trial.strike(trial.workers, process)
    trial.finish(process)
    expect(trial, [0])


def kill_job(trial: Trial) -> None:
    """The process that trains is killed, as for want of memory: that is told; issued again, it is done."""
    process = trial.issue()
    trial.strike(trial.jobs, process)
    trial.finish(process)
    if trial.codes[0] != 0:
        expect(trial, [1], "died: SIGKILL; unfinished", "issue the same command again")
        trial.finish(trial.issue("again"))
    expect(trial, [*trial.codes[:-1], 0])


def kill_step(trial: Trial) -> None:
    """Slurm's own daemon of a job is killed: nobody tells Slurm how the job goes on."""
    process = trial.issue()
    trial.strike(lambda: trial.processes(STEP), process)
    trial.finish(process)
    expect(trial, [0])


def restart_node(trial: Trial) -> None:
    """The daemon of a node dies and is started again: its workers go on."""
    lose(trial, lambda: None, trial.rng.uniform(0, 5))


def lose_node(trial: Trial) -> None:
    """A node dies with all that runs on it, and comes back after Slurm has noticed."""

    def kill_all() -> None:
        for pid in [*trial.processes(STEP), *trial.workers(), *trial.processes(JOB)]:
            if f"SLURMD_NODENAME={trial.victim}" in environment(pid) or on_node(trial, pid):
                os.kill(pid, signal.SIGKILL)

    lose(trial, kill_all, trial.rng.uniform(10, 30))


def lose(trial: Trial, more: Callable[[], None], seconds: float) -> None:
    """Kill the daemon of a node at a random moment, and more; start it again after so long."""
    process = trial.issue()
    trial.wait(process)
    trial.victim = trial.rng.choice(trial.slurm.nodes)
    trial.slurm.kill(trial.victim)
    more()
    time.sleep(seconds)
    trial.slurm.start(trial.victim)
    trial.finish(process)
    expect(trial, [0])


def on_node(trial: Trial, pid: int) -> bool:
    """Whether a step daemon belongs to the node that dies."""
    files = Path(f"/proc/{pid}/fd")
    try:
        return any(f"{trial.victim}_" in str(file.readlink()) for file in files.iterdir())
    except OSError:
        return False


def environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def restart_controller(trial: Trial) -> None:
    process = trial.issue()
    trial.wait(process)
    trial.slurm.kill("slurmctld")
    time.sleep(trial.rng.uniform(0, 12))
    trial.slurm.start("slurmctld")
    trial.finish(process)
    expect(trial, [0])


def end_launcher(trial: Trial, number: signal.Signals, code: int) -> None:
    """The command is ended: the workers go on; issued again, it takes them as they are."""
    process = trial.issue()
    trial.wait(process)
    before = jobs_in(trial.slurm.queue())
    hit = process.poll() is None
    process.send_signal(number)
    trial.finish(process)
    if hit and trial.codes[0] != 0:
        words = [] if number == signal.SIGKILL else ["scancel", "sweeplab work"]
        expect(trial, [code], *words)
        time.sleep(trial.rng.choice([0.0, trial.rng.uniform(0, 4)]))
        trial.finish(trial.issue("again"))
        again = jobs_in(trial.slurm.queue())
        if not again <= before:
            raise WrongError(f"submitted again: {again - before}")
    expect(trial, [*trial.codes[:-1], 0])


def jobs_in(queue: list[str]) -> set[str]:
    """Return the ids of the jobs that Slurm's queue is of."""
    return {line.split("_")[0] for line in queue}


def kill_launcher(trial: Trial) -> None:
    end_launcher(trial, signal.SIGKILL, -signal.SIGKILL)


def interrupt_launcher(trial: Trial) -> None:
    end_launcher(trial, signal.SIGINT, 130)


def terminate_launcher(trial: Trial) -> None:
    end_launcher(trial, signal.SIGTERM, 143)


def two_launchers(trial: Trial) -> None:
    """The same command twice: one leads, the other waits for it."""
    first = trial.issue("one")
    if trial.rng.random() < 0.5:
        trial.wait(first)
    second = trial.issue("other")
    trial.codes.append(kill.end(first, "the first command"))
    trial.finish(second)
    expect(trial, [0, 0])


def time_limit(trial: Trial) -> None:
    """Slurm's time for a worker is over before its jobs are done: it goes on in another."""
    trial.words = ("hydra.launcher.time=1", "hydra.launcher.grace=40", LONG)
    trial.finish(trial.issue())
    expect(trial, [0])


def preempt(trial: Trial) -> None:
    """Somebody whose partition goes first takes all nodes for some seconds."""
    process = trial.issue()
    trial.wait(process)
    wide = ("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    trial.slurm.say("sbatch", *wide)
    trial.finish(process)
    expect(trial, [0])


DISTURBANCES: dict[str, Callable[[Trial], None]] = {
    each.__name__: each
    for each in (
        *(cancel_one, kill_worker, kill_job, kill_step, restart_node, lose_node),
        *(restart_controller, kill_launcher, interrupt_launcher, terminate_launcher),
        *(two_launchers, time_limit, preempt),
    )
}


# --- what must be so


def expect(trial: Trial, codes: list[int], *words: str) -> None:
    """Raise WrongError unless the commands ended so, and the last one said these words."""
    kill._same("exit codes", trial.codes, codes)
    absent = [word for word in words if word not in trial.said]
    if absent:
        raise WrongError(f"the command did not say {absent}")
    if trial.codes[-1] == 0 and f"{RUNS} finished" not in trial.said:
        raise WrongError("the command does not say that all runs are finished")


def check(trial: Trial, reference: dict[str, str | None]) -> None:
    """Raise WrongError unless the runs are as the reference, and nothing is left in Slurm."""
    kill._same("weights", kill_sweep.weights(trial.root), reference)
    for run in Store(trial.root / "runs").runs():
        check_journal(run)
    for folder in (trial.root / "runs/sweeps").glob("*.work"):
        left = [str(file) for each in ("open", "taken") for file in (folder / each).rglob("*-*")]
        kill._same("left on the board", [name for name in left if Path(name).is_file()], [])
    deadline = time.monotonic() + SETTLING
    trial.slurm.resume_drained()
    while trial.slurm.queue() or not trial.slurm.ready() or trial.workers() or trial.processes(JOB):
        if time.monotonic() > deadline:
            left = [trial.slurm.queue(), trial.slurm.states(), trial.workers(), trial.jobs()]
            raise WrongError(f"left after {SETTLING:.0f} s: {left}")
        time.sleep(0.1)


def check_journal(run: Run) -> None:
    """Raise WrongError if more was trained again than one epoch, the first, for want of a checkpoint."""
    epochs = 0  # in the journal so far
    for event in run.journal.events():
        if event["event"] == Event.EPOCH:
            epochs = event["epoch"]
        if event["event"] == Event.DIFFERS:
            raise WrongError(f"run {run.id}: {event}")
        if event["event"] in (Event.START, Event.RESUME):
            begun = event.get("epoch", 0)  # after which epoch
            if begun < epochs - 1:
                raise WrongError(f"run {run.id}: {event['event']} at {begun}, after {epochs}")


def refer(folder: Path, *words: str) -> dict[str, str | None]:
    """Return the weights of the sweep on this machine alone."""
    root = folder / f"reference{len(words)}"
    root.mkdir()
    process = kill.train(root, (*SWEEP, *words), loaded=False)
    kill._same("the reference's exit code", kill.end(process, "the reference"), 0)
    return kill_sweep.weights(root)


def torment(name: str, trial: Trial, reference: dict[str, str | None]) -> str:
    """Return what is wrong after this disturbance; '' if nothing is."""
    trial.root.mkdir()
    try:
        DISTURBANCES[name](trial)
        check(trial, reference)
    except (WrongError, AssertionError, subprocess.CalledProcessError) as error:
        trial.slurm.clear()
        return f"{error} (see {trial.root})"
    shutil.rmtree(trial.root)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=30, help="disturbances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=DISTURBANCES, nargs="+", default=list(DISTURBANCES))
    given = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-kill-"))
    references = {False: refer(folder)}
    slurm = Slurm(folder / "slurm", nodes=2, cpus=2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the daemons would stay
    wrong = 0
    try:
        for number in range(given.count):
            name = given.only[number % len(given.only)]
            rng = random.Random(f"{given.seed}/{number}")
            trial = Trial(folder / f"trial{number}", slurm, rng)
            began = time.monotonic()
            if name == "time_limit" and True not in references:
                references[True] = refer(folder, LONG)
            fault = torment(name, trial, references[name == "time_limit"])
            wrong += bool(fault)
            seconds = f"{time.monotonic() - began:.0f} s"
            print(
                f"{number} {name} {trial.victim}: {fault or 'as the reference'}, {seconds}",
                flush=True,
            )
    finally:
        slurm.end()
    print(f"{given.count - wrong} of {given.count} ended as the reference")
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
