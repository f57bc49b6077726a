"""Call nodes, in one place; an error of what is called names the key."""

from __future__ import annotations

import re
from typing import Any

from sweeplab.config.nodes import HYDRA_KEYS, Node, arguments, as_plain, targeted
from sweeplab.config.text import brief
from sweeplab.errors import UserError, describe
from sweeplab.targets.annotations import argument
from sweeplab.targets.kinds import takes_tensor
from sweeplab.targets.lookup import locate


def instantiate(node: object, *args: object, **kwargs: object) -> Any:
    """Call a node by Hydra's `instantiate`, whose only caller this is; classes get plain lists and
    dicts.

    A node of plain values is called directly, without the copies that Hydra makes first: these take
    longer than the first step of a small network. `locate` asks Hydra's block-list.
    """
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        target: Any = locate(node["_target_"], "_target_")
        kwargs = {**_tensors(target, arguments(node)), **kwargs}
        if _is_plain_call(node):
            return target(*args, **{**arguments(node), **kwargs})
    import hydra.utils

    return hydra.utils.instantiate(node, *args, _convert_="all", **kwargs)


def _tensors(target: Any, given: Node) -> dict[str, Any]:
    """Return the lists of numbers that stand for tensors, as float32: weights of classes, say."""
    lists = {name: value for name, value in given.items() if isinstance(value, list)}
    if not lists or not callable(target):
        return {}
    known = {name: argument(target, name) for name in lists}
    wanted = [name for name, found in known.items() if found and takes_tensor(found.hint)]
    if not wanted:
        return {}
    import torch

    tensors = {}
    for name in wanted:
        try:
            tensors[name] = torch.tensor(lists[name], dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{name} must be numbers, of one shape: {error}") from error
    return tensors


def _is_plain_call(node: Node) -> bool:
    """Whether `_target_` is the only key of Hydra's, and every value is plain."""
    return node.keys() & HYDRA_KEYS == {"_target_"} and all(map(_is_plain, node.values()))


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value
    return value is None or isinstance(value, int | float)


def build(node: object, key: str, *args: object, **kwargs: object) -> Any:
    """Call a node; raise what goes wrong as a UserError that names the key, and the value if that
    is clear.
    """
    plain = as_plain(node)
    try:
        return instantiate(plain, *args, **kwargs)
    except Exception as error:
        from hydra.errors import InstantiationException

        failed_key, failed = _failed_node(plain, key, error)
        cause: BaseException = error
        if isinstance(error, InstantiationException) and error.__cause__:
            cause = error.__cause__
        raise UserError(_message(failed, failed_key, cause)) from error


def _failed_node(plain: Any, key: str, error: Exception) -> tuple[str, Node]:
    """Return the node whose call failed: Hydra's message ends with its key, in which `_args_[0]` is
    `_args_0`.
    """
    nodes = list(targeted(plain, key))
    if full_key := re.search(r"\nfull_key: (.+)\Z", str(error)):
        wanted = re.sub(r"\W", "", key + full_key[1])
        for node_key, node in nodes:
            if re.sub(r"\W", "", node_key) == wanted:
                return node_key, node
    return nodes[0] if nodes else (key, {})


def _message(node: Node, key: str, cause: BaseException) -> str:
    """Return `key.argument=value: message (class)`, without the argument if the message does not
    point to just one.
    """
    text = describe(cause)
    values = arguments(node)
    by_name = [name for name in values if _mentions(text, name)]
    by_value = [name for name, value in values.items() if _mentions(text, str(value))]
    by_both = [name for name in by_name if name in by_value]
    by_type = [name for name, value in values.items() if isinstance(value, str) and "'str'" in text]
    for suspects in (by_name, by_both, by_value, by_type):
        if len(suspects) == 1:
            key = f"{key}.{suspects[0]}={brief(values[suspects[0]])}"
            break
    return f"{key}: {text} ({node.get('_target_', 'no _target_')})"


def _mentions(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a whole word or number: 1 is neither in 10 nor in -1 nor
    in 1.5.
    """
    return bool(word) and bool(re.search(rf"(?<![\w-])(?<!\d\.){re.escape(word)}(?!\w|\.\d)", text))
