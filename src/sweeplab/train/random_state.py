"""The global random streams of torch, `random` and numpy in a run: seeded, saved, and put back."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch

from sweeplab.data import seeding

RandomState = dict[str, Any]
"""The state of the global random streams, in types that a checkpoint may hold."""


def seed_stream(seed: int, stream: str) -> None:
    """Seed the global generators for one purpose: `initialisation`, `dropout`, ...

    The streams of two purposes, and those of two seeds, are independent of each other.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    random.seed(digest[8:])
    # numpy's global generator, since users' code draws from it
    np.random.seed(np.frombuffer(digest[8:], dtype=np.uint32))


def random_state(device: torch.device) -> RandomState:
    """Take the state of the global generators, which dropout and users' own code draw from."""
    version, words, gauss = random.getstate()
    algorithm, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: RandomState = {
        "cpu": torch.get_rng_state(),
        "python": (version, torch.tensor(words), gauss),
        "numpy": (
            algorithm,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            cached,
        ),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: RandomState) -> None:
    """Put the global generators back to what `random_state` took."""
    torch.set_rng_state(state["cpu"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    algorithm, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class RandomStreams:
    """The global random streams of one of several runs that share a process.

    They begin as the process's are now. As a context manager they become the process's, and keep
    where they get to; the process's own are not put back afterwards.
    """

    def __init__(self) -> None:
        self._save()

    def __enter__(self) -> RandomStreams:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._save()

    def restore(self) -> None:
        """Set the process's streams back to these."""
        seeding.restore(self._saved)
        if self._on_gpus:
            torch.cuda.set_rng_state_all(self._on_gpus)

    def moved(self) -> bool:
        """Tell whether anything was drawn on the CPU since the process's streams were these."""
        return seeding.states() != self._states

    def _save(self) -> None:
        # Not as `random_state` takes it: what a checkpoint may hold takes three times as long to
        # make.
        self._saved, self._states = seeding.save(), seeding.states()
        self._on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
