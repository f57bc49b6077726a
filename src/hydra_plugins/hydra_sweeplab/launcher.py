"""Hydra's door to sweeplab's workers: `hydra/launcher=sweeplab`, the default."""

# No `from __future__ import annotations` here: Hydra reads the annotations of what a plugin file holds.
from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


def ensure_one_rank() -> None:
    """Raise UserError if torchrun has started this command more than once."""
    from sweeplab.errors import UserError
    from sweeplab.train import ranks

    if ranks.count() > 1:
        raise UserError(f"-m: torchrun has started {ranks.count()} ranks of one run; start a sweep with python")


class SweeplabLauncher(Launcher):
    """Trains on this machine, a process for each job. Our own sweeper hands it a plan; others only call `launch`."""

    def __init__(self) -> None:
        self._context: HydraContext | None = None
        self._config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        del task_function  # a job is planned as a whole, and trained by sweeplab.runs.run
        self._context, self._config = hydra_context, config

    def begin(self) -> Any:
        """Start at once what takes time; `workers` gets it."""
        from sweeplab.sweep import fork

        return fork.start()

    def workers(self, begun: Any = None) -> Any:
        """What carries the jobs out: a sweeplab.sweep.pool.Workers."""
        from sweeplab.sweep.pool import Pool

        return Pool(begun)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Plan and train the jobs of a sweeper that is not ours; each returns its monitored metric."""
        from sweeplab import store
        from sweeplab.runs import report
        from sweeplab.sweep.compose import Composer
        from sweeplab.sweep.conduct import conduct
        from sweeplab.sweep.jobs import Jobs
        from sweeplab.sweep.plan import make

        del initial_job_idx
        ensure_one_rank()
        assert self._context is not None
        assert self._config is not None
        loader, config = self._context.config_loader, self._config
        with self.workers() as pool:
            plan = make(job_overrides, [], Composer(loader, config))
            conduct(Jobs(plan), pool)
        home, returned = store.Store(plan.settings.store.root), {}
        for cell in plan.cells:
            found = home.run(cell.job.fingerprint)
            result = found.result()
            assert result is not None
            value: Any = report.best(cell.job, found, result)
            returned[tuple(cell.overrides)] = JobReturn(
                overrides=cell.overrides, status=JobStatus.COMPLETED, _return_value=value
            )
        return [returned[tuple(overrides)] for overrides in job_overrides]


ConfigStore.instance().store(
    group="hydra/launcher",
    name="sweeplab",
    node={"_target_": "hydra_plugins.hydra_sweeplab.launcher.SweeplabLauncher"},
    provider="sweeplab",
)
