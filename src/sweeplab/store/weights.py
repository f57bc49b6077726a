"""The files that hold a finished run's weights: which there are, and whether they may be missed."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeplab.store.run import ID_LENGTH, MODEL, Run


def held(run: Run) -> list[Path]:
    """All files that hold weights of a finished run: its own, and those of the exported model."""
    own = [file for file in run.weights_files if file.is_file()]
    exported = [file for file in (run.folder / MODEL).rglob("*") if file.is_file()]
    return [*own, *exported]


def remove(run: Run) -> None:
    """Delete all files that hold weights; to be called by who has claimed the run."""
    for file in run.weights_files:
        file.unlink(missing_ok=True)
    shutil.rmtree(run.folder / MODEL, ignore_errors=True)


def why_none(run: Run) -> str | None:
    """Why there are no weights; None if there are."""
    result = run.result()
    if result is None or result.weights_sha256 is None:
        return f"has no weights; its status is {run.status}"
    if not run.weights_file.exists():
        return f"its weights were removed; sweeplab replay {result.fingerprint[:ID_LENGTH]} puts them back"
    return None
