"""Where the files of MLflow runs lie, if that is a folder of this machine's.

What is large, and written once, lies there as a second name of the file in the store (a hard link):
an edit in place changes both, and is noticed by the weights' digest; a file that is replaced or
deleted leaves the other name as it is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMPARISON = "comparison"  # where a sweep's report lies among its run's files


def local(location: str) -> Path | None:
    """Return the folder of a `file:` address, or of a path; None if it is neither."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = location.removeprefix("file:").removeprefix("//").removeprefix(parts.netloc)
        return Path(unquote(path))
    return Path(location) if location.startswith("/") else None


def name(file: str, *, sweep: bool) -> str:
    """Name a file of a run, or of a sweep's report, as the files of its MLflow run are named."""
    return f"{COMPARISON}/{file.rpartition('/')[2]}" if sweep else file


def link(source: Path, target: Path) -> bool:
    """Give the file a second name, whole or not at all; False where it cannot have one."""
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(source):
            return True
        new.unlink(missing_ok=True)
        os.link(source, new)
        new.replace(target)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        return False
    return True


def are_same(one: Path, other: Path) -> bool:
    """Tell whether both are names of one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False
