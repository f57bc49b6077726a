"""The code that `store.code=diff` keeps: one file for all runs of a store that began with the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeplab.store.files import DamagedError, read_json, write_json
from sweeplab.store.history import JournalFacts

CODE = "code"  # the folder in the store


def _file(root: Path, digest: str) -> Path:
    return root / CODE / f"{digest}.json"


def write(root: Path, content: Mapping[str, Any]) -> str:
    """Keep code in the store `root`, unless it is there; return its digest, by which it is found."""
    digest = _digest(content)
    file = _file(root, digest)
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_json(file, content)
    return digest


def read(root: Path, history: JournalFacts) -> dict[str, Any] | None:
    """Read the code that a run of the store `root` began with; None if none is there.

    Raises DamagedError if it is not what was kept.
    """
    digest = str((history.provenance.get("git") or {}).get("diff"))
    if not re.fullmatch("[0-9a-f]{64}", digest):  # a foreign journal may say anything
        return None
    try:
        content = read_json(_file(root, digest))
    except FileNotFoundError:
        return None
    if _digest(content) != digest:
        raise DamagedError(_file(root, digest), "it is not what was kept under its name")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
