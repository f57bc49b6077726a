"""Where the files of MLflow runs lie, if that is a folder of this machine's."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

COMPARISON = "comparison"  # where a sweep's report lies among its run's files


def local(location: str) -> Path | None:
    """The folder of a `file:` address, or of a path; None if it is neither."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(location.removeprefix("file:").removeprefix("//").removeprefix(parts.netloc)))
    return Path(location) if location.startswith("/") else None


def name(file: str, *, sweep: bool) -> str:
    """A file of a run, or of a sweep's report, as it is called among the files of its MLflow run."""
    return f"{COMPARISON}/{file.rpartition('/')[2]}" if sweep else file
