"""What somebody deleted or renamed in MLflow, which the feeder does not undo."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from sweeplab import config, console
from sweeplab.store import Store
from sweeplab.tracking import address, records
from sweeplab.tracking.records import DELETED, EXPERIMENT, FOR_GOOD, RENAMED


def notices(
    store: Store,
    tracking: config.Tracking,
    only: Collection[str] | None = None,
    sweep: str | None = None,
) -> list[str]:
    """Say by the records what somebody did in MLflow, a line each.

    `only` (run ids) and `sweep` limit it to these runs and this sweep.
    """
    uri = address.resolve_uri(tracking)
    # (experiment, what was deleted) -> (MLflow run id, its record)
    deleted: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    renamed: dict[str, str] = {}
    files = [run.mlflow_file for run in store.runs() if only is None or run.id in only]
    if only is None:
        files = [*store.sweeps.glob("*.mlflow.json"), *files]
    elif sweep is not None:
        files.insert(0, records.sweep_record(store, sweep))
    for record in files:
        for experiment, entry in records.entries(record, uri).items():
            if not records.is_valid(entry, store):
                continue
            if entry.get(DELETED):
                run = (str(entry["run"]), record)
                deleted.setdefault((experiment, str(entry[DELETED])), []).append(run)
            if entry.get(RENAMED):
                renamed[experiment] = str(entry[RENAMED])
    lines = [
        f"the experiment '{name}' is called '{new_name}' in MLflow, and goes on there"
        for name, new_name in renamed.items()
    ]
    for (experiment, what), runs in deleted.items():
        lines.append(_deletion(renamed.get(experiment, experiment), what, runs))
    return lines


def _deletion(experiment: str, what: str, runs: Sequence[tuple[str, Path]]) -> str:
    """Say what was deleted in MLflow, and how to get it back."""
    count = console.counted(len(runs), "run")
    if what == EXPERIMENT:
        return (
            f"the experiment '{experiment}' was deleted in MLflow, and stays so, with {count}; "
            "mlflow experiments restore brings it back"
        )
    run_id, record = runs[0]
    were, stay, which = ("was", "stays", "it") if len(runs) == 1 else ("were", "stay", "one")
    deleted = f"of the experiment '{experiment}' {count} {were} deleted in MLflow"
    if what == FOR_GOOD:
        advice = f"to have {which} sent again, remove {record}"
        return f"{deleted} for good, and so {stay}; {advice}"
    return f"{deleted}, and so {stay}; mlflow runs restore --run-id {run_id} brings it back"
