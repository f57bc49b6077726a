"""The runs of the store as `sweeplab runs` lists them: read, and shown as a table or as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeplab import console, metrics
from sweeplab.store import DamagedError, History, Run, Status, Store, weights

RUNNING = "running"  # a run without a result that a living process holds
SHOWN = 8  # hex digits of an id in the table: every command takes the beginning of one
MOST_ROWS = 1000  # of the table, which takes milliseconds a row
UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}  # seconds, the largest unit first


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
    kept: list[int]  # epochs whose weights are there, besides the best one's
    bytes: int
    time: float  # of its last event, Unix seconds
    folder: str
    where: dict[str, str]  # host, job of Slurm, node of Ray: of the process that took it up last
    damage: str = ""  # what is wrong with its journal

    @property
    def age(self) -> float:
        """Seconds since the last event."""
        return time.time() - self.time


def rows(home: Store) -> list[Row]:
    """List all runs of the store, the one that was at work last at the end."""
    return [_row(run) for run in home.runs()]


def _row(run: Run) -> Row:
    damage = ""
    try:
        result, history = run.history()
    except DamagedError as error:
        result, history, damage = run.result(), History(run.journal), str(error)
    start = history.start
    data = start.get("config", {}).get("data", {})
    monitor, mode = metrics.watched(start)
    score = f"{metrics.TEST}/{metrics.score(data.get('task', metrics.CLASSIFICATION))}"
    status: str = Status.UNFINISHED if result is None else result.status
    if status != Status.FINISHED and run.claimed:
        status = RUNNING
    return Row(
        id=run.id,
        status=status,
        name=start.get("name", "(its journal cannot be read)" if damage else ""),
        overrides=start.get("overrides", []),
        monitor=monitor,
        best=_best(history, monitor, mode),
        score=score,
        test=_finite(history.metrics, score),
        epochs=max(history.epochs, default=0),
        kept=weights.kept_epochs(run),
        bytes=_size(run.folder),
        time=run.last_written or 0.0,
        folder=str(run.folder),
        where=history.whereabouts,
        damage=damage,
    )


def _best(history: History, monitor: str, mode: str) -> float | None:
    """Return the monitored metric at the best epoch; of an unfinished run, the best one so far."""
    epochs = history.epochs
    chosen = epochs.get(int(history.metrics.get(metrics.BEST_EPOCH, 0)))
    if chosen:
        return _finite(chosen, monitor)
    numbers = []
    for values in epochs.values():
        value = _finite(values, monitor)
        if value is not None:
            numbers.append(value)
    return max(numbers, default=None) if mode == "max" else min(numbers, default=None)


def _finite(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name, math.nan)
    return value if math.isfinite(value) else None


def _size(folder: Path) -> int:
    """Count the bytes of all files below a folder; one that goes meanwhile counts nothing."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def show(rows: Sequence[Row], title: str) -> None:
    """Show the runs as a table; the names of the metrics stand above it if all runs share them."""
    names = {f"{row.monitor}, {row.score}" for row in rows}
    is_named = len(names) != 1
    if not is_named:
        title = f"{title} (best {names.pop()})"
    console.say(title)
    if len(rows) > MOST_ROWS:
        console.say(f"the latest {MOST_ROWS:,} are shown; sweeplab runs --json has all")
    columns = ("run", "status", "name", "best", "test", "epochs", "size", "age")
    cells = [_cells(row, is_named=is_named) for row in rows[-MOST_ROWS:]]
    console.table("", columns, cells, left=3)
    for row in rows:
        if row.damage:
            console.complain(row.damage)


def _cells(row: Row, *, is_named: bool) -> tuple[str, ...]:
    return (
        row.id[:SHOWN],
        row.status,
        row.name,
        _metric(row.monitor, row.best, is_named),
        _metric(row.score, row.test, is_named),
        str(row.epochs),
        size(row.bytes),
        _age(row.age),
    )


def _metric(name: str, value: float | None, is_named: bool) -> str:
    if value is None:
        return "-"
    number = console.number(value)
    return f"{name} {number}" if is_named else number


def size(count: float) -> str:
    """Write bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _age(seconds: float) -> str:
    """Write seconds for people, in the largest unit below a week that is not 0: `3 d`."""
    seconds = max(0, seconds)
    for unit in ("d", "h", "m"):
        if seconds >= UNITS[unit]:
            return f"{seconds // UNITS[unit]:.0f} {unit}"
    return f"{seconds // 1:.0f} s"


def as_json(rows: Sequence[Row]) -> str:
    """Write the runs for scripts."""
    values: list[dict[str, Any]] = []
    for row in rows:
        fields = asdict(row)
        if not row.damage:
            del fields["damage"]
        values.append(fields)
    return json.dumps(values, indent=2, allow_nan=False)
