"""What a store holds after a test's runs."""

from __future__ import annotations

from pathlib import Path

from sweeplab.store import Run, Store


def only(root: Path, folder: str = "runs") -> Run:
    (run,) = Store(root / folder).runs()
    return run


def facts(run: Run) -> tuple[object, ...]:
    """All that must be the same bits: weights, epochs, final metrics but the times."""
    result = run.result()
    assert result is not None
    final = {k: v for k, v in result.metrics.items() if k not in ("seconds", "examples_per_second")}
    return result.status, result.stop_reason, result.weights_sha256, run.epochs(), final
