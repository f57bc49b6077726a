"""A sweep on a Slurm with short arrays and few jobs: by workers, beside one Slurm job for each run.

    uv run python -m benchmarks.cluster --runs 300

starts a Slurm of two nodes with two CPUs each on this machine (root, with the packages that `tests/slurm_here.py` names),
which takes arrays of at most 101 elements and 10 jobs of a user. Prints for each way how many runs finished, in how many
Slurm jobs, the seconds a run, how many of them it trained, and what is left as overhead.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import PROJECT, TRAIN, command
from benchmarks.stores import our_metric

sys.path.insert(0, str(PROJECT / "tests"))

import slurm_here

NODES, CPUS = 2, 2
MAX_ARRAY, MAX_SUBMIT = 101, 10
WORKERS, JOBS = "workers", "a job for each run"
ONE = (
    *("data=digits", "model=linear", "trainer.epochs=2", "trainer.threads=1"),
    *("tracking=off", "trainer.progress=false"),
)


def by_workers(folder: Path, runs: int, workers: int) -> tuple[float, int]:
    """Return the seconds of one sweep whose jobs workers take, and how many Slurm jobs those were."""
    words = [
        *("-m", *ONE, f"seed=range({runs})", "sweep.report=false"),
        *("hydra/launcher=slurm", f"hydra.launcher.workers={workers}"),
    ]
    seconds = command([*TRAIN, *words], folder).seconds
    printed = (folder / "printed").read_text()
    arrays = re.findall(r"Slurm job \d+: (\d+) workers? submitted", printed)
    print(f"arrays submitted: {', '.join(arrays)}")
    return seconds, sum(map(int, arrays))


def by_jobs(folder: Path, runs: int) -> float:
    """Return the seconds that so many runs take as Slurm jobs of their own."""
    began = time.perf_counter()
    waiting = []
    for seed in range(runs):
        script = " ".join([*TRAIN, *ONE, f"seed={seed}"])
        words = ["sbatch", "--wait", "--output=%j.txt", "--cpus-per-task=1", f"--wrap={script}"]
        while sum(job.poll() is None for job in waiting) >= MAX_SUBMIT:
            time.sleep(0.1)
        waiting.append(subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL))
    codes = [job.wait() for job in waiting]
    assert codes == [0] * runs, f"exit codes {codes}"
    return time.perf_counter() - began


def say(way: str, folder: Path, seconds: float, jobs: int, runs: int) -> None:
    """Print what a way came to."""
    trained = our_metric(folder, "seconds")
    assert len(trained) == runs, f"{len(trained)} of {runs} runs finished"
    training, cpus = statistics.fmean(trained), NODES * CPUS
    print(
        f"{way}: {runs} runs finished by {jobs} Slurm jobs in {seconds:.1f} s; {cpus} CPUs at a time: "
        f"{seconds * cpus / runs:.2f} s of a CPU for a run, {training:.2f} of them training, "
        f"{seconds * cpus / runs - training:.2f} overhead",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=16, help="hydra.launcher.workers")
    parser.add_argument("--sample", type=int, default=10, help="runs with a Slurm job each")
    given = parser.parse_args()
    if reason := slurm_here.missing(accounting=True):
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        there = Path(name)
        with slurm_here.slurm(
            there / "slurm", nodes=NODES, cpus=CPUS, accounting=True, max_array=MAX_ARRAY
        ) as slurm:
            os.environ["SLURM_CONF"] = str(slurm.conf)
            limit = f"MaxSubmitJobsPerUser={MAX_SUBMIT}"
            slurm.account("modify", "qos", "normal", "set", limit)
            for way in (WORKERS, JOBS):
                folder = there / way.replace(" ", "-")
                folder.mkdir()
                if way == WORKERS:
                    runs = given.runs
                    seconds, jobs = by_workers(folder, runs, given.workers)
                else:
                    runs = jobs = given.sample
                    seconds = by_jobs(folder, runs)
                say(way, folder, seconds, jobs, runs)


if __name__ == "__main__":
    main()
