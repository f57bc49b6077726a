"""Which MLflow runs of a store there are already, so that none is made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sweeplab.store import Store
from sweeplab.tracking.records import DELETED
from sweeplab.tracking.view import Job

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

FINGERPRINT, SWEEP_ID, STORE_ID = "fingerprint", "sweep.id", "store.id"
"""Tags: a run is known by one of the first two, and the third."""

WORTH = 10  # existing runs that are read for each one to be made
PAGE = 500  # runs; a server answers for so many within its time

EVERYTHING = 3  # mlflow.entities.ViewType.ALL, without its import

Runs = list[tuple[str, int, bool]]
"""Of each run its id, when it began in milliseconds, and whether it was deleted in MLflow."""


class Existing:
    """A search for one run goes through all runs of MLflow. So those of an experiment are read once, if few enough."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._to_make: Counter[str] = Counter()
        self.forget()

    def forget(self) -> None:
        """Something went wrong, or somebody else may have changed something."""
        self._all: dict[str, dict[tuple[str, str], Runs]] = {}  # experiment id -> (tag, its value) -> runs
        self._tried: Counter[str] = Counter()  # experiment id -> of how many runs it is known to have more

    def expect(self, jobs: Iterable[Job]) -> None:
        """How many are to be made says how many it is worth to read."""
        self._to_make = Counter(job.experiment for job in jobs if not job.entry.get("run"))

    def find(self, client: MlflowClient, job: Job, experiment: str, tag: str, value: str) -> Runs:
        """The runs of this store and experiment id with this tag, as many as there are."""
        if "asked" not in job.entry:  # else it may have been made since the others were read
            self._read(client, experiment, max(WORTH, WORTH * self._to_make[job.experiment]))
            if experiment in self._all:
                return self._all[experiment].get((tag, value), [])
        condition = f"tags.`{tag}` = '{value}' and {self._ours}"
        return [_told(run) for run in client.search_runs([experiment], condition, run_view_type=EVERYTHING)]

    def add(self, experiment: str, tag: str, value: str, run_id: str, start: int) -> None:
        """A run was made; all others of this tag are gone."""
        if experiment in self._all:
            self._all[experiment][tag, value] = [(run_id, start, False)]

    @property
    def _ours(self) -> str:
        return f"tags.`{STORE_ID}` = '{self._store.id}'"

    def _read(self, client: MlflowClient, experiment: str, most: int) -> None:
        if experiment in self._all or most <= self._tried[experiment]:
            return
        runs: list[MlflowRun] = []
        token: str | None = None
        while len(runs) < most:
            size = min(PAGE, most)
            page = client.search_runs(
                [experiment], self._ours, run_view_type=EVERYTHING, max_results=size, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                self._all[experiment] = _by_tag(runs)
                return
        self._tried[experiment] = most


def _told(run: MlflowRun) -> tuple[str, int, bool]:
    return run.info.run_id, run.info.start_time, run.info.lifecycle_stage == DELETED


def _by_tag(runs: Iterable[MlflowRun]) -> dict[tuple[str, str], Runs]:
    found: dict[tuple[str, str], Runs] = {}
    for run in runs:
        for tag in (FINGERPRINT, SWEEP_ID):
            if tag in run.data.tags:
                found.setdefault((tag, run.data.tags[tag]), []).append(_told(run))
    return found
