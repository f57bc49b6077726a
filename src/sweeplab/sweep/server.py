"""The fork server of a sweep: it loads everything once, and forks a process for each job.

Its one argument is its end of the launcher's socket. It never computes, and never touches a GPU:
a process forked after either would hang. It ends when the launcher does, however that ends, and
ends its jobs, too.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

import torch

from sweeplab import config, console, data, errors, store
from sweeplab.runs import provenance, run
from sweeplab.runs.fused import train_fused
from sweeplab.runs.job import Job
from sweeplab.speed import huge_pages

RAISED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143  # exit codes of a job, as of a command
LOST = 256  # no exit code: the node has gone, and nobody knows how the job ended


@dataclass(kw_only=True, slots=True, frozen=True)
class Order:
    """Start a process for a job, or for several that are trained as one."""

    number: int  # by which the launcher knows it
    jobs: list[Job]
    environment: dict[str, str]  # in addition to the server's
    splits: str | None  # name of a data set that was handed over; None: the job loads its own


@dataclass(kw_only=True, slots=True, frozen=True)
class Signal:
    """Send a signal to a job; with `group` also to the processes that it has started."""

    number: int
    signal: int
    group: bool = False


@dataclass(kw_only=True, slots=True, frozen=True)
class Handover:
    """Announce a data set, which follows as a file handle."""

    name: str
    layout: data.Layout


class Server:
    """Forks jobs, signals them, and tells the launcher how they ended."""

    def __init__(self, launcher: Connection) -> None:
        self._launcher = launcher
        self._jobs: dict[int, int] = {}  # process id -> number
        self._splits: dict[str, data.Splits] = {}
        # Jobs wait for the end of this pipe, which comes with the end of the server.
        self._alive, self._life = os.pipe()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def serve(self) -> None:
        """Serve until the launcher has gone; then kill what it has left."""
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # else it would not wake us
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides
        try:
            while True:
                for ready in wait([self._launcher, self._woken]):
                    if ready is self._launcher:
                        self._obey(self._launcher.recv())
                    else:
                        os.read(self._woken, 4096)
                        self._reap()
        except (EOFError, ConnectionError):
            return
        finally:
            for process in self._jobs:
                _signal(process, signal.SIGKILL, group=True)

    def _obey(self, message: Order | Signal | Handover) -> None:
        if isinstance(message, Handover):
            handle = reduction.recv_handle(self._launcher)
            self._splits[message.name] = data.mapped(handle, message.layout)
        elif isinstance(message, Signal):
            for process, number in self._jobs.items():
                if number == message.number:
                    _signal(process, message.signal, group=message.group)
        else:
            self._start(message)

    def _start(self, order: Order) -> None:
        process = os.fork()
        if process == 0:
            self._become(order)
        self._jobs[process] = order.number

    def _become(self, order: Order) -> NoReturn:
        """Turn the forked process into the job, with nothing left of the server."""
        code = RAISED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGUSR1, _prune)
            os.setpgid(0, 0)  # so that what it starts can be ended with it
            self._launcher.close()
            for descriptor in (self._life, self._woken, self._wake):
                os.close(descriptor)
            threading.Thread(target=_end_with, args=(self._alive,), daemon=True).start()
            code = _work(order, self._splits.get(order.splits or ""))
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):  # its log is on a full disk
                    stream.flush()
            os._exit(code)  # without the server's own clean-up

    def _reap(self) -> None:
        """Tell the launcher which jobs have ended: their numbers, with exit code or minus signal."""
        while self._jobs:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            number = self._jobs.pop(process, None)
            if number is not None:
                _signal(process, signal.SIGKILL, group=True)  # what it has left behind
                self._launcher.send((number, os.waitstatus_to_exitcode(status)))


def _signal(process: int, number: int, *, group: bool) -> None:
    if group:
        try:
            os.killpg(process, number)
        except ProcessLookupError:  # ended, or so new that it has no group yet
            pass
        else:
            return
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _prune(*_: object) -> None:
    raise errors.Pruned


def _end_with(alive: int) -> None:
    """End this process when the server has ended, even if it was killed."""
    os.read(alive, 1)
    os._exit(RAISED)


def _work(order: Order, splits: data.Splits | None) -> int:
    """Train the jobs of an order; return the exit code.

    What is printed goes to the log of the first job.
    """
    os.environ.update(order.environment)
    first, *others = order.jobs
    home = store.Store(first.config.store.root)
    log = home.run(first.fingerprint).log_file
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
    except OSError as error:
        return _code(error)
    faulthandler.enable()  # a segmentation fault says where
    if not others:
        try:
            run.train(first, home, splits)
        except BaseException as error:
            return _code(error)
        return 0
    code = 0
    for outcome in train_fused(order.jobs, home, splits):
        if isinstance(outcome, BaseException):
            code = max(code, _code(outcome))
    return code


def _code(error: BaseException) -> int:
    """Print an exception; return the exit code for it."""
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if isinstance(error, errors.Interrupted) else INTERRUPTED
    if isinstance(error, errors.RunFailed | errors.UserError):
        print(config.redact_text(str(error)), file=sys.stderr)
        return BAD_INPUT if isinstance(error, errors.UserError) else RAISED
    if isinstance(error, OSError) and error.filename is not None:
        print(config.redact_text(f"{error.filename}: {error.strerror}"), file=sys.stderr)
    else:
        text = "".join(traceback.format_exception(error))
        print(config.redact_text(text), end="", file=sys.stderr)
    return RAISED


def _preload() -> None:
    """Import and compute once what every job needs."""
    import hydra.utils
    import safetensors.torch
    import yaml

    import sweeplab.models

    del hydra, safetensors, yaml, sweeplab
    provenance.remember(Path.cwd())


def main() -> None:
    """Load everything, then serve."""
    console.start_streams(encoding="utf-8")  # what jobs print is in their logs
    # Before all else: a process forked from one with a thread pool hangs.
    torch.set_num_threads(1)
    launcher = Connection(int(sys.argv[1]))
    sys.path[:] = launcher.recv()
    _preload()
    gc.collect()
    # Garbage collection in a job would write to the shared memory, and so copy it.
    gc.freeze()
    huge_pages.collapse()
    Server(launcher).serve()
    os._exit(0)  # the interpreter's own way out of PyTorch takes a second, and noise
