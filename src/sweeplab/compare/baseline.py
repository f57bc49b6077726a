"""The baseline of a comparison: what a user writes as `KEY=VALUE`, found among the groups, for plan and comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sweeplab import config
from sweeplab.compare import groups as grouping
from sweeplab.compare.groups import Group
from sweeplab.errors import UserError, did_you_mean


def read(texts: Sequence[str]) -> dict[str, str]:
    """`["a=1,+b=[2,3]", "c=x"]` as keys and values. Raises UserError for what is no `key=value`."""
    result: dict[str, str] = {}
    for text in (part for given in texts for part in re.split(r",(?=[\w.@/+]+=)", given)):
        key, equals, value = text.partition("=")
        if not (key.strip("+ ") and equals):
            raise UserError(f"baseline {text}: must be KEY=VALUE of a swept key, as in model.batch_norm=false")
        result |= _keys(key.strip("+ "), value.strip())
    return result


def _keys(key: str, text: str) -> dict[str, str]:
    """The key with its text; a section of keys, `model={hidden:8}`, is its keys."""
    value = config.from_text(text)
    if not isinstance(value, dict):
        return {key: text}
    return {name: config.to_text(item) for name, item in config.flatten({key: value}).items()}


def find(columns: Sequence[str], groups: Sequence[Group], given: Mapping[str, str], said: str) -> dict[str, str]:
    """The baseline with whole keys, and with the values as the columns of these groups show them.

    `said` is how the user gave it, for messages. Raises UserError for a key that was not swept, and for a value or a
    combination of values that no group has.
    """
    names = dict(zip(grouping.short(columns), columns, strict=True)) | {column: column for column in columns}
    result: dict[str, str] = {}
    for key, text in given.items():
        if any(key in one.over for one in groups):
            raise UserError(f"{said}{key}={text}: configs are repeated over {key}; name a swept key that is compared")
        if key not in names:
            raise UserError(f"{said}{key}={text}: {key} is not a swept key{did_you_mean(key, columns)}")
        index = columns.index(names[key])
        values = list(dict.fromkeys(one.cells[index] for one in groups))
        shown = [value for value in values if value == text] or [
            value for value in values if config.same_value(text, value)
        ]
        if not shown:
            nearest = did_you_mean(config.to_text(config.from_text(text)), values)
            raise UserError(f"{said}{key}={text}: no run has that value{nearest}")
        result[names[key]] = shown[0]
    return result
