"""A record that comes from elsewhere: what it would call is judged before it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import ModuleType

from sweeplab.code.lookup import load, locate
from sweeplab.code.nodes import as_plain, is_dotted, leaves, show, targeted
from sweeplab.errors import UserError

_TRUSTED = ("torch.nn", "torch.optim", "sweeplab")
_PLAIN_INTERPOLATION = re.compile(r"\$\{[\w.\[\]]+\}")


def ensure_trusted(node: object, key: str, trusted: Sequence[str] = ()) -> None:
    """Raise UserError unless everything that a foreign `node` would call is known to be harmless.

    That is: a class that is defined in `torch.nn`, `torch.optim`, sweeplab or a module of `trusted`, and is a Module,
    an Optimizer, a scheduler, a Dataset or a metric. First all names are judged, then they are looked up, through
    trusted modules only. Give a whole record, or a DictConfig inside its record: a plain `${a.b}` in a part of a record
    may lead to a node elsewhere in it.
    """
    prefixes = (*_TRUSTED, *trusted)
    for at, value in leaves(as_plain(node, resolve=False), key if isinstance(node, dict | list | str) else ""):
        # Only whole ones: from "${a}${b}" with a="$" and b="{oc.env:HOME}" Hydra makes what HOME holds.
        if isinstance(value, str) and "${" in value and not _PLAIN_INTERPOLATION.fullmatch(value):
            raise UserError(f"{at}={show(value)}: refused: a record may refer to its own keys only")
    nodes = list(targeted(as_plain(node), key))
    for at, sub in nodes:
        _ensure_trusted_name(sub["_target_"], f"{at}._target_", prefixes)
    for at, sub in nodes:
        _ensure_trusted_class(sub["_target_"], f"{at}._target_", prefixes)


def _under(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _ensure_trusted_name(path: object, key: str, prefixes: Sequence[str]) -> None:
    if not isinstance(path, str) or not is_dotted(path) or path in prefixes or not _under(path, prefixes):
        raise UserError(
            f"{key}={show(path)}: refused: only names in {', '.join(prefixes)} are trusted (--trust MODULE)"
        )


def _ensure_trusted_class(path: str, key: str, prefixes: Sequence[str]) -> None:
    found = _walk_trusted(path, key, prefixes)
    if not isinstance(found, type) or not _under(found.__module__, prefixes) or not _is_known_kind(found):
        raise UserError(
            f"{key}={path}: refused: no Module, Optimizer, scheduler, Dataset or metric of a trusted module"
        )
    if locate(path, key) is not found:
        raise UserError(f"{key}={path}: refused: Hydra finds something else under this name")


def _walk_trusted(path: str, key: str, prefixes: Sequence[str]) -> object:
    """Look `path` up from its trusted module on; UserError at the first thing that is no trusted module or class."""
    start = max((prefix for prefix in prefixes if _under(path, [prefix])), key=len)
    found: object = load(start, f"{key}={path}")
    for name in path.removeprefix(f"{start}.").split("."):
        # vars(), not getattr(): neither descriptors nor a module's __getattr__ run. A dunder name leads out of a class,
        # and importing `__main__` runs a package.
        is_open = isinstance(found, ModuleType | type) and not name.startswith("__")
        child = vars(found).get(name) if is_open else None
        if child is None and is_open and isinstance(found, ModuleType) and hasattr(found, "__path__"):
            child = load(f"{found.__name__}.{name}", f"{key}={path}")
        if child is None:
            raise UserError(f"{key}={path}: refused: '{name}' is not in a trusted module")
        if isinstance(child, ModuleType) and not _under(child.__name__, prefixes):
            raise UserError(f"{key}={path}: refused: '{name}' leads out of the trusted modules to '{child.__name__}'")
        found = child
    return found


def _is_known_kind(found: type) -> bool:
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset

    is_metric = all(callable(getattr(found, name, None)) for name in ("update", "compute", "reset"))
    return is_metric or issubclass(found, Module | Optimizer | LRScheduler | Dataset)
