"""What is said to a user: the nearest valid name, and which exception means what."""

from __future__ import annotations

import pytest

from sweeplab.errors import Interrupted, RunFailed, UserError, a_or_an, did_you_mean


def test_a_near_name_is_proposed() -> None:
    assert did_you_mean("hiden", ["hidden", "dropout"]) == "; did you mean 'hidden'?"


def test_far_from_every_name_the_valid_ones_are_listed_in_order() -> None:
    assert did_you_mean("xyz", ["relu", "gelu"]) == "; valid: gelu, relu"


def test_many_valid_names_are_cut_at_twelve_with_their_count() -> None:
    names = [f"n{i:02}" for i in range(13)]
    assert did_you_mean("xyz", names) == (
        "; valid: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11, ... (13 in all)"
    )


def test_without_valid_names_nothing_is_said() -> None:
    assert did_you_mean("xyz", iter([])) == ""


@pytest.mark.parametrize(
    ("error", "kind"),
    [(UserError, ValueError), (RunFailed, RuntimeError), (Interrupted, KeyboardInterrupt)],
)
def test_each_error_is_of_the_kind_that_others_know(
    error: type[BaseException], kind: type[BaseException]
) -> None:
    assert issubclass(error, kind)
    assert str(error("what was wrong")) == "what was wrong"


def test_sigterm_is_not_taken_for_a_failure_of_the_run() -> None:
    assert not issubclass(Interrupted, Exception)


def test_a_type_has_the_article_that_is_spoken() -> None:
    nouns = ["int", "object", "ndarray", "OrderedDict", "uint8", "str", "UserDict", "OneCycleLR"]
    assert [a_or_an(noun).split()[0] for noun in nouns] == ["an"] * 4 + ["a"] * 4


def test_a_problem_that_is_found_twice_is_told_once() -> None:
    error = UserError("a=1: no such key", "b=1: no such key", "a=1: no such key")
    assert str(error) == "a=1: no such key\nb=1: no such key"
    assert error.problems == ("a=1: no such key", "b=1: no such key")
