"""The parts that a config names (network, loss, optimizer, ...), and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sweeplab import data, metrics, targets
from sweeplab.config import COMPONENTS, Config, Data, Node, nodes
from sweeplab.errors import UserError, did_you_mean
from sweeplab.train import (
    groups,
    metric_values,
    own_step,
    schedule,
    schedule_checks,
    stopping_checks,
)


def problems(config: Config) -> list[str]:
    """List all that is wrong with the `_target_`s, by their signatures, and between sections."""
    problems_found = targets.check(config.model, "model") + targets.check(config.loss, "loss")
    if config.step:
        problems_found += own_step.problems(config.step)
    problems_found += _updater_problems(config) + _part_problems(config)
    problems_found += targets.check(
        config.data.dataset, "data.dataset", _supplied_to_dataset(config)
    )
    for name, node in data.nodes(config.data):
        problems_found += targets.check_function(
            node, f"data.{name}", data.called(config.data, name)
        )
    for name, node in config.metrics.items():
        problems_found += targets.check(node, f"metrics.{name}")
    problems_found += _not_finite(config)
    problems_found += data.problems(config.data)
    if config.trainer.shift is not None and config.data.task == metrics.ANY:
        problems_found.append(
            f"trainer.shift={config.trainer.shift}: moves the pictures of pairs, and data.task=any "
            "has none; null is off"
        )
    elif config.trainer.shift is not None and len(config.data.shape or ()) != 3:
        problems_found.append(
            f"trainer.shift={config.trainer.shift}: is for pictures, but data.shape={config.data.shape}"
        )
    known = epoch_metrics(config)
    if not config.step and not measures(config, config.monitor):
        problems_found.append(
            f"trainer.monitor={config.monitor}: no such metric{did_you_mean(config.monitor, known)}"
        )
    taken = [
        name for name in (metrics.LOSS, metrics.score(config.data.task)) if name in config.metrics
    ]
    problems_found += [
        f"metrics.{name}: every run has a metric of this name; give it another" for name in taken
    ]
    if config.data.task == metrics.ANY and not config.step:
        problems_found.append(
            "data.task=any: needs a step, which says what is computed of a batch; give step._target_"
        )
    if config.trainer.mode == "auto" and _further(config, config.monitor):
        problems_found.append(
            f"trainer.mode=auto: nothing says which way {config.monitor} is better; give max or min"
        )
    return [*problems_found, *stopping_checks.problems(config)]


def _updater_problems(config: Config) -> list[str]:
    """List what is wrong with optimizers and their schedulers."""
    found: list[str] = []
    for part, own in schedule.by_part(config).items():
        optimizer, scheduler = schedule.key("optimizer", part), schedule.key("scheduler", part)
        found += groups.problems(own.optimizer, optimizer)
        wrong = schedule_checks.problems(own)
        # What a schedule's arguments lack besides tells no more
        found += wrong or schedule.problems(schedule.filled(own, in_epoch=1), scheduler)
    return list(dict.fromkeys(found))


def _part_problems(config: Config) -> list[str]:
    """List what optimizers of parts of the network cannot do."""
    parts = list(schedule.by_part(config))
    if parts == [""]:
        return []
    wrong = []
    if config.trainer.accumulate:
        several = f"is for one optimizer, and there are those of {', '.join(parts)}"
        wrong.append(f"trainer.accumulate={config.trainer.accumulate}: {several}")
    if schedule.is_by_part(config.scheduler):
        for part in config.scheduler:
            if part not in parts:
                why = f"there is no optimizer.{part}"
                wrong.append(f"scheduler.{part}: {why}{did_you_mean(part, parts)}")
    if not config.step:
        keys = ", ".join(schedule.key("optimizer", part) for part in parts)
        wrong.append(f"{keys}: parts are updated by a step that yields them; give step._target_")
    return wrong


def _not_finite(config: Config) -> list[str]:
    """List arguments that are NaN, and those of optimizer and scheduler that are infinite."""
    wrong = []
    for name in COMPONENTS:
        infinite = name in ("optimizer", "scheduler")
        for key, value in nodes.walk(getattr(config, name), name):
            if isinstance(value, float) and (math.isnan(value) or (infinite and math.isinf(value))):
                wrong.append(f"{key}={value}: must be a finite number")
    return wrong


def class_paths(config: Config) -> list[str]:
    """Every class path that this config names, at every depth."""
    return [path for _, node in _nodes(config) for path in nodes.class_paths(node)]


def words(config: Config, *, held: bool) -> dict[str, str]:
    """Return all strings that are arguments of `_target_`s, by dotted key.

    They may name code, or files. Files of a data set that is `held` in memory are left out: its
    examples are known, wherever they lie.
    """
    texts: dict[str, str] = {}
    for name, node in _nodes(config):
        given = nodes.string_arguments(node, name)
        if held and name == "data.dataset":
            given = {key: word for key, word in given.items() if not targets.is_file(word)}
        texts |= given
    return texts


def of_script(config: Config) -> dict[str, str]:
    """Return the names that are taken from the started script (`__main__.Net`), by dotted key."""
    names: dict[str, str] = {}
    for name, node in _nodes(config):
        names |= targets.script_names(node, name)
    return names


def _nodes(config: Config) -> Iterator[tuple[str, Node]]:
    """Yield the keys and nodes of all that is called."""
    yield "model", config.model
    yield "loss", config.loss
    if config.step:
        yield "step", config.step
    for part, own in schedule.by_part(config).items():
        yield schedule.key("optimizer", part), own.optimizer
        yield schedule.key("scheduler", part), schedule.filled(own, in_epoch=1)
    yield "data.dataset", config.data.dataset
    for name, node in data.nodes(config.data):
        yield f"data.{name}", node
    for name, node in config.metrics.items():
        yield f"metrics.{name}", node


def _supplied_to_dataset(config: Config) -> Sequence[str]:
    try:
        return data.supplied_arguments(config.data)
    except (KeyError, UserError):  # no `_target_`, or one that is not there: the check says so
        return ()


def epoch_metrics(config: Config) -> list[str]:
    """List the metrics that an epoch measures, and so those that can be monitored."""
    plain = (metrics.LOSS, metrics.score(config.data.task))
    valid = (*plain, *config.metrics)
    return [f"{metrics.TRAIN}/{name}" for name in plain] + [
        f"{metrics.VALID}/{name}" for name in valid
    ]


def measures(config: Config, name: str) -> bool:
    """Tell whether an epoch measures this metric.

    If a metric returns a dict, only the trial tells which numbers are in it.
    """
    return name in epoch_metrics(config) or _further(config, name)


def _further(config: Config, name: str) -> bool:
    """Whether it is of a metric of the user's own."""
    split, _, own = name.partition("/")
    further = [
        each
        for each in config.metrics
        if each not in (metrics.LOSS, metrics.score(config.data.task))
    ]
    return split == metrics.VALID and metric_values.comes_from(own, further)


def input_shape(data: Data) -> list[int]:
    """Return the shape of one example as the network gets it."""
    return [data.in_features] if data.flatten or data.shape is None else data.shape
