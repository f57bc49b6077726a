"""Which of the ranks this is that torchrun has started for one run; without it, the only one."""

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
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return default
    return int(os.environ[variable])


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
    """Delay the end by an error, which the main process may have, too.

    When one rank ends, torchrun ends all.
    """
    if not is_main_process() and isinstance(error, Exception):
        time.sleep(PATIENCE)


def silence_other_ranks() -> None:
    """Print nothing unless this is the main process: the others would print the same."""
    if not is_main_process():
        # Open until the process ends.
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115
