"""Which experiment of MLflow's is meant by a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.tracking import address, records, relocation, terms

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def find(client: MlflowClient, home: store.Store, uri: str, name: str) -> Experiment | None:
    """MLflow's experiment of this name, or else the one that the store's runs are in, if it was renamed in MLflow.

    None if there is neither. It may be a deleted one.
    """
    return client.get_experiment_by_name(terms.experiment(name)) or _find_renamed(client, home, uri, name)


def _find_renamed(client: MlflowClient, home: store.Store, uri: str, name: str) -> Experiment | None:
    """The recorded experiment; an experiment with its id and another time of creation is another database's."""
    from mlflow.exceptions import MlflowException

    for experiment_id, created in records.recorded_experiments(home, uri, name):
        try:
            known = client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        if created_at(known) == created:
            return known
    return None


def created_at(experiment: Experiment | None) -> int:
    """When an experiment was created (milliseconds); 0 if there is none."""
    return 0 if experiment is None else int(experiment.creation_time or 0)


def ensure(client: MlflowClient, home: store.Store, uri: str, name: str) -> Experiment:
    """The experiment that is meant by this name, made if there is none.

    Raises ValueError if somebody deleted it, UserError if its files lie in a folder that is no more.
    """
    found = find(client, home, uri, name) or _create(client, uri, terms.experiment(name))
    if found.lifecycle_stage == records.DELETED:
        raise ValueError(
            f"MLflow experiment '{found.name}' was deleted: restore it (mlflow experiments restore -x "
            f"{found.experiment_id}) or choose another tracking.experiment"
        )
    relocation.ensure_there(found.name, str(found.artifact_location))
    return found


def _create(client: MlflowClient, uri: str, name: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        number = client.create_experiment(name, artifact_location=address.artifact_location(uri, name))
    except MlflowException:
        if (made := client.get_experiment_by_name(name)) is None:
            raise
        return made  # another feeder was faster
    return client.get_experiment(number)
