"""The second names that the store's weights have among MLflow's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeplab import config, store
from sweeplab.tracking import address, places, records
from sweeplab.tracking.connection import open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient


def second_names(runs: Iterable[store.Run], tracking: config.Tracking) -> dict[str, list[Path]]:
    """Return MLflow's names of the files that hold a run's weights or exported model, by run id.

    Empty if MLflow does not answer.
    """
    uri = address.resolve_uri(tracking)
    file = address.file(uri)
    if not tracking.enabled or (file is not None and not file.exists()):
        return {}
    try:
        client = open_client(address.checked(uri))
        return {run.id: list(_of_run(client, run, uri)) for run in runs}
    except Exception:  # whatever MLflow raises: what it keeps is left to it
        return {}


def _of_run(client: MlflowClient, run: store.Run, uri: str) -> Iterator[Path]:
    """Yield MLflow's names of a run's weights and exported models."""
    own, exported = {}, {}
    for file in store.weights.held(run):
        if file.parent == run.folder:
            own[file.name] = file
        elif file.is_relative_to(run.folder / store.MODEL):
            exported[str(file.relative_to(run.folder / store.MODEL))] = file
    for place in records.run_places(run, uri):
        location = client.get_run(place.run_id).info.artifact_uri
        yield from _twins(own, location)
        condition = f"source_run_id = '{place.run_id}'"
        for model in client.search_logged_models([place.experiment_id], condition):
            twins = _twins(exported, str(model.artifact_location))
            if twins:
                client.delete_logged_model(model.model_id)  # a model without its files is none
            yield from twins


def _twins(files: dict[str, Path], location: str) -> list[Path]:
    """List the names at an MLflow location that are second names of these files."""
    folder = places.local(location)
    if folder is None:
        return []
    return [folder / name for name, file in files.items() if places.are_same(folder / name, file)]
