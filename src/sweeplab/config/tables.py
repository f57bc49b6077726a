"""Tables in files: which columns are inputs, and how texts become numbers. Knows no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.errors import UserError, did_you_mean, nearest, one_line
from sweeplab.metrics import CLASSIFICATION

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame, Series

    Array = np.ndarray[Any, Any]

KEY = "data.dataset"
FEW = 20  # different texts that any column may have
NUMBER = re.compile(r"-?\d*\.?\d+(\.\d+)?(e-?\d+)?")  # pandas adds .1 to a name that it has already
COMMA_NUMBER = re.compile(r"-?\d+,\d+")
WANTED = (
    ("file", "the table", "my.csv"),
    ("target", "the column that is to be predicted", "price"),
)
NOTHING: tuple[Any, ...] = (None, "", [])
OTHER_SEPARATORS = {";": ";", "\t": "\\t", "|": "|"}


@dataclass(frozen=True, slots=True)
class TableContent:
    """The numbers of a table."""

    inputs: Array  # float64 [N, in_features]
    targets: Array  # int64 [N] or float64 [N, columns]
    classes: list[str] | None  # the texts of a target, in the order of their numbers
    groups: list[str] | None = None  # the label of each row, by which the table is split


@dataclass(frozen=True, slots=True)
class TableSettings:
    """How a file is read; the arguments of `sweeplab.data.CSV`."""

    file: Path
    target: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    separator: str = ","
    decimal: str = "."
    group: str | None = None

    @classmethod
    def of(cls, node: Mapping[str, Any], root: Path) -> TableSettings:
        """Check the arguments. Raises UserError for what is missing."""
        for name, wanted, example in WANTED:
            if node.get(name) in NOTHING:
                raise UserError(f"{KEY}.{name}=null: name {wanted}, as in {KEY}.{name}={example}")
        columns = node.get("columns")
        return cls(
            file=root / Path(str(node["file"])).expanduser(),
            target=_names(node["target"]),
            columns=None if columns is None else _names(columns),
            separator=re.sub(r"\\t|^tab$", "\t", str(node.get("separator") or ",")),
            decimal=str(node.get("decimal") or "."),
            group=node.get("group"),
        )


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str | int | float):
        return (str(value),)
    return tuple(str(name) for name in value)


def read_table(settings: TableSettings) -> TableContent:
    """Read a table: numbers as they are, a column for each text of a column of texts.

    Raises UserError for what is missing in it, or cannot be an input.
    """
    return _content(settings, _state(settings))


def table_sizes(settings: TableSettings, task: str) -> tuple[int, int]:
    """Return how many numbers an example has, and how many classes or numbers its target."""
    return _sizes(settings, task, _state(settings))


def _state(settings: TableSettings) -> tuple[int, int]:
    """Return what changes when a file is written. Raises UserError where there is none."""
    try:
        status = settings.file.stat()
    except OSError as error:
        tables = [file.name for file in settings.file.parent.glob("*.csv")]
        near = nearest(settings.file.name, tables)
        raise UserError(f"{KEY}.file={settings.file}: {error.strerror or error}{near}") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _sizes(settings: TableSettings, task: str, state: tuple[int, int]) -> tuple[int, int]:
    content = _content(settings, state)
    in_features = content.inputs.shape[1]
    if content.classes is not None:
        return in_features, len(content.classes)
    if task == CLASSIFICATION:
        different = len(set(content.targets.ravel().tolist()))
        if different > FEW and different > len(content.targets) / 2:
            raise UserError(
                f"{KEY}.target={','.join(settings.target)}: has {different} different numbers in "
                f"{len(content.targets)} rows, which are no classes; a regression is "
                "data.task=regression loss=mse"
            )
        return in_features, max(int(content.targets.max()) + 1, 1)
    return in_features, content.targets.reshape(len(content.targets), -1).shape[1]


@lru_cache(maxsize=2)
def _content(settings: TableSettings, state: tuple[int, int]) -> TableContent:
    """Read a table; `state` tells a file that has changed from the one remembered."""
    import numpy as np

    frame = _frame(settings.file, settings.separator, settings.decimal, state)
    names = _input_names(frame, settings)
    for name in (*names, *settings.target):
        _refuse_missing(frame[name], f"{KEY}.file={settings.file}")
    inputs = [_numbers(frame[name], settings, names) for name in names]
    targets = [_target(frame[name], settings) for name in settings.target]
    classes = targets[0][1]
    if len(targets) == 1:
        values = targets[0][0]
    elif any(texts for _, texts in targets):
        shown = ", ".join(settings.target)
        raise UserError(f"{KEY}.target=[{shown}]: several targets must be numbers, not texts")
    else:
        values = np.stack([column.astype(np.float64) for column, _ in targets], 1)
    groups = None
    if settings.group is not None:
        _refuse_missing(frame[settings.group], f"{KEY}.file={settings.file}")
        groups = frame[settings.group].astype(str).tolist()
    return TableContent(np.concatenate(inputs, 1), values, classes, groups)


@lru_cache(maxsize=1)
def _frame(file: Path, separator: str, decimal: str, state: tuple[int, int]) -> DataFrame:
    """Read the file, without columns that have no name."""
    del state  # a file that was written meanwhile is another one
    import pandas as pd

    try:
        frame = pd.read_csv(file, sep=separator, decimal=decimal, skipinitialspace=True)
    except (OSError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        text = f"{one_line(error)[:200]}; it must be a table of comma-separated values in UTF-8"
        raise UserError(f"{KEY}.file={file}: cannot be read: {text}") from error
    named = [name for name in frame.columns if not str(name).startswith("Unnamed: ")]
    frame = frame[named].rename(columns=lambda name: str(name).strip())
    if len(frame.columns) < 2:
        shown = "".join(frame.columns)
        others = [sign for mark, sign in OTHER_SEPARATORS.items() if mark in shown]
        advice = "it needs a column of inputs beside the target"
        if others:
            advice = (
                f"if its columns are separated otherwise, give '{KEY}.separator=\"{others[0]}\"'"
            )
        columns = ", ".join(frame.columns)
        raise UserError(f"{KEY}.file={file}: has one column only, '{columns}'; {advice}")
    if all(NUMBER.fullmatch(name) for name in frame.columns):
        numbers = ", ".join(frame.columns[:3])
        raise UserError(
            f"{KEY}.file={file}: its first line ({numbers}, ...) is of numbers; it must name the "
            "columns"
        )
    if len(frame) == 0:
        raise UserError(f"{KEY}.file={file}: has a line of names, and no rows below it")
    return frame


def _input_names(frame: DataFrame, settings: TableSettings) -> list[str]:
    """Return the columns that are inputs. Raises UserError for one that cannot be."""
    known = list(frame.columns)
    group = () if settings.group is None else (settings.group,)
    named = {
        f"{KEY}.target": settings.target,
        f"{KEY}.columns": settings.columns or (),
        "data.group": group,
    }
    for key, names in named.items():
        for name in names:
            if name not in known:
                near = did_you_mean(name, known)
                raise UserError(f"{key}={name}: {settings.file} has no such column{near}")
    if settings.columns is None:
        return [name for name in known if name not in (*settings.target, *group)]
    for name in settings.columns:
        if name in settings.target:
            raise UserError(f"{KEY}.columns: '{name}' is the target; an input must not tell it")
    if not settings.columns:
        raise UserError(f"{KEY}.columns=[]: name a column, or give null for all but the target")
    return list(settings.columns)


def _refuse_missing(column: Series[Any], shown: str) -> None:
    missing = column.isna()
    if not missing.any():
        return
    first = int(missing.to_numpy().argmax())
    others = int(missing.sum()) - 1
    more = f", and {others} more of this column" if others else ""
    raise UserError(
        f"{shown}: row {first + 1} has nothing in column '{column.name}'{more}; fill it, "
        f"drop such rows, or leave the column out by {KEY}.columns"
    )


def _is_text(column: Series[Any]) -> bool:
    from pandas.api import types

    return not (types.is_numeric_dtype(column) or types.is_bool_dtype(column))


def _numbers(column: Series[Any], settings: TableSettings, names: Sequence[str]) -> Array:
    """Return a column as numbers [N, 1], or texts as a one for each of them [N, texts]."""
    import numpy as np

    if not _is_text(column):
        numbers: Array = column.to_numpy(np.float64).reshape(-1, 1)
        return numbers
    texts = column.astype(str)
    _refuse_comma(texts, settings)
    known = np.unique(texts.to_numpy(dtype=str))
    if len(known) > FEW and len(known) > len(texts) / 2:
        others = [name for name in names if name != column.name]
        raise UserError(
            f"{KEY}.columns: '{column.name}' has {len(known)} different texts in {len(texts)} "
            f"rows, which tell nothing; leave it out: {KEY}.columns=[{','.join(others)}]"
        )
    ones: Array = (texts.to_numpy(dtype=str)[:, None] == known).astype(np.float64)
    return ones


def _refuse_comma(texts: Series[Any], settings: TableSettings) -> None:
    if all(COMMA_NUMBER.fullmatch(text) for text in texts.head(100)):
        example = texts.iloc[0]
        raise UserError(
            f"{KEY}.file={settings.file}: column '{texts.name}' has numbers like {example}; give "
            f"'{KEY}.decimal=\",\"'"
        )


def _target(column: Series[Any], settings: TableSettings) -> tuple[Array, list[str] | None]:
    """Return a target's numbers, and the texts that they stand for, if it is of texts."""
    import numpy as np

    if len(column) > 1 and column.nunique() == 1:
        raise UserError(
            f"{KEY}.target={column.name}: is the same in all rows: nothing can be learned"
        )

    if not _is_text(column):
        values = column.to_numpy()
        if np.isfinite(values).all() and (values == np.floor(values)).all():
            return values.astype(np.int64), None
        return values.astype(np.float64), None
    texts = column.astype(str)
    _refuse_comma(texts, settings)
    known, classes = np.unique(texts.to_numpy(dtype=str), return_inverse=True)
    return classes.astype(np.int64), [str(text) for text in known]


# --- Further rows ---------------------------------------------------------------------------------


def read_rows(settings: TableSettings, file: Path) -> Array:
    """Read rows of another file as `as_in_table` takes them."""
    import pandas as pd

    try:
        rows = pd.read_csv(
            file, sep=settings.separator, decimal=settings.decimal, skipinitialspace=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a table: {one_line(error)[:200]}") from error
    return as_in_table(settings, rows, str(file))


def as_in_table(settings: TableSettings, rows: DataFrame, shown: str) -> Array:
    """Return further rows as the table's are taken; float64 [N, in_features].

    They need the columns of the inputs, in any order, and no target. Raises UserError, which names
    them as `shown`, for a column that is missing, and for a text that the table does not have.
    """
    import numpy as np

    table = _frame(settings.file, settings.separator, settings.decimal, _state(settings))
    names = _input_names(table, settings)
    rows = rows.rename(columns=lambda name: str(name).strip())
    if missing := [name for name in names if name not in rows.columns]:
        raise UserError(f"{shown}: has no column {', '.join(missing)}, which the network needs")
    return np.concatenate([_as_column(table[name], rows[name], shown) for name in names], 1)


def _as_column(column: Series[Any], given: Series[Any], shown: str) -> Array:
    """Return a column of further rows as numbers, in the way of the table's column."""
    import numpy as np

    _refuse_missing(given, shown)
    if not _is_text(column):
        if _is_text(given):
            raise UserError(f"{shown}: column '{column.name}' must be numbers, not {given.iloc[0]}")
        numbers: Array = given.to_numpy(np.float64).reshape(-1, 1)
        return numbers
    known = np.unique(column.astype(str).to_numpy(dtype=str))
    texts = given.astype(str).to_numpy(dtype=str)
    if unknown := sorted(set(texts) - set(known)):
        options = did_you_mean(unknown[0], known.tolist())
        raise UserError(
            f"{shown}: column '{column.name}' has '{unknown[0]}', which the table never has{options}"
        )
    ones: Array = (texts[:, None] == known).astype(np.float64)
    return ones
