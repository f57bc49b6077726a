"""The connection to MLflow: its client, and the experiments there that the store asks for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sweeplab import store
from sweeplab.tracking import address, causes, database, experiments, library, relocation

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


class AwayError(Exception):
    """The server, or the database, does not answer."""


class Connection:
    """The connection of a store to the MLflow at one URI."""

    def __init__(self, home: store.Store, uri: str) -> None:
        self.store, self.uri = home, uri
        self._experiments: dict[str, Experiment] = {}

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client; an SQLite database is made first if there is none."""
        library.quieten()
        from mlflow import MlflowClient

        with database.alone_at(self.uri):
            database.ensure_readable(self.uri)
            database.make(self.uri)
            relocation.bring_along(self.uri, self.store)
            return MlflowClient(tracking_uri=self.uri)

    def check(self) -> None:
        """Forget what was looked up, and raise AwayError unless the server answers."""
        self._experiments.clear()
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

    def in_short(self, error: BaseException) -> str:
        """Return an error in one line, without what is secret in the URI."""
        return causes.in_short(error, self.uri)

    def experiment(self, name: str) -> Experiment:
        """Find MLflow's experiment of this name, or create it. Raises as `experiments.ensure`."""
        if name not in self._experiments:
            self._experiments[name] = experiments.ensure(self.client, self.store, self.uri, name)
        return self._experiments[name]

    def experiment_id(self, name: str) -> str:
        """Return the id of MLflow's experiment of this name, which is created if there is none."""
        return str(self.experiment(name).experiment_id)

    def created_at(self, name: str) -> int:
        """Return when the experiment was created (milliseconds); 0 if there is none."""
        experiment = experiments.find(self.client, self.store, self.uri, name)
        return experiments.created_at(experiment)
