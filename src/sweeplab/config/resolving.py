"""Sizes that a data set's YAML file leaves open, counted in the set: `${from_set:in_features}`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sweeplab.config.pictures import folder_sizes, known_sizes
from sweeplab.config.tables import TableSettings, table_sizes
from sweeplab.errors import UserError

NAME = "from_set"


def register(root: Path) -> None:
    """Teach OmegaConf the interpolation; paths are relative to `root`."""
    from omegaconf import OmegaConf

    def from_set(size: str, *, _parent_: Any) -> int | list[int] | None:
        return _sizes(_parent_, root)[size]

    OmegaConf.register_new_resolver(NAME, from_set, replace=True)


def own_error(error: BaseException) -> UserError | None:
    """Return what was raised by the interpolation, below what OmegaConf made of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _sizes(data: Any, root: Path) -> dict[str, int | list[int] | None]:
    """Return the sizes of the set that this section `data` names.

    What is missing in its node is said when the set is built.
    """
    node = data.dataset
    target = str(node.get("_target_")).rpartition(".")[2]
    in_features, out_features = 1, 1
    shape: list[int] | None = None
    if target == "CSV" and node.get("file") and node.get("target"):
        settings = TableSettings.of(node, root)
        in_features, out_features = table_sizes(settings, str(data.task))
    elif target == "ImageFolder" and node.get("folder"):
        shape, out_features = folder_sizes(node, root)
    elif target == "TorchVision":
        shape, out_features = known_sizes(node)
    if shape is not None:
        in_features = math.prod(shape)
    return {"in_features": in_features, "out_features": out_features, "shape": shape}
