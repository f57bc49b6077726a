"""Hydra's door to sweeplab's sweeps: Hydra's own sweep grammar, our plan."""

# No `from __future__ import annotations` here: Hydra reads the annotations of what a plugin file holds.
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins import basic_sweeper  # the module: Hydra would take the class for another plugin
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


class SweeplabSweeper(basic_sweeper.BasicSweeper):
    """Checks all jobs before the first starts, and follows them as one sweep."""

    def sweep(self, arguments: list[str]) -> Any:
        """Plan what the command line and `hydra.sweeper.params` ask for, and carry it out with the launcher."""
        from sweeplab.screen import waiting

        with waiting("loading PyTorch"):
            from sweeplab.sweep import conduct, make
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        loader, config, launcher = self.hydra_context.config_loader, self.config, self.launcher
        given = [*self._parse_config(), *arguments]
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        jobs = [job for batch in self.split_arguments(parsed, self.max_batch_size) for job in batch]
        plan = make(jobs, given, lambda overrides: loader.load_sweep_config(config, overrides))

        def launch(overrides: Sequence[Sequence[str]]) -> object:
            return launcher.launch(overrides, initial_job_idx=0)

        return conduct(plan, launch)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="sweeplab",
    node={
        "_target_": "hydra_plugins.sweeplab.sweeper.SweeplabSweeper",
        "max_batch_size": None,
        "params": None,
    },
    provider="sweeplab",
)
