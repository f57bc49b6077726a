"""The launchers whose jobs are taken by workers: `hydra/launcher=workers` and `slurm`."""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
import os
import shutil
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.hydra_sweeplab import launcher  # the class would be a plugin here


class WorkersLauncher(launcher.SweeplabLauncher):
    """Leaves the jobs to workers that `sweeplab work` has started, on any machine."""

    def begin(self) -> None:
        """Start nothing: the jobs are trained elsewhere."""

    def place(self) -> Any:
        from sweeplab.sweep.workers import Workers

        return Workers()


class SlurmLauncher(WorkersLauncher):
    """Has Slurm start the workers."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    def begin(self) -> None:
        """Check that Slurm's programs are here; the place submits, once there is a plan."""
        from sweeplab.errors import UserError

        if shutil.which("sbatch") is None:
            advice = "issue the command where Slurm's programs are, or take another launcher"
            raise UserError(f"hydra/launcher=slurm: there is no sbatch here; {advice}")
        conf = os.environ.get("SLURM_CONF")
        if conf and not Path(conf).is_file():  # for which Slurm's programs wait a minute each
            raise UserError(f"hydra/launcher=slurm: SLURM_CONF={conf}: no such file")

    def place(self) -> Any:
        from sweeplab.sweep.slurm import Slurm
        from sweeplab.sweep.slurm_options import SlurmOptions

        return Slurm(SlurmOptions.read(self._options))


ConfigStore.instance().store(
    group="hydra/launcher",
    name="workers",
    node={"_target_": "hydra_plugins.hydra_sweeplab.workers.WorkersLauncher"},
    provider="sweeplab",
)
