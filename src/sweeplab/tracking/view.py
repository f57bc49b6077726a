"""The store as the feeder sees it: the MLflow runs that it asks for, and which of them are behind.

The journals are the truth and MLflow is a view of them, so nothing here needs to be done only once:
each MLflow run has a goal, computed from the store, and a record of what it has been fed
(`mlflow.json`, written last). Where the two differ the run is fed, with the journal's own
timestamps, which makes the same rows again. Killed anywhere and started again, the feeder therefore
ends in the same place.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sweeplab import store
from sweeplab.tracking.goals import RUNNING, FollowedRun, SweepManifest, TrackedRun
from sweeplab.tracking.records import entries, is_valid


class Manifests:
    """The manifests of all sweeps, the oldest first, read again when their files change."""

    def __init__(self, home: store.Store) -> None:
        self.sweeps: list[SweepManifest] = []
        self.damaged: dict[str, str] = {}  # the beginning of a sweep's id -> what is wrong with it
        self._folder = home.sweeps
        self._versions: dict[Path, int] = {}
        self._by_run: dict[str, list[SweepManifest]] = {}

    def of_run(self, run_id: str) -> list[SweepManifest]:
        """List the sweeps that have this run."""
        return self._by_run.get(run_id, [])

    def read(self) -> bool:
        """Take in what is new; return whether a manifest has changed since the last look."""
        files = [file for file in self._folder.glob("*.json") if len(file.stem) == store.ID_LENGTH]
        versions = {file: file.stat().st_mtime_ns for file in files}
        if versions == self._versions:
            return False
        self._versions, self.sweeps, self.damaged, self._by_run = versions, [], {}, {}
        for file, version in versions.items():
            try:
                self.sweeps.append(SweepManifest(file, version, store.read_manifest(file)))
            except store.DamagedError as error:
                self.damaged[file.stem] = str(error)
        self.sweeps.sort(key=lambda sweep: float(sweep.manifest["time"]))
        for sweep in self.sweeps:
            for run_id in sweep.runs:
                self._by_run.setdefault(run_id, []).append(sweep)
        return True


class View:
    """The store as the feeder sees it: the MLflow runs that it asks for, and which are behind."""

    def __init__(self, home: store.Store, uri: str) -> None:
        self.store: store.Store = home
        self.uri: str = uri
        self.created: dict[str, int] = {}  # when MLflow's experiments were created, as far as known
        self.experiments: set[str] = set()  # all that the store asks for
        self._manifests = Manifests(home)
        self._runs: dict[str, FollowedRun] = {}
        self._settled: set[str] = set()  # runs up to date and at rest, until their journals grow
        self._damaged_runs: dict[str, str] = {}

    @property
    def damaged(self) -> dict[str, str]:
        """What is wrong with a journal or a manifest, by the id of the run or the sweep."""
        return {**self._manifests.damaged, **self._damaged_runs}

    def unsettle(self) -> None:
        """Look again at all runs, those at rest included."""
        self._settled.clear()

    def jobs(
        self, only: Collection[str] | None = None, *, has_clients: bool = True
    ) -> list[TrackedRun]:
        """List what is to be fed, parents first; `only` names run ids, whose sweeps count, too.

        Without clients no sweep is being driven: one that has no end is killed.
        """
        if self._manifests.read():
            self.unsettle()
        jobs = []
        for sweep in self._manifests.sweeps:
            if only is None or not sweep.runs.isdisjoint(only):
                for experiment in sweep.experiments:
                    job = self._tracked(sweep, experiment)
                    job.goal = sweep.goal(job.fed, self.store, has_clients=has_clients)
                    jobs.append(job)
        jobs = [job for job in jobs if job.is_behind]
        for name in self._names() if only is None else only:
            jobs += self._run_jobs(name)
        return jobs

    def _names(self) -> list[str]:
        """List the ids of all runs; who asks for some only does not wait for a large store."""
        with os.scandir(self.store.root) as listing:
            return [entry.name for entry in listing if len(entry.name) == store.ID_LENGTH]

    def behind(self, only: Collection[str] | None) -> set[str]:
        """Return the ids of the runs and sweeps that MLflow is behind with, or that are damaged."""
        ids = {job.source.id for job in self.jobs(only)}
        return ids | {name for name in self.damaged if only is None or name in only}

    def recorded(self, experiment: str) -> list[TrackedRun]:
        """List the recorded MLflow runs of an experiment, parents first.

        Only runs count that `jobs` has looked at.
        """
        sweeps = [self._tracked(sweep, experiment) for sweep in self._manifests.sweeps]
        runs = [self._tracked(followed, experiment) for followed in self._runs.values()]
        return [run for run in [*sweeps, *runs] if run.run_id]

    def _tracked(self, source: FollowedRun | SweepManifest, experiment: str) -> TrackedRun:
        """Read the record of a run or a sweep; empty if it is not of this experiment any more."""
        self.experiments.add(experiment)
        entry = entries(source.record, self.uri).get(experiment, {})
        if not is_valid(entry, self.store, self.created.get(experiment)):
            entry = {}
        return TrackedRun(source, experiment, entry)

    def _run_jobs(self, run_id: str) -> list[TrackedRun]:
        """List what is to be fed of this run; a look at one that is at rest costs a stat."""
        followed = self._runs.get(run_id)
        if followed is None:
            followed = self._runs[run_id] = FollowedRun(store.Run(self.store.root / run_id))
        self._damaged_runs.pop(run_id, None)
        try:
            if followed.history.read() or run_id not in self._settled:
                self._settled.discard(run_id)
                return self._jobs_of_read(followed)
        except FileNotFoundError:  # not begun, or cleaned away; or a finished run has lost it
            del self._runs[run_id]
            try:
                followed.run.ensure_open(followed.run.result())
            except store.DamagedError as error:
                self._damaged_runs[run_id] = str(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._settled.discard(run_id)
            reason = error if isinstance(error, store.DamagedError) else repr(error)
            self._damaged_runs[run_id] = f"its journal cannot be read: {reason}"
        return []

    def _jobs_of_read(self, followed: FollowedRun) -> list[TrackedRun]:
        """List what is to be fed of a run whose journal has just been read."""
        run, history = followed.run, followed.history
        followed.sweeps = self._manifests.of_run(run.id)
        experiments = followed.experiments
        is_shown = bool(experiments and history.count)
        if not is_shown and not history.has_ended:  # else `FollowedRun.goal` looks for its end
            run.ensure_open(run.result())
        # Failed before its journal said what the run was to be.
        failed_early = history.count and not history.has_begun
        if not experiments or failed_early:
            self._settled.add(run.id)
        if failed_early:
            return []
        history.ensure_started()
        if not is_shown:
            return []
        tracked = [self._tracked(followed, experiment) for experiment in experiments]
        for job in tracked:
            job.goal = followed.goal(job.fed)
        jobs = [job for job in tracked if job.is_behind]
        # Files may still come while somebody holds the run.
        if not jobs and tracked[-1].goal["status"] != RUNNING and not run.claimed:
            self._settled.add(run.id)
        return jobs
