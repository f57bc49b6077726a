"""What is wrong with the section `data` of a config, seen without its set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeplab import config
from sweeplab.config import ANY, Node

if TYPE_CHECKING:
    from sweeplab.config import Data

NORMALISING = ("mean", "std", "target_mean", "target_std")
NODES = ("collate", "transform", "train_transform")


def nodes(data: Data) -> list[tuple[str, Node]]:
    """Return the nodes that change examples or make batches of them, by their keys."""
    named = [(name, getattr(data, name)) for name in NODES]
    return [(name, node) for name, node in named if node is not None]


def problems(data: Data) -> list[str]:
    """List the keys that say nothing with this task."""
    if data.task != ANY:
        if data.collate is None:
            return []
        reason = f"makes batches of data.task={ANY}, not of pairs of data.task={data.task}"
        return [f"data.collate: {reason}; give null, or data.task={ANY}"]
    given = [name for name in NORMALISING if getattr(data, name) is not None]
    if not given:
        return []
    shown = [f"data.{name}={config.yaml_str(getattr(data, name))}" for name in given]
    nulls = " ".join(f"data.{name}=null" for name in given)
    reason = f"with data.task={ANY} nothing is normalised"
    return [f"{', '.join(shown)}: {reason}; give {nulls}, and scale the numbers in the set"]
