"""MLflow's experiment of a name: found, found under another name, or created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.tracking import address, records, relocation, terms

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def find(client: MlflowClient, home: store.Store, uri: str, name: str) -> Experiment | None:
    """Find MLflow's experiment of this name; None if there is none. It may be a deleted one.

    One that was renamed in MLflow is found by the runs of the store that are in it.
    """
    experiment = client.get_experiment_by_name(terms.experiment(name))
    return experiment or _find_renamed(client, home, uri, name)


def _find_renamed(
    client: MlflowClient,
    home: store.Store,
    uri: str,
    name: str,
) -> Experiment | None:
    """Find the recorded experiment; one of its id that was created at another time is not it."""
    from mlflow.exceptions import MlflowException

    for experiment_id, created in records.recorded_experiments(home, uri, name):
        try:
            experiment = client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        if created_at(experiment) == created:
            return experiment
    return None


def created_at(experiment: Experiment | None) -> int:
    """Return when an experiment was created (milliseconds); 0 if there is none."""
    return 0 if experiment is None else int(experiment.creation_time or 0)


def ensure(client: MlflowClient, home: store.Store, uri: str, name: str) -> Experiment:
    """Find the experiment that is meant by this name, or create it.

    Raises ValueError if somebody deleted it, UserError if its files lie in a folder that is no
    more.
    """
    experiment = find(client, home, uri, name)
    if experiment is None:
        experiment = _create(client, uri, terms.experiment(name))
    if experiment.lifecycle_stage == records.DELETED:
        raise ValueError(
            f"MLflow experiment '{experiment.name}' was deleted: restore it (mlflow experiments "
            f"restore -x {experiment.experiment_id}) or choose another tracking.experiment"
        )
    relocation.ensure_there(experiment.name, str(experiment.artifact_location))
    return experiment


def _create(client: MlflowClient, uri: str, name: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    location = address.artifact_location(uri, name)
    try:
        experiment_id = client.create_experiment(name, artifact_location=location)
    except MlflowException:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment  # another feeder was faster
    return client.get_experiment(experiment_id)
