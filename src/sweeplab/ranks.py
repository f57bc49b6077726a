"""Which of the processes this is that torchrun has started for one run, its ranks; without torchrun the only one."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def number(variable: str, alone: int) -> int:
    """What torchrun says of this process, as in LOCAL_RANK; `alone` without it, whoever else has set the variable."""
    return int(os.environ[variable]) if "TORCHELASTIC_RUN_ID" in os.environ else alone


def count() -> int:
    """How many processes train the run together."""
    return number("WORLD_SIZE", 1)


def is_first() -> bool:
    """Whether this is the one that speaks and writes; the others only compute."""
    return number("RANK", 0) == 0


def hush() -> None:
    """Say nothing unless this is the first: the others would say the same."""
    if not is_first():
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # until the process ends
