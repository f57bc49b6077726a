"""Which of the processes this is that torchrun has started for one run, its ranks; without torchrun the only one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds in which torchrun ends a rank after another has ended


def number(variable: str, alone: int) -> int:
    """What torchrun says of this process, as in LOCAL_RANK; `alone` without it, whoever else has set the variable."""
    return int(os.environ[variable]) if "TORCHELASTIC_RUN_ID" in os.environ else alone


def count() -> int:
    """How many processes train the run together."""
    return number("WORLD_SIZE", 1)


def is_first() -> bool:
    """Whether this is the one that speaks and writes; the others only compute."""
    return number("RANK", 0) == 0


def let_first_speak(error: BaseException) -> None:
    """Wait with ending by an error: when one rank ends, torchrun ends them all, and the first may have the same one."""
    if not is_first() and isinstance(error, Exception):
        time.sleep(PATIENCE)


def hush() -> None:
    """Say nothing unless this is the first: the others would say the same."""
    if not is_first():
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115  # until the process ends
