"""Look up a dotted name as Hydra does, and suggest the nearest one if there is none."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from sweeplab.config.text import brief
from sweeplab.errors import UserError, did_you_mean, one_line
from sweeplab.targets.packages import own_folders

CUTOFF = 0.8
"""How alike an installed module must be to be suggested (difflib's ratio)."""
IMPORTED_AS = {"nn": "torch.nn", "optim": "torch.optim", "F": "torch.nn.functional"}
"""Under which names everyone imports what of PyTorch."""


def is_dotted(path: str) -> bool:
    """Whether a text has the form of a dotted name; a name without dots is one, too."""
    return all(name.isidentifier() for name in path.split("."))


def locate(path: object, key: str) -> object:
    """Return the object that the dotted name `path` stands for, as Hydra finds it; `key` is for
    messages.

    Raises UserError if there is no such thing (with the nearest name that there is), if a module on
    the way exists but cannot be imported, and if Hydra's block-list refuses it.
    """
    if not isinstance(path, str) or not is_dotted(path):
        raise UserError(f"{key}={brief(path)}: is not a dotted name such as torch.optim.Adam")
    if refusal := _hydra_refusal(path):
        raise UserError(f"{key}={path}: {refusal}")
    value: object = None
    names = path.split(".")
    for depth in range(1, len(names) + 1):
        parent, value = value, _step(value, ".".join(names[:depth]), f"{key}={path}")
        if value is None:
            raise UserError(f"{key}={path}: {_not_found(parent, names, depth)}")
    return value


@lru_cache(maxsize=1024)
def _hydra_refusal(path: str) -> str:
    """Return why Hydra's own block-list refuses `path`, or ''.

    Hydra has no public check, but making a partial of the target goes through it and calls nothing.
    A refusal is an InstantiationException without a cause; a failed import, which we explain better
    ourselves, has one.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        instantiate({"_target_": path, "_partial_": True})
    except InstantiationException as error:
        text = one_line(error)
        if not error.__cause__ and not text.startswith("Expected a callable"):
            return text
    except SystemExit:  # of a module that ends the program; `load` says so
        return ""
    return ""


def _step(parent: object, path: str, setting: str) -> object:
    """Return the last name of `path` inside `parent`: an attribute, or else a submodule; None if
    there is neither.
    """
    name = path.rpartition(".")[2]
    if parent is not None and hasattr(parent, name):
        return getattr(parent, name)
    if parent is None or isinstance(parent, ModuleType):
        return load(path, setting)
    return None


def load(module: str, setting: str) -> ModuleType | None:
    """Import a module; None if there is none. Raises UserError that names the `setting` if it fails
    to import.
    """
    try:
        return importlib.import_module(module)
    except SystemExit as error:
        reason = f"ends the program when it is imported (exit code {error.code})"
        advice = "put what it does on its own below if __name__ == '__main__':"
        raise UserError(f"{setting}: the module '{module}' {reason}; {advice}") from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return None
        reason = f"failed to import: {type(error).__name__}: {error}"
        raise UserError(f"{setting}: the module '{module}' exists, but {reason}") from error


def _not_found(parent: object, names: Sequence[str], depth: int) -> str:
    name, near = names[depth - 1], _nearest(names)
    missing = f"no module '{name}'"
    if parent is not None:
        missing = f"'{'.'.join(names[: depth - 1])}' has no '{name}'"
    if depth == 2 and (hidden := _hidden_file(names[0])):
        return f"{missing}: it is Python's or a library's, and hides your {hidden}; rename that"
    if parent is None and name in IMPORTED_AS:
        return f"{missing}; did you mean '{'.'.join([IMPORTED_AS[name], *names[depth:]])}'?"
    if near:
        return f"{missing}; did you mean '{near}'?"
    if parent is None:
        return f"{missing}; is its package installed?"
    return missing + did_you_mean(name, _public(parent))


def _hidden_file(name: str) -> str:
    """Return the name of a file of the user's own that an installed module hides; '' if none is."""
    found = getattr(sys.modules.get(name), "__file__", None)  # None of what is built in
    for folder in own_folders():
        file = Path(folder) / f"{name}.py"
        if file.is_file() and (found is None or not file.samefile(found)):
            return file.name
    return ""


def _nearest(names: Sequence[str]) -> str:
    """Return the dotted name nearest to `names`, corrected from left to right; '' if none is near.
    Imports nothing.
    """
    parent: object = None
    corrected: list[str] = []
    for name in names:
        near = name if hasattr(parent, name) else _nearest_in(parent, name)
        if not near:
            return ""
        corrected.append(near)
        parent = getattr(parent, near, None) or sys.modules.get(".".join(corrected))
        if parent is None:  # not imported yet: what follows stays as it was typed
            break
    return ".".join([*corrected, *names[len(corrected) :]])


def _nearest_in(parent: object, name: str) -> str:
    """Return the public name inside `parent` that is nearest to `name`; '' if none is near.

    Of modules (`parent` is None), those of the user's own folders come first. One that is installed
    has to be nearer: there are hundreds, and nearly every word is like one of them.
    """
    valid = _public(parent)
    near = [candidate for candidate in valid if candidate.casefold() == name.casefold()]
    if parent is not None:
        near = near or get_close_matches(name, valid, n=1)
    else:
        near = near or get_close_matches(name, _module_names(own_folders()), n=1)
        near = near or get_close_matches(name, valid, n=1, cutoff=CUTOFF)
    return near[0] if near else ""


def _module_names(folders: Sequence[str] | None) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(folders)]


def _public(parent: object) -> list[str]:
    """Return the public names inside `parent`; of None, the names of all modules that can be
    imported.
    """
    names: list[str] = []
    if parent is not None:
        names = dir(parent)
    path = getattr(parent, "__path__", None)
    if parent is None or path is not None:
        names += _module_names(path)
    return sorted({name for name in names if not name.startswith("_")})
