"""Mends a run's folder whose files are damaged; to be called by who has claimed the run."""

from __future__ import annotations

import shutil

from sweeplab.store.files import DamagedError
from sweeplab.store.run import ASIDE, Run


def mend_result(run: Run) -> str | None:
    """Write a damaged `result.json` anew, as the journal has it, or remove it.

    Returns what was wrong with it; None if nothing was.
    """
    try:
        run.read_result()
    except DamagedError as error:
        if run.result_file.is_dir():
            shutil.rmtree(run.result_file)
        run.result_file.unlink(missing_ok=True)
        if (result := run.journalled()) is not None:
            run.write_result(result)
        return str(error)
    return None


def damage(run: Run) -> str | None:
    """Say what keeps an unfinished run from going on with its journal; None if nothing does."""
    try:
        _, history = run.history()
    except DamagedError as error:
        return str(error)
    known = history.epochs
    for epoch in range(1, max(run.saved_epochs(), default=0) + 1):
        if epoch not in known:
            return f"{run.journal.path}: is damaged: epoch {epoch} is missing"
    return None


def set_aside(run: Run) -> None:
    """Move a damaged journal and its checkpoints out of the way: the run begins anew."""
    aside = run.folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for file in (run.journal.path, run.checkpoints):
        if file.exists():
            file.rename(aside / file.name)
    run.mlflow_file.unlink(missing_ok=True)  # it counts the lines of that journal
