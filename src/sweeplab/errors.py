"""What is said to a user whose input is wrong: one exception, and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input, found before any work: printed as it is, without a traceback, with exit code 2."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, else the valid names (at most 12 of them)."""
    names = list(valid)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    if not names:
        return ""
    more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
    return f"; valid: {', '.join(sorted(names)[:12])}{more}"


class RunFailed(RuntimeError):
    """A run, or some of a sweep, raised while training; the message names it, the error and the log. Exit code 1."""


class Pruned(KeyboardInterrupt):
    """SIGUSR1: a search has no hope for this run any more."""


class Interrupted(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C. Exit code 143 instead of 130."""
