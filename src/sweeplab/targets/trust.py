"""Judge what a record that comes from elsewhere would call, before anything is called."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import EnumType
from itertools import takewhile
from types import ModuleType

from sweeplab.config.nodes import Node, arguments, as_plain, strings, targeted
from sweeplab.config.text import brief
from sweeplab.errors import UserError
from sweeplab.targets.definition import home_of, is_at_its_name
from sweeplab.targets.lookup import is_dotted, load, locate

_TRUSTED = ("torch.nn", "torch.optim", "sweeplab")
_LOOKUPS = (
    "hydra.utils.get_class",
    "hydra.utils.get_method",
    "hydra.utils.get_static_method",
    "hydra.utils.get_object",
)
_PLAIN_INTERPOLATION = re.compile(r"\$\{[\w.\[\]]+\}")
_HARMLESS = (
    "torch.nn.functional", "torch.nn.init", "torch.utils.data", "torch._C._nn", "torch._VF",
)  # fmt: skip
_STEPS = ("sweeplab.models.steps",)
_DANGEROUS = frozenset({*sys.stdlib_module_names, "torch", "sweeplab", "hydra", "omegaconf"})
_KINDS = "no Module, Optimizer, scheduler, Dataset or metric"


def ensure_trusted(node: object, key: str, trusted: Sequence[str] = ()) -> None:
    """Raise UserError unless everything that a foreign `node` would call is known to be harmless.

    Harmless is a Module, an Optimizer, a scheduler, a Dataset or a metric that is defined in
    `torch.nn`, `torch.optim`, sweeplab or a module of `trusted`; and of `trusted` every class and
    function that is defined there, and every member of its enumerations. What a module merely
    imports is not. What Hydra's own `get_class`, `get_method` and `get_object` look up is judged in
    the same way.

    First all names are judged, then they are looked up, through trusted modules only. Pass a whole
    record, or a DictConfig inside its record: a plain `${a.b}` in a part of a record may lead to a
    node elsewhere in it.
    """
    prefixes = (*_TRUSTED, *trusted)
    written = as_plain(node, resolve=False)
    for at, text in strings(written, key if isinstance(node, dict | list | str) else ""):
        # Only whole ones: from "${a}${b}" with a="$" and b="{oc.env:HOME}" Hydra makes what HOME
        # holds.
        if "${" in text and not _PLAIN_INTERPOLATION.fullmatch(text):
            raise UserError(f"{at}={brief(text)}: refused: a record may refer to its own keys only")
    paths = [_path(inner, at) for at, inner in targeted(as_plain(node), key)]
    _ensure_trusted_names(paths, prefixes)
    for at, path in paths:
        _ensure_trusted_object(str(path), at, prefixes, trusted)


def is_lookup(node: object) -> bool:
    """Whether a node calls nothing, but looks up a dotted name, as `hydra.utils.get_class` does."""
    target = node.get("_target_") if isinstance(node, dict) else None
    return isinstance(target, str) and target in _LOOKUPS


def _path(node: Node, key: str) -> tuple[str, object]:
    """Return the dotted name that a node calls or looks up, after the key that holds it."""
    if not is_lookup(node):
        return f"{key}._target_", node["_target_"]
    listed = node.get("_args_") or []
    named = list(arguments(node).values())
    if not node.get("_partial_"):
        if named == [node.get("path")] and not listed:
            return f"{key}.path", named[0]
        if isinstance(listed, list) and len(listed) == 1 and not named:
            return f"{key}._args_[0]", listed[0]
    reason = "it is not given one dotted name, its path"
    raise UserError(f"{key}._target_={node['_target_']}: refused: {reason}")


def _under(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _ensure_trusted_names(paths: Sequence[tuple[str, object]], prefixes: Sequence[str]) -> None:
    refused = [(at, path) for at, path in paths if not _is_trusted_name(path, prefixes)]
    if not refused:
        return
    at, first = refused[0]
    names = [path for _, path in refused if isinstance(path, str) and is_dotted(path)]
    modules = dict.fromkeys(map(_module_of, names))
    options = [f"--trust {module}" for module in modules if _may_be_advised(module)]
    advice = " ".join(options) or "--trust MODULE"
    reason = f"only names in {', '.join(prefixes)} are trusted ({advice})"
    raise UserError(f"{at}={brief(first)}: refused: {reason}")


def _is_trusted_name(path: object, prefixes: Sequence[str]) -> bool:
    if not isinstance(path, str) or not is_dotted(path):
        return False
    return path not in prefixes and _under(path, prefixes)


def _module_of(path: str) -> str:
    """Guess the module in a dotted name, by capitals: nothing is looked up that is not trusted."""
    modules = takewhile(lambda name: not name[:1].isupper(), path.split(".")[:-1])
    return ".".join(modules)


def _may_be_advised(module: str) -> bool:
    """Whether to suggest that a module be trusted: not if most of it could do harm."""
    if not module:
        return False
    return _under(module, _HARMLESS) or module.partition(".")[0] not in _DANGEROUS


def _ensure_trusted_object(
    path: str, key: str, prefixes: Sequence[str], trusted: Sequence[str]
) -> None:
    value = _walk_trusted(path, key, prefixes)
    home = home_of(value)
    is_known = isinstance(value, type) and _under(home, prefixes) and _is_known_kind(value)
    # sweeplab's own functions are not trusted, but for its steps: they read, write and train.
    may_be_own = _under(home, trusted) and not _under(home, ["sweeplab", "hydra"])
    may_be_own = may_be_own or _under(home, _STEPS)
    if not is_known and not (may_be_own and is_at_its_name(value)):
        raise UserError(f"{key}={path}: refused: {_refusal(home, prefixes, trusted)}")
    if not _is_same(locate(path, key), value):
        raise UserError(f"{key}={path}: refused: Hydra finds something else under this name")


def _refusal(home: str, prefixes: Sequence[str], trusted: Sequence[str]) -> str:
    if not home:
        return "it is neither a class nor a function"
    advice = ""
    if _may_be_advised(home) and not _under(home, trusted):
        advice = f" (--trust {home})"
    if not _under(home, prefixes):
        return f"it is defined in {home}, which is not trusted{advice}"
    return f"{_KINDS} of a trusted module{advice}"


def _walk_trusted(path: str, key: str, prefixes: Sequence[str]) -> object:
    """Look `path` up from its trusted module on; UserError at the first thing that is no trusted
    module or class.
    """
    start = max((prefix for prefix in prefixes if _under(path, [prefix])), key=len)
    value: object = load(start, f"{key}={path}")
    if value is None:
        raise UserError(f"{key}={path}: refused: there is no module '{start}' here")
    for name in path.removeprefix(f"{start}.").split("."):
        child = None
        if not name.startswith("__"):  # a dunder leads out of a class
            child = _child(value, name, prefixes)
            if child is None and isinstance(value, ModuleType) and hasattr(value, "__path__"):
                child = load(f"{value.__name__}.{name}", f"{key}={path}")
        if child is None:
            raise UserError(f"{key}={path}: refused: '{name}' is not in a trusted module")
        if isinstance(child, ModuleType) and not _under(child.__name__, prefixes):
            reason = f"'{name}' leads out of the trusted modules to '{child.__name__}'"
            raise UserError(f"{key}={path}: refused: {reason}")
        value = child
    return value


def _child(parent: object, name: str, prefixes: Sequence[str]) -> object:
    """Return what a module, or a class that is defined in a trusted one, has under this name.

    Of a class these are classes, class methods, static methods and the members of an enumeration;
    no method of an instance. By vars(), not getattr(): neither descriptors nor a module's
    __getattr__ run.
    """
    if isinstance(parent, ModuleType):
        return vars(parent).get(name)
    if not isinstance(parent, type) or not _under(home_of(parent), prefixes):
        return None
    if isinstance(parent, EnumType) and name in vars(parent)["_member_map_"]:
        return vars(parent)["_member_map_"][name]
    for base in parent.__mro__:
        if name in vars(base):
            child = vars(base)[name]
            return child if isinstance(child, type | classmethod | staticmethod) else None
    return None


def _is_same(located: object, judged: object) -> bool:
    """Whether Hydra has located what was judged: of a class method, the function that it is bound
    to.
    """
    if isinstance(judged, classmethod | staticmethod):
        return getattr(located, "__func__", located) is judged.__func__
    return located is judged


def _is_known_kind(cls: type) -> bool:
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset

    is_metric = all(callable(getattr(cls, name, None)) for name in ("update", "compute", "reset"))
    return is_metric or issubclass(cls, Module | Optimizer | LRScheduler | Dataset)
