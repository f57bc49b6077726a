"""A step of a network with autograd and torch's Adam, and what becomes of it without them, in turn.

    uv run python -m benchmarks.captured --threads 1

Batches of MNIST's shape, batch 128, Adam. `--cpu` takes the process's CPU time, for a machine that others use;
`--device cuda` measures CUDA's graphs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from sweeplab.models import MLP
from sweeplab.speed import adam, denormals, malloc
from sweeplab.speed.captured import CapturedGradients
from sweeplab.train.loop import train_epoch
from sweeplab.train.step import add_gradients
from sweeplab.train.train_state import TrainState
from sweeplab.train.updater import Updater

STEPS = 20
HIDDEN = ([16], [64], [256], [392, 196])
WAYS = {  # name: (captured passes, direct Adam)
    "without both": (False, False),
    "captured": (True, False),
    "Adam called directly": (False, True),
    "both": (True, True),
}


def state_of(hidden: list[int], device: str, *, captured: bool, direct: bool) -> TrainState:
    """Build a network with its loss and optimizer, from the same numbers each time."""
    torch.manual_seed(0)
    model = MLP(784, 10, hidden=hidden).to(device)
    optimizer = Adam(model.parameters(), fused=True)
    if direct:
        adam.use(optimizer)
    scheduler = LambdaLR(optimizer, lambda _: 1.0)
    updater = Updater(optimizer=optimizer, scheduler=scheduler, parameters=list(model.parameters()))
    return TrainState(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        updaters={"": updater},
        kind="classification",
        monitor="valid/loss",
        captured=CapturedGradients(add_gradients) if captured else None,
    )


def measure(
    hidden: list[int], device: str, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the milliseconds of a step in each way, one number a round."""
    batches = [
        (torch.rand(128, 784, device=device), torch.randint(0, 10, (128,), device=device))
        for _ in range(STEPS)
    ]
    states = {}
    for name, (captured, direct) in WAYS.items():
        states[name] = state_of(hidden, device, captured=captured, direct=direct)
        train_epoch(states[name], batches)  # warm, and proven
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, state in states.items():
            began = clock()
            train_epoch(state, batches)  # which ends when the device has computed all
            found[name].append((clock() - began) / STEPS * 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cpu", action="store_true", help="CPU time in the place of wall time")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    denormals.flush()
    malloc.keep_freed_memory()
    others = list(WAYS)[1:]
    print(f"| hidden | a step (ms) | {' | '.join(others)} |")
    print("|---|---:|" + "---|" * len(others))
    for hidden in HIDDEN:
        clock = time.process_time if given.cpu else time.perf_counter
        found = measure(hidden, given.device, given.rounds, clock)
        plain = found["without both"]
        cells = [f"{statistics.median(plain):.3g} ({min(plain):.3g} to {max(plain):.3g})"]
        for name in others:
            ratios = [one / other for one, other in zip(found[name], plain, strict=True)]
            cells.append(
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
        print(f"| {hidden} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
