"""Find and read the modules behind dotted names, without executing any of them."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

from sweeplab.targets import syntax
from sweeplab.targets.packages import is_standard, package_of

RECORDED = frozenset(
    ["sweeplab", "hydra_plugins", "hydra", "omegaconf", "torch", "torchvision", "numpy"]
)
"""Packages whose version is recorded with each run, but is no part of its fingerprint."""

_COMPILED = (".pyc", *EXTENSION_SUFFIXES)


@dataclass(slots=True)
class Code:
    """What a run computes with, besides PyTorch: the text of project modules, and the versions of
    packages.
    """

    modules: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def code_of(paths: Iterable[str]) -> Code:
    """Return the code of every project module that the dotted names `paths` import, however
    indirectly.

    A project module lies outside the standard library and installed packages, or in a package that
    the user installed from a folder, a file or a repository. Of other packages, the versions of
    those that `paths` name themselves.
    """
    code = Code()
    direct = dict.fromkeys(paths)
    queue = list(direct)
    known = set()
    for path in queue:  # it grows on the way
        if path in known:
            continue
        known.add(path)
        last = None
        for name, file in _project_modules(path, code, is_direct=path in direct):
            source = last = _read(file)
            if source is None or name in code.modules:
                continue
            code.modules[name] = source.text
            package = name if file.name.startswith("__init__.") else name.rpartition(".")[0]
            queue += [_absolute(imported, level, package) for level, imported in source.imports]
            queue += [word for word in source.words if leads_to_code(word)]
        folder, _, name = path.rpartition(".")
        if name == "*" and last is not None:
            queue += [f"{folder}.{exported}" for exported in last.exports]
        if name == syntax.ANY and (last is not None or not any(_modules(folder))):
            queue += _below(folder)
    return code


def _project_modules(path: str, code: Code, *, is_direct: bool) -> Iterator[tuple[str, Path]]:
    """Yield the project modules along a dotted name, packages first; note the versions of installed
    packages.
    """
    for name, file in _modules(path):
        if is_standard(file):
            return
        package = package_of(file)
        if package is not None and package.version and (package.own or is_direct):
            code.versions[package.name] = package.version
        if package is not None and not package.own:
            return
        yield name, file


def leads_to_code(word: str) -> bool:
    """Whether an argument is the dotted name of something in a module: `mine.act`, but not
    `layer.weight`.
    """
    if "." not in word:
        return False
    steps = list(_modules(word))
    if not steps:
        return False
    module, file = steps[-1]
    name = word.removeprefix(module).strip(".").split(".")[0]
    if name == "" or file.name.endswith(_COMPILED):
        return True
    source = _read(file)
    return source is not None and not source.names.isdisjoint({name, "*", "__getattr__"})


def is_of_project(path: str) -> bool:
    """Whether a dotted name leads into a file of the user's own, none of Python or of a package."""
    for _, file in _modules(path):
        package = package_of(file)
        return not is_standard(file) and (package is None or package.own)
    return False


def file_of(module: str) -> Path | None:
    """Return the file of a module; None if there is none."""
    return dict(_modules(module)).get(module)


def _modules(path: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules along a dotted name that have a file: importing it would execute them."""
    for name, spec in _specs(path):
        if spec.has_location and spec.origin:  # neither a namespace package nor built into Python
            yield name, Path(spec.origin).absolute()


def _specs(path: str) -> Iterator[tuple[str, ModuleSpec]]:
    """Yield the packages and the module along a dotted name, as far as there are any."""
    name = ""
    locations: list[str] | None = None
    for part in path.split("."):
        name = f"{name}.{part}".lstrip(".")
        spec = None if name in RECORDED else _find(name, locations)
        if spec is None:
            return
        yield name, spec
        locations = spec.submodule_search_locations
        if locations is None:
            return


def _below(package: str) -> Iterator[str]:
    """Yield all modules of a package, at any depth, those in folders without an `__init__.py`,
    too.
    """
    locations: list[str] = []
    for name, spec in _specs(package):
        if name == package:
            locations = spec.submodule_search_locations or []
    for location in locations:
        for here, folders, files in os.walk(location):
            packages = [name for name in folders if name.isidentifier()]
            folders[:] = sorted(name for name in packages if name != "__pycache__")
            folder = ".".join([package, *Path(here).relative_to(location).parts])
            names = [file.partition(".")[0] for file in files if file.endswith((".py", *_COMPILED))]
            for name in sorted(names):
                if name.isidentifier() and name != "__init__":
                    yield f"{folder}.{name}"


def _find(name: str, locations: Iterable[str] | None) -> ModuleSpec | None:
    """Return the spec of a module, or of a submodule in its package's `locations`; no module is
    executed to find it.
    """
    if locations is not None:
        return _find_inside(name, locations)
    if not name.isidentifier():
        return None
    try:
        return find_spec(name)
    except ValueError:  # in sys.modules without a spec: __main__, the script that was started
        file = getattr(sys.modules[name], "__file__", None)
        return spec_from_file_location(name, file) if file else None


def _find_inside(name: str, locations: Iterable[str]) -> ModuleSpec | None:
    """Do what PathFinder does, which fails for a namespace package in one that is not imported."""
    portions: list[str] = []
    for location in locations:
        finder = pkgutil.get_importer(location)
        spec = None if finder is None else finder.find_spec(name, None)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions += spec.submodule_search_locations or []
    if not portions:
        return None
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec


def _read(file: Path) -> syntax.Source | None:
    """Read a module's file, which may be inside a zip file; None if it is gone."""
    holder = _holder(file)
    if holder is None:
        return None
    status = holder.stat()
    state = status.st_mtime_ns, status.st_ctime_ns, status.st_size
    return _read_cached(str(holder), str(file), state)


def _holder(file: Path) -> Path | None:
    """Return the file itself, or the zip file that it is in."""
    if file.exists():
        return file
    for parent in file.parents:
        if parent.is_file():
            return parent
    return None


@lru_cache(maxsize=4096)
def _read_cached(holder: str, file: str, _state: tuple[int, int, int]) -> syntax.Source | None:
    content = _bytes(Path(holder), Path(file))
    if content is None:
        return None
    if file.endswith(_COMPILED):  # what it imports cannot be seen
        return syntax.Source(hashlib.sha256(content).hexdigest())
    return syntax.source(content)


def _bytes(holder: Path, file: Path) -> bytes | None:
    if holder == file:
        return file.read_bytes()
    try:
        with zipfile.ZipFile(holder) as archive:
            return archive.read(file.relative_to(holder).as_posix())
    except (zipfile.BadZipFile, KeyError):
        return None


def _absolute(name: str, level: int, package: str) -> str:
    """Return `p.b` for `..b` in package `p.q`."""
    if level == 0:
        return name
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - level + 1], name])
