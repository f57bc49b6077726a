"""The functions of ours that lead to a place in the code."""

from __future__ import annotations

import traceback
from pathlib import Path

from conftest import PROJECT


def our_frames() -> list[tuple[str, str]]:
    """List train.py's and the package's frames that are open now: (file, function), outermost first."""
    found = []
    for frame in traceback.extract_stack():
        file = Path(frame.filename)
        if file == PROJECT / "train.py" or file.is_relative_to(PROJECT / "src"):
            found.append((file.relative_to(PROJECT).as_posix(), frame.name))
    return found
