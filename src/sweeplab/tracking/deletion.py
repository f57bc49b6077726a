"""Delete runs in MLflow, too: it keeps them in its trash until `mlflow gc` empties that."""

from __future__ import annotations

from collections.abc import Iterable

from sweeplab import config, store
from sweeplab.errors import RunFailed
from sweeplab.tracking import address, records
from sweeplab.tracking.connection import AwayError, Connection


class Deletion:
    """Where MLflow has some runs of a store, and the deletion of these."""

    def __init__(
        self, home: store.Store, tracking: config.Tracking, runs: Iterable[store.Run]
    ) -> None:
        """Read the records; MLflow itself is asked by `open`."""
        uri = address.resolve_uri(tracking)
        file = address.file(uri)
        is_there = tracking.enabled and (file is None or file.exists())
        self._connection = Connection(home, uri)
        self._places: dict[str, list[str]] = {}  # MLflow runs by run id
        others: set[str] = set()
        for run in runs:
            known = records.read_json(run.mlflow_file).keys() - {address.public(uri)}
            others.update(other for other in known if _own(home, run, other))
            if is_there:
                self._places[run.id] = _own(home, run, uri)
        self.elsewhere = sorted(others) if tracking.enabled else []  # where they are kept
        self.deleted = 0

    @property
    def count(self) -> int:
        """How many runs of MLflow there are, by the records."""
        return sum(map(len, self._places.values()))

    def open(self) -> None:
        """Connect to MLflow, if it has any of the runs. Raises RunFailed if it does not answer."""
        if not self.count:
            return
        try:
            self._connection.check()
        except AwayError as error:
            advice = "tracking=off removes them from the store alone"
            raise RunFailed(f"{error}; nothing was removed; {advice}") from error

    def delete(self, run: store.Run) -> None:
        """Delete a run in every experiment that has it."""
        from mlflow.exceptions import MlflowException

        for run_id in self._places.get(run.id, ()):
            try:
                mlflow_run = self._connection.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                continue  # it is gone for good
            if mlflow_run.info.lifecycle_stage != records.DELETED:
                self._connection.client.delete_run(run_id)
                self.deleted += 1


def _own(home: store.Store, run: store.Run, uri: str) -> list[str]:
    """List the MLflow runs of a run, except those made by a store that this one is a copy of."""
    entries = records.entries(run.mlflow_file, uri)
    if not entries:
        return []
    valid = [entry for entry in entries.values() if records.is_valid(entry, home)]
    return [str(entry["run"]) for entry in valid if entry.get("run")]
