"""The sweeper `hydra/sweeper=optuna`: adaptive search with the samplers and pruners of Optuna."""

# No `from __future__ import annotations` here: Hydra reads the annotations in a plugin file.
from importlib.util import find_spec
from typing import Any

from hydra.core.config_store import ConfigStore

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


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="optuna",
    node={
        "_target_": "hydra_plugins.hydra_sweeplab.optuna.OptunaSweeper",
        "_recursive_": False,  # we build sampler and pruner: anew when a search is resumed
        "n_trials": 20,  # in all, those of earlier commands included
        "n_jobs": 2,  # jobs at once with a launcher that is not ours
        "metric": None,  # what is sought the best of, or a list; null: the monitored metric
        "direction": None,  # maximize | minimize, or a list; null: as the metric's name says
        "sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 0},
        "pruner": {"_target_": "optuna.pruners.NopPruner"},
        # Of the study: null is a file in the store; or postgresql://USER:PASSWORD@HOST/DATABASE.
        "storage": None,
        "params": None,
    },
    provider="sweeplab",
)
