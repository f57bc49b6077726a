"""A record that comes from elsewhere: what it would call is judged before it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import EnumType
from types import ModuleType
from typing import Any

from sweeplab.config.nodes import HYDRA_KEYS, as_plain, strings, targeted
from sweeplab.config.text import brief
from sweeplab.errors import UserError
from sweeplab.targets.definition import home_of, is_at_its_name
from sweeplab.targets.lookup import is_dotted, load, locate

_TRUSTED = ("torch.nn", "torch.optim", "sweeplab")
_LOOKUPS = frozenset(f"hydra.utils.{name}" for name in ("get_class", "get_method", "get_static_method", "get_object"))
_PLAIN_INTERPOLATION = re.compile(r"\$\{[\w.\[\]]+\}")
_KINDS = "no Module, Optimizer, scheduler, Dataset or metric"


def ensure_trusted(node: object, key: str, trusted: Sequence[str] = ()) -> None:
    """Raise UserError unless everything that a foreign `node` would call is known to be harmless.

    That is: a class that is defined in `torch.nn`, `torch.optim`, sweeplab or a module of `trusted`, and is a Module,
    an Optimizer, a scheduler, a Dataset or a metric; and of `trusted` every class and function that is defined there,
    and every member of its enumerations.
    What a module merely imports is not. What Hydra's own `get_class`, `get_method` and `get_object` look up is judged
    in the same way.

    First all names are judged, then they are looked up, through trusted modules only. Give a whole record, or a
    DictConfig inside its record: a plain `${a.b}` in a part of a record may lead to a node elsewhere in it.
    """
    prefixes = (*_TRUSTED, *trusted)
    for at, value in strings(as_plain(node, resolve=False), key if isinstance(node, dict | list | str) else ""):
        # Only whole ones: from "${a}${b}" with a="$" and b="{oc.env:HOME}" Hydra makes what HOME holds.
        if "${" in value and not _PLAIN_INTERPOLATION.fullmatch(value):
            raise UserError(f"{at}={brief(value)}: refused: a record may refer to its own keys only")
    names = [_name(sub, at) for at, sub in targeted(as_plain(node), key)]
    _ensure_trusted_names(names, prefixes)
    for at, path in names:
        _ensure_trusted_object(str(path), at, prefixes, trusted)


def is_lookup(node: object) -> bool:
    """Whether a node calls nothing, but hands on what a dotted name stands for, as `hydra.utils.get_class` does."""
    target = node.get("_target_") if isinstance(node, dict) else None
    return isinstance(target, str) and target in _LOOKUPS


def _name(node: dict[str, Any], key: str) -> tuple[str, object]:
    """The dotted name that a node calls or looks up, after the key where it stands."""
    if not is_lookup(node):
        return f"{key}._target_", node["_target_"]
    listed = node.get("_args_") or []
    given = [value for name, value in node.items() if name not in HYDRA_KEYS]
    if given == [node.get("path")] and not listed and not node.get("_partial_"):
        return f"{key}.path", given[0]
    if isinstance(listed, list) and len(listed) == 1 and not given and not node.get("_partial_"):
        return f"{key}._args_[0]", listed[0]
    raise UserError(f"{key}._target_={node['_target_']}: refused: it is not given one dotted name, its path")


def _under(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _ensure_trusted_names(names: Sequence[tuple[str, object]], prefixes: Sequence[str]) -> None:
    refused = [(at, path) for at, path in names if not _is_trusted_name(path, prefixes)]
    if not refused:
        return
    at, first = refused[0]
    modules = dict.fromkeys(_module_of(path) for _, path in refused if isinstance(path, str) and is_dotted(path))
    advice = " ".join(f"--trust {module}" for module in modules if _is_for_advice(module)) or "--trust MODULE"
    raise UserError(f"{at}={brief(first)}: refused: only names in {', '.join(prefixes)} are trusted ({advice})")


def _is_trusted_name(path: object, prefixes: Sequence[str]) -> bool:
    return isinstance(path, str) and is_dotted(path) and path not in prefixes and _under(path, prefixes)


def _module_of(path: str) -> str:
    """The module in a dotted name as one would guess: nothing is looked up that is not trusted."""
    names = path.split(".")[:-1]
    classes = [index for index, name in enumerate(names) if name[:1].isupper()]
    return ".".join(names[: classes[0]] if classes else names)


def _is_for_advice(module: str) -> bool:
    """Whether to name a module as one that could be trusted: not where most of it could do harm."""
    top = module.partition(".")[0]
    return bool(module) and (
        _under(module, ["torch.nn.functional", "torch.nn.init", "torch.utils.data", "torch._C._nn", "torch._VF"])
        or top not in {*sys.stdlib_module_names, "torch", "sweeplab", "hydra", "omegaconf"}
    )


def _ensure_trusted_object(path: str, key: str, prefixes: Sequence[str], trusted: Sequence[str]) -> None:
    found = _walk_trusted(path, key, prefixes)
    home = home_of(found)
    is_known = isinstance(found, type) and _under(home, prefixes) and _is_known_kind(found)
    if not is_known and not _is_defined_in(found, trusted):
        raise UserError(f"{key}={path}: refused: {_why(home, prefixes, trusted)}")
    if not _is_same(locate(path, key), found):
        raise UserError(f"{key}={path}: refused: Hydra finds something else under this name")


def _is_defined_in(found: object, trusted: Sequence[str]) -> bool:
    """Whether a function or class is defined in a module that was given as trusted; sweeplab's own functions never
    are: they read, write and train.
    """
    home = home_of(found)
    return _under(home, trusted) and not _under(home, ["sweeplab", "hydra"]) and is_at_its_name(found)


def _why(home: str, prefixes: Sequence[str], trusted: Sequence[str]) -> str:
    if not home:
        return "it is neither a class nor a function"
    advice = f" (--trust {home})" if _is_for_advice(home) and not _under(home, trusted) else ""
    if not _under(home, prefixes):
        return f"it is defined in {home}, which is not trusted{advice}"
    return f"{_KINDS} of a trusted module{advice}"


def _walk_trusted(path: str, key: str, prefixes: Sequence[str]) -> object:
    """Look `path` up from its trusted module on; UserError at the first thing that is no trusted module or class."""
    start = max((prefix for prefix in prefixes if _under(path, [prefix])), key=len)
    found: object = load(start, f"{key}={path}")
    for name in path.removeprefix(f"{start}.").split("."):
        child = None if name.startswith("__") else _inside(found, name, prefixes)  # a dunder leads out of a class
        if child is None and isinstance(found, ModuleType) and hasattr(found, "__path__") and not name.startswith("__"):
            child = load(f"{found.__name__}.{name}", f"{key}={path}")
        if child is None:
            raise UserError(f"{key}={path}: refused: '{name}' is not in a trusted module")
        if isinstance(child, ModuleType) and not _under(child.__name__, prefixes):
            raise UserError(f"{key}={path}: refused: '{name}' leads out of the trusted modules to '{child.__name__}'")
        found = child
    return found


def _inside(found: object, name: str, prefixes: Sequence[str]) -> object:
    """What a module, or a class that is defined in a trusted one, has under this name; no method of an instance.
    Of an enumeration that is a member, too.

    By vars(), not getattr(): neither descriptors nor a module's __getattr__ run.
    """
    if isinstance(found, ModuleType):
        return vars(found).get(name)
    if not isinstance(found, type) or not _under(home_of(found), prefixes):
        return None
    if isinstance(found, EnumType) and name in vars(found)["_member_map_"]:
        return vars(found)["_member_map_"][name]
    child = next((vars(base)[name] for base in found.__mro__ if name in vars(base)), None)
    return child if isinstance(child, type | classmethod | staticmethod) else None


def _is_same(located: object, found: object) -> bool:
    """Whether Hydra has found what was judged: of a class method, the function that it is bound to."""
    if isinstance(found, classmethod | staticmethod):
        return getattr(located, "__func__", located) is found.__func__
    return located is found


def _is_known_kind(found: type) -> bool:
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset

    is_metric = all(callable(getattr(found, name, None)) for name in ("update", "compute", "reset"))
    return is_metric or issubclass(found, Module | Optimizer | LRScheduler | Dataset)
