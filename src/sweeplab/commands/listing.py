"""`sweeplab runs`: what the store holds, and room made by removing what did not come to its end."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sweeplab import console, metrics
from sweeplab.errors import UserError
from sweeplab.store import DamagedError, History, Run, Status, Store, weights

RUNNING = "running"  # a run without a result that a living process holds
SHOWN = 8  # hex digits of an id in the table: every command takes the beginning of one
MOST_ROWS = 1000  # of the table, which takes milliseconds a row
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(kw_only=True, slots=True, frozen=True)
class Row:
    """A run as it is listed; a metric that there is none of, or that is not finite, is None."""

    id: str
    status: str
    name: str
    overrides: list[str]
    monitor: str  # the metric that `best` is of
    best: float | None
    score: str  # the metric that `test` is of
    test: float | None
    epochs: int
    bytes: int
    time: float  # of its last event, Unix seconds
    folder: str
    damage: str = ""  # what is wrong with its journal


def rows(home: Store) -> list[Row]:
    """All runs of the store, the one that was at work last at the end."""
    return [_row(run) for run in home.runs()]


def _row(run: Run) -> Row:
    damage = ""
    try:
        result, history = run.history()
    except DamagedError as error:
        result, history, damage = run.result(), History(run.journal), str(error)
    start = history.start
    config = start.get("config", {})
    monitor, mode = metrics.watched(start)
    score = f"{metrics.TEST}/{metrics.score(config.get('data', {}).get('task', metrics.CLASSIFICATION))}"
    epochs, final = history.epochs, history.metrics
    seen = [value for m in epochs.values() if (value := _finite(m, monitor)) is not None]
    chosen = epochs.get(int(final.get(metrics.BEST_EPOCH, 0)))
    status = Status.UNFINISHED if result is None else result.status
    return Row(
        id=run.id,
        status=RUNNING if status != Status.FINISHED and run.claimed else status,
        name=start.get("name", "(its journal cannot be read)" if damage else ""),
        overrides=start.get("overrides", []),
        monitor=monitor,
        best=_finite(chosen, monitor) if chosen else (max if mode == "max" else min)(seen, default=None),
        score=score,
        test=_finite(final, score),
        epochs=max(epochs, default=0),
        bytes=_size(run.folder),
        time=run.last_written or 0.0,
        folder=str(run.folder),
        damage=damage,
    )


def _finite(values: Mapping[str, float], name: str) -> float | None:
    return values[name] if math.isfinite(values.get(name, math.nan)) else None


def _size(folder: Path) -> int:
    """Bytes of all files below; one that goes meanwhile counts nothing."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def show(found: Sequence[Row], title: str) -> None:
    """The runs as a table; the names of the metrics stand above it if all runs have the same."""
    kinds = {f"{row.monitor}, {row.score}" for row in found}
    columns = ("run", "status", "name", "best", "test", "epochs", "size", "age")
    same = f" (best {kinds.pop()})" if len(kinds) == 1 else ""
    console.say(title + same)
    if len(found) > MOST_ROWS:
        console.say(f"the latest {MOST_ROWS:,} are shown; sweeplab runs --json has all")
    console.table("", columns, [_cells(row, named=not same) for row in found[-MOST_ROWS:]], left=3)
    for row in found:
        if row.damage:
            console.complain(row.damage)


def _cells(row: Row, *, named: bool) -> tuple[str, ...]:
    best, test = (
        "-" if value is None else f"{name} {console.number(value)}".removeprefix("" if named else f"{name} ")
        for name, value in ((row.monitor, row.best), (row.score, row.test))
    )
    since = _age(time.time() - row.time)
    return row.id[:SHOWN], row.status, row.name, best, test, str(row.epochs), size(row.bytes), since


def size(count: float) -> str:
    """Bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _age(seconds: float) -> str:
    """Whole units for people, the largest that is not 0: `3 d`."""
    unit = next((unit for unit in "dhm" if seconds >= UNITS[unit]), "s")
    return f"{max(0, seconds) // UNITS[unit]:.0f} {unit}"


def as_json(found: Sequence[Row]) -> str:
    """The runs for scripts."""
    rows = [asdict(row) for row in found]
    for row in rows:
        if not row["damage"]:
            del row["damage"]
    return json.dumps(rows, indent=2, allow_nan=False)


def seconds(text: str) -> float:
    """`7d` in seconds. Raises UserError if it is no age."""
    if not (read := re.fullmatch(r"(\d+)([mhdw])", text)):
        raise UserError(f"--older-than={text}: must be a whole number and its unit, as in 30m, 12h, 7d, 2w")
    return int(read[1]) * UNITS[read[2]]


def removable(found: Sequence[Row], age: float = 0.0) -> list[Row]:
    """Those that did not come to their end, that nobody is at work on, and that had their last event so long ago."""
    return [row for row in found if row.status not in (Status.FINISHED, RUNNING) and time.time() - row.time >= age]


def holding(home: Store, found: Sequence[Row], age: float = 0.0) -> list[Row]:
    """The finished runs that hold weights, and had their last event so long ago."""
    finished = [row for row in found if row.status == Status.FINISHED and time.time() - row.time >= age]
    return [row for row in finished if weights.held(home.run(row.id))]


def remove_weights(home: Store, chosen: Sequence[Row], second: Mapping[str, Sequence[Path]]) -> tuple[list[Row], int]:
    """Remove the weights of these runs, and their `second` names; those that have none now, and the bytes it freed.

    A run that is claimed meanwhile keeps them.
    """
    gone, freed = [], 0
    for row in chosen:
        run = home.run(row.id)
        with suppress(Timeout), FileLock(run.lock_file, timeout=0.5):
            names = [*weights.held(run), *second.get(row.id, ())]
            freed += _freed([name.stat() for name in names])
            for name in second.get(row.id, ()):
                name.unlink(missing_ok=True)
            weights.remove(run)
            gone.append(row)
    return gone, freed


def _freed(names: Sequence[os.stat_result]) -> int:
    """The bytes that go with these names: those of the files that have no other."""
    counts = Counter((name.st_dev, name.st_ino) for name in names)
    files = {(name.st_dev, name.st_ino): name for name in names}
    return sum(file.st_size for key, file in files.items() if file.st_nlink <= counts[key])


def agreed(chosen: Sequence[Row], what: str = "") -> bool:
    """Ask whether these may go, or `what` they have. Raises UserError if there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UserError("--clean: nobody can be asked here whether to remove them; give --yes")
    try:
        return input(f"remove {what}{len(chosen)} run{'s'[: len(chosen) != 1]}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def remove(home: Store, chosen: Sequence[Row]) -> list[Row]:
    """Remove these runs; those that are gone: one that was claimed or finished meanwhile is kept."""
    for left in home.root.glob(".*.removed"):  # of a removal that was killed
        shutil.rmtree(left, ignore_errors=True)
    return [row for row in chosen if _remove(home.run(row.id))]


def _remove(run: Run) -> bool:
    try:
        with FileLock(run.lock_file, timeout=0.5):  # the feeder looks at it now and then, for less
            if run.status == Status.FINISHED:
                return False
            # By one rename, since half a run would be resumed; whoever waits for the lock makes the folder anew.
            shutil.rmtree(run.folder.rename(run.folder.with_name(f".{run.id}.removed")))
    except Timeout:
        return False
    return True
