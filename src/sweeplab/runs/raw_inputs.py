"""A user's own inputs, read as the examples of a run's data set: files, pictures, rows, arrays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeplab import config, data
from sweeplab.config import Config
from sweeplab.config.pictures import EXTENSIONS
from sweeplab.config.tables import TableSettings, as_in_table, read_rows
from sweeplab.errors import UserError, first_line
from sweeplab.targets import locate

Array = np.ndarray[Any, Any]
ARRAY = ".npy"
KINDS = f"a picture ({', '.join(EXTENSIONS[:3])}, ...), {ARRAY}, or rows of numbers with commas"


def examples(settings: Config, inputs: Any, *, invert: bool = False) -> Sequence[Any]:
    """Return raw examples, as the data set would deliver them. Raises UserError if they are none."""
    if isinstance(inputs, str | Path):
        return _of_file(settings, Path(inputs), invert=invert)
    if _is_picture(inputs):
        return [_turned(data.as_picture(settings.data, inputs, "the input"), invert)]
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        return _of_table(settings, inputs)
    if isinstance(inputs, list | tuple) and inputs and not _is_numbers(inputs[0]):
        rows: list[Any] = []
        for item in inputs:
            rows.extend(examples(settings, item, invert=invert))
        return rows
    return _of_numbers(settings, _array(inputs, "the input"), "the input")


def _is_picture(value: Any) -> bool:
    """Tell whether it is a picture of PIL, whose import is slow."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def _is_numbers(value: Any) -> bool:
    """Tell whether an item of a list is a number, or a list of numbers."""
    return isinstance(value, int | float | list | tuple | np.number)


def _turned(picture: Any, invert: bool) -> Any:
    """Return a picture, light where it was dark if `invert`."""
    if not invert:
        return picture
    if isinstance(picture, Tensor):
        return 255 - picture
    from PIL import ImageOps

    return ImageOps.invert(picture)


# --- Files ----------------------------------------------------------------------------------------


def _of_file(settings: Config, file: Path, *, invert: bool) -> Sequence[Any]:
    """Read the examples of a file: a picture, or rows of numbers."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if file.suffix.lower() in EXTENSIONS:
        try:
            return [_turned(data.read_picture(settings.data, file), invert)]
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {first_line(error)}") from error
    table = _table(settings)
    if table is None or file.suffix.lower() == ARRAY:
        return _of_numbers(settings, _rows(file), str(file))
    return list(read_rows(table, file))


def _rows(file: Path) -> Array:
    """Read an array of real numbers. Raises UserError for anything else."""
    try:
        if file.suffix.lower() == ARRAY:
            rows: Array = np.load(file, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                rows = np.loadtxt(file, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {first_line(error)}; give {KINDS}") from error
    return rows


# --- Tables ---------------------------------------------------------------------------------------


def _table(settings: Config) -> TableSettings | None:
    """Return the table that a run was trained on; None if it was none."""
    if locate(settings.data.dataset["_target_"], "data.dataset._target_") is not data.CSV:
        return None
    return TableSettings.of(settings.data.dataset, config.root())


def _of_table(settings: Config, rows: Any) -> Sequence[Any]:
    """Return rows by the names of their columns: a mapping of one, or a DataFrame."""
    import pandas as pd

    table = _table(settings)
    if table is None:
        name = settings.data.name
        raise UserError(f"the input: has named columns, and data={name} is no table; give numbers")
    frame = pd.DataFrame([dict(rows)]) if isinstance(rows, Mapping) else rows
    return list(as_in_table(table, frame, "the input"))


# --- Numbers --------------------------------------------------------------------------------------


def _array(values: Any, shown: str) -> Array:
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            values = values.float() if values.is_floating_point() else values  # numpy has no bf16
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{shown}: is no array of numbers: {first_line(error)}") from error


def _of_numbers(settings: Config, rows: Array, shown: str) -> Sequence[Any]:
    """Return the examples of an array: one after another, or one."""
    _ensure_numbers(rows, shown)
    if rows.dtype.kind != "f" and rows.dtype != np.uint8:
        rows = rows.astype(np.int64)
    numbers = data.as_delivered(settings.data, torch.from_numpy(np.array(rows)), shown)
    if settings.data.transform is not None:  # which alone knows what it takes
        return list(numbers)
    size = settings.data.in_features
    _ensure_examples(rows, size, shown)
    shape = rows.shape if rows.size == size else rows.shape[1:]
    if settings.data.shape is None:
        return list(numbers.reshape(-1, size))
    # Another order than that of the set is refused where the inputs are prepared
    return list(numbers.reshape(-1, *([side for side in shape if side > 1] or [1])))


def _ensure_numbers(rows: Array, shown: str) -> None:
    if rows.dtype.kind not in "biuf":
        raise UserError(f"{shown}: holds {rows.dtype}, and real numbers are needed")
    if rows.size == 0:
        raise UserError(f"{shown}: holds nothing")
    if not np.isfinite(rows).all():
        raise UserError(f"{shown}: has numbers that are NaN or infinite")


def _ensure_examples(rows: Array, numbers: int, shown: str) -> None:
    """Raise UserError unless these are examples of so many numbers, one after another, or one."""
    wanted = f"an example has {numbers} numbers"
    in_row = math.prod(rows.shape[1:])
    if numbers in (rows.size, in_row):
        return
    if rows.ndim < 2 or len(rows) == 1:
        raise UserError(f"{shown}: has {rows.size} numbers, and {wanted}")
    raise UserError(f"{shown}: has {len(rows)} rows of {in_row} numbers, and {wanted}")
