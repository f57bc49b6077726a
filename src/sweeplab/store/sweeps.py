"""The sweeps of a store: what each asked for, how it ended, and what came out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeplab.errors import UserError, listed_names
from sweeplab.store.files import (
    DEAD_AFTER,
    DamagedError,
    locked,
    read_json,
    remove_leftovers,
    write_json,
)
from sweeplab.store.requests import Presence, Request, Resumption
from sweeplab.store.run import ID_LENGTH

SUMMARY = "summary.json"  # beside a sweep's report


class SweepRecords:
    """The folder of sweeps in a store."""

    def __init__(self, folder: Path) -> None:
        self.sweeps = folder
        self._told: set[str] = set()  # what was said of damaged manifests

    def write_manifest(self, sweep: Mapping[str, Any]) -> None:
        """Record a sweep under its `id`: what it asks for, its cells, how it ended.

        The MLflow experiments under which it was issued before are kept as `formerly`.
        """
        file = self.manifest_file(sweep["id"])
        try:
            before = read_manifest(file)
        except (FileNotFoundError, DamagedError):
            before = {}
        names = dict.fromkeys([*before.get("formerly", []), before.get("experiment")])
        former = [name for name in names if name not in (None, sweep.get("experiment"))]
        write_json(file, {**sweep, **({"formerly": former} if former else {})})

    def manifest(self, sweep: str) -> dict[str, Any]:
        """Return the manifest of this sweep id. Raises UserError if none can be read."""
        file = self.manifest_file(sweep)
        try:
            return read_manifest(file)
        except FileNotFoundError as error:
            raise UserError(f"{file}: there is no such sweep") from error

    def manifest_file(self, sweep: str) -> Path:
        """Where the manifest of this sweep id is."""
        return self.sweeps / f"{sweep[:ID_LENGTH]}.json"

    def _launcher_lock(self, sweep: str) -> Path:
        return self.sweeps / f"{sweep[:ID_LENGTH]}.lock"

    @contextmanager
    def carrying_out(self, sweep: str) -> Iterator[None]:
        """Let others see meanwhile that somebody carries a sweep out.

        The lock is the operating system's, so that it ends with this process, however that ends.
        Of two commands for the same sweep the first is seen.
        """
        lock = FileLock(self._launcher_lock(sweep))
        with suppress(Timeout, OSError):  # of a file system without locks
            lock.acquire(timeout=0.3)  # longer than another process's look at the lock
        try:
            yield
        finally:
            lock.release()

    def is_carried_out(self, sweep: str) -> bool:
        """Tell whether a living process carries a sweep out."""
        return locked(self._launcher_lock(sweep))

    def study_file(self, sweep: str) -> Path:
        """Where Optuna keeps the trials of the search of this sweep id."""
        return self.sweeps / f"{sweep[:ID_LENGTH]}.optuna.jsonl"

    def request(self, sweep: str) -> Request:
        """Return the file by which the sweep of this id is asked for something."""
        return Request(self.sweeps / f"{sweep[:ID_LENGTH]}.request")

    def presence(self, sweep: str) -> Presence:
        """Return what tells whether a command heeds requests for the sweep of this id.

        One that is about to end does not any more, although it still carries the sweep out.
        """
        return Presence(self.sweeps / f"{sweep[:ID_LENGTH]}.listening")

    def resumption(self, name: str) -> Resumption:
        """Return what lets only one process take up the sweep, or the run, of this id."""
        return Resumption(self.sweeps / f"{name[:ID_LENGTH]}.resumed")

    def code_folder(self, sweep: str) -> Path:
        """Where the code that came along with an unpacked sweep is kept, as text."""
        return self.sweeps / f"{sweep[:ID_LENGTH]}.code"

    def report_folder(self, sweep: str) -> Path:
        """Where the report of this sweep id is."""
        return self.sweeps / sweep[:ID_LENGTH]

    def write_summary(
        self, sweep: str, metrics: Mapping[str, float], description: str, runs: int
    ) -> None:
        """Write what MLflow is told of a sweep as a whole: metrics, and a description in Markdown.

        `runs` is the number of runs behind the metrics.
        """
        content = {"time": time.time(), "metrics": metrics, "description": description}
        remove_leftovers(self.report_folder(sweep), f".{SUMMARY}.*", older=DEAD_AFTER)
        write_json(self.report_folder(sweep) / SUMMARY, {**content, "runs": runs})

    def summary(self, sweep: str) -> dict[str, Any]:
        """Read what `write_summary` wrote; empty if it did not. Raises DamagedError."""
        folder = self.report_folder(sweep)
        try:
            return read_json(folder / SUMMARY)
        except FileNotFoundError:
            return {}
        except DamagedError as error:
            advice = f"remove {folder} and issue the sweep's command again"
            raise DamagedError(folder / SUMMARY, error.why, advice) from error

    def manifests(
        self, complain: Callable[[str], None] | None = None, without: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """All sweeps but those of some ids, the oldest first.

        Of one whose manifest is damaged `complain` is told, if this store has not told it before.
        """
        left_out = {sweep[:ID_LENGTH] for sweep in without}
        found = []
        for file in self.sweeps.glob("*.json"):
            if len(file.stem) != ID_LENGTH or file.stem in left_out:
                continue
            try:
                found.append(read_manifest(file))
            except FileNotFoundError:  # removed meanwhile
                continue
            except DamagedError as error:
                if complain is not None and str(error) not in self._told:
                    self._told.add(str(error))
                    complain(str(error))
        return sorted(found, key=lambda sweep: float(sweep["time"]))

    def named(
        self, name: str, complain: Callable[[str], None] | None = None
    ) -> list[dict[str, Any]]:
        """List the sweeps that a name stands for, the oldest first: the one whose id begins so, or
        those of an experiment. Raises UserError if several ids begin so.
        """
        sweeps = self.manifests(complain)
        begun = [sweep for sweep in sweeps if name and sweep["id"].startswith(name)]
        if len(begun) > 1:
            ids = listed_names([sweep["id"][:12] for sweep in begun])
            raise UserError(f"{name}: several sweeps begin so: {ids}; give more of the id")
        asked = f"experiment={name}"
        return begun or [
            sweep
            for sweep in sweeps
            if sweep.get("experiment") == name or asked in sweep.get("overrides", [])
        ]


def read_manifest(file: Path) -> dict[str, Any]:
    """Read what a sweep asked for. Raises FileNotFoundError, or DamagedError with what to do."""
    advice = "issue the sweep's command again, which writes it anew"
    try:
        manifest = read_json(file)
    except DamagedError as error:
        raise DamagedError(file, error.why, advice) from error
    cells = manifest.get("cells")
    has_cells = isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells)
    has_id = isinstance(manifest.get("id"), str)
    if not has_cells or not has_id or not isinstance(manifest.get("time"), int | float):
        raise DamagedError(file, "it is no sweep's", advice)
    return manifest
