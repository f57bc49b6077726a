"""How peers take turns: each trains one epoch when it is told to, and says on stdout, as JSON, what that took.

A peer trains one epoch to get warm, says {"ready": true}, and waits. For each line on stdin it trains an epoch and says
{"seconds": ...}; after the last one it says {"accuracy": ...}, of its network as it is then on the 10,000 of the test set.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path


def arguments() -> argparse.Namespace:
    """What every peer is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder with MNIST/raw in it")
    parser.add_argument("--epochs", type=int, required=True, help="with the one to get warm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("more", nargs="*", help="a peer's own")
    return parser.parse_args()


def done(device: str) -> float:
    """The time when the device has done all that it was told."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


class Turns:
    """A peer's side; make one before anything is printed."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs
        self._first = True
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what a library prints is no answer

    def trained(self, seconds: float) -> None:
        """An epoch is done: say so, and wait to be told to train the next."""
        self._say(**({"ready": True} if self._first else {"seconds": seconds}))
        self._first = False
        self._left -= 1
        if self._left and not sys.stdin.readline():
            raise SystemExit("nobody asks for another epoch")

    def tested(self, accuracy: float) -> None:
        """The last answer."""
        self._say(accuracy=accuracy)

    def _say(self, **answer: object) -> None:
        self._answers.write(json.dumps(answer) + "\n")
