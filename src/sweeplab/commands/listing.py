"""The runs of the store as `sweeplab runs` lists them: read, and shown as a table or as JSON."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweeplab import config, console, metrics
from sweeplab.store import MODEL, WEIGHTS, DamagedError, History, Run, Status, Store, weights
from sweeplab.store.run import KEPT

RUNNING = "running"  # a run without a result that a living process holds
SHOWN = 8  # hex digits of an id in the table: every command takes the beginning of one
MOST_ROWS = 1000  # of the table, which takes milliseconds a row
KEYS = ("time", "size", "best", "test", "epochs", "status", "name")  # beside config and metrics
ALL, CHECKPOINTS, WEIGHT = "bytes", "checkpoint_bytes", "weight_bytes"  # of files
PARTS = {CHECKPOINTS: "checkpoints", WEIGHT: "weights"}
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
    metrics: dict[str, float]  # the final ones, and of each epoch's those of the best
    bytes: int
    checkpoint_bytes: int  # of these
    weight_bytes: int  # of these, kept ones and an exported model included
    time: float  # of its last event, Unix seconds
    folder: str
    where: dict[str, str]  # host, job of Slurm, node of Ray: of the process that took it up last
    damage: str | None  # what is wrong with its journal
    values: dict[str, Any] = field(default_factory=dict)  # what it can be chosen and sorted by

    @property
    def age(self) -> float:
        """Seconds since the last event."""
        return time.time() - self.time


def read(run: Run, sizes: Mapping[str, int], *, whole: bool = False) -> Row:
    """Read a run whose files have these sizes; only if `whole` with `values`."""
    damage = None
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
    best = _best_epoch(history, monitor, mode)
    row = Row(
        id=run.id,
        status=status,
        name=start.get("name", "(its journal cannot be read)" if damage else ""),
        overrides=start.get("overrides", []),
        monitor=monitor,
        best=_finite(best, monitor),
        score=score,
        test=_finite(history.metrics, score),
        epochs=max(history.epochs, default=0),
        kept=weights.kept_epochs(run),
        metrics={**best, **history.metrics},
        bytes=sizes.get(ALL, 0),
        checkpoint_bytes=sizes.get(CHECKPOINTS, 0),
        weight_bytes=sizes.get(WEIGHT, 0),
        time=run.last_written or 0.0,
        folder=str(run.folder),
        where=history.whereabouts,
        damage=damage,
    )
    if whole:
        own = {name: getattr(row, {"size": ALL}.get(name, name)) for name in KEYS}
        row.values.update({**config.flatten(start.get("config", {})), **row.metrics, **own})
    return row


def _best_epoch(history: History, monitor: str, mode: str) -> Mapping[str, float]:
    """Return the metrics of the best epoch; of an unfinished run, of the best one so far."""
    epochs = history.epochs
    chosen = epochs.get(int(history.metrics.get(metrics.BEST_EPOCH, 0)))
    if chosen:
        return chosen
    measured = [values for values in epochs.values() if _finite(values, monitor) is not None]
    if not measured:
        return {}
    best = max if mode == "max" else min
    return best(measured, key=lambda values: values[monitor])


def _finite(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name, math.nan)
    return value if math.isfinite(value) else None


def sizes(root: Path) -> dict[str, Counter[str]]:
    """Count the bytes of a store's files, of each folder in it, by ALL, CHECKPOINTS and WEIGHT."""
    found: dict[str, Counter[str]] = {}
    for folder, _, files in os.walk(root):
        name, *below = Path(folder).relative_to(root).parts or ("",)
        counts = found.setdefault(name, Counter())
        for file in files:
            with suppress(OSError):  # it goes meanwhile
                size = os.lstat(os.path.join(folder, file)).st_size  # noqa: PTH118  # of very many
                counts[ALL] += size
                counts[_kind([*below, file][0])] += size
    return found


def _kind(entry: str) -> str:
    """Return what an entry of a run's folder holds."""
    if entry == "checkpoints":
        return CHECKPOINTS
    return WEIGHT if entry in (*WEIGHTS, KEPT, MODEL) else "other"


def total(found: Mapping[str, Counter[str]]) -> Counter[str]:
    """Add up the sizes of a store's folders."""
    return sum(found.values(), Counter())


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
    console.table("", columns, cells, left=3, spare=("size", "epochs", "age"))
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


def content(home: Store, rows: Sequence[Row], found: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """Return the runs for scripts, and the sizes of the whole store: docs/json.md."""
    listed: list[dict[str, Any]] = []
    for row in rows:
        fields = asdict(row)
        del fields["values"]
        listed.append(fields)
    all_of_it = total(found)
    whole = {name: all_of_it[name] for name in (ALL, CHECKPOINTS, WEIGHT)}
    return {"store": str(home.root), **whole, "runs": listed}
