"""What is wrong with the section `data` of a config, seen without its set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeplab import config
from sweeplab.config import Node
from sweeplab.config.sections import DATA_NODES
from sweeplab.data.scaling import channel_count
from sweeplab.errors import counted
from sweeplab.metrics import ANY

if TYPE_CHECKING:
    from sweeplab.config import Data

NORMALISING = ("mean", "std", "target_mean", "target_std")


def nodes(data: Data) -> list[tuple[str, Node]]:
    """Return the nodes that change examples or make batches of them, by their keys."""
    named = [(name, getattr(data, name)) for name in DATA_NODES]
    return [(name, node) for name, node in named if node is not None]


def called(data: Data, name: str) -> list[str]:
    """Name the arguments with which the function of a node is called."""
    if name == "collate":
        return ["examples"]
    if name == "batch_transform":
        return ["batch"] if data.task == ANY else ["inputs", "targets"]
    return ["example"] if data.task == ANY else ["input"]


def problems(data: Data) -> list[str]:
    """List the keys that say nothing with this task, or with others."""
    return [*_fold_problems(data), *_task_problems(data)]


def _fold_problems(data: Data) -> list[str]:
    fold, folds = data.fold, data.folds
    if fold is None and folds is None:
        return []
    if fold is None:
        advice = f"name it, as in data.fold=0, or all by -m 'data.fold=range({folds})'"
        return [f"data.folds={folds}: one of them is tested; {advice}"]
    if folds is None:
        return [f"data.fold={fold}: is one of how many? give data.folds, as in data.folds=5"]
    if fold >= folds:
        return [f"data.fold={fold}: must be 0 to {folds - 1}, as data.folds={folds}"]
    if data.test is not None:
        return [f"data.test={data.test}: data.fold={fold} is what is tested; give data.test=null"]
    return []


def _task_problems(data: Data) -> list[str]:
    if data.task != ANY:
        found = _channel_problems(data)
        if data.collate is None:
            return found
        reason = f"makes batches of data.task={ANY}, not of pairs of data.task={data.task}"
        return [*found, f"data.collate: {reason}; give null, or data.task={ANY}"]
    given = [name for name in NORMALISING if getattr(data, name) is not None]
    if not given:
        return []
    shown = [f"data.{name}={config.yaml_str(getattr(data, name))}" for name in given]
    nulls = " ".join(f"data.{name}=null" for name in given)
    reason = f"with data.task={ANY} nothing is normalised"
    return [f"{', '.join(shown)}: {reason}; give {nulls}, and scale the numbers in the set"]


def _channel_problems(data: Data) -> list[str]:
    found = []
    count = channel_count(data)
    for name in ("mean", "std"):
        value = getattr(data, name)
        if isinstance(value, list) and len(value) != count:
            what = f"data.in_features={data.in_features}"
            if data.shape is not None and len(data.shape) > 1:
                what = f"data.shape={data.shape} with its {counted(count, 'channel')}"
            shown = f"data.{name}={config.yaml_str(value)}"
            found.append(
                f"{shown}: has {counted(len(value), 'number')}, for {what}; give {count}, or one number"
            )
    return found
