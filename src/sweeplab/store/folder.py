"""The folder of runs, and of the sweeps that asked for them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeplab import config
from sweeplab.errors import UserError, listed_names
from sweeplab.store.files import DEAD_AFTER, DamagedError, remove_leftovers
from sweeplab.store.ownership import FILE as OWNERSHIP
from sweeplab.store.ownership import Ownership, settle
from sweeplab.store.run import ID_LENGTH, Run
from sweeplab.store.sweeps import SweepRecords

SCHEMA = 1
"""Raised when the form of what is hashed changes."""

FINGERPRINT_LENGTH = 64


def fingerprint(
    canonical: Mapping[str, Any], data_digest: str, code_digest: str
) -> tuple[str, str]:
    """Return (fingerprint, question) of what a run is asked to compute, each 64 hex digits.

    The question leaves out the code digest: runs with the same question and other fingerprints
    differ in code only.
    """
    question = {"schema": SCHEMA, "config": canonical, "data": data_digest}
    return _sha256({**question, "code": code_digest}), _sha256(question)


def fits_question(start: Mapping[str, Any]) -> bool:
    """Tell whether a journal's first line puts the question that it asks.

    True where that cannot be told: a secret is hidden, or the record is of an early version.
    """
    asked = start.get("asked")
    if not isinstance(asked, dict) or any(config.hidden_keys(asked)):
        return True
    return fingerprint(asked, start["data"]["digest"], "")[1] == str(start["question"])


def _sha256(value: Any) -> str:
    return hashlib.sha256(config.canonical_json(value).encode()).hexdigest()


class Store(SweepRecords):
    """The folder of runs."""

    def __init__(self, root: str | Path) -> None:
        self.root: Path = Path(root)
        super().__init__(self.root / "sweeps")
        self._ownership: Ownership | None = None

    def check(self, *, to_write: bool = True) -> Store:
        """Raise UserError if the folder cannot be made or written; nothing is made to find out.

        `to_write=False`: one that is there and cannot be written will do, for what only reads.
        """
        there = self._there()
        if not there.is_dir():
            raise self._refusal(f"{there} is not a folder")
        if not self.writable and (to_write or there != self.root.absolute()):
            raise self._refusal(f"{there} cannot be written")
        return self

    @property
    def writable(self) -> bool:
        """Whether runs can be added; one that cannot be written can still be read."""
        return os.access(self._there(), os.W_OK | os.X_OK)

    def _there(self) -> Path:
        """Return the folder, or the nearest one above it that exists."""
        root = self.root.absolute()
        try:
            return next(folder for folder in (root, *root.parents) if folder.exists())
        except OSError as error:
            raise self._refusal(error.strerror) from error

    def open(self) -> Store:
        """Make the folder, and remove what killed writers left in it. Raises UserError."""
        try:
            self.check().sweeps.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error.strerror) from error
        for folder in (self.root, self.sweeps):
            remove_leftovers(folder, ".*.json.*", older=DEAD_AFTER)
        return self

    def ensure_locks(self) -> None:
        """Raise UserError if the file system refuses locks, as Lustre does without `-o flock`."""
        try:
            with tempfile.TemporaryFile(dir=self.root) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            host = platform.node()
            refused = f"host {host} cannot lock files there ({error.strerror})"
            advice = "mount it with locks, as NFS 4 is, and Lustre with -o flock"
            raise UserError(f"store.root={self.root}: {refused}; {advice}") from error

    def _refusal(self, why: str | None) -> UserError:
        advice = "name a folder that can be made, as in store.root=$HOME/runs"
        return UserError(f"store.root={self.root}: {why}; {advice}")

    @property
    def id(self) -> str:
        """The store's own name, made on first use, by which MLflow runs are told apart."""
        return self.ownership.id

    @property
    def has_id(self) -> bool:
        """Whether the store has been given an id, as it is before anything of it goes to MLflow."""
        return (self.root / OWNERSHIP).exists()

    @property
    def ownership(self) -> Ownership:
        """Whose the store is; a copy gets an id of its own, of which `settle` tells."""
        if self._ownership is None:
            self.settle()
        assert self._ownership is not None
        return self._ownership

    def settle(self) -> str | None:
        """Find out whether this folder is a copy of another store; return a sentence if it is."""
        try:
            self._ownership, original = settle(self.root)
        except DamagedError as error:
            advice = "remove it, and what was sent to MLflow before will be sent once more"
            raise UserError(f"{error}; {advice}") from error
        if original is None:
            return None
        return (
            f"{self.root} is a copy of {original}: it goes on under an id of its own, with MLflow "
            "runs of its own"
        )

    def run(self, fingerprint: str) -> Run:
        """Return the run of this fingerprint, whether it exists yet or not."""
        return Run(self.root / fingerprint[:ID_LENGTH])

    def runs(self) -> list[Run]:
        """All runs, the one that was at work last at the end."""
        if not self.root.is_dir():
            return []
        found = [Run(path) for path in self.root.iterdir() if len(path.name) == ID_LENGTH]
        times = {run: at for run in found if (at := run.last_written) is not None}
        return sorted(times, key=times.__getitem__)

    def find(self, name: str) -> Run:
        """Return the run with this id or the beginning of one, this fingerprint, or this folder.

        Raises UserError if there is not exactly one.
        """
        matching = self.matching(name)
        if matching:
            return self.only(name, matching)
        if any(name and sweep["id"].startswith(name) for sweep in self.manifests()):
            way = f"sweeplab runs --sweep {name} lists its runs"
            raise UserError(f"{name}: begins the id of a sweep, not of a run; {way}")
        if name == "latest":
            raise UserError("latest: names a sweep; sweeplab runs lists the runs by their ids")
        problem = f"no such run in {self.place}"
        raise UserError(f"{name}: {problem}; its folders are the runs' names")

    def only(self, name: str, matching: Sequence[Run]) -> Run:
        """Return the one run that a name stands for. Raises UserError if there are several."""
        if len(matching) > 1:
            listed = listed_names([run.id for run in matching])
            problem = f"several runs begin so: {listed} in {self.root}"
            raise UserError(f"{name}: {problem}; give more of the id")
        return matching[0]

    def matching(self, name: str) -> list[Run]:
        """List the runs with this id or the beginning of it, this fingerprint, or this folder."""
        if not name.strip():
            return []
        folder = config.expand_home(name)
        if Run(folder).last_written is not None:
            return [Run(folder.resolve())]
        beginning = name[:ID_LENGTH] if len(name) == FINGERPRINT_LENGTH else name
        return [run for run in self.runs() if run.id.startswith(beginning)]

    @property
    def place(self) -> str:
        """The folder as it is named in a message, with a word if it is none."""
        if self.root.is_dir():
            return str(self.root)
        what = "which is not a folder" if self.root.exists() else "there is no such folder"
        return f"{self.root} ({what})"
