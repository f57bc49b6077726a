"""The code that `store.code=diff` keeps: one file for all runs of a store that began with the same."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeplab.store.files import DEAD_AFTER, DamagedError, read_json, write_json
from sweeplab.store.history import JournalFacts
from sweeplab.store.journal import Line

CODE = "code"  # the folder in the store


def _file(root: Path, digest: str) -> Path:
    return root / CODE / f"{digest}.json"


def write(root: Path, content: Mapping[str, Any]) -> str:
    """Keep code in the store `root`, unless it is there; return its digest, by which it is found.

    A file that was damaged is written anew.
    """
    digest = _digest(content)
    file = _file(root, digest)
    if _is_whole(file, digest):
        file.touch()  # for `remove_unused`: the run that began with it has not said so yet
    else:
        file.parent.mkdir(exist_ok=True)
        write_json(file, content)
    return digest


def remove_unused(root: Path, histories: Iterable[JournalFacts]) -> None:
    """Remove code of the store `root` that none of these runs, which are all of it, began with.

    What is not old stays: a run may be about to begin with it. Raises DamagedError, with nothing
    removed, if a history cannot be read.
    """
    used = {_named(line) for history in histories for line in history.landmarks}
    for file in (root / CODE).glob("*.json"):
        if file.stem not in used and time.time() - file.stat().st_mtime > DEAD_AFTER:
            file.unlink(missing_ok=True)


def read(root: Path, history: JournalFacts) -> dict[str, Any] | None:
    """Read the code that a run of the store `root` began with; None if none is there.

    Raises DamagedError if it is not what was kept.
    """
    digest = _named({"provenance": history.provenance})
    if not re.fullmatch("[0-9a-f]{64}", digest):  # a foreign journal may say anything
        return None
    try:
        return _read_whole(_file(root, digest), digest)
    except FileNotFoundError:
        return None


def _read_whole(file: Path, digest: str) -> dict[str, Any]:
    content = read_json(file)
    if _digest(content) != digest:
        raise DamagedError(file, "it is not what was kept under its name")
    return content


def _is_whole(file: Path, digest: str) -> bool:
    try:
        _read_whole(file, digest)
    except (FileNotFoundError, DamagedError):
        return False
    return True


def _named(line: Line) -> str:
    """Return the digest of the code that a line of a journal names."""
    git = (line.get("provenance") or {}).get("git")
    return str(git.get("diff")) if isinstance(git, dict) else ""


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
