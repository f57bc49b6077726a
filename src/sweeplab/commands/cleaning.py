"""`sweeplab runs --clean`: remove unfinished runs, or the weights of finished ones."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sweeplab import console
from sweeplab.commands.listing import RUNNING, UNITS, Row
from sweeplab.errors import UserError
from sweeplab.store import Run, Status, Store, weights


def seconds(age: str) -> float:
    """Read an age: `7d` in seconds. Raises UserError if it is none."""
    match = re.fullmatch(r"(\d+)([mhdw])", age)
    if match is None:
        allowed = "must be a whole number and its unit, as in 30m, 12h, 7d, 2w"
        raise UserError(f"--older-than={age}: {allowed}")
    return int(match[1]) * UNITS[match[2]]


def removable(rows: Sequence[Row], age: float = 0.0) -> list[Row]:
    """Select the runs without an end that nobody is at work on, idle for `age` seconds."""
    return [row for row in rows if row.status not in (Status.FINISHED, RUNNING) and row.age >= age]


def holding(home: Store, rows: Sequence[Row], age: float = 0.0) -> list[Row]:
    """Select the finished runs that hold weights, idle for `age` seconds."""
    finished = [row for row in rows if row.status == Status.FINISHED and row.age >= age]
    return [row for row in finished if weights.held(home.run(row.id))]


def agreed(rows: Sequence[Row], what: str = "") -> bool:
    """Ask whether these runs may go, or `what` they have; say so if they may not.

    Raises UserError if nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise UserError("--clean: nobody can be asked here whether to remove them; give --yes")
    answer = ""
    with suppress(EOFError):
        answer = input(f"remove {what}{console.counted(len(rows), 'run')}? [y/N] ")
    if answer.strip().lower() in ("y", "yes"):
        return True
    console.say("nothing was removed")
    return False


def remove_weights(
    home: Store,
    rows: Sequence[Row],
    second_names: Mapping[str, Sequence[Path]],
) -> tuple[list[Row], int]:
    """Remove the weights of these runs, under their `second_names`, too (by run id).

    Return the runs that have none now, and the bytes that were freed. A run that is claimed
    meanwhile keeps its weights.
    """
    cleaned, freed = [], 0
    for row in rows:
        run, others = home.run(row.id), second_names.get(row.id, ())
        with suppress(Timeout), FileLock(run.lock_file, timeout=0.5):
            freed += _freed([file.stat() for file in (*weights.held(run), *others)])
            for file in others:
                file.unlink(missing_ok=True)
            weights.remove(run)
            cleaned.append(row)
    return cleaned, freed


def _freed(names: Sequence[os.stat_result]) -> int:
    """Count the bytes that go with these names: those of the files that have no other name."""
    counts: Counter[tuple[int, int]] = Counter()
    freed = 0
    for name in names:
        file = (name.st_dev, name.st_ino)
        counts[file] += 1
        if counts[file] == name.st_nlink:  # this is the last one
            freed += name.st_size
    return freed


def remove(home: Store, rows: Sequence[Row]) -> list[Row]:
    """Remove these runs; return them but for those that were claimed or finished meanwhile."""
    for left in home.root.glob(".*.removed"):  # of a removal that was killed
        shutil.rmtree(left, ignore_errors=True)
    return [row for row in rows if _remove(home.run(row.id))]


def _remove(run: Run) -> bool:
    try:
        with FileLock(run.lock_file, timeout=0.5):  # the feeder looks at it now and then, for less
            if run.status == Status.FINISHED:
                return False
            # By one rename, since half a run would be resumed. Whoever waits for the lock makes the
            # folder anew.
            removed = run.folder.rename(run.folder.with_name(f".{run.id}.removed"))
            shutil.rmtree(removed)
    except Timeout:
        return False
    return True
