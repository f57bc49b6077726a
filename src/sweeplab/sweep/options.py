"""The options of a search: the section `hydra.sweeper` of `hydra/sweeper=optuna`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from sweeplab import config, metrics, targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError, did_you_mean
from sweeplab.runs import parts

COUNT: dict[str, Any] = {"allowed": "a whole number >= 1", "test": lambda number: number >= 1}
DIRECTIONS = {"max": "maximize", "min": "minimize"}
BLIND_SAMPLERS = ("RandomSampler", "QMCSampler", "GridSampler", "BruteForceSampler")
RUN_METRICS = (  # measured once a run, not once an epoch
    metrics.PARAMETERS,
    metrics.SECONDS,
    metrics.BEST_EPOCH,
    metrics.EARLY_STOP_EPOCH,
    metrics.EXAMPLES_PER_SECOND,
)


def _are_directions(values: list[str]) -> bool:
    return set(values) <= set(DIRECTIONS.values())


@dataclass(kw_only=True, slots=True)
class Options:
    """The section hydra.sweeper."""

    n_trials: int = field(metadata=COUNT)
    n_jobs: int = field(metadata=COUNT)
    metric: list[str] | None = None  # None or empty: the monitored one
    direction: list[str] | None = field(  # None or empty: by the metrics' names
        default=None, metadata={"allowed": "one of maximize, minimize", "test": _are_directions}
    )
    sampler: Node
    pruner: Node
    storage: str | None = None  # of the study: a PostgreSQL; None: a file in the store

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Options:
        """Read the section. Raises UserError for unknown and missing keys and for bad values."""
        options = config.read_section(cls, config.as_plain(dict(section)), "hydra.sweeper")
        if options.storage is not None:
            _ensure_database(options.storage)
        problems = targets.check(options.sampler, "hydra.sweeper.sampler")
        problems += targets.check(options.pruner, "hydra.sweeper.pruner")
        if problems:
            raise UserError(*problems)
        return options

    def sampler_after(self, trials: int) -> Any:
        """Build the sampler of a search that already has so many trials.

        Its seed depends on them: with the first seed it would draw the same values again.
        """
        from optuna.samplers import BaseSampler

        node = dict(self.sampler)
        if isinstance(node.get("seed"), int):
            node["seed"] += trials
        return _build(node, "sampler", BaseSampler)

    def new_pruner(self) -> Any:
        from optuna.pruners import BasePruner

        return _build(self.pruner, "pruner", BasePruner)

    def objectives(self, settings: Config) -> dict[str, str]:
        """Map each metric to maximize or minimize.

        Raises UserError for an unknown metric, one of the test set, and a wrong direction.
        """
        names = self.metric or [settings.monitor]
        _ensure_metrics(names, settings)
        modes = {name: metrics.mode_by_name(name) for name in names}
        if settings.monitor in modes:
            modes[settings.monitor] = settings.mode
        if not self.direction:
            return {name: DIRECTIONS[modes[name] or metrics.default_mode(name)] for name in names}
        if len(self.direction) != len(names):
            rule = f"must be one for each of hydra.sweeper.metric={names}"
            raise UserError(f"hydra.sweeper.direction={self.direction}: {rule}")
        objectives = dict(zip(names, self.direction, strict=True))
        for name, direction in objectives.items():
            mode = modes[name]
            if mode is not None and direction != DIRECTIONS[mode]:
                better = "larger" if mode == "max" else "smaller"
                reason = f"{name} is better the {better} it is; leave it out"
                raise UserError(f"hydra.sweeper.direction={direction}: {reason}")
        return objectives

    @property
    def draws_by_results(self) -> bool:
        """Whether a sampler with a seed draws a trial by the results of those before."""
        name = str(self.sampler["_target_"]).rpartition(".")[2]
        return name not in BLIND_SAMPLERS and self.sampler.get("seed") is not None

    @property
    def prunes(self) -> bool:
        """Whether there is a pruner that ends anything."""
        return not str(self.pruner["_target_"]).endswith(".NopPruner")


def _ensure_database(uri: str) -> None:
    """Raise UserError for a place of a study that is no PostgreSQL, or that cannot be reached so."""
    shown = config.redact_uri(uri)
    if not re.match(r"postgresql(\+psycopg)?://", uri):
        allowed = "postgresql://USER:PASSWORD@HOST/DATABASE, or null for a file in the store"
        raise UserError(f"hydra.sweeper.storage={shown}: must be {allowed}")
    if find_spec("psycopg") is None:
        install = "pip install 'sweeplab[server]'"
        raise UserError(f"hydra.sweeper.storage={shown}: psycopg is not installed: {install}")


def _ensure_metrics(names: Sequence[str], settings: Config) -> None:
    known = [*parts.epoch_metrics(settings), *RUN_METRICS]
    for name in names:
        if names.count(name) > 1:
            problem = "is given twice"
        elif name.startswith(f"{metrics.TEST}/"):
            problem = "nothing is chosen by the test set; take valid/..."
        elif name not in known and not parts.measures(settings, name):
            problem = f"no such metric{did_you_mean(name, known)}"
        else:
            continue
        raise UserError(f"hydra.sweeper.metric={name}: {problem}")


def _build(node: Node, key: str, kind: type) -> Any:
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        # Whoever asks for an experimental sampler or pruner knows that it is one.
        warnings.simplefilter("ignore", ExperimentalWarning)
        part = targets.build(node, f"hydra.sweeper.{key}")
    if not isinstance(part, kind):
        path = f"hydra.sweeper.{key}._target_={node['_target_']}"
        raise UserError(f"{path}: is no {key} of Optuna's")
    return part
