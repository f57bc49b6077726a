"""Hydra's door to sweeplab's sweeps: Hydra's own sweep grammar, our plan."""

# No `from __future__ import annotations` here: Hydra reads the annotations of what a plugin file holds.
from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins import basic_sweeper  # the module: Hydra would take the class for another plugin
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus


def ensure_params(params: Any) -> None:
    """Raise UserError if the section `hydra.sweeper.params` is none."""
    from sweeplab.errors import UserError

    if params is not None and not isinstance(params, Mapping):
        raise UserError(f"hydra.sweeper.params={params}: must be a section of keys, each with the values to sweep over")


class SweeplabSweeper(basic_sweeper.BasicSweeper):
    """Checks all jobs before the first starts, and follows them as one sweep."""

    def sweep(self, arguments: list[str]) -> Any:
        """Plan what the command line and `hydra.sweeper.params` ask for, and carry it out with the launcher."""
        from hydra_plugins.hydra_sweeplab import launcher as here
        from sweeplab.console import waiting

        here.ensure_one_rank()
        ours = self.launcher if isinstance(self.launcher, here.SweeplabLauncher) else None
        begun = ours.begin() if ours and "sweep.plan=true" not in arguments else None
        with waiting("loading PyTorch"):
            from sweeplab.sweep import compose
            from sweeplab.sweep.conduct import conduct
            from sweeplab.sweep.pool import Pool
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        ensure_params(self.params)
        loader, config, launcher = self.hydra_context.config_loader, self.config, self.launcher
        given = [*self._parse_config(), *arguments]
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)

        def launch(overrides: Sequence[Sequence[str]]) -> list[BaseException | None]:
            returned = launcher.launch(overrides, initial_job_idx=0)
            return [each._return_value if each.status == JobStatus.FAILED else None for each in returned]

        with ours.workers(begun) if ours else Pool() as pool:
            jobs = self._jobs(parsed, given, compose.Composer(loader, config), pool, bool(ours))
            return None if jobs is None else conduct(jobs, pool, None if ours else launch)

    def _jobs(self, parsed: list[Any], given: list[str], composer: Any, pool: Any, ours: bool) -> Any:
        """All combinations, checked; None if `sweep.plan` asks for no more than to see them."""
        del pool, ours
        from sweeplab.errors import UserError
        from sweeplab.sweep import compose, preview
        from sweeplab.sweep.jobs import Jobs
        from sweeplab.sweep.plan import make

        assert self.config is not None
        zipped = compose.zipped_keys(parsed, self.config)
        plan = make(compose.combinations(parsed, zipped), given, composer)
        if plan.settings.sweep.zip != zipped:  # of an experiment that is itself swept, or in the sweeper's params
            raise UserError("sweep.zip: is known too late here; give it on the command line, too")
        return preview.show(plan) if plan.settings.sweep.plan else Jobs(plan)


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
