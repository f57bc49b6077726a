"""A dotted name looked up as Hydra does, and the nearest one that there is."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import sysconfig
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from sweeplab.config.text import brief
from sweeplab.errors import UserError, did_you_mean

NEAR = 0.8
"""How alike an installed module has to be to one that is not found, to be told (difflib's ratio)."""


def is_dotted(path: str) -> bool:
    """Whether a text has the form of a dotted name, or of a name without dots."""
    return all(name.isidentifier() for name in path.split("."))


def locate(path: str, key: str) -> object:
    """The object that the dotted name `path` stands for, found as Hydra finds it; `key` is where the config says so.

    Raises UserError if there is no such thing (with the nearest name that there is), if a module on the way exists but
    cannot be imported, and if Hydra's block-list refuses it.
    """
    if not is_dotted(path):
        raise UserError(f"{key}={brief(path)}: is not a dotted name such as torch.optim.Adam")
    if refusal := _hydra_refusal(path):
        raise UserError(f"{key}={path}: {refusal}")
    found: object = None
    names = path.split(".")
    for depth in range(1, len(names) + 1):
        parent, found = found, _step(found, ".".join(names[:depth]), f"{key}={path}")
        if found is None:
            raise UserError(f"{key}={path}: {_not_found(parent, names, depth)}")
    return found


@lru_cache(maxsize=1024)
def _hydra_refusal(path: str) -> str:
    """Why Hydra's own block-list refuses `path`, or ''.

    Hydra has no public check, but making a partial of the target goes through it and calls nothing. A refusal is an
    InstantiationException without a cause; a failed import, which we explain better ourselves, has one.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        instantiate({"_target_": path, "_partial_": True})
    except InstantiationException as error:
        text = " ".join(str(error).split())
        return "" if error.__cause__ or text.startswith("Expected a callable") else text
    return ""


def _step(parent: object, path: str, said: str) -> object:
    """The last name of `path` inside `parent`, the attribute before the submodule; None if there is neither."""
    name = path.rpartition(".")[2]
    if parent is not None and hasattr(parent, name):
        return getattr(parent, name)
    return load(path, said) if parent is None or isinstance(parent, ModuleType) else None


def load(module: str, said: str) -> ModuleType | None:
    """The module, or None if there is none; UserError if there is one that fails to import."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        raise UserError(_broken(module, said, error)) from error
    except Exception as error:
        raise UserError(_broken(module, said, error)) from error


def _broken(module: str, said: str, error: Exception) -> str:
    return f"{said}: the module '{module}' exists, but failed to import: {type(error).__name__}: {error}"


def _not_found(parent: object, names: Sequence[str], depth: int) -> str:
    where = f"'{'.'.join(names[: depth - 1])}' has no '{names[depth - 1]}'" if parent else f"no module '{names[0]}'"
    near = _nearest(names)
    if near or not parent:
        return where + (f"; did you mean '{near}'?" if near else "; is its package installed?")
    return where + did_you_mean(names[depth - 1], _public(parent))


def _nearest(names: Sequence[str]) -> str:
    """The dotted name nearest to `names`, corrected from left to right; imports nothing to find out."""
    parent: object = None
    done: list[str] = []
    for name in names:
        valid = _public(parent)
        alike = [each for each in valid if each.casefold() == name.casefold()]
        near = [name] if hasattr(parent, name) else (alike or _close(name, parent, valid))
        if not near:
            return ""
        done.append(near[0])
        parent = getattr(parent, near[0], None) or sys.modules.get(".".join(done))
        if parent is None:  # not imported yet: what follows stays as it was typed
            break
    return ".".join([*done, *names[len(done) :]])


def _close(name: str, parent: object, valid: Sequence[str]) -> list[str]:
    """The nearest of the valid names; of modules, those of the user's own folders come first.

    A module that is installed has to be nearer: there are hundreds, and one of them is like nearly any word.
    """
    if parent is not None:
        return get_close_matches(name, valid, n=1)
    own = [module.name for module in pkgutil.iter_modules(_own_folders())]
    return get_close_matches(name, own, n=1) or get_close_matches(name, valid, n=1, cutoff=NEAR)


def _own_folders() -> list[str]:
    """The places where Python looks for modules but for those of packages that are installed and its own."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places = {place or str(Path.cwd()) for place in sys.path}
    return [place for place in places if not any(place.startswith(each) for each in installed if each)]


def _public(parent: object) -> list[str]:
    """The public names inside `parent`; of None, the names of all modules that can be imported."""
    path = getattr(parent, "__path__", None)
    names = [] if parent is None else dir(parent)
    if parent is None or path is not None:
        names += [module.name for module in pkgutil.iter_modules(path)]
    return sorted({name for name in names if not name.startswith("_")})
