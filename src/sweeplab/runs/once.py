"""Ask once: what functions return, remembered by their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from sweeplab.errors import UserError

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Once:
    """Call functions, each once for the same arguments; refusals are remembered, too.

    The jobs of a sweep are much alike. What is remembered is for one plan, since code and store
    may change in between. Since the arguments are the key, a function must read nothing else.
    """

    def __init__(self, most: int = 4096) -> None:
        self._results: dict[tuple[str, str], Any] = {}
        self._most = most

    def __repr__(self) -> str:
        return "Once()"  # the same for each, so that functions may pass it on

    def __call__(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Return `function(*arguments)`, or what it gave or raised before for equal arguments.

        Arguments are equal if they have the same `repr`: 1, 1.0 and true are not.
        """
        key = f"{function.__module__}.{function.__qualname__}", repr(arguments)
        if key in self._results:
            result = self._results.pop(key)
        else:
            try:
                result = function(*arguments)
            except UserError as error:
                result = error
        self._results[key] = result  # at the end: the least recently used stands first
        if len(self._results) > self._most:
            del self._results[next(iter(self._results))]
        if isinstance(result, UserError):
            raise result.with_traceback(None)
        return result  # type: ignore[no-any-return]  # what this function returned


def itself(value: T) -> T:
    """Return the value; asked once, equal values of several jobs become one in memory."""
    return value
