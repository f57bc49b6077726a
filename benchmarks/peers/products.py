"""The matrix products of an epoch and nothing else: what no implementation in fp32 with the same products can beat.

Forward, gradients of weights, gradients of inputs (not of the first layer's), each into memory of its own.
"""

from __future__ import annotations

import time

import torch

from benchmarks.peers.turns import Turns, arguments, done

BATCH, BATCHES = 128, 55_000 // 128
LAYERS = [(784, 392), (392, 196), (196, 10)]


def main() -> None:
    given = arguments()
    turns = Turns(given.epochs)
    torch.set_default_device(given.device)
    torch.set_num_threads(given.threads)
    jobs = []
    for number, (wide, narrow) in enumerate(LAYERS):
        x, weight, slope = (
            torch.randn(BATCH, wide),
            torch.randn(narrow, wide),
            torch.randn(BATCH, narrow),
        )
        jobs += [
            (x, weight.t(), torch.empty(BATCH, narrow)),
            (slope.t(), x, torch.empty(narrow, wide)),
        ]
        jobs += [(slope, weight, torch.empty(BATCH, wide))] if number else []
    for _ in range(given.epochs):
        began = time.perf_counter()
        for _ in range(BATCHES):
            for a, b, out in jobs:
                torch.mm(a, b, out=out)
        turns.trained(done(given.device) - began)


if __name__ == "__main__":
    main()
