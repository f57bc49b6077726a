"""Tricks that save time, one a file; each says what it does, what it gains, and if bits change.

`SWEEPLAB_PLAIN=1` in the environment switches all of them off; a run records that it was trained so.
Figures are of two cores of an AMD EPYC with AVX-512, in turn with and without the trick.
"""

from __future__ import annotations

import os


def is_plain() -> bool:
    """Tell whether all tricks are switched off."""
    return os.environ.get("SWEEPLAB_PLAIN") == "1"
