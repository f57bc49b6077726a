"""The sender: sends one MLflow run its numbers, its texts, its data set and its model."""

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
from sweeplab.tracking.terms import MetricRow

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST = {"Metric": 800, "Param": 100, "RunTag": 100, "all": 1000, "bytes": 900_000}  # of one call
OVERHEAD = 150  # bytes of an entity in a request, besides its key and its value


def log(
    client: MlflowClient,
    run_id: str,
    rows: Sequence[MetricRow],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Log all in one call if it is not too much for one: each call is a transaction of its own."""
    from mlflow.entities import Metric, Param, RunTag

    measured = [Metric(terms.key(row.name), row.value, row.time, row.step) for row in rows]
    chosen = [Param(terms.key(k), terms.cut(value, terms.PARAM)) for k, value in params.items()]
    tagged = [RunTag(name, value) for name, value in terms.tags(tags).items()]
    for part in batched([*measured, *chosen, *tagged]):
        client.log_batch(
            run_id,
            metrics=[entity for entity in part if isinstance(entity, Metric)],
            params=[entity for entity in part if isinstance(entity, Param)],
            tags=[entity for entity in part if isinstance(entity, RunTag)],
        )


def batched(entities: Iterable[Any]) -> Iterator[list[Any]]:
    """Split metrics, params and tags into parts that one call of MLflow takes."""
    part: list[Any] = []
    used: Counter[str] = Counter()
    for entity in entities:
        kind = type(entity).__name__
        more = {kind: 1, "all": 1, "bytes": OVERHEAD + len(json.dumps([entity.key, entity.value]))}
        if part and any(used[unit] + count > MOST[unit] for unit, count in more.items()):
            yield part
            part = []
            used.clear()
        part.append(entity)
        used.update(more)
    if part:
        yield part


def new_rows(client: MlflowClient, run_id: str, rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Select the rows of a metric and a step that MLflow has none of yet, whatever its time."""
    known = set()
    for key in {terms.key(row.name) for row in rows}:
        known |= {(key, row.step) for row in client.get_metric_history(run_id, key)}
    return [row for row in rows if (terms.key(row.name), row.step) not in known]


def log_summary(client: MlflowClient, run_id: str, summary: Node) -> None:
    """Log a sweep's description, and those of its metrics that MLflow lacks or has otherwise.

    A summary is written anew when a sweep is issued again, but each value is to be there once. The
    step is the number of finished runs, so that the latest value is that of the most runs.
    """
    known = client.get_run(run_id).data.metrics
    time, step = terms.ms(summary.get("time", 0)), int(summary.get("runs", 0))
    values = store.numbers(summary.get("metrics", {}))
    news = {name: value for name, value in values.items() if known.get(terms.key(name)) != value}
    rows = [MetricRow(name, value, time, step) for name, value in news.items()]
    log(client, run_id, rows, {}, {"mlflow.note.content": summary.get("description", "")})


def log_data(client: MlflowClient, run_id: str, data: Node) -> None:
    """Log which data set was used, with the sizes of its splits."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    splits = (metrics.TRAIN, metrics.VALID, metrics.TEST)
    sizes = {name: data[name] for name in splits if name in data}
    name, digest = terms.cut(str(data["name"]), terms.DATASET), str(data["digest"])
    source = json.dumps({"name": name, "sha256": data["digest"]})
    entity = Dataset(name, digest[: terms.DIGEST], "local", source, profile=json.dumps(sizes))
    client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def log_model(client: MlflowClient, experiment_id: str, run_id: str, folder: Path) -> None:
    """Log the folder as the run's model, `runs:/<run>/model`; it is READY when all is there."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    models = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    model = models[0] if models else client.create_logged_model(experiment_id, store.MODEL, run_id)
    if model.status == LoggedModelStatus.READY:
        return
    _send_model(client, model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        # A model has to say where it is, which nobody knew when it was written.
        about = Model.load(str(folder))
        about.model_id, about.run_id = model.model_id, run_id
        about.artifact_path = model.artifact_location
        about.save(f"{scratch}/{MLMODEL_FILE_NAME}")
        client.log_model_artifact(model.model_id, f"{scratch}/{MLMODEL_FILE_NAME}")
    outputs = client.get_run(run_id).outputs
    known = outputs.model_outputs if outputs else []
    if model.model_id not in [output.model_id for output in known]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _send_model(client: MlflowClient, model: Any, folder: Path) -> None:
    """Send the files of a model, on this machine as second names of those in the store.

    The `MLmodel` file is rewritten, and therefore has no second name.
    """
    from mlflow.models.model import MLMODEL_FILE_NAME

    target = places.local(str(model.artifact_location))
    if target is not None:
        files = [file for file in folder.rglob("*") if file.is_file()]
        large = [file for file in files if file.name != MLMODEL_FILE_NAME]
        if all(places.link(file, target / file.relative_to(folder)) for file in large):
            return
        # A copy would write into the store's own files, which have their second names there.
        shutil.rmtree(target, ignore_errors=True)
    client.log_model_artifacts(model.model_id, str(folder))
