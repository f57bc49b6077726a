"""What a job of a sweep costs beside its training: ours, on Ray too, and Hydra's own launchers, in one table.

    uv run python -m benchmarks.sweeps --jobs 1000 --peers 60
    uv run python -m benchmarks.sweeps --jobs 1000 --only sweeplab ray

The jobs have one step. Each command is run twice, with few and with many of them; the cost of a job is the difference, so that start-up does not
count, less the training itself (the run's `seconds`), with two workers. Memory is the peak of the sum of the
proportional set sizes of the command's processes, where shared pages count once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sweeplab import metrics
from sweeplab.store import Store

PROJECT = Path(__file__).parent.parent
STEP = (
    "data=digits",
    "trainer.epochs=1",
    "trainer.limit_batches=1",
    "trainer.threads=1",
    "tracking=off",
)
WORKERS = 2
LAUNCHERS = {
    "sweeplab": ("hydra/launcher=sweeplab", f"sweep.workers={WORKERS}"),
    "ray": ("hydra/launcher=ray_local", f"sweep.workers={WORKERS}"),
    "hydra joblib": ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}"),
    "hydra basic": ("hydra/launcher=basic",),
}


@dataclass
class Measured:
    """A command that has ended."""

    seconds: float
    mebibytes: float  # peak


def measured(root: Path, *words: str) -> Measured:
    """`python train.py -m ...` in this root. Raises CalledProcessError if it fails."""
    began = time.monotonic()
    with (root / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "train.py"), "-m", *STEP, *words],
            cwd=root,
            stdout=out,
            stderr=out,
        )
        peak = [0.0]
        watch = threading.Thread(target=_watch, args=(process, peak))
        watch.start()
        code = process.wait()
    seconds = time.monotonic() - began
    watch.join()
    if code != 0:
        raise subprocess.CalledProcessError(code, words, (root / "out").read_text())
    return Measured(seconds, peak[0])


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(pss(pid) for pid in tree(process.pid)))
        time.sleep(1.0)


def tree(root: int) -> list[int]:
    """The process and all below it."""
    found = [root]
    for pid in found:  # it grows on the way
        found += children(pid)
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started; none if it has gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except OSError:
            continue
    return found


def pss(pid: int) -> float:
    """The proportional set size of a process in MiB; 0 if it has gone."""
    return mebibytes(pid, "smaps_rollup", "Pss")


def mebibytes(pid: int, file: str, key: str) -> float:
    """What this file of /proc/PID says of it; 0 if the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), 0.0)


def step(root: Path) -> float:
    """Median seconds that the runs of this root trained."""
    results = (run.result() for run in Store(root / "runs").runs())
    return statistics.median(result.metrics[metrics.SECONDS] for result in results if result)


def cost(words: tuple[str, ...], few: int, many: int) -> dict[str, float]:
    """Of one launcher."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        short = measured(Path(first), *words, f"seed=range({few})")
        long = measured(Path(second), *words, f"seed=range({many})")
        trained = step(Path(second))
        each = (long.seconds - short.seconds) / (many - few)
        again = measured(Path(second), *words, f"seed=range({many})")
    return {
        "jobs": many,
        "start-up (s)": short.seconds - few * each,
        "a job (ms)": 1000 * each,
        "its training (ms)": 1000 * trained,
        "overhead (ms)": 1000
        * (each - trained / (1 if "hydra/launcher=basic" in words else WORKERS)),
        "peak memory (MiB)": long.mebibytes,
        "issued again (s)": again.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000, help="of our own launchers")
    parser.add_argument("--peers", type=int, default=60, help="jobs of Hydra's launchers")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured, in turn")
    parser.add_argument(
        "--only", nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS), help="these launchers"
    )
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.only}
    for _ in range(given.rounds):
        for name in given.only:
            words, many = LAUNCHERS[name], given.peers if name.startswith("hydra") else given.jobs
            found[name].append(cost(words, max(4, many // 10), many))
            print(
                name, json.dumps({k: round(v, 1) for k, v in found[name][-1].items()}), flush=True
            )
    columns = list(next(iter(found.values()))[0])
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, median of {given.rounds}\n"
    )
    print("| launcher | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for name, rows in found.items():
        print(
            f"| {name} | "
            + " | ".join(f"{statistics.median(r[c] for r in rows):,.1f}" for c in columns)
            + " |"
        )


if __name__ == "__main__":
    main()
