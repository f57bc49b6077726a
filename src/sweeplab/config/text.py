"""A value as it is typed on the command line, and back; numbers that are equal are the same number."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
EXACT = 2**63  # above all seeds: what is larger was typed as a float
_BARE = re.compile(r"[^\W\d][\w./:@%+-]*")
"""A text that Hydra reads as one inside a list, without quotes."""


def normal(value: Any) -> Any:
    """The value as plain data in which equal values look equal: `1.0` is `1`, a tuple is a list, keys are sorted."""
    if isinstance(value, Mapping):
        return {str(k): normal(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [normal(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def show(value: Any) -> str:
    """A value as it is typed on the command line: `392`, `[392,196]`, `true`, `{a:1}`."""
    value = normal(value)
    return value if isinstance(value, str) else _typed(value)


def _typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_typed(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in WORDS:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, where JSON has Infinity
    if isinstance(value, int) and EXACT <= abs(value) <= sys.float_info.max and value == float(value):
        return repr(float(value))  # 1e+30, of which `normal` makes a whole number
    return json.dumps(value, ensure_ascii=False, default=str)


def parsed(text: str) -> Any:
    """Read an override's value: Hydra hands swept ones on in Python's spelling, so `True` is true."""
    if text in WORDS:
        return WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return _by_hydra(text)


@lru_cache(maxsize=4096)
def _by_hydra(text: str) -> Any:
    """Read a value by Hydra's grammar: `[a,b]` needs no quotes inside, and `.5`, `1_000` and `TRUE` are values, too."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"key={text}")
        return text if override.is_sweep_override() else override.value()
    except HydraException:
        return text


def same(one: str, other: str) -> bool:
    """Whether two texts are the same value: `0.3` and `0.30000000000000004`, `[392]` and `392`."""
    return one == other or _alike(_alone(parsed(one)), _alone(parsed(other)))


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)
