"""What is asked of a search: the section `hydra.sweeper` of `hydra/sweeper=optuna`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sweeplab import metrics, targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError, did_you_mean
from sweeplab.runs import parts

DIRECTIONS = ("maximize", "minimize")
OF_A_RUN = (
    metrics.PARAMETERS,
    metrics.SECONDS,
    metrics.BEST_EPOCH,
    metrics.EARLY_STOP_EPOCH,
    metrics.EXAMPLES_PER_SECOND,
)


@dataclass(kw_only=True, slots=True)
class Options:
    """The section hydra.sweeper."""

    n_trials: int
    n_jobs: int
    metric: list[str]  # empty: the monitored one
    direction: list[str]  # empty: by the metrics' names
    sampler: Node
    pruner: Node

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Raises UserError for what is not of these kinds."""
        from omegaconf import OmegaConf

        plain: Node = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in given.items()}
        known = [each.name for each in fields(cls)]
        unknown = [key for key in plain if key not in known]
        problems = [f"hydra.sweeper.{key}={plain[key]}: no such key{did_you_mean(key, known)}" for key in unknown]
        problems += [f"hydra.sweeper.{key}: missing" for key in known if key not in plain]
        if problems:
            raise UserError(*problems)
        for key in ("n_trials", "n_jobs"):
            if type(plain[key]) is not int or plain[key] < 1:
                raise UserError(f"hydra.sweeper.{key}={plain[key]}: must be a whole number >= 1")
        for key in ("metric", "direction"):
            value = plain[key]
            plain[key] = [] if value is None else value if isinstance(value, list) else [value]
        for direction in plain["direction"]:
            if direction not in DIRECTIONS:
                hint = did_you_mean(str(direction), DIRECTIONS)
                raise UserError(f"hydra.sweeper.direction={direction}: must be one of {', '.join(DIRECTIONS)}{hint}")
        problems += [p for name in ("sampler", "pruner") for p in targets.check(plain[name], f"hydra.sweeper.{name}")]
        if problems:
            raise UserError(*problems)
        return cls(**plain)

    def sampler_after(self, trials: int) -> Any:
        """The sampler, seeded anew when a search goes on: it would draw what it has drawn before."""
        from optuna.samplers import BaseSampler

        seed = self.sampler.get("seed")
        node = self.sampler | ({"seed": seed + trials} if isinstance(seed, int) else {})
        return _built(node, "sampler", BaseSampler)

    def new_pruner(self) -> Any:
        from optuna.pruners import BasePruner

        return _built(self.pruner, "pruner", BasePruner)

    def objectives(self, settings: Config) -> dict[str, str]:
        """Metric -> maximize or minimize. Raises UserError for what no run has, or nothing may be chosen by."""
        names = self.metric or [settings.monitor]
        known = [*parts.epoch_metrics(settings), *OF_A_RUN]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"hydra.sweeper.metric={name}: is given twice")
            if name.startswith(f"{metrics.TEST}/"):
                raise UserError(f"hydra.sweeper.metric={name}: nothing is chosen by the test set; take valid/...")
            if name not in known and not parts.measures(settings, name):
                raise UserError(f"hydra.sweeper.metric={name}: no such metric{did_you_mean(name, known)}")
        modes = [settings.mode if name == settings.monitor else metrics.default_mode(name) for name in names]
        ways = self.direction or [DIRECTIONS[mode == "min"] for mode in modes]
        if len(ways) != len(names):
            raise UserError(f"hydra.sweeper.direction={ways}: must be one for each of hydra.sweeper.metric={names}")
        for name, way in zip(names, ways, strict=True):
            mode = settings.mode if name == settings.monitor else metrics.mode_by_name(name)
            if mode is not None and way != DIRECTIONS[mode == "min"]:
                better = "larger" if mode == "max" else "smaller"
                raise UserError(f"hydra.sweeper.direction={way}: {name} is better the {better} it is; leave it out")
        return dict(zip(names, ways, strict=True))

    @property
    def prunes(self) -> bool:
        """Whether there is a pruner that ends anything."""
        return not str(self.pruner["_target_"]).endswith(".NopPruner")


def _built(node: Node, key: str, kind: type) -> Any:
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # whoever asks for one knows
        found = targets.build(node, f"hydra.sweeper.{key}")
    if not isinstance(found, kind):
        raise UserError(f"hydra.sweeper.{key}._target_={node['_target_']}: is no {key} of Optuna's")
    return found
