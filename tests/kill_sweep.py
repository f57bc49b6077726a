"""The kill program for sweeps: the launcher is killed at random moments and issued again until the sweep has ended.

    uv run python tests/kill_sweep.py --count 20

All runs must then have the weights of an undisturbed sweep, none may have been trained to its end twice, and MLflow
must hold one parent with all children, each metric once. No process may outlive its launcher by more than 5 s.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import kill
from kill import WrongError

from sweeplab.store import Event, Run, Status, Store

COMMON = ("-m", "data=digits", "model.dropout=0.2", "trainer.epochs=150", "trainer.patience=null")
SWEEPS = {
    4: (*COMMON, "model.hidden=16,32", "seed=0,1"),
    12: (*COMMON, "model.hidden=16,32,48", "seed=range(4)"),
}
OUTLIVE = 5.0  # seconds


@dataclass
class Trial:
    """What was done to a sweep."""

    kills: list[str] = field(default_factory=list)
    outlived: list[float] = field(
        default_factory=list
    )  # seconds that the last process was there after its launcher


def processes(root: Path) -> list[int]:
    """The fork server of a sweep in this root and its jobs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
                name = (folder / "comm").read_text()  # "sweep": of one that ready.py has forked
                is_of_a_sweep = "sweeplab.sweep.preload" in words or name == "sweep\n"
                if is_of_a_sweep and (folder / "cwd").resolve() == root.resolve():
                    found.append(int(folder.name))
            except OSError:  # gone meanwhile
                continue
    return found


def gone(root: Path) -> float:
    """Seconds until no process of the sweep is left. Raises WrongError if that takes too long."""
    began = time.monotonic()
    while left := processes(root):
        if time.monotonic() - began > OUTLIVE:
            raise WrongError(
                f"{len(left)} processes are there {OUTLIVE:.0f} s after their launcher"
            )
        time.sleep(0.02)
    return time.monotonic() - began


def weights(root: Path) -> dict[str, str | None]:
    """Fingerprint -> digest of the weights, of a sweep that has ended. Raises WrongError if a run has not, or twice."""
    found = {}
    for run in Store(root / "runs").runs():
        ends = [
            e
            for e in run.journal.events()
            if e["event"] == Event.END and e["status"] == Status.FINISHED
        ]
        result = run.result()
        if result is None or result.status != Status.FINISHED or len(ends) != 1:
            raise WrongError(f"run {run.id} is {run.status}, with {len(ends)} ends")
        found[result.fingerprint] = result.weights_sha256
    return found


def mlflow(root: Path, jobs: int) -> None:
    """Raises WrongError unless MLflow has one parent with a child for each run, and each metric of these once."""
    database = sqlite3.connect(root / "mlflow.db", timeout=30)
    try:
        parents = dict(
            database.execute(
                "select run_uuid, value from tags where key = 'mlflow.parentRunId'"
            ).fetchall()
        )
        prints = dict(
            database.execute(
                "select run_uuid, value from tags where key = 'fingerprint'"
            ).fetchall()
        )
        states = dict(
            database.execute(
                "select run_uuid, status from runs where lifecycle_stage = 'active'"
            ).fetchall()
        )
        rows = database.execute("select run_uuid, key, step, value from metrics").fetchall()
    finally:
        database.close()
    kill._same("states in MLflow", Counter(states.values()), Counter({"FINISHED": jobs + 1}))
    kill._same("parents", len(set(parents.values())), 1)
    kill._same("children", set(parents), set(prints))
    kill._same("fingerprints", len(set(prints.values())), jobs)
    for run_id, fingerprint in prints.items():
        kill._same(
            f"metrics of {run_id}",
            sorted(r[1:] for r in rows if r[0] == run_id),
            expected(root, fingerprint),
        )


def expected(root: Path, fingerprint: str) -> list[tuple[str, int, float]]:
    run: Run = Store(root / "runs").run(fingerprint)
    result, epochs = run.result(), run.epochs()
    assert result is not None
    each = [(name, n, value) for n, values in epochs.items() for name, value in values.items()]
    return sorted(each + [(name, max(epochs), value) for name, value in result.metrics.items()])


def refer(folder: Path, jobs: int) -> tuple[dict[str, str | None], float]:
    """(weights, seconds) of an undisturbed sweep."""
    root = folder / "reference"
    root.mkdir()
    began = time.monotonic()
    kill._same(
        "the reference's exit code",
        kill.end(kill.train(root, SWEEPS[jobs], loaded=False), "the reference"),
        0,
    )
    seconds = time.monotonic() - began
    found = weights(root)
    kill._same("runs of the reference", len(found), jobs)
    kill.sync(root)
    mlflow(root, jobs)
    return found, seconds


def trial(
    number: int,
    jobs: int,
    most: int,
    reference: dict[str, str | None],
    seconds: float,
    folder: Path,
) -> Trial:
    """Kill the launcher at most so many times, once at least. Raises WrongError if the end is not as the reference."""
    rng, done, root = random.Random(number), Trial(), folder / f"trial{number}"
    root.mkdir()
    code = -signal.SIGKILL
    while code != 0:
        process = kill.train(root, SWEEPS[jobs], loaded=False)
        if len(done.kills) < most and rng.random() < (0.8 if done.kills else 1):
            moment = draw(rng, jobs, seconds)
            come(root, process, *moment)
            if process.poll() is None:
                os.kill(
                    process.pid, signal.SIGKILL
                )  # the launcher alone: its jobs have to find out
                process.wait()
                statuses = Counter(run.status for run in Store(root / "runs").runs())
                done.kills.append(
                    f"{moment[1]:.1f} s after run {moment[0]} began ({', '.join(f'{n} {s}' for s, n in statuses.items()) or 'no run'})"
                )
                done.outlived.append(gone(root))
        code = kill.end(process, "the sweep")
        if code not in (0, -signal.SIGKILL):
            raise WrongError(f"the sweep ended with {code} (see {root})")
    gone(root)
    kill._same("weights", weights(root), reference)
    kill.sync(root)
    mlflow(root, jobs)
    kill.leave(root)
    shutil.rmtree(root)
    return done


def draw(rng: random.Random, jobs: int, seconds: float) -> tuple[int, float]:
    """So many seconds after so many runs have begun: one in four by the clock alone, which is start-up, and the end."""
    return (
        (0, rng.uniform(0, seconds))
        if rng.random() < 0.25
        else (rng.randint(1, jobs), rng.uniform(0, 1.5))
    )


def come(root: Path, process: subprocess.Popen[bytes], begun: int, seconds: float) -> None:
    """Wait for this moment, or until the process has ended."""
    while process.poll() is None and len(Store(root / "runs").runs()) < begun:
        time.sleep(0.005)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20, help="kills in all")
    parser.add_argument("--jobs", type=int, choices=SWEEPS, default=12, help="of the sweep")
    given = parser.parse_args()
    count, jobs = given.count, given.jobs
    folder = Path(tempfile.mkdtemp(prefix="kill-sweep-"))
    reference, seconds = refer(folder, jobs)
    print(f"reference: {jobs} runs in {seconds:.1f} s", flush=True)
    trials: list[Trial] = []
    while (so_far := sum(len(t.kills) for t in trials)) < count:
        trials.append(trial(len(trials), jobs, min(4, count - so_far), reference, seconds, folder))
        print(
            f"trial {len(trials)}: as the reference; killed {'; '.join(trials[-1].kills)}",
            flush=True,
        )
    longest = max(max(t.outlived, default=0.0) for t in trials)
    print(
        f"{len(trials)} sweeps ended as the reference after {so_far} kills; no process was there after {longest:.2f} s"
    )
    shutil.rmtree(folder)
    sys.exit(0)


if __name__ == "__main__":
    main()
