"""How long OpenMP's threads should spin: steps of the default network, alone and beside busy loops.

    uv run python -m benchmarks.spin --busy 2

A process for each spin count, all warm at once, trains 20 steps in turn.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.measure import PROJECT, busy

STEPS = 20
HOWS: dict[str, dict[str, str]] = {
    "300,000 (libgomp's default)": {},
    **{f"{count:,}": {"GOMP_SPINCOUNT": str(count)} for count in (100_000, 30_000, 10_000, 3_000, 1_000, 300)},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}  # fmt: skip


def train() -> None:
    """Train STEPS steps for each line of stdin; answer with the seconds that they took."""
    import torch

    from sweeplab.models.mlp import MLP

    torch.manual_seed(0)
    model = MLP(784, 10, hidden=[392, 196])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    inputs, classes = torch.rand(128, 784), torch.randint(0, 10, (128,))
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), classes).backward()
            optimizer.step()
        print(time.perf_counter() - began, flush=True)


def _rounds(count: int) -> Iterator[dict[str, float]]:
    """Yield what the processes answered, by spin count."""
    base = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}  # fmt: skip
    words = [sys.executable, "-m", "benchmarks.spin", "--train"]
    processes = {
        name: subprocess.Popen(
            words, cwd=PROJECT, env=base | how, stdin=-1, stdout=-1, text=True, bufsize=1
        )
        for name, how in HOWS.items()
    }
    for process in processes.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for number in range(count + 1):
        found = {}
        for name in random.sample(sorted(processes), len(processes)):
            process = processes[name]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            found[name] = float(process.stdout.readline())
        if number > 0:  # the first one gets warm
            yield found
    for process in processes.values():
        process.communicate()


def show(title: str, rounds: list[dict[str, float]]) -> None:
    print(f"\n{title}, n={len(rounds)}")
    print("| spin count | a step (ms): median (least to greatest) | beside the default |")
    print("|---|---:|---:|")
    first = next(iter(HOWS))
    for name in HOWS:
        steps = [found[name] / STEPS * 1e3 for found in rounds]
        ratio = statistics.median(found[name] / found[first] for found in rounds)
        spread = f"{statistics.median(steps):.2f} ({min(steps):.2f} to {max(steps):.2f})"
        print(f"| {name} | {spread} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--busy", type=int, default=2, help="busy loops beside it")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train()
        return
    show("Without busy loops", list(_rounds(given.rounds)))
    with busy(given.busy):
        show(f"Beside {given.busy} busy loops", list(_rounds(given.rounds)))


if __name__ == "__main__":
    main()
