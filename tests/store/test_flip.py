"""Damaged files of a store: the same bits come out as without the damage, or the file is named."""

from __future__ import annotations

import flip
import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        few = (0, 8, 12, 14, 16, 28)  # of the kinds that few commands read
        metafunc.parametrize("number", range(200) if metafunc.config.getoption("full") else few)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[flip.Place, dict[str, flip.Said]]:
    return flip.refer(tmp_path_factory.mktemp("flip")), {}


@pytest.mark.filterwarnings(
    "ignore"
)  # a process of a command's own would say nothing of them either
def test_a_damaged_file_is_named_or_does_no_harm(
    number: int, made: tuple[flip.Place, dict[str, flip.Said]]
) -> None:
    done = flip.trial(number, 0, *made)
    assert done.wrong == [], str(done)
