"""Which keys mattered in a search, by Optuna's importance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

ENOUGH = 4  # complete trials before it is said which key mattered
ENOUGH_FOR_INTERVAL, MOST_FOR_INTERVAL = 20, 500  # complete trials
RESAMPLES = 100  # of trials; each takes some 10 ms


def shares(study: optuna.Study) -> dict[str, float]:
    """Map each key to its share of what explains the good trials, the greatest first.

    Empty after too few trials.
    """
    import optuna

    complete = _complete_trials(study)
    values = {trial.values[0] for trial in complete}
    if len(complete) < ENOUGH or len(values) < 2 or not all(map(math.isfinite, values)):
        return {}
    return optuna.importance.get_param_importances(study)


def intervals(
    study: optuna.Study, keys: Iterable[str], found: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """Map each key to the 95 % interval of its importance: a bootstrap over trials,
    as if they were independent. `found` are the shares of all trials.

    Empty after too few trials for one, or so many that it would take seconds.
    """
    import numpy as np
    import optuna

    complete = _complete_trials(study)
    if not ENOUGH_FOR_INTERVAL <= len(complete) <= MOST_FOR_INTERVAL or not found:
        return {}
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = optuna.create_study(directions=study.directions)
        drawn.add_trials([complete[i] for i in rng.integers(len(complete), size=len(complete))])
        resampled.append(optuna.importance.get_param_importances(drawn))
    ranges = {}
    for key in keys:
        low, high = np.quantile([by_key[key] for by_key in resampled], [0.025, 0.975]).tolist()
        ranges[key] = (low, high)
    return ranges


def _complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return [
        trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE
    ]
