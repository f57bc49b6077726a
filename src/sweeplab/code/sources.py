"""The modules behind dotted names, found and read without executing any of them."""

from __future__ import annotations

import ast
import hashlib
import pkgutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

from sweeplab.code.packages import is_standard, package_of

RECORDED = frozenset({"sweeplab", "hydra_plugins", "hydra", "omegaconf", "torch", "torchvision", "numpy"})
"""Packages whose version is recorded with each run, but is no part of its fingerprint."""

_COMPILED = (".pyc", *EXTENSION_SUFFIXES)
_BY_NAME = frozenset({"import_module", "__import__", "get_class", "get_method", "get_object"})


@dataclass(slots=True)
class Code:
    """What a run computes with, besides PyTorch: the text of project modules, and the versions of packages."""

    modules: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its code without comments and docstrings, and what it says about names."""

    text: str
    imports: list[tuple[int, str]] = field(default_factory=list)  # level, dotted name
    names: frozenset[str] = frozenset()  # bound anywhere in it
    exports: tuple[str, ...] = ()  # `__all__`, which `from package import *` imports


def code_of(paths: Iterable[str]) -> Code:
    """The code of every project module that the dotted names `paths` import, however indirectly.

    A project module lies outside the standard library and installed packages, or in a package that the user installed
    from a folder, a file or a repository. Of other packages, the versions of those that `paths` name themselves.
    """
    found = Code()
    direct = dict.fromkeys(paths)
    queue = dict(direct)
    waiting = list(queue)
    for path in waiting:  # it grows on the way
        last = None
        for name, file in _visited(path, found, is_direct=path in direct):
            source = last = read(file)
            if source is None or name in found.modules:
                continue
            found.modules[name] = source.text
            package = name if file.name.startswith("__init__.") else name.rpartition(".")[0]
            waiting += _new(queue, (_absolute(each, level, package) for level, each in source.imports))
        if path.endswith(".*") and last is not None:
            waiting += _new(queue, (f"{path[:-2]}.{name}" for name in last.exports))
    return found


def _new(known: dict[str, None], paths: Iterable[str]) -> list[str]:
    added = [path for path in dict.fromkeys(paths) if path not in known]
    known.update(dict.fromkeys(added))
    return added


def _visited(path: str, found: Code, *, is_direct: bool) -> Iterator[tuple[str, Path]]:
    """The project modules along a dotted name, packages first; the versions of installed packages go to `found`."""
    for name, file in modules(path):
        if is_standard(file):
            return
        package = package_of(file)
        if package is not None and package.version and (package.own or is_direct):
            found.versions[package.name] = package.version
        if package is not None and not package.own:
            return
        yield name, file


def leads_to_code(word: str) -> bool:
    """Whether an argument is the dotted name of something in a module: `mine.act`, but not `layer.weight`."""
    if "." not in word:
        return False
    steps = list(modules(word))
    if not steps:
        return False
    name, file = steps[-1]
    rest = word.removeprefix(name).strip(".").split(".")
    return rest == [""] or _binds(file, rest[0])


def _binds(file: Path, name: str) -> bool:
    if file.name.endswith(_COMPILED):
        return True
    source = read(file)
    return source is not None and bool({name, "*", "__getattr__"} & source.names)


def modules(path: str) -> Iterator[tuple[str, Path]]:
    """The modules along a dotted name that have a file, packages first: what importing it would execute."""
    name, locations = "", None
    for part in path.split("."):
        name = f"{name}.{part}" if name else part
        if name in RECORDED:
            return
        spec = _find(name, locations)
        if spec is None:
            return
        if spec.has_location and spec.origin:  # neither a namespace package nor built into Python
            yield name, Path(spec.origin).absolute()
        locations = spec.submodule_search_locations
        if locations is None:
            return


def _find(name: str, locations: Iterable[str] | None) -> ModuleSpec | None:
    """The spec of a module, or of a submodule in its package's `locations`: no module is executed to find it."""
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
    """As PathFinder, which fails for a namespace package in one that is not imported."""
    portions: list[str] = []
    for location in locations:
        finder = pkgutil.get_importer(location)
        spec = None if finder is None else finder.find_spec(name, None)
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec and spec.submodule_search_locations) or []
    if not portions:
        return None
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec


def read(file: Path) -> Source | None:
    """A module's file, in a zip file, too; None if it is gone."""
    holder = file if file.exists() else next((each for each in file.parents if each.is_file()), None)
    if holder is None:
        return None
    status = holder.stat()
    return _read(str(holder), str(file), status.st_mtime_ns, status.st_ctime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read(holder: str, file: str, _mtime: int, _ctime: int, _size: int) -> Source | None:
    content = _bytes(Path(holder), Path(file))
    if content is None:
        return None
    if file.endswith(_COMPILED):  # what it imports cannot be seen
        return Source(hashlib.sha256(content).hexdigest())
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing it will say so
        return Source(content.decode(errors="replace"), names=frozenset("*"))
    imports = list(_imports(tree))
    names, exports = frozenset(_names(tree)), tuple(_exports(tree))
    for item in ast.walk(tree):
        if isinstance(item, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(item)
    return Source(ast.unparse(tree), imports, names, exports)


def _bytes(holder: Path, file: Path) -> bytes | None:
    if holder == file:
        return file.read_bytes()
    try:
        with zipfile.ZipFile(holder) as archive:
            return archive.read(file.relative_to(holder).as_posix())
    except (zipfile.BadZipFile, KeyError):
        return None


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            yield from ((0, alias.name) for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            # `from a import b`: b may be a module of a. If it is none, looking for a.b still finds a.
            yield from ((item.level, f"{item.module or ''}.{alias.name}".strip(".")) for alias in item.names)
        elif isinstance(item, ast.Call) and item.args:
            called = getattr(item.func, "attr", None) or getattr(item.func, "id", None)
            path = getattr(item.args[0], "value", None)
            if called in _BY_NAME and isinstance(path, str):  # `importlib.import_module("mine.nets")`
                yield len(path) - len(path.lstrip(".")), path.lstrip(".")


def _names(tree: ast.Module) -> Iterator[str]:
    """What the code binds, at any depth; `*` for what another module may bring."""
    for item in ast.walk(tree):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield item.name
        elif isinstance(item, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in item.names)
        elif isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            yield item.id


def _exports(tree: ast.Module) -> Iterator[str]:
    for item in tree.body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            for each in ast.walk(item):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


def _drop_docstring(item: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    first = item.body[0] if item.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        item.body[:1] = [] if len(item.body) > 1 or isinstance(item, ast.Module) else [ast.Pass()]


def _absolute(name: str, level: int, package: str) -> str:
    """`..b` in package `p.q` is `p.b`."""
    if level == 0:
        return name
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - level + 1], name])
