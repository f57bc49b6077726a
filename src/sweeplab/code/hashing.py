"""The digest of the code that a config calls, found without executing it."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

# Raised by hand when sweeplab's own results change bits: every finished run is then stale.

NUMERICS: int = 5


def digest(paths: Iterable[str]) -> str:
    """SHA-256 over NUMERICS and the code of every project file that the targets `paths` import, however indirectly.

    A project file is Python source outside the standard library, installed packages and sweeplab. It is hashed under
    its module name without comments, docstrings and layout, and nothing is executed to find it. An import by a computed
    name is not seen. `ast.unparse` may write new syntax differently in another minor version of Python.
    """
    return hashlib.sha256(json.dumps([NUMERICS, sorted(_sources(paths).items())]).encode()).hexdigest()


def parts(paths: Iterable[str]) -> dict[str, str]:
    """What `digest` is over, piece by piece, so that two records tell what changed: module -> a short digest of its
    code; and sweeplab's own NUMERICS under `numerics`.
    """
    sources = sorted(_sources(paths).items())
    return {"numerics": str(NUMERICS)} | {n: hashlib.sha256(c.encode()).hexdigest()[:12] for n, c in sources}


def _sources(paths: Iterable[str]) -> dict[str, str]:
    code: dict[str, str] = {}
    queue = list(paths)
    for path in queue:  # it grows on the way
        for name, file in _project_files(path):
            if name not in code:
                stat = file.stat()
                code[name], imports = _read(str(file), stat.st_mtime_ns, stat.st_size)
                package = name if file.name == "__init__.py" else name.rpartition(".")[0]
                found = (_absolute(each, level, package) for level, each in imports)
                queue += [each for each in found if each not in queue]
    return code


def _project_files(path: str) -> Iterator[tuple[str, Path]]:
    """The project modules along a dotted name, packages first: what importing it would execute."""
    name, locations = "", None
    for part in path.split("."):
        name = f"{name}.{part}" if name else part
        spec = _find(name, locations)
        if spec is None or name == "sweeplab":
            return
        if spec.origin:  # a namespace package has none
            if not _is_project(spec.origin):
                return
            yield name, Path(spec.origin)
        locations = spec.submodule_search_locations
        if locations is None:
            return


def _find(name: str, locations: Iterable[str] | None) -> ModuleSpec | None:
    """The spec of a module, or of a submodule in its package's `locations`: no module is executed to find it."""
    if locations is not None:
        return PathFinder.find_spec(name, list(locations))
    if not name.isidentifier():
        return None
    try:
        return find_spec(name)
    except ValueError:  # in sys.modules without a spec: __main__, the script that was started
        file = getattr(sys.modules[name], "__file__", None)
        return spec_from_file_location(name, file) if file else None


@lru_cache(maxsize=4096)
def _is_project(origin: str) -> bool:
    file = Path(origin).absolute()
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    foreign = {"site-packages", "dist-packages"} & set(file.parts) or standard & set(file.parents)
    return file.suffix == ".py" and not foreign


@lru_cache(maxsize=4096)
def _read(file: str, _mtime: int, _size: int) -> tuple[str, list[tuple[int, str]]]:
    """A file's code without comments and docstrings, and its imports as (level, dotted name)."""
    source = Path(file).read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # importing it will say so
        return source.decode(errors="replace"), []
    imports: list[tuple[int, str]] = []
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            imports += [(0, alias.name) for alias in item.names]
        elif isinstance(item, ast.ImportFrom):
            # `from a import b`: b may be a module of a. If it is none, looking for a.b still finds a.
            imports += [(item.level, f"{item.module or ''}.{alias.name}".strip(".")) for alias in item.names]
        elif isinstance(item, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(item)
    return ast.unparse(tree), imports


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
