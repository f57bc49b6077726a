"""Take a packed sweep into a store: what is in it is foreign, and nothing of it is run.

All of it is checked in a folder of its own first. Then each run is moved into the store by one
rename, and the sweep is noted last: whatever ends this, no run is there by half.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from sweeplab import metrics
from sweeplab.config import Node
from sweeplab.errors import UserError, first_line
from sweeplab.replay import archive, portable
from sweeplab.replay.pack import ENDED
from sweeplab.store import (
    FINGERPRINT_LENGTH,
    DamagedError,
    Line,
    Run,
    Status,
    Store,
    differing,
    fits_question,
    locked,
    numbers,
    read_manifest,
    write_json,
)
from sweeplab.store.journal import checked, parsed

STAGING = ".unpacking."  # begins the names of the folders in which files are checked
DEEPEST = 20  # of what is nested in a record
LARGEST = 2**53  # of its whole numbers: up to here they are floats, too
MOST_METRICS = 10_000  # of a line
_DIGEST = re.compile(rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}")
_STATUSES = frozenset(map(str, Status))


@dataclass(kw_only=True)
class Unpacked:
    """What became of a file's content."""

    sweep: Node
    added: list[str] = field(default_factory=list)  # ids of runs
    kept: list[str] = field(default_factory=list)  # of runs that were here before
    other: list[str] = field(default_factory=list)  # of those, that came out otherwise here
    is_noted: bool = False  # whether the sweep is now, and was not before
    code: Path | None = None


def unpack(file: Path, home: Store, trusted: Sequence[str] = ()) -> Unpacked:
    """Add what a file holds to a store, but for the runs that are there already.

    `trusted` are modules whose classes may be called when a network of these runs is loaded. Raises
    UserError, and leaves the store as it is, for a file that is not exactly as `pack` makes it.
    """
    with _staging(home) as folder:
        about = archive.extract(file, folder)
        try:
            sweep = _read_sweep(folder, about)
            cells = {cell["fingerprint"]: cell for cell in sweep["cells"]}
            origin = {"file": file.name, "sweep": sweep["id"], "trusted": list(trusted)}
            staged = Store(folder / "store")
            journals = sorted((folder / archive.RUNS).glob("*.jsonl"))
            _ensure(bool(journals), "it holds no run")
            for journal in journals:
                _stage(journal, staged, cells, origin)
            _stage_weights(folder / archive.WEIGHTS, staged)
        except DamagedError as error:
            raise UserError(f"{file}: refused: {error.why}") from error
        except UserError as error:
            raise UserError(f"{file}: refused: {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = f"a record in it is none: {type(error).__name__}: {first_line(error)}"
            raise UserError(f"{file}: refused: {reason}") from error
        os.sync()
        return _move(staged, home, sweep, folder / archive.CODE, origin)


@contextmanager
def _staging(home: Store) -> Iterator[Path]:
    """Make a folder in the store, on the same disk; remove it, and those of killed processes."""
    was_there = home.root.is_dir()
    home.open()
    for left in home.root.glob(f"{STAGING}*"):
        if not locked(left / "lock"):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=home.root))
    try:
        with FileLock(folder / "lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there:
            with suppress(OSError):  # it is not empty: something was unpacked
                home.sweeps.rmdir()
                home.root.rmdir()


# --- what a file may say


def _read_sweep(folder: Path, about: Node) -> Node:
    """Read the sweep's manifest. Raises UserError, or any error of plain values."""
    file = folder / archive.SWEEP
    _ensure(file.is_file(), "it holds no sweep")
    sweep = read_manifest(file)
    _ensure(sweep == portable.manifest(sweep), "its sweep says more than a sweep does")
    _ensure_shallow(sweep)
    _ensure(_DIGEST.fullmatch(sweep["id"]) is not None, "the id of its sweep is none")
    _ensure(sweep["id"] == about.get("sweep"), "it is a list of another sweep")
    _ensure(sweep["status"] in _STATUSES, "the status of its sweep is none")
    _ensure_time(sweep["time"])
    _ensure_time(sweep.get("ended") or 0)
    _ensure(isinstance(sweep.get("margin"), float | int | None), "margin is no number")
    _ensure_rules(sweep)
    for key in ("experiment", "baseline"):
        _ensure(isinstance(sweep.get(key), str | None), f"{key} is no text")
    _ensure_texts([sweep["name"], *sweep["overrides"], *sweep["replicate"]])
    for cell in sweep["cells"]:
        _ensure(_DIGEST.fullmatch(cell["fingerprint"]) is not None, "a fingerprint is none")
        values = cell.get("values", {}).values()
        _ensure_texts([cell["name"], *cell["overrides"], cell.get("group", ""), *values])
        _ensure(isinstance(cell.get("replica", {}), dict), "a cell's replica is none")
    return sweep


def _ensure_rules(sweep: Node) -> None:
    """Check what a sweep says of its looks, its search and the sweep that it started from."""
    if "looks" in sweep:
        looks = sweep["looks"]
        counts = [looks["first"], looks["taken"], *looks["after"]]
        are_whole = all(type(count) is int for count in counts)
        _ensure(are_whole and len(looks["after"]) > 0, "its looks are none")
    if "from" in sweep:
        _ensure_texts([sweep["from"]["asked"], sweep["from"]["sweep"], *sweep["from"]["taken"]])
    search = sweep.get("search", {})
    numbers(search.get("importance") or {})
    for low, high in (search.get("importance_intervals") or {}).values():
        numbers({"low": low, "high": high})


def _ensure_time(seconds: object) -> None:
    is_time = isinstance(seconds, int | float) and 0 <= seconds < 1e11
    _ensure(is_time, "a time in it is none")


def _stage(journal: Path, staged: Store, cells: dict[str, Node], origin: Node) -> None:
    """Make a run's folder of its journal. Raises UserError, DamagedError, or of plain values."""
    run = staged.run(journal.stem)
    run.folder.mkdir(parents=True)
    journal.rename(run.journal.path)
    _ensure(run.journal.path.read_bytes().endswith(b"\n"), "a journal has no end")
    _, history = run.history()
    start = history.start
    _ensure(history.status in ENDED, f"run {run.id} is {history.status}")
    _ensure(history.fingerprint in cells, f"run {run.id} is of no cell of the sweep")
    with run.journal.path.open("rb") as file:  # not all lines at once, parsed
        for number, text in enumerate(file, 1):
            line = parsed(text[:-1], run.journal.path, number)
            _ensure_line(line)
            _ensure(line == portable.line(line), f"run {run.id} says where to read or write")
    _ensure_start(start, run.id)
    result = history.result
    assert result is not None
    run.write_config(start["config"], start["overrides"], lasting=False)
    run.write_result(result, lasting=False)
    write_json(run.origin_file, origin, lasting=False)


def _ensure_line(line: Line) -> None:
    """Check a line of a journal, whose checksum anyone can write."""
    _ensure_shallow(line)
    checked(line)
    _ensure_time(line.get("time", 0.0))
    _ensure(len(line.get("metrics") or {}) <= MOST_METRICS, "a line of it has too many metrics")


def _ensure_start(start: Line, run_id: str) -> None:
    """Check what a run was asked, and that its question is the one of what was asked."""
    _ensure(_DIGEST.fullmatch(str(start["fingerprint"])) is not None, "a fingerprint is none")
    _ensure_texts([start["name"], start["question"], *start["overrides"]])
    has_config = bool(start["config"]) and isinstance(start["data"], dict)
    _ensure(has_config, f"run {run_id} has no config")
    _ensure(fits_question(start), f"run {run_id} was asked something else")


def _stage_weights(folder: Path, staged: Store) -> None:
    """Move weights to the runs that they are of; they are checked when they are loaded."""
    for file in sorted(folder.glob("*.safetensors")):
        run = staged.run(file.stem)
        _ensure(run.folder.is_dir(), f"there are weights of {file.stem}, which is no run of it")
        with file.open("rb") as weights:
            # Such a file would be read as one of torch's.
            _ensure(weights.read(2) != b"PK", f"the weights of {file.stem} are no safetensors")
        file.rename(run.weights_file)


def _ensure(is_right: bool, problem: str) -> None:
    if not is_right:
        raise UserError(problem)


def _ensure_texts(values: Sequence[object]) -> None:
    _ensure(all(isinstance(value, str) for value in values), "what should be a text is none")


def _ensure_shallow(value: Any, depth: int = 0) -> None:
    _ensure(depth <= DEEPEST, "a record in it is nested too deeply")
    is_large = isinstance(value, int) and abs(value) > LARGEST
    _ensure(not is_large, "a number in it is too large")
    items: Sequence[Any] = ()
    if isinstance(value, dict):
        items = list(value.values())
    elif isinstance(value, list):
        items = value
    for item in items:
        _ensure_shallow(item, depth + 1)


# --- into the store


def _move(staged: Store, home: Store, sweep: Node, code: Path, origin: Node) -> Unpacked:
    """Move what is not there yet into the store; the sweep, which makes it seen, comes last."""
    unpacked = Unpacked(sweep=sweep)
    for run in staged.runs():
        target = home.run(run.id)
        if _add(run, target):
            unpacked.added.append(run.id)
            continue
        unpacked.kept.append(run.id)
        if _differs(run, target):
            unpacked.other.append(run.id)
        if target.origin_file.is_file():
            write_json(target.origin_file, origin)
    folder = home.code_folder(sweep["id"])
    if code.is_dir() and not folder.exists():
        code.rename(folder)
    unpacked.code = folder if folder.is_dir() else None
    unpacked.is_noted = not any(known["id"] == sweep["id"] for known in home.manifests())
    if unpacked.is_noted:
        home.write_manifest({**sweep, "origin": origin["file"]})
    return unpacked


def _add(run: Run, target: Run) -> bool:
    """Move a run into the store by one rename; False if there is one, or somebody is at work."""
    if target.folder.exists():
        return False
    try:
        run.folder.rename(target.folder)
    except OSError:  # made meanwhile
        if target.folder.exists():
            return False
        raise
    return True


def _differs(run: Run, here: Run) -> bool:
    """Tell whether a run that is finished in both came out otherwise."""
    theirs, ours = run.result(), here.result()
    if theirs is None or ours is None or ours.status != theirs.status:
        return False
    times = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)
    return bool(set(differing(theirs.metrics, ours.metrics)) - {*times})
