"""The global random generators (torch's on the CPU, `random`, numpy's), as the code of a data set sees them.

They are seeded by a key and put back afterwards: reading data neither depends on what was drawn before, nor changes
what is drawn next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

States = tuple[Any, ...]
"""The state of each generator: of torch, `random` and numpy."""


def seed(key: str) -> None:
    """Seed each generator by a hash of the key; 9 microseconds."""
    digest = hashlib.sha256(key.encode()).digest()
    torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)  # 63 bits; the CPU's alone
    random.seed(int.from_bytes(digest[8:16], "big"))
    np.random.seed(int.from_bytes(digest[16:20], "big"))  # the generator that users' code draws from


def states() -> States:
    """Return the states of the generators, to be compared."""
    numpy: Any = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), (numpy[1].tobytes(), *numpy[2:])


@contextmanager
def preserved() -> Iterator[None]:
    """Put the generators back afterwards, those of CUDA, too, which `torch.manual_seed` in a data set would seed."""
    here, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        torch.set_rng_state(here)
        random.setstate(python)
        np.random.set_state(numpy)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
