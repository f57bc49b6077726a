"""What a user is told when something is wrong: the exceptions, the nearest valid name, an error on
one line.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

MOST_NAMES = 12  # in a message that lists what is valid


class UserError(ValueError):
    """Bad input, noticed before any work: printed without a traceback, with exit code 2.

    Each of its `problems` is a message of its own, told once; they are printed one below the other.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in the place of a traceback, as the shell shows none."""
        return [f"UserError: {self}"]


class RunFailed(RuntimeError):
    """A run, or some of a sweep, raised while training; the message names it, the error and the
    log. Exit code 1.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows; where it was raised in the user's code is in the log."""
        return [f"RunFailed: {self}"]


class TrackerBehind(RunFailed):
    """All is trained, and a tracker lacks some of it: MLflow was away, say."""

    def __init__(self, message: str, root: str, trained: str) -> None:
        """`trained` is the sweep's id, or that of the single run, in the store at `root`."""
        super().__init__(message)
        self.root: str = root
        self.trained: str = trained


class EndedByRequest(RunFailed):
    """A run that another terminal has asked to end; `wish` says how."""

    def __init__(self, message: str, wish: str) -> None:
        super().__init__(message)
        self.wish = wish


class Pruned(KeyboardInterrupt):
    """SIGUSR1: a search has no hope for this run any more."""


class Interrupted(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C. Exit code 143 instead of 130."""


class HungUp(Interrupted):
    """SIGHUP, by which a terminal that closes tells its programs. Exit code 129."""


def exit_code(error: BaseException | None) -> int:
    """Return the exit code of a command that this has ended; 0 if nothing has."""
    # The narrower kinds stand first: the first that fits counts.
    codes = {HungUp: 129, Interrupted: 143, KeyboardInterrupt: 130, UserError: 2, BaseException: 1}
    return next((codes[kind] for kind in codes if isinstance(error, kind)), 0)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return the end of a message: the nearest valid name, or if none is near, the first valid
    names.
    """
    names = list(valid)
    if near := nearest(name, names):
        return near
    if not names:
        return ""
    return f"; valid: {listed_names(sorted(names))}"


def listed_names(names: Sequence[str]) -> str:
    """List names for a message: of many the first, and how many there are."""
    listed = ", ".join(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        listed += f", ... ({len(names)} in all)"
    return listed


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the end of a message: the nearest valid name, or '' if none is near."""
    near = near_name(name, valid)
    return f"; did you mean '{near}'?" if near else ""


def near_name(name: str, valid: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the valid name that is most like this one, in whatever case; '' if none is near.

    `cutoff`, from 0 to 1, says how alike they must be.
    """
    names = {each.casefold(): each for each in valid}
    near = get_close_matches(name.casefold(), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else ""


def comma_for_point(value: object) -> str:
    """Return advice about a number like `0001`, the second value of the sweep `lr=0,0001`; '' for
    other values.
    """
    if not isinstance(value, str) or not value.isdecimal():
        return ""
    if len(value) < 2 or not value.startswith("0"):
        return ""
    return f"; if 0.{value} is meant, its point is a dot: a comma separates the values of a sweep"


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: `1 run`, `2,000 runs`, `0 batches`."""
    if number != 1:
        noun += "es" if noun.endswith(("tch", "class")) else "s"
    return f"{number:,} {noun}"


def a_or_an(noun: str) -> str:
    """Return a noun, as the name of a type is one, after its article."""
    spoken = noun.lower()
    has_vowel = spoken.startswith(("a", "e", "i", "o", "nd"))
    if has_vowel and not spoken.startswith(("one", "once")):
        return f"an {noun}"
    return f"a {noun}"


def one_line(message: object) -> str:
    """Return the text of a message or an exception on one line."""
    return " ".join(str(message).split())


def summary(error: BaseException) -> str:
    """Return the beginning of what an exception says on one line, or its class if it says nothing."""
    return one_line(error)[:200] or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its class if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def describe(error: BaseException) -> str:
    """Return what an exception says on one line, after its class where the message alone says
    little.
    """
    text = one_line(error)
    if not text:
        return type(error).__name__
    if isinstance(error, ValueError | TypeError | RuntimeError | AssertionError):
        return text
    return f"{type(error).__name__}: {text}"


_NOT_OWN = (Path(__file__).parent, Path(traceback.__file__).parent)


def failure(error: BaseException) -> str:
    """Say on one line what was raised, and where in the user's code, if it was there."""
    text = f"{type(error).__name__}: {one_line(error)[:200]}"
    own = [each for each in traceback.extract_tb(error.__traceback__) if _is_own(each.filename)]
    if not own:
        return text
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _is_own(file: str) -> bool:
    """Tell whether a file is a user's: of no package, nor of Python itself, nor of sweeplab."""
    path = Path(file)
    if file.startswith("<") or "site-packages" in path.parts:
        return False
    return not any(path.is_relative_to(folder) for folder in _NOT_OWN)
