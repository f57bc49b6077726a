"""The fork server of a sweep: multiprocessing's, which has loaded all that a job needs.

This is a module of its own, so that the server can load PyTorch while the launcher does the same.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

PRELOAD = "sweeplab.sweep.preload"
DIED = 255  # the exit code that multiprocessing gives to the processes of a dead server

context = multiprocessing.get_context("forkserver")


def start() -> None:
    """Start the server, unless there is one, and do not wait until it can take its first job."""
    context.set_forkserver_preload([PRELOAD])
    with _interrupts_held():  # the server inherits the mask, and lifts it in `preload`
        forkserver.ensure_running()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block SIGINT meanwhile: Ctrl-C takes effect afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def replace(dead: int | None) -> None:
    """Replace a server that has died, by its id. It closes its files before it is seen to have ended.

    Waits a second at most: the exit code DIED may be a job's own, and the server be well.
    """
    for _ in range(100):
        start()
        if pid() != dead:
            return
        await asyncio.sleep(0.01)


def end() -> None:
    """End the server: the next sweep of this process may have another environment."""
    with _interrupts_held():  # cut off in its midst, no server could be started again
        running = pid()
        if running is not None:
            os.kill(running, signal.SIGKILL)
        _server()._stop()


def pid() -> int | None:
    """Return the id of the server's process; None if there is none."""
    number: int | None = _server()._forkserver_pid
    return number


def _server() -> Any:
    return forkserver._forkserver  # there is no public way
