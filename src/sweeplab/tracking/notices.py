"""What somebody did in MLflow that its view of the store does not undo: deleted something, or renamed it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeplab import config
from sweeplab.store import Store
from sweeplab.tracking import address, records
from sweeplab.tracking.records import DELETED, EXPERIMENT, FOR_GOOD, RENAMED


@dataclass(frozen=True, slots=True)
class _Gone:
    """A run that was deleted in MLflow."""

    run_id: str
    record: Path


def notices(
    store: Store, tracking: config.Tracking, only: Collection[str] | None = None, sweep: str | None = None
) -> list[str]:
    """A line for each, by the records; of these runs (ids), and of this sweep, only, if given."""
    uri = address.resolve_uri(tracking)
    files = [run.mlflow_file for run in store.runs() if only is None or run.id in only]
    if only is None:
        files = [*store.sweeps.glob("*.mlflow.json"), *files]
    elif sweep is not None:
        files = [records.sweep_record(store, sweep), *files]
    gone: dict[tuple[str, str], list[_Gone]] = {}
    renamed: dict[str, str] = {}
    for file in files:
        for experiment, entry in records.entries(file, uri).items():
            if not records.is_ours(entry, store):
                continue
            if what := entry.get(DELETED):
                gone.setdefault((experiment, str(what)), []).append(_Gone(str(entry["run"]), file))
            if entry.get(RENAMED):
                renamed[experiment] = str(entry[RENAMED])
    told = [f"the experiment '{name}' is called '{now}' in MLflow, and goes on there" for name, now in renamed.items()]
    return told + [_told(renamed.get(name, name), what, found) for (name, what), found in gone.items()]


def _told(experiment: str, what: str, gone: Sequence[_Gone]) -> str:
    count = f"{len(gone)} run{'s'[: len(gone) != 1]}"
    if what == EXPERIMENT:
        return (
            f"the experiment '{experiment}' was deleted in MLflow, and stays so, with {count}; "
            "mlflow experiments restore brings it back"
        )
    were, stay, which = ("was", "stays", "it") if len(gone) == 1 else ("were", "stay", "one")
    deleted = f"of the experiment '{experiment}' {count} {were} deleted in MLflow"
    if what == FOR_GOOD:
        return f"{deleted} for good, and so {stay}; to have {which} sent again, remove {gone[0].record}"
    return f"{deleted}, and so {stay}; mlflow runs restore --run-id {gone[0].run_id} brings it back"
