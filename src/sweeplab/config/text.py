"""A config value as text and back: as it is typed, as it is recorded, and as a message shows it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sweeplab.config.canon import normalize

SCALAR_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
"""The types of plain values, in the words of messages."""

WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
EXACT = 2**63  # above all seeds: what is larger was typed as a float
LONGEST_IN_MESSAGE = 60
_SCALAR = json.JSONEncoder(ensure_ascii=False, default=str)
_BARE = re.compile(r"[^\W\d][\w./:@%+-]*")
"""A text that Hydra reads as one inside a list, without quotes."""


def to_text(value: Any) -> str:
    """Return a value as it is typed on the command line: `392`, `[392,196]`, `true`, `{a:1}`."""
    value = normalize(value)
    if isinstance(value, str):
        return value
    return item_text(value)


def item_text(value: Any) -> str:
    """Return a value as it is typed inside a list: a text has quotes where Hydra needs them."""
    if isinstance(value, Mapping):
        pairs = [f"{key}:{item_text(item)}" for key, item in value.items()]
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(item_text, value)) + "]"
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in WORDS:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, where JSON has Infinity
    if (
        isinstance(value, int)
        and EXACT <= abs(value) <= sys.float_info.max
        and value == float(value)
    ):
        return repr(float(value))  # 1e+30, of which `normalize` makes a whole number
    return _SCALAR.encode(value)


def from_text(text: str) -> Any:
    """Read the value of an override. Hydra passes on swept values in Python's spelling, so `True`
    is true.
    """
    if text in WORDS:
        return WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return _by_hydra(text)


@lru_cache(maxsize=4096)
def _by_hydra(text: str) -> Any:
    """Read a value by Hydra's grammar: `[a,b]` needs no quotes inside, and `.5`, `1_000` and `TRUE`
    are values, too.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"key={text}")
        if not override.is_sweep_override():
            return override.value()
    except HydraException:
        pass
    return text


def key_of(override: str) -> str:
    """Return the key of an override, without Hydra's signs."""
    return override.partition("=")[0].lstrip("+~")


def short_names(keys: Sequence[str]) -> list[str]:
    """Shorten keys to the last part where that is clear (`model.hidden` -> `hidden`)."""
    ends = [key.rpartition(".")[2] for key in keys]
    names = []
    for key, end in zip(keys, ends, strict=True):
        is_clear = ends.count(end) == 1 and not end.startswith("_")
        names.append(end if is_clear else key)
    return names


def same_value(first: str, second: str) -> bool:
    """Whether two texts stand for one value: `0.3` and `0.30000000000000004`, `[392]` and `392`."""
    return first == second or _equal(_unwrapped(from_text(first)), _unwrapped(from_text(second)))


def _unwrapped(value: Any) -> Any:
    """Return the item of a list of one; any other value as it is."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return first == second or math.isclose(first, second, rel_tol=1e-12)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


def yaml_str(value: object) -> str:
    """Return `str(value)`, but null, true and false as YAML spells them. The parameters in MLflow
    look like this.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def canonical_json(value: Any) -> str:
    """Return the JSON that is hashed: sorted keys, no blanks, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def brief(value: object) -> str:
    """Return a value for a message: one line of at most 60 printable characters."""
    text = value
    if not isinstance(text, str):
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(char if char.isprintable() else " " for char in text)
    if len(text) <= LONGEST_IN_MESSAGE:
        return text
    return f"{text[: LONGEST_IN_MESSAGE - 3]}..."
