"""The global random generators of torch (on the CPU), `random` and numpy, for users' code.

They are seeded by a key for reading data and put back afterwards: reading neither depends on what
was drawn before, nor changes what is drawn next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

KEY = "examples"  # of the random streams with which a set is read for its digest

States = tuple[Any, ...]
"""The states of the generators of torch, `random` and numpy, in this order."""


def seed(key: str, device: torch.device | None = None) -> None:
    """Seed each generator by a hash of the key, also that of a CUDA device; takes 9 microseconds."""
    digest = hashlib.sha256(key.encode()).digest()
    # 63 bits; the CPU's alone
    torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    random.seed(int.from_bytes(digest[8:16], "big"))
    # The generator that users' code draws from
    np.random.seed(int.from_bytes(digest[16:20], "big"))
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(torch.initial_seed())


def states() -> States:
    """Return the states in a form that can be compared by `==`."""
    numpy: Any = np.random.get_state(legacy=True)
    return (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        (numpy[1].tobytes(), *numpy[2:]),
    )


def save() -> States:
    """Return the states in a form that `restore` takes."""
    return torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=True)


def restore(saved: States) -> None:
    """Put the generators back to saved states."""
    on_cpu, python, numpy = saved
    torch.set_rng_state(on_cpu)
    random.setstate(python)
    np.random.set_state(numpy)


def example(examples: Any, index: int, key: str) -> Any:
    """Read an example with the generators seeded for it; they are not put back."""
    seed(f"{key}/{index}")
    return examples[index]


def generator(seed: int, name: str) -> torch.Generator:
    """Make a generator for one purpose; on the CPU, so that all devices draw the same."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)  # 63 bits


@contextmanager
def preserved() -> Iterator[None]:
    """Put the generators back afterwards; also those of CUDA, which `torch.manual_seed` seeds."""
    saved = save()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        restore(saved)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
