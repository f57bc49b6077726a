"""How much of their memory the workers of a sweep share: real MNIST, runs of two epochs, one thread each.

    uv run python -m benchmarks.memory --workers 2,4 --data tests/.data

For each number of workers, at the moment when all processes of the command take most: the memory of a training
process counted alone (resident), its part of it where a page that n processes share counts 1/n (proportional), and what
it has for itself (unique); the share is what of its resident memory it has not for itself. Linux only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.measure import PROJECT, TRAIN, fresh
from benchmarks.sweeps import children, mebibytes

MEASURES = {
    "resident": ("Rss",),
    "proportional": ("Pss",),
    "unique": ("Private_Clean", "Private_Dirty"),
}
"""What is measured -> fields of the kernel's `smaps_rollup`."""
HEAD = ["process", *(f"{measure} (MiB)" for measure in MEASURES), "shared"]

Memory = dict[str, float]
"""Measure -> MiB of one process."""


def memory(pid: int) -> Memory:
    """What a process has; zeros if it has gone."""
    return {
        measure: sum(mebibytes(pid, "smaps_rollup", name) for name in names)
        for measure, names in MEASURES.items()
    }


def now(root: int) -> dict[str, list[Memory]]:
    """Look at the launcher, at the server that it has started, and at the jobs that this forks."""
    found: dict[str, list[Memory]] = {"launcher": [memory(root)], "fork server": [], "job": []}
    for child in children(root):
        jobs = children(child)
        if jobs:
            found["fork server"].append(memory(child))
            found["job"] += [memory(pid) for pid in jobs]
    return found


def together(found: dict[str, list[Memory]]) -> float:
    """What the processes take, with what several share counted once."""
    return sum(each["proportional"] for several in found.values() for each in several)


def peak(root: Path, data: Path, workers: int) -> dict[str, list[Memory]]:
    """Run a sweep; return what its processes had when they took most. Raises CalledProcessError."""
    words = [f"seed=range({2 * workers})", f"sweep.workers={workers}", "sweep.fuse=false"]
    words += [f"data.root={data}", "trainer.epochs=2", "trainer.threads=1", "tracking=off"]
    most: dict[str, list[Memory]] = {}
    with (root / "out").open("wb") as out:
        process = subprocess.Popen([*TRAIN, "-m", *words], cwd=root, stdout=out, stderr=out)
        while process.poll() is None:
            found = now(process.pid)
            if together(found) > together(most):
                most = found
            time.sleep(0.2)
    if process.returncode:
        said = (root / "out").read_text()[-2000:]
        raise subprocess.CalledProcessError(process.returncode, words, said)
    return most


def rows(found: dict[str, list[Memory]]) -> list[list[str]]:
    """A row for each kind of process, with the means of those that there are."""
    cells = []
    for kind, several in found.items():
        means = [statistics.mean(each[measure] for each in several) for measure in MEASURES]
        share = 1 - means[-1] / means[0]
        name = f"{len(several)} x {kind}"
        cells.append([name, *(f"{mean:,.0f}" for mean in means), f"{share:.0%}"])
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="2,4", help="how many jobs at once, with commas")
    parser.add_argument("--data", type=Path, default=PROJECT / "data", help="a folder with MNIST")
    given = parser.parse_args()
    print(*HEAD, sep=" | ")
    for workers in map(int, given.workers.split(",")):
        with fresh() as root:
            found = peak(root, given.data.absolute(), workers)
        for row in rows(found):
            print(*row, sep=" | ")
        print(f"together | | {together(found):,.0f} | |", flush=True)


if __name__ == "__main__":
    main()
