"""The files that hold a finished run's weights: which there are, and whether they may be missed."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeplab.errors import UserError
from sweeplab.store.run import ID_LENGTH, MODEL, WEIGHTS, Run


def held(run: Run) -> list[Path]:
    """All files that hold weights of a finished run: its own, and those of the exported model."""
    exported = [file for file in (run.folder / MODEL).rglob("*") if file.is_file()]
    return [*own(run), *exported]


def own(run: Run) -> list[Path]:
    """List the files of a run's weights, and of those after single epochs."""
    files = [*run.weights_files, *sorted(run.kept.glob("*"))]
    return [file for file in files if file.is_file()]


def kept_epochs(run: Run) -> list[int]:
    """List the epochs whose weights `trainer.keep_every` has kept, and that are still there."""
    return sorted({int(file.stem) for file in run.kept.glob("*") if file.stem.isdigit()})


def lacks(run: Run, every: int | None) -> bool:
    """Tell whether weights that this `trainer.keep_every` asks for are not there."""
    if every is None:
        return False
    last = max(run.epochs(), default=0)
    return not set(range(every, last + 1, every)) <= set(kept_epochs(run))


def of_epoch(run: Run, epoch: int) -> list[Path]:
    """Return the two files that may hold the weights after an epoch, as `WEIGHTS` are two."""
    return [run.kept / f"{epoch}{Path(name).suffix}" for name in WEIGHTS]


def remove(run: Run) -> None:
    """Delete all files that hold weights; to be called by who has claimed the run."""
    for file in run.weights_files:
        file.unlink(missing_ok=True)
    shutil.rmtree(run.kept, ignore_errors=True)
    shutil.rmtree(run.folder / MODEL, ignore_errors=True)


def why_none(run: Run) -> str | None:
    """Why there are no weights; None if there are."""
    result = run.result()
    if result is None or result.weights_sha256 is None:
        return f"has no weights; its status is {run.status}"
    if not run.weights_file.exists():
        return f"its weights were removed; sweeplab replay {result.fingerprint[:ID_LENGTH]} puts them back"
    return None


def ensure(run: Run) -> None:
    """Raise UserError if there are no weights."""
    if (reason := why_none(run)) is not None:
        raise UserError(f"{run.folder}: {reason}")


def why_none_of(run: Run, epoch: int) -> str | None:
    """Why there are no weights of after this epoch; None if there are."""
    _, history = run.history()
    last, kept = max(history.epochs, default=0), sorted(history.kept_weights)
    if epoch in kept and any(file.exists() for file in of_epoch(run, epoch)):
        return None
    if epoch not in history.epochs:
        return f"has no epoch {epoch}; its epochs are 1 to {last}"
    those = ", ".join(map(str, kept)) or "none"
    advice = f"sweeplab replay {run.id} trainer.keep_every={epoch} keeps them, too"
    return f"the weights after epoch {epoch} were not kept (those after: {those}); {advice}"
