"""The launcher `hydra/launcher=sweeplab`, the default: trains jobs in worker processes on this
machine.
"""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
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

    count = ranks.world_size()
    if count > 1:
        reason = f"torchrun has started {count} ranks of one run"
        raise UserError(f"-m: {reason}; start a sweep with python")


class SweeplabLauncher(Launcher):
    """Trains on this machine, a process for each job. Our sweeper asks for its place; others only
    call `launch`.
    """

    def __init__(self) -> None:
        self._context: HydraContext | None = None
        self._config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        del task_function  # a job is planned as a whole, and trained by sweeplab.runs.run
        self._context, self._config = hydra_context, config

    def begin(self) -> None:
        """Start early what takes time."""
        from sweeplab.sweep import server

        server.start()

    def place(self) -> Any:
        """Return where the jobs are trained: a sweeplab.sweep.place.SweepPlace."""
        from sweeplab.sweep.local import Local

        return Local()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Plan and train the jobs of a sweeper that is not ours; a job returns the best value of
        its monitored metric.
        """
        from sweeplab import store
        from sweeplab.runs import report
        from sweeplab.sweep import rules
        from sweeplab.sweep.compose import Composer
        from sweeplab.sweep.conduct import conduct
        from sweeplab.sweep.jobs import Jobs
        from sweeplab.sweep.plan import make

        del initial_job_idx
        ensure_one_rank()
        assert self._context is not None
        assert self._config is not None
        loader, config = self._context.config_loader, self._config
        with self.place() as place:
            plan = make(job_overrides, [], Composer(loader, config))
            rules.ensure_none(plan.settings.sweep)
            conduct(Jobs(plan), place)
        home = store.Store(plan.settings.store.root)
        returned: dict[tuple[str, ...], JobReturn] = {}
        for cell in plan.cells:
            run = home.run(cell.job.fingerprint)
            result = run.result()
            assert result is not None
            value: Any = report.best(cell.job, run, result)
            job_return = JobReturn(
                overrides=cell.overrides, status=JobStatus.COMPLETED, _return_value=value
            )
            returned[tuple(cell.overrides)] = job_return
        return [returned[tuple(overrides)] for overrides in job_overrides]


ConfigStore.instance().store(
    group="hydra/launcher",
    name="sweeplab",
    node={"_target_": "hydra_plugins.hydra_sweeplab.launcher.SweeplabLauncher"},
    provider="sweeplab",
)
