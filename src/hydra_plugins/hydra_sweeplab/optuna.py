"""The sweeper `hydra/sweeper=optuna`: adaptive search with the samplers and pruners of Optuna; its
keys are those of conf/hydra/sweeper/optuna.yaml.
"""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
from importlib.util import find_spec
from typing import Any

from hydra_plugins.hydra_sweeplab import sweeper  # the class would be a plugin here


class OptunaSweeper(sweeper.SweeplabSweeper):
    """Chooses each job by the results of those before."""

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        self._options = options

    def sweep(self, arguments: list[str]) -> Any:
        """Search the space that is spanned by the command line and `hydra.sweeper.params`."""
        from sweeplab.errors import UserError

        if find_spec("optuna") is None:
            raise UserError(
                'hydra/sweeper=optuna: Optuna is not installed; pip install "sweeplab[optuna]"'
            )
        return super().sweep(arguments)

    def _jobs(self, command: Any, composer: Any, place: Any, ours: bool) -> Any:
        from sweeplab.sweep import options, search

        return search.make(command, composer, place, options.Options.read(self._options), ours=ours)
