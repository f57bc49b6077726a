"""A process of a sweep: it trains a job, or several as one, and ends with an exit code."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

from sweeplab import config, data, errors, store
from sweeplab.runs import run
from sweeplab.runs.fused import train_fused
from sweeplab.runs.job import Job

RAISED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143  # exit codes, as of a command
LOST = 256  # not an exit code: the node has gone, and how the job ended is unknown
NEVER = 257  # not an exit code: the job was withdrawn before a worker had begun it


def main(
    jobs: Sequence[Job],
    folder: Path,
    environment: Mapping[str, str],
    splits: data.Splits | None,
    lease: int | None,
) -> NoReturn:
    """Train jobs in a process that was forked for them, and end it without any clean-up.

    `environment` is in addition to the fork server's; `splits` are the examples, None if the job is
    to load them; `lease` is an open file, by which others know of this process.
    """
    del lease  # it is closed with the process
    code = RAISED
    try:
        os.setpgid(0, 0)  # so that what it starts can be ended with it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked in the fork server
        signal.signal(signal.SIGUSR1, _prune)
        threading.Thread(target=_end_with_launcher, daemon=True).start()
        os.chdir(folder)
        os.environ.update(environment)
        code = train(jobs, splits)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # its log is on a full disk
                stream.flush()
        os._exit(code)


def _prune(*_: object) -> None:
    raise errors.Pruned


def _end_with_launcher() -> None:
    """End this process and what it has started when the launcher has ended, even if killed."""
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    wait([launcher.sentinel])
    os.killpg(0, signal.SIGKILL)


def train(jobs: Sequence[Job], splits: data.Splits | None) -> int:
    """Train jobs, and return the exit code. What is printed goes to the log of the first."""
    first, *others = jobs
    home = store.Store(first.config.store.root)
    log = home.run(first.fingerprint).log_file
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
    except OSError as error:
        return _exit_code(error)
    faulthandler.enable()  # a segmentation fault says where
    if not others:
        try:
            run.train(first, home, splits)
        except BaseException as error:
            return _exit_code(error)
        return 0
    code = 0
    for outcome in train_fused(list(jobs), home, splits):
        if isinstance(outcome, BaseException):
            code = max(code, _exit_code(outcome))
    return code


def _exit_code(error: BaseException) -> int:
    """Print an exception; return the exit code for it."""
    code = errors.exit_code(error)
    if isinstance(error, KeyboardInterrupt):
        return code
    if isinstance(error, errors.RunFailed | errors.UserError):
        print(config.redact_text(str(error)), file=sys.stderr)
    elif isinstance(error, OSError) and error.filename is not None:
        print(config.redact_text(f"{error.filename}: {error.strerror}"), file=sys.stderr)
    else:
        text = "".join(traceback.format_exception(error))
        print(config.redact_text(text), end="", file=sys.stderr)
    return code
