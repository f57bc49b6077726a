"""The connection to MLflow: its client, and the experiments there that the store asks for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeplab import store
from sweeplab.tracking import address, causes, database, library, records, relocation, terms

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, RunInfo
    from mlflow.entities import Run as MlflowRun
    from mlflow.store.entities import PagedList

WITH_VIEWS = "3.16"  # the first version of MLflow whose UI has saved views
EVERYTHING = 3  # mlflow.entities.ViewType.ALL, without its import


class AwayError(Exception):
    """The server, or the database, does not answer."""


def open_client(uri: str, home: store.Store | None = None) -> MlflowClient:
    """Open MLflow's own client; an SQLite database is made first if there is none.

    A database that was moved, or copied with the store `home`, is put right.
    """
    library.quieten()
    from mlflow import MlflowClient

    with database.alone_at(uri):
        database.ensure_readable(uri)
        database.make(uri)
        relocation.bring_along(uri, home)
        return MlflowClient(tracking_uri=uri)


class Connection:
    """The connection of a store to the MLflow at one URI."""

    def __init__(self, home: store.Store, uri: str) -> None:
        self.store: store.Store = home
        self.uri: str = uri
        self._experiments: dict[str, Experiment] = {}
        # Experiment -> (tag, its value) -> the store's runs there that have it, if all were read.
        self.known_runs: dict[str, dict[tuple[str, str], list[RunInfo]]] = {}

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client; an SQLite database is made first if there is none."""
        return open_client(self.uri, self.store)

    @cached_property
    def has_views(self) -> bool:
        """Whether the UI knows the saved views that `saved_view.py` writes, by its version.

        A database is taken to be served by the MLflow that is installed here.
        """
        from mlflow.version import VERSION
        from packaging.version import InvalidVersion, Version

        if address.databricks(self.uri):
            return False
        version = self._server_version() if address.served(self.uri) else VERSION
        try:
            return Version(version) >= Version(WITH_VIEWS)
        except InvalidVersion:  # another program's page answered
            return False

    def _server_version(self) -> str:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        credentials = get_default_host_creds(self.uri)
        answer = http_request(credentials, "/version", "GET", raise_on_status=False)
        return str(answer.text)

    def check(self) -> None:
        """Forget what was looked up, and raise AwayError unless the server answers."""
        self._experiments.clear()
        self.known_runs.clear()
        try:
            self.client.search_experiments(max_results=1)
        except Exception as error:
            # A client that was made while another process made the database has to be made again.
            self.__dict__.pop("client", None)
            raise self.away(error) from error

    def away(self, error: BaseException) -> AwayError:
        """Return an error which says that MLflow cannot be reached, and why."""
        where = address.public(self.uri)
        return AwayError(f"MLflow at {where} cannot be reached: {self.in_short(error)}")

    def refusal(self, error: BaseException, experiment: str) -> str | None:
        """Say that the user has no permission for an experiment; None if the error is another."""
        reason = self.in_short(error)
        if reason != causes.NOT_ALLOWED:
            return None
        return f"MLflow at {address.public(self.uri)} refuses experiment '{experiment}': {reason}"

    def in_short(self, error: BaseException) -> str:
        """Return an error in one line, without what is secret in the URI."""
        return causes.in_short(error, self.uri)

    def search(self, experiment_id: str, more: str = "", **how: Any) -> PagedList[MlflowRun]:
        """Search for the store's runs in an experiment, deleted ones included."""
        condition = f"tags.`{records.STORE_ID}` = '{self.store.id}'{more}"
        return self.client.search_runs([experiment_id], condition, run_view_type=EVERYTHING, **how)

    def find(self, name: str) -> Experiment | None:
        """Find MLflow's experiment of this name; None if there is none. It may be a deleted one.

        One that was renamed in MLflow is found by the runs of the store that are in it.
        """
        experiment = self.client.get_experiment_by_name(terms.experiment(name))
        return experiment or self._find_renamed(name)

    def _find_renamed(self, name: str) -> Experiment | None:
        """Find the recorded experiment by its id and the time when it was created."""
        from mlflow.exceptions import MlflowException

        for experiment_id, created in records.recorded_experiments(self.store, self.uri, name):
            try:
                experiment = self.client.get_experiment(experiment_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                continue
            if created_at(experiment) == created:
                return experiment
        return None

    def experiment(self, name: str) -> Experiment:
        """Find the experiment that is meant by this name, or create it.

        Raises ValueError if somebody deleted it, UserError if its files lie in a folder that is no
        more.
        """
        if name in self._experiments:
            return self._experiments[name]
        experiment = self.find(name)
        if experiment is None:
            experiment = self._create(terms.experiment(name))
        if experiment.lifecycle_stage == records.DELETED:
            raise ValueError(
                f"MLflow experiment '{experiment.name}' was deleted: restore it (mlflow "
                f"experiments restore -x {experiment.experiment_id}) or choose another "
                "tracking.experiment"
            )
        relocation.ensure_there(experiment.name, str(experiment.artifact_location))
        self._experiments[name] = experiment
        return experiment

    def _create(self, name: str) -> Experiment:
        from mlflow.exceptions import MlflowException

        location = address.artifact_location(self.uri, name)
        try:
            experiment_id = self.client.create_experiment(name, artifact_location=location)
        except MlflowException:
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return experiment  # another feeder was faster
        return self.client.get_experiment(experiment_id)

    def experiment_id(self, name: str) -> str:
        """Return the id of the experiment that is meant by this name."""
        return str(self.experiment(name).experiment_id)


def created_at(experiment: Experiment | None) -> int:
    """Return when an experiment was created (milliseconds); 0 if there is none."""
    return 0 if experiment is None else int(experiment.creation_time or 0)
