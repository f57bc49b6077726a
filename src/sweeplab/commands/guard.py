"""The edge to the shell: exceptions become one message and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from sweeplab import config, console, targets
from sweeplab.commands.interrupts import imports_kept_whole
from sweeplab.errors import Interrupted, RunFailed, TrackerBehind, UserError, exit_code
from sweeplab.speed import compose_once, quick_exit, spin_count
from sweeplab.train import ranks

P = ParamSpec("P")

BAD_INPUT = 2
# As the user set it: `reported` sets it for Hydra's sake.
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
AGAIN = "issue the same command again for the rest"


def guarded(program: Callable[P, object]) -> Callable[P, None]:
    """Have train.py end with a message on stderr and an exit code, whatever ends it.

    HYDRA_FULL_ERROR=1 in the environment shows the traceback of any error.
    """

    @wraps(program)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        is_main = sys.modules["__main__"].__dict__.get(program.__name__) is run
        if is_main:
            console.start_in_utf_8()
        is_json = "sweep.plan=json" in sys.argv
        with console.words_apart(is_json), config.command_noted(), reported():
            if "--version" in sys.argv[1:]:  # Hydra would tell its own
                print(version())
                return
            targets.search_here()
            entry = config.entry_of(Path(sys.argv[0]))
            with config.mending(sys.argv[1:], entry.folder, entry.name):
                config.ensure_options(sys.argv[1:])
                if {"--help", "-h"} & set(sys.argv[1:]):
                    _help(entry, sys.argv[1:])
                    return
                console.warn(config.overruled(sys.argv[1:]))
                sys.argv[1:] = config.quote_words(sys.argv[1:])
                with compose_once.allowed(sys.argv[1:]):
                    program(*args, **kwargs)
        if is_main:
            quick_exit.leave()

    return run


def _help(entry: config.Entry, words: Sequence[str]) -> None:
    """Show how to begin, or with keys what they mean, in the place of Hydra's help."""
    from sweeplab.commands import help as explanation

    explanation.show(entry, [word for word in words if not word.startswith("-")])


def version() -> str:
    """Return the line that `--version` prints."""
    from importlib import metadata

    return f"sweeplab {metadata.version('sweeplab')}"


@contextmanager
def reported() -> Iterator[None]:
    """Tell on stderr what ends a program, and exit with its code; secrets are hidden."""
    console.start_streams()
    ranks.silence_other_ranks()
    # Else Hydra itself prints, and exits with 1 whatever happened.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    spin_count.shorten()
    # Where no folder for its cache can be written, it does without, in four lines.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    config.remember_secrets(word.lstrip("-") for word in sys.argv[1:])
    try:
        _ensure_folder()
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except (Exception, KeyboardInterrupt) as error:
        ranks.let_main_process_report(error)
        code = _report(error)
        try:
            _flush()
        except OSError:  # of which Python would complain when the program ends
            _leave_stdout()
        sys.exit(code)


def _flush() -> None:
    """Write what is left for stdout while what stands in the way can be told."""
    if sys.stdout is not None:  # it is where the shell has closed it
        sys.stdout.flush()


@contextmanager
def raised(overrides: Sequence[str]) -> Iterator[None]:
    """Raise what ends a call from Python with what the shell would be told; secrets are hidden.

    Bad input is a UserError, whoever noticed it. Ctrl-C, or a notebook's "interrupt kernel", is a
    KeyboardInterrupt.
    """
    config.remember_secrets(overrides)
    spin_count.shorten()
    try:
        _ensure_folder()
        with imports_kept_whole(), console.streams_started():
            yield
    except KeyboardInterrupt as error:
        kept = type(error)(f"what was finished is kept; {AGAIN}")
        # A notebook shows this in the place of a traceback. A class of our own with that method
        # would end a script with exit code 1: Python tells Ctrl-C by the very class.
        vars(kept)["_render_traceback_"] = lambda: [f"{type(kept).__name__}: {kept}"]
        raise kept from None
    except UserError as error:
        raise UserError(*map(_said_in_python, error.problems)) from None
    except TrackerBehind as error:
        raise TrackerBehind(console.shown(str(error)), error.root, error.trained) from None
    except RunFailed as error:
        raise RunFailed(console.shown(str(error))) from None
    except Exception as error:
        message = config.explain(error, overrides)
        if message is None:
            raise
        raise UserError(_said_in_python(message)) from None


def _said_in_python(message: str) -> str:
    return console.shown(config.in_python(message))


def _ensure_folder() -> None:
    """Raise UserError if the current folder was removed: all that is relative starts there."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was removed; cd to one that is there") from error


def _report(error: BaseException) -> int:
    """Say on stderr what happened; return the exit code."""
    if TRACEBACKS:
        _trace(error)
    kept = str(error) or f"what was finished is kept; {AGAIN}"
    if isinstance(error, KeyboardInterrupt):
        what = "terminated" if isinstance(error, Interrupted) else "interrupted"
        console.complain(f"{what}: {kept}")
        return exit_code(error)
    if isinstance(error, UserError | RunFailed):
        console.complain(str(error))
        return exit_code(error)
    assert isinstance(error, Exception)
    if message := config.explain(error):
        console.complain(message)
        return BAD_INPUT
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, BrokenPipeError) and not _has_reader():
        return exit_code(error)  # who has read has read enough: `| head`
    if isinstance(error, OSError) and (is_full or error.filename is not None):
        # A full disk, for example, or a folder that has gone.
        place = f"{error.filename}: " if error.filename else ""
        advice = "when that is mended, issue the same command again"
        console.complain(f"{place}{error.strerror}; {advice}")
    else:
        _trace(error)
    return exit_code(error)


def _has_reader() -> bool:
    """Whether stdout, if it is a pipe, still has somebody who reads it."""
    poll = select.poll()
    poll.register(1, 0)
    return not any(state & select.POLLERR for _, state in poll.poll(0))


def _leave_stdout() -> None:
    """Write nothing more to stdout."""
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123  # a descriptor is wanted
        os.dup2(nothing.fileno(), 1)


def _trace(error: BaseException) -> None:
    """Print the traceback, secrets hidden."""
    print(config.redact_text("".join(traceback.format_exception(error))), end="", file=sys.stderr)
