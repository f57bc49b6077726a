"""Does training notice that the MLflow server is away? One run on MNIST, the server up and away in turn.

    uv run python -m benchmarks.outage --data data --pairs 5

Prints the median epoch of each phase and the ratio away / up; and looks that MLflow has each metric once in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scipy.stats import t

from sweeplab import tracking
from sweeplab.store import Event, Store

PROJECT = Path(__file__).parent.parent
AWAY = 20.0  # seconds


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for it. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(0.2)


def epochs(root: Path) -> list[dict[str, float]]:
    """Of the one run: `time` it was journalled and its `seconds`."""
    return [
        e
        for run in Store(root / "runs").runs()
        for e in run.journal.events()
        if e["event"] == Event.EPOCH
    ]


def rows(root: Path) -> int:
    """How many metric values MLflow has."""
    connection = sqlite3.connect(root / "mlflow.db", timeout=30)
    try:
        return int(connection.execute("select count(*) from metrics").fetchone()[0])
    finally:
        connection.close()


def phase(root: Path, seconds: float) -> tuple[float, int]:
    """Median seconds and number of the epochs that lie in the next so many seconds from end to end."""
    began = time.time()
    time.sleep(seconds)
    ended = time.time()
    inside = [
        e["seconds"]
        for e in epochs(root)
        if e["time"] - e["seconds"] >= began and e["time"] <= ended
    ]
    return statistics.median(inside), len(inside)


def measure(root: Path, data: Path, pairs: int) -> list[tuple[float, float]]:
    """(median epoch with the server up, away), pair by pair."""
    found = []
    uri, port = f"sqlite:///{root / 'mlflow.db'}", 5700
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        base = server.enter_context(tracking.serve(uri, port))
        long = [
            "trainer.epochs=100000",
            "trainer.limit_batches=100",
            "trainer.patience=null",
            "trainer.threads=1",
        ]
        long.append(f"data.root={data.absolute()}")
        words = [
            sys.executable,
            str(PROJECT / "train.py"),
            *long,
            f"tracking.uri={base}",
            "tracking.wait=60",
        ]
        with (root / "out").open("wb") as out:
            process = stack.enter_context(subprocess.Popen(words, cwd=root, stdout=out, stderr=out))
        stack.callback(process.terminate)
        for number in range(pairs):
            until(lambda: rows(root) >= 4 * (len(epochs(root)) - 1) > 0)  # the feeder has caught up
            up, n = phase(root, AWAY)
            server.close()
            away, m = phase(root, AWAY)
            print(
                f"pair {number}: up {up:.3f} s ({n} epochs), away {away:.3f} s ({m}), ratio {away / up:.3f}",
                flush=True,
            )
            server.enter_context(tracking.serve(uri, port))
            found.append((up, away))
        process.terminate()
        process.wait()
        until(lambda: rows(root) == 4 * len(epochs(root)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="a data.root with MNIST in it, or for it"
    )
    parser.add_argument("--pairs", type=int, default=12, help="at least 2")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.data, given.pairs)
        ratios = [away / up for up, away in found]
        half = float(t.ppf(0.975, len(ratios) - 1)) * statistics.stdev(ratios) / len(ratios) ** 0.5
        print(
            f"ratio away / up: median {statistics.median(ratios):.3f}, mean {statistics.fmean(ratios):.3f} +- {half:.3f} "
            f"(95 %), {min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}"
        )
        print(
            json.dumps(
                {
                    "pairs": found,
                    "metric values in MLflow": rows(Path(folder)),
                    "epochs": len(epochs(Path(folder))),
                }
            )
        )


if __name__ == "__main__":
    main()
