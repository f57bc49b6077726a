"""A run notices that its threads wait for cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeplab.runs.core_wait import CoreWait


def spend(tasks: Path, thread: str, ran: float, waited: float) -> None:
    """Let a thread have run and waited for so many seconds, as Linux counts them."""
    (tasks / thread).mkdir(parents=True, exist_ok=True)
    (tasks / thread / "schedstat").write_text(f"{int(ran * 1e9)} {int(waited * 1e9)} 7\n")


@pytest.mark.parametrize(
    ("threads", "alone", "advice"),
    [
        (2, True, "it is quicker once they have ended, or as a new run with trainer.threads=1"),
        (1, True, "it is quicker once they have ended"),
        (1, False, "with fewer sweep.workers each is quicker"),
    ],
)
def test_what_waits_for_long_is_told_once(
    tmp_path: Path, threads: int, alone: bool, advice: str
) -> None:
    spend(tmp_path, "1", 5, 50)  # of what was before
    wait = CoreWait(tmp_path, every=0)
    spend(tmp_path, "1", 6, 51)
    spend(tmp_path, "2", 1, 3)
    words = "other programs use the cores, for which its threads wait 67% of the time"
    assert wait.notice(threads, alone=alone) == f"{words}; {advice}"
    spend(tmp_path, "2", 1, 9)
    assert wait.notice(threads, alone=alone) is None


def test_what_waits_little_says_nothing_and_each_look_is_of_what_came_since(tmp_path: Path) -> None:
    wait = CoreWait(tmp_path, every=0)
    spend(tmp_path, "1", 100, 20)
    assert wait.notice(2, alone=True) is None
    spend(tmp_path, "1", 101, 22)
    notice = wait.notice(2, alone=True)
    assert notice is not None
    assert "67%" in notice


def test_there_is_a_while_between_two_looks(tmp_path: Path) -> None:
    wait = CoreWait(tmp_path)
    spend(tmp_path, "1", 0, 100)
    assert wait.notice(1, alone=True) is None


def test_linux_counts_this_process() -> None:
    wait = CoreWait()
    sum(range(3_000_000))
    assert wait.seconds()[0] > 0.005


def test_where_nothing_is_counted_nothing_is_said(tmp_path: Path) -> None:
    assert CoreWait(tmp_path / "none", every=0).notice(2, alone=True) is None
