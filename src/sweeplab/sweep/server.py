"""The fork server of a sweep: multiprocessing's, which has loaded all that a job needs.

This is a module of its own, so that the server can load PyTorch while the launcher does the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from typing import Any

PRELOAD = "sweeplab.sweep.preload"
DIED = 255  # the exit code that multiprocessing gives to the processes of a dead server

context = multiprocessing.get_context("forkserver")


def start() -> None:
    """Start the server, unless there is one, and do not wait until it can take its first job."""
    context.set_forkserver_preload([PRELOAD])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it has loaded that
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end() -> None:
    """End the server: the next sweep of this process may have another environment."""
    server: Any = forkserver._forkserver  # there is no public way
    if server._forkserver_pid is not None:
        os.kill(server._forkserver_pid, signal.SIGKILL)
    server._stop()
