"""Tricks that make runs faster, one a file; each says what it does, what it gains, and whether it changes bits.

`SWEEPLAB_PLAIN=1` in the environment switches all of them off. A run records that it was trained so.
"""

from __future__ import annotations

import os


def is_plain() -> bool:
    """Whether all tricks are switched off."""
    return os.environ.get("SWEEPLAB_PLAIN") == "1"
