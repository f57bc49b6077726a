"""A table of a user's own, in a file of comma-separated values."""

from __future__ import annotations

from pathlib import Path

import torch

from sweeplab import config
from sweeplab.config.tables import TableSettings, read_table
from sweeplab.data.sources import Tensors
from sweeplab.errors import UserError


class CSV(Tensors):
    """The rows of a CSV file: `inputs` float64 [N, numbers], and the `target` column.

    Numbers are taken as they are. A column of texts becomes a column of zeros and ones for each of
    its texts, in sorted order; texts as targets become classes, from 0, in sorted order. `columns`
    names the inputs (None: all but the target). Columns without a name are left out. `task` is that
    of the config, and `group` names the column by which the config splits the table.
    """

    def __init__(
        self,
        file: str | None = None,
        target: str | list[str] | None = None,
        columns: str | list[str] | None = None,
        separator: str = ",",
        decimal: str = ".",
        task: str = "classification",
        group: str | None = None,
    ) -> None:
        arguments = {
            "file": file,
            "target": target,
            "columns": columns,
            "separator": separator,
            "decimal": decimal,
            "group": group,
        }
        content = read_table(TableSettings.of(arguments, Path(config.root())))
        if content.classes is not None and task == "regression":
            texts = ", ".join(content.classes[:3])
            raise UserError(
                f"data.task=regression: the target '{target}' has texts ({texts}); give "
                "data.task=classification, or another target"
            )
        self.classes = content.classes
        self.groups = content.groups
        super().__init__(torch.from_numpy(content.inputs), torch.from_numpy(content.targets))
