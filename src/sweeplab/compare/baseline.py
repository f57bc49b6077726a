"""The baseline of a comparison: what a user writes as `KEY=VALUE`, and the groups that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sweeplab import config
from sweeplab.compare.groups import Group
from sweeplab.errors import UserError, did_you_mean


def read(texts: Sequence[str]) -> dict[str, str]:
    """Read `["a=1,+b=[2,3]", "c=x"]` as keys and values.

    Raises UserError for a text that is not `key=value`.
    """
    result: dict[str, str] = {}
    for text in texts:
        for part in re.split(r",(?=[\w.@/+]+=)", text):
            key, equals, value = part.partition("=")
            key, value = key.strip("+ "), value.strip()
            if not (key and equals):
                allowed = "must be KEY=VALUE of a swept key, as in model.batch_norm=false"
                raise UserError(f"baseline {part}: {allowed}")
            section = config.from_text(value)
            if isinstance(section, dict):  # `model={hidden:8}`
                for name, item in config.flatten({key: section}).items():
                    result[name] = config.to_text(item)
            else:
                result[key] = value
    return result


def find(
    columns: Sequence[str], groups: Sequence[Group], baseline: Mapping[str, str], option: str
) -> dict[str, str]:
    """Complete the keys of a baseline, and spell its values as the columns show them.

    `option` is how the user gave it, for messages. Raises UserError for a key that was not swept,
    and for a value that no group has.
    """
    full_names = dict(zip(config.short_names(columns), columns, strict=True))
    full_names |= {column: column for column in columns}
    result: dict[str, str] = {}
    for key, text in baseline.items():
        typed = f"{option}{key}={text}"
        if any(key in group.over for group in groups):
            advice = "name a swept key that is compared"
            raise UserError(f"{typed}: configs are repeated over {key}; {advice}")
        if key not in full_names:
            raise UserError(f"{typed}: {key} is not a swept key{did_you_mean(key, columns)}")
        column = full_names[key]
        cells = list(dict.fromkeys(group.text(column) for group in groups))
        equal = [cell for cell in cells if config.same_value(text, cell)]
        if not equal:
            nearest = did_you_mean(config.to_text(config.from_text(text)), cells)
            raise UserError(f"{typed}: no run has that value{nearest}")
        result[column] = text if text in equal else equal[0]
    return result
