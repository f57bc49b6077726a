"""The MLflow runs that a store has already, so that none is made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeplab.tracking.connection import Connection
from sweeplab.tracking.goals import FINGERPRINT, STORE_ID, SWEEP_ID, FeedJob
from sweeplab.tracking.records import DELETED

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.store.entities import PagedList

WORTH = 10  # existing runs that are read for each one to be made
PAGE = 500  # runs; a server answers for so many within its time

EVERYTHING = 3  # mlflow.entities.ViewType.ALL, without its import


@dataclass(frozen=True, slots=True)
class ExistingRun:
    """An MLflow run, as far as it matters for finding it again."""

    run_id: str
    start: int  # milliseconds
    is_deleted: bool

    @classmethod
    def of(cls, run: MlflowRun) -> ExistingRun:
        """Take what matters of an MLflow run."""
        return cls(run.info.run_id, run.info.start_time, run.info.lifecycle_stage == DELETED)


class ExistingRuns:
    """The store's runs in MLflow, found by their tags.

    A search for one run goes through all runs of MLflow. So those of an experiment are read once,
    if they are few enough.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._to_make: Counter[str] = Counter()
        self.forget()

    def forget(self) -> None:
        """Forget what was read: something went wrong, or somebody else may have changed it."""
        # experiment id -> (tag, its value) -> runs
        self._all: dict[str, dict[tuple[str, str], list[ExistingRun]]] = {}
        # experiment id -> a number of runs that it is known to exceed
        self._tried: Counter[str] = Counter()

    def expect(self, jobs: Iterable[FeedJob]) -> None:
        """Count the runs that are to be made: so many more existing ones are worth reading."""
        self._to_make = Counter(job.experiment for job in jobs if not job.entry.get("run"))

    def find(self, job: FeedJob, experiment_id: str) -> list[ExistingRun]:
        """List the job's runs in an experiment, deleted ones included."""
        if "asked" not in job.entry:  # else the run may have been made since the others were read
            self._read(experiment_id, max(WORTH, WORTH * self._to_make[job.experiment]))
            if experiment_id in self._all:
                return self._all[experiment_id].get(job.tag, [])
        tag, value = job.tag
        condition = f"tags.`{tag}` = '{value}' and {_is_of(self._connection.store.id)}"
        client = self._connection.client
        runs = client.search_runs([experiment_id], condition, run_view_type=EVERYTHING)
        return [ExistingRun.of(run) for run in runs]

    def add(self, job: FeedJob, experiment_id: str, run_id: str) -> None:
        """Note that the job has this run, and that all others of its tag are gone."""
        if experiment_id in self._all:
            run = ExistingRun(run_id, job.start, is_deleted=False)
            self._all[experiment_id][job.tag] = [run]

    def _read(self, experiment_id: str, most: int) -> None:
        """Read all of the store's runs in an experiment, unless there are more than `most`."""
        if experiment_id in self._all or most <= self._tried[experiment_id]:
            return
        client, store_id = self._connection.client, self._connection.store.id
        runs: dict[tuple[str, str], list[ExistingRun]] = {}
        count = 0
        for page in pages(client, experiment_id, store_id, most):
            count += len(page)
            for run in page:
                _add_by_tag(runs, run)
            if page.token and count >= most:
                self._tried[experiment_id] = most
                return
        self._all[experiment_id] = runs


def pages(
    client: MlflowClient,
    experiment_id: str,
    store_id: str,
    most: int = PAGE,
) -> Iterator[PagedList[MlflowRun]]:
    """Go through a store's runs in an experiment, the latest first, deleted ones included."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            _is_of(store_id),
            run_view_type=EVERYTHING,
            max_results=min(PAGE, most),
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield page
        token = page.token
        if not token:
            return


def _is_of(store_id: str) -> str:
    """Return MLflow's condition for the runs of a store."""
    return f"tags.`{STORE_ID}` = '{store_id}'"


def _add_by_tag(runs: dict[tuple[str, str], list[ExistingRun]], run: MlflowRun) -> None:
    for tag in (FINGERPRINT, SWEEP_ID):
        if tag in run.data.tags:
            runs.setdefault((tag, run.data.tags[tag]), []).append(ExistingRun.of(run))
