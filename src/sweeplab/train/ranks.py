"""Which of the processes this is that torchrun has started for one run, its ranks; without torchrun the only one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds in which torchrun ends a rank after another has ended


def torchrun_number(variable: str, default: int) -> int:
    """Read what torchrun says of this process, as in LOCAL_RANK.

    Without torchrun it is `default`, whoever else has set the variable.
    """
    return int(os.environ[variable]) if "TORCHELASTIC_RUN_ID" in os.environ else default


def world_size() -> int:
    """Count the processes that train the run together."""
    return torchrun_number("WORLD_SIZE", 1)


def rank() -> int:
    """Return the number of this process, from 0."""
    return torchrun_number("RANK", 0)


def is_main_process() -> bool:
    """Tell whether this process speaks and writes; the others only compute."""
    return rank() == 0


def let_main_process_report(error: BaseException) -> None:
    """Delay the end by an error: when one rank ends, torchrun ends all, and the main process may have the same one."""
    if not is_main_process() and isinstance(error, Exception):
        time.sleep(PATIENCE)


def silence_other_ranks() -> None:
    """Print nothing unless this is the main process: the others would print the same."""
    if not is_main_process():
        # Open until the process ends.
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115
