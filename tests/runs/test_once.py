"""Functions that are asked once for the same arguments."""

from __future__ import annotations

import pytest

from sweeplab.errors import UserError
from sweeplab.runs.once import Once, itself


def test_each_value_is_asked_for_once_and_refusals_are_remembered() -> None:
    once, asked = Once(), list[object]()

    def find(value: object) -> object:
        asked.append(value)
        if value == "bad":
            raise UserError("no")
        return value

    for value in (1, 1.0, True, 1, [1], "1", [1], True):
        assert once(find, value) == value
    assert asked == [1, 1.0, True, [1], "1"]
    for _ in range(2):
        with pytest.raises(UserError, match="no"):
            once(find, "bad")
    assert asked[5:] == ["bad"]


def test_functions_are_told_apart_and_may_pass_it_on() -> None:
    once = Once()

    def double(value: int, further: Once) -> int:
        return 2 * further(itself, value)

    assert (once(itself, 3), once(double, 3, once), once(double, 3, Once())) == (3, 6, 6)
    first, second = [1], [1]
    assert once(itself, first) is once(itself, second)


def test_it_is_bounded() -> None:
    once, asked = Once(most=2), list[int]()
    for value in (1, 2, 1, 3, 1, 2):
        once(asked.append, value)
    assert asked == [1, 2, 3, 2], "what was not asked for longest went"
