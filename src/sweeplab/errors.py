"""What is said to a user whose input is wrong: one exception, and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input, found before any work: printed as it is, without a traceback, with exit code 2.

    Each of its `problems` is a message of its own; they are shown one below the other.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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


def comma_for_point(value: object) -> str:
    """The end of a message about a number like `0001`, which `lr=0,0001` has as its second value; '' of others."""
    meant = isinstance(value, str) and len(value) > 1 and value.startswith("0") and value.isdecimal()
    return f"; if 0.{value} is meant, its point is a dot: a comma separates the values of a sweep" if meant else ""


class RunFailed(RuntimeError):
    """A run, or some of a sweep, raised while training; the message names it, the error and the log. Exit code 1."""


class Pruned(KeyboardInterrupt):
    """SIGUSR1: a search has no hope for this run any more."""


class Interrupted(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C. Exit code 143 instead of 130."""
