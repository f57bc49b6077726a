"""MLflow's files: an exported model that it can serve, and the download of a recorded run."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeplab import config
from sweeplab.errors import UserError
from sweeplab.tracking import address, library
from sweeplab.tracking.connection import open_client
from sweeplab.tracking.goals import FILES


def save_model(network: Any, example: Any, folder: Path, about: Mapping[str, Any]) -> None:
    """Write `network` as an MLflow model, which loads without its class; whole or not at all.

    `example` is a batch (a tensor) of at least two, since torch.export fixes a size of one; batches
    may then have any size. Raises what torch.export raises for a network that it cannot take.
    """
    library.quieten()
    scratch_folder = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".model-")
    with warnings.catch_warnings(), scratch_folder as scratch:
        warnings.simplefilter("ignore")  # mlflow's import tells of its own type hints
        from importlib.metadata import version

        import mlflow.pytorch
        from mlflow.models import infer_signature

        # MLflow would warn that uv's environments have no pip.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        inputs, outputs = example.numpy(), network(example).detach().numpy()
        # Without these MLflow searches for 8 seconds.
        requirements = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "torch")]
        mlflow.pytorch.save_model(
            network,
            f"{scratch}/model",
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=requirements,
            serialization_format="pt2",
            metadata=dict(about),
        )
        Path(scratch, "model").rename(folder)


def download(uri: str, run_id: str, folder: Path) -> list[str]:
    """Fetch the files of an MLflow run that sweeplab recorded into `folder`; return their names.

    Raises UserError if there is no such run, or it was not recorded by sweeplab.
    """
    file = address.file(uri)
    if file is not None and not file.exists():  # MLflow would make one
        raise UserError(f"{run_id}: neither a run of this store nor of MLflow: there is no {file}")
    try:
        client = open_client(uri)
        names = [file.path for file in client.list_artifacts(run_id) if file.path in FILES]
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            client.download_artifacts(run_id, name, str(folder))
    except Exception as error:  # whatever MLflow, or the database, raises
        where = address.public(uri)
        reason = config.redact_text(str(error).replace(uri, where).splitlines()[0])
        raise UserError(f"{run_id}: cannot be fetched from {where}: {reason}") from error
    if "config.yaml" not in names:
        problem = "the MLflow run has no config.yaml; was it recorded by sweeplab?"
        raise UserError(f"{run_id}: {problem}")
    return names
