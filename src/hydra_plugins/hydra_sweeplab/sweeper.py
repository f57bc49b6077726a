"""The sweeper `hydra/sweeper=sweeplab`, the default: Hydra's sweep grammar, planned as a whole."""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins import basic_sweeper  # the class would be a plugin here
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobStatus


class SweeplabSweeper(basic_sweeper.BasicSweeper):
    """Checks all jobs before the first starts, and follows them as one sweep."""

    def sweep(self, arguments: list[str]) -> Any:
        """Plan the jobs of the command line and `hydra.sweeper.params`, and carry them out with the
        launcher; return the plan.
        """
        from hydra_plugins.hydra_sweeplab import launcher as launchers
        from sweeplab.console import waiting
        from sweeplab.errors import UserError

        launchers.ensure_one_rank()
        ours = self.launcher if isinstance(self.launcher, launchers.SweeplabLauncher) else None
        if ours and not {"sweep.plan=true", "sweep.plan=json"} & set(arguments):
            ours.begin()
        with waiting("loading PyTorch"):
            from sweeplab.sweep import rules
            from sweeplab.sweep.compose import Composer
            from sweeplab.sweep.conduct import conduct
            from sweeplab.sweep.local import Local
        assert self.config is not None
        assert self.hydra_context is not None
        if self.params is not None and not isinstance(self.params, Mapping):
            allowed = "a section of keys, each with the values to sweep over"
            raise UserError(f"hydra.sweeper.params={self.params}: must be {allowed}")
        loader = self.hydra_context.config_loader
        composer = Composer(loader, self.config)
        command = rules.read([*self._parse_config(), *arguments], loader, composer)
        with ours.place() if ours else Local() as place:
            jobs = self._jobs(command, composer, place, bool(ours))
            if not jobs.plan.settings.sweep.plan:
                conduct(jobs, place, None if ours else self._launch)
        return jobs.plan

    def _launch(self, overrides: Sequence[Sequence[str]]) -> list[BaseException | None]:
        """Run jobs with a launcher that is not ours; return the exception of each that failed, or
        None.
        """
        assert self.launcher is not None
        returned = self.launcher.launch(overrides, initial_job_idx=0)
        return [job._return_value if job.status == JobStatus.FAILED else None for job in returned]

    def _jobs(self, command: Any, composer: Any, place: Any, ours: bool) -> Any:
        """Plan all combinations; show them if `sweep.plan` asks only for that."""
        from sweeplab.sweep import preview, rules
        from sweeplab.sweep.jobs import Jobs
        from sweeplab.sweep.local import Local
        from sweeplab.sweep.seeds import SeedJobs

        plan = rules.plan(command, composer)
        jobs = SeedJobs(plan) if plan.settings.sweep.seeds.until else Jobs(plan)
        if plan.settings.sweep.plan:
            place.expect(jobs)
            asked, at_once = place.preview(plan.settings)
            notice = "\n".join(filter(None, [jobs.notice, asked]))
            local = ours and isinstance(place, Local)
            preview.show(plan, notice, by_workers=local, elsewhere=at_once)
        return jobs


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="sweeplab",
    node={
        "_target_": "hydra_plugins.hydra_sweeplab.sweeper.SweeplabSweeper",
        "max_batch_size": None,
        "params": None,
    },
    provider="sweeplab",
)
