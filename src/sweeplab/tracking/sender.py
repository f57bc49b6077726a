"""What one MLflow run is sent: numbers, texts, its data set, its model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab import metrics, store
from sweeplab.tracking import places, terms
from sweeplab.tracking.records import Node

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST = {"Metric": 800, "Param": 100, "RunTag": 100, "all": 1000, "bytes": 900_000}  # of one call of MLflow
EACH = 150  # bytes of an entity in a request, besides its key and its value


def log(
    client: MlflowClient,
    run_id: str,
    rows: Sequence[tuple[str, float, int, int]],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Log all in one call if it is not too much for one: each is a transaction of its own."""
    from mlflow.entities import Metric, Param, RunTag

    found = [Metric(terms.key(name), value, at, step) for name, value, at, step in rows]
    asked = [Param(terms.key(name), terms.cut(value, terms.PARAM)) for name, value in params.items()]
    told = [RunTag(name, value) for name, value in terms.tags(tags).items()]
    for part in batched([*found, *asked, *told]):
        kinds: dict[str, list[Any]] = {kind: [] for kind in ("Metric", "Param", "RunTag")}
        for entity in part:
            kinds[type(entity).__name__].append(entity)
        client.log_batch(run_id, metrics=kinds["Metric"], params=kinds["Param"], tags=kinds["RunTag"])


def new_rows(
    client: MlflowClient, run_id: str, rows: Sequence[tuple[str, float, int, int]]
) -> list[tuple[str, float, int, int]]:
    """Those of a metric and a step of which MLflow has no row yet, whatever its time."""
    keys = {terms.key(name) for name, *_ in rows}
    known = {(key, row.step) for key in keys for row in client.get_metric_history(run_id, key)}
    return [row for row in rows if (terms.key(row[0]), row[3]) not in known]


def batched(entities: Iterable[Any]) -> Iterator[list[Any]]:
    """Metrics, params and tags in parts as large as one call of MLflow takes, by number and by bytes."""
    part: list[Any] = []
    room: Counter[str] = Counter()
    for entity in entities:
        kind, size = type(entity).__name__, EACH + len(json.dumps([entity.key, entity.value]))
        if room[kind] >= MOST[kind] or len(part) >= MOST["all"] or room["bytes"] + size > MOST["bytes"]:
            yield part
            part, room = [], Counter()
        part.append(entity)
        room.update({kind: 1, "bytes": size})
    if part:
        yield part


def log_data(client: MlflowClient, run_id: str, data: Node) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sizes = {name: data[name] for name in (metrics.TRAIN, metrics.VALID, metrics.TEST) if name in data}
    name = terms.cut(str(data["name"]), terms.DATASET)
    source = json.dumps({"name": name, "sha256": data["digest"]})
    entity = Dataset(name, str(data["digest"])[: terms.DIGEST], "local", source, profile=json.dumps(sizes))
    client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def log_model(client: MlflowClient, place: str, run_id: str, folder: Path) -> None:
    """The folder as a model of this run, `runs:/<run>/model`, which knows where it is; READY when all is there."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    found = client.search_logged_models([place], f"source_run_id = '{run_id}'")
    model = found[0] if found else client.create_logged_model(place, store.MODEL, run_id)
    if model.status == LoggedModelStatus.READY:
        return
    _send_model(client, model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        about = Model.load(str(folder))
        about.model_id, about.run_id, about.artifact_path = model.model_id, run_id, model.artifact_location
        about.save(f"{scratch}/{MLMODEL_FILE_NAME}")
        client.log_model_artifact(model.model_id, f"{scratch}/{MLMODEL_FILE_NAME}")
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _send_model(client: MlflowClient, model: Any, folder: Path) -> None:
    """Send the files of a model; on this machine as second names of those in the store, but for a rewritten one."""
    from mlflow.models.model import MLMODEL_FILE_NAME

    there = places.local(str(model.artifact_location))
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != MLMODEL_FILE_NAME]
    if there is None or not all(places.link(file, there / file.relative_to(folder)) for file in files):
        if there is not None:
            shutil.rmtree(there, ignore_errors=True)  # or a copy would go into the store's own files
        client.log_model_artifacts(model.model_id, str(folder))
