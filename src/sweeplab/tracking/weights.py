"""The second names that the store's weights have among MLflow's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeplab import config, store
from sweeplab.tracking import address, database, library, places, records

if TYPE_CHECKING:
    from mlflow import MlflowClient


def second_names(runs: Iterable[store.Run], tracking: config.Tracking) -> dict[str, list[Path]]:
    """Run id -> MLflow's names of the files that hold its weights, and of its exported model; {} if it is away."""
    uri = address.resolve_uri(tracking)
    file = address.file(uri)
    if not tracking.enabled or (file is not None and not file.exists()):
        return {}
    library.quieten()
    try:
        with database.alone_at(uri):
            database.ensure_readable(uri)
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=address.checked(uri))
        return {run.id: list(_of_run(client, run, uri)) for run in runs}
    except Exception:  # whatever MLflow raises: what it keeps is left to it
        return {}


def _of_run(client: MlflowClient, run: store.Run, uri: str) -> Iterator[Path]:
    ours = store.weights.held(run)
    for place in records.run_places(run, uri):
        folder = places.local(client.get_run(place.run_id).info.artifact_uri)
        if folder is not None:
            yield from (folder / file.name for file in ours if places.are_same(folder / file.name, file))
        for model in client.search_logged_models([place.experiment_id], f"source_run_id = '{place.run_id}'"):
            exported = places.local(str(model.artifact_location))
            if exported is None:
                continue
            pairs = [
                (exported / file.relative_to(run.folder / store.MODEL), file)
                for file in ours
                if file.parent != run.folder
            ]
            twins = [there for there, file in pairs if places.are_same(there, file)]
            if twins:
                client.delete_logged_model(model.model_id)  # it is none without them
            yield from twins
