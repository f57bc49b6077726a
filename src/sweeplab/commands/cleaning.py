"""Remove runs from the store, or the weights of finished ones."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sweeplab import console
from sweeplab.commands.listing import RUNNING, Row
from sweeplab.errors import UserError
from sweeplab.store import DamagedError, History, Run, Status, Store, code, weights


def removable(rows: Sequence[Row]) -> list[Row]:
    """Select the runs without an end that nobody is at work on."""
    return [row for row in rows if row.status not in (Status.FINISHED, RUNNING)]


def holding(home: Store, rows: Sequence[Row]) -> list[Row]:
    """Select the finished runs that hold weights."""
    finished = [row for row in rows if row.status == Status.FINISHED]
    return [row for row in finished if weights.held(home.run(row.id))]


def agreed(rows: Sequence[Row], what: str = "") -> bool:
    """Ask whether these runs may go, or `what` they have; say so if they may not.

    Raises UserError if nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked here whether to remove them; give --yes")
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


def remove(
    home: Store,
    rows: Sequence[Row],
    *,
    also_finished: bool = False,
    before: Callable[[Run], None] = lambda _: None,
) -> list[Row]:
    """Remove these runs; return them but for those that were claimed or finished meanwhile.

    `before` is called with each run just before it goes.
    """
    for left in home.root.glob(".*.removed"):  # of a removal that was killed
        shutil.rmtree(left, ignore_errors=True)
    runs = {row.id: home.run(row.id) for row in rows}
    removed = [row for row in rows if _remove(runs[row.id], before, also_finished=also_finished)]
    if (home.root / code.CODE).exists():
        with suppress(DamagedError):  # what its run began with cannot be told: all of it stays
            code.remove_unused(home.root, (History.of(run.journal) for run in home.runs()))
    return removed


def _remove(run: Run, before: Callable[[Run], None], *, also_finished: bool) -> bool:
    try:
        with FileLock(run.lock_file, timeout=0.5):  # the feeder looks at it now and then, for less
            if run.status == Status.FINISHED and not also_finished:
                return False
            before(run)
            # By one rename, since half a run would be resumed. Whoever waits for the lock makes the
            # folder anew.
            removed = run.folder.rename(run.folder.with_name(f".{run.id}.removed"))
            shutil.rmtree(removed)
    except Timeout:
        return False
    return True
