"""The one place where a node is called; what goes wrong names the key."""

from __future__ import annotations

import re
from typing import Any

from sweeplab.config.nodes import HYDRA_KEYS, as_plain, targeted
from sweeplab.config.text import brief
from sweeplab.errors import UserError, describe
from sweeplab.targets.lookup import locate


def instantiate(node: object, *args: object, **kwargs: object) -> Any:
    """Hydra's `instantiate`, and the one place that calls it; classes get plain lists and dicts.

    A node of plain values is called as Hydra would, without the copies that it makes first: these take longer than the
    first step of a small network. `locate` asks Hydra's block-list.
    """
    if isinstance(node, dict) and _is_plain_call(node):
        target: Any = locate(node["_target_"], "_target_")
        return target(*args, **{name: value for name, value in node.items() if name != "_target_"}, **kwargs)
    import hydra.utils

    return hydra.utils.instantiate(node, *args, _convert_="all", **kwargs)


def _is_plain_call(node: dict[str, Any]) -> bool:
    def plain(value: object) -> bool:
        if isinstance(value, list):
            return all(plain(item) for item in value)
        return value is None or isinstance(value, int | float) or (isinstance(value, str) and "${" not in value)

    special = HYDRA_KEYS - {"_target_"}
    return "_target_" in node and all(name not in special and plain(value) for name, value in node.items())


def build(node: object, key: str, *args: object, **kwargs: object) -> Any:
    """`instantiate`, but what a constructor raises becomes a UserError that names the key, and the value if it can."""
    plain = as_plain(node)
    try:
        return instantiate(plain, *args, **kwargs)
    except Exception as error:
        at, sub = _failed_node(plain, key, error)
        from hydra.errors import InstantiationException

        cause = error.__cause__ if isinstance(error, InstantiationException) else None
        raise UserError(_blame(sub, at, cause or error)) from error


def _failed_node(plain: Any, key: str, error: Exception) -> tuple[str, dict[str, Any]]:
    """The node whose call failed: Hydra's message ends with its key, in which `_args_[0]` is `_args_0`."""
    full_key = re.search(r"\nfull_key: (.+)\Z", str(error))
    wanted = re.sub(r"\W", "", key + full_key[1]) if full_key else ""
    nodes = list(targeted(plain, key))
    return next(((at, sub) for at, sub in nodes if re.sub(r"\W", "", at) == wanted), nodes[0] if nodes else (key, {}))


def _blame(node: dict[str, Any], key: str, cause: BaseException) -> str:
    """`key.argument=value: message (class)`, or without the argument if the message does not point to exactly one."""
    text = describe(cause)
    given = {name: value for name, value in node.items() if name not in HYDRA_KEYS}
    by_name = [name for name in given if _says(text, name)]
    by_value = [name for name, value in given.items() if _says(text, str(value))]
    by_type = [name for name, value in given.items() if isinstance(value, str) and "'str'" in text]
    for suspects in (by_name, [name for name in by_name if name in by_value], by_value, by_type):
        if len(suspects) == 1:
            key = f"{key}.{suspects[0]}={brief(given[suspects[0]])}"
            break
    return f"{key}: {text} ({node.get('_target_', 'no _target_')})"


def _says(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a whole word or number: 1 is neither in 10 nor in -1 nor in 1.5."""
    return bool(word) and bool(re.search(rf"(?<![\w-])(?<!\d\.){re.escape(word)}(?!\w|\.\d)", text))
