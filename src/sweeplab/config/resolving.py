"""Sizes that a data set's YAML file leaves open, counted in the set: `${from_set:in_features}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeplab.config.tables import TableSettings, table_sizes
from sweeplab.errors import UserError

NAME = "from_set"
TABLES = ("sweeplab.data.CSV", "sweeplab.data.table.CSV")


def register(root: Path) -> None:
    """Teach OmegaConf the interpolation; paths are relative to `root`."""
    from omegaconf import OmegaConf

    def from_set(size: str, *, _parent_: Any) -> int:
        return _size(size, _parent_, root)

    OmegaConf.register_new_resolver(NAME, from_set, replace=True)


def own_error(error: BaseException) -> UserError | None:
    """Return what was raised by the interpolation, below what OmegaConf made of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _size(size: str, data: Any, root: Path) -> int:
    """Return `in_features` or `out_features` of the set that this section `data` names."""
    node = data.dataset
    if node.get("_target_") not in TABLES or not node.get("file") or not node.get("target"):
        return 1  # what is missing is said when the set is built
    sizes = table_sizes(TableSettings.of(node, root), str(data.task))
    return sizes[("in_features", "out_features").index(size)]
