"""The launchers for a Ray cluster: `hydra/launcher=ray`, `ray_local` and `ray_cluster`."""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
import re
from importlib.util import find_spec
from typing import Any

from hydra_plugins.hydra_sweeplab import launcher  # the class would be a plugin here

KEYS = ("address", "cpus_per_node", "nodes_within")
ADDRESS = r"auto|local|(\[[\da-fA-F:.]+\]|[^\s:/]+):\d+"


class RayLauncher(launcher.SweeplabLauncher):
    """Trains on the nodes of a Ray cluster."""

    def __init__(
        self, address: Any, cpus_per_node: Any = None, nodes_within: Any = 0, **others: Any
    ) -> None:
        super().__init__()
        self._address, self._cpus, self._within = address, cpus_per_node, nodes_within
        self._others = others

    def begin(self) -> None:
        """Check that Ray is installed and the settings are valid; the place connects, once there is
        a plan.
        """
        from sweeplab.errors import UserError

        if find_spec("ray") is None:
            raise UserError('hydra/launcher=ray: Ray is not installed; pip install "sweeplab[ray]"')
        self._check()

    def _check(self) -> None:
        """Raise UserError for an unknown key or a bad value."""
        from sweeplab.config import launcher_key_meant
        from sweeplab.errors import UserError

        for key, value in self._others.items():
            advice = launcher_key_meant(key, KEYS)
            raise UserError(f"hydra.launcher.{key}={value}: no such key{advice}")
        if not re.fullmatch(ADDRESS, str(self._address)):
            raise UserError(
                f"hydra.launcher.address={self._address}: must be auto, local, or HOST:PORT"
            )
        cpus = self._cpus
        if cpus is not None and (type(cpus) is not int or cpus < 1):
            allowed = "a whole number >= 1, or null"
            raise UserError(f"hydra.launcher.cpus_per_node={cpus}: must be {allowed}")
        within = self._within
        if type(within) not in (int, float) or not 0 <= within < float("inf"):
            raise UserError(
                f"hydra.launcher.nodes_within={within}: must be a number of seconds >= 0"
            )

    def place(self) -> Any:
        from sweeplab.sweep.cluster import Cluster

        self._check()
        return Cluster(self._address, self._cpus, self._within)
