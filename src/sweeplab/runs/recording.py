"""Record a run whatever becomes of it: its config, its log, and an end that came too early."""

from __future__ import annotations

import errno
import logging
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import torch

from sweeplab import config, console, store
from sweeplab.errors import EndedByRequest, HungUp, Interrupted, Pruned, RunFailed
from sweeplab.runs.job import Job
from sweeplab.train.stopping import StopReason

log = logging.getLogger(__name__)

# Of several runs in this process, the log of the one that logs now; None: all of them log.
_speaking: Path | None = None
_logging = 0  # runs whose warnings are logged
_shown = warnings.showwarning
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_DISK = (errno.EROFS, errno.EIO, errno.ESTALE)


@contextmanager
def recorded(run: store.Run, job: Job) -> Iterator[None]:
    """Record what is asked for; journal what ends the run early, and keep that as its result."""
    try:
        with _log_to(run.log_file), sigterm():
            _begin(run, job)
            yield
    except Pruned:
        _end(run, job, store.Status.PRUNED, StopReason.PRUNED)
        raise
    except KeyboardInterrupt:
        _end(run, job, store.Status.INTERRUPTED, StopReason.INTERRUPTED)
        raise
    except EndedByRequest as error:
        _end(run, job, store.Status.INTERRUPTED, StopReason.INTERRUPTED, request=error.wish)
        raise
    except Exception as error:
        said = config.redact_text(f"{type(error).__name__}: {error}")
        # No time is left, or Slurm has requeued the job before submitit could ask it to.
        if _taken_away(error):
            _end(run, job, store.Status.INTERRUPTED, StopReason.INTERRUPTED, said)
            # To submitit an exception would be a result, and the job would be over.
            raise SystemExit(said) from error
        if _may_go_on(error):
            _end(run, job, store.Status.INTERRUPTED, StopReason.INTERRUPTED, said)
            raise RunFailed(
                f"run {run.id} ({job.name}) had to stop: {said}\nmake room and issue the same command again: "
                "it goes on from its last checkpoint"
            ) from error
        if isinstance(error, OSError) and run.journal.has_vanished:
            raise RunFailed(
                f"run {run.id} ({job.name}) had to stop: {run.journal.path} has vanished; issue the same command again"
            ) from error
        _end(run, job, store.Status.FAILED, None, said)
        raise RunFailed(
            f"run {run.id} ({job.name}) failed: {said}{_way_out(error)}\nits log: {run.log_file}"
        ) from error


def _way_out(error: Exception) -> str:
    """Name what lets a run go on where PyTorch names functions of its own, on a line; else ''."""
    if "does not have a deterministic implementation" in str(error):
        return "\ntrainer.deterministic=false allows this operation, and promises no equal bits"
    return ""


def _begin(run: store.Run, job: Job) -> None:
    """Bring the run's folder in order, and write down what is asked for."""
    run.journal.mend()
    if (wrong := store.repair.damage(run)) is not None:
        store.repair.set_aside(run)
        console.complain(
            f"{wrong}; run {run.id} begins anew, and the old journal is kept in its folder '{store.ASIDE}'"
        )
    if run.status == store.Status.FAILED:
        run.drop_checkpoints()  # it raised, and would again
    run.result_file.unlink(missing_ok=True)
    run.origin_file.unlink(missing_ok=True)  # from now on it is this machine's
    run.write_config(config.redact(config.to_dict(job.config)), job.overrides)


def _taken_away(error: Exception) -> bool:
    """Tell whether submitit's signal handler raised it, which interrupts the training anywhere."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(
        frame.f_globals.get("__name__") == "submitit.core.job_environment" for frame, _ in frames
    )


def _may_go_on(error: Exception) -> bool:
    """Whether the machine was at fault, not the run: no space left, no memory left, no disk."""
    if isinstance(error, OSError):
        return error.errno in (*NO_SPACE, *NO_DISK)
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return out_of_memory or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _end(
    run: store.Run,
    job: Job,
    status: store.Status,
    reason: str | None,
    error: str | None = None,
    **more: str,
) -> None:
    """Record that a run ended too early, in the journal first and then as its result.

    The disk may be full, or the folder gone. Then neither is written, and the run is unfinished all
    the same.
    """
    with suppress(OSError):
        run.journal.append(
            store.Event.END, status=status, stop_reason=reason, metrics={}, error=error, **more
        )
        run.write_result(job.result(status, reason))


class _LogFile(logging.FileHandler):
    """A log file that drops what it cannot write, and never ends the run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Ignore a line that cannot be written: the run itself will meet the full disk."""


class _Redacted(logging.Formatter):
    """Hides what is secret in a line of the log, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return config.redact_text(super().format(record))


@contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """Send log records and Python's warnings to the run's log; of fused runs, each to its own."""
    handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    handler.addFilter(lambda _: _speaking in (file, None))
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with informed(), _warnings_logged():
            yield
    except Exception as error:
        if isinstance(error, EndedByRequest):
            log.info("%s", error)
        elif _may_go_on(error):
            log.error("%s: %s", type(error).__name__, error)  # noqa: TRY400  # a traceback tells no more
        else:
            log.exception("the run failed")
        raise
    finally:
        root.removeHandler(handler)
        with suppress(OSError):  # what is left of the log does not fit on the disk
            handler.close()


@contextmanager
def speaking(run: store.Run) -> Iterator[None]:
    """Send log records to the log of this run only, of all runs that share the process."""
    global _speaking
    before, _speaking = _speaking, run.log_file
    try:
        yield
    finally:
        _speaking = before


@contextmanager
def _warnings_logged() -> Iterator[None]:
    """Python's warnings are logged meanwhile, besides being shown."""
    global _logging, _shown  # as the function that Python shows warnings by, they are one for a process
    if _logging == 0:  # of fused runs, which do not end in the order in which they began, the first
        _shown, warnings.showwarning = warnings.showwarning, _show_and_log
    _logging += 1
    try:
        yield
    finally:
        _logging -= 1
        if _logging == 0:
            warnings.showwarning = _shown


def _show_and_log(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _shown(message, category, filename, lineno, file, line)
    log.warning("%s", warnings.formatwarning(message, category, filename, lineno, line).strip())


@contextmanager
def informed() -> Iterator[None]:
    """Log records of level INFO, too."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.setLevel(level)


@contextmanager
def sigterm() -> Iterator[None]:
    """Raise Interrupted on SIGTERM, and HungUp on SIGHUP, unless somebody else handles it.

    Slurm sends SIGTERM before it takes a node away: submitit ignores it, and has the job requeued
    at the next signal. `nohup` ignores SIGHUP. Only the main thread can handle signals.
    """
    before = {}
    with suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        console.leave_terminal()
        raise HungUp
    raise Interrupted
