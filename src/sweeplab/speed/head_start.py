"""Give the feeder a head start: it loads MLflow while the command loads PyTorch, not only once the run is planned."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from sweeplab import speed


def allowed(early: AbstractContextManager[None]) -> AbstractContextManager[None]:
    """Return the context in which a feeder loads early, or one in which none does."""
    return nullcontext() if speed.is_plain() else early
