"""What a config calls: its `_target_`s looked up, checked, trusted, built, and their code hashed."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeplab.errors import UserError, did_you_mean

# Raised by hand when sweeplab's own results change bits: every finished run is then stale.
NUMERICS: int = 4

_SPECIAL = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
_TRUSTED = ("torch.nn", "torch.optim", "sweeplab")
_PLAIN_INTERPOLATION = re.compile(r"\$\{[\w.\[\]]+\}")


# --- config nodes as plain values


def _plain(value: Any, *, resolve: bool = True) -> Any:
    """Dicts, lists and scalars only, with every interpolation resolved.

    Without `resolve` all is as it was written, and a part of a config stands for the whole of it: what it refers to may
    be anywhere.
    """
    if isinstance(value, dict):
        return {key: _plain(item, resolve=resolve) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, resolve=resolve) for item in value]
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_container(value if resolve else value._get_root(), resolve=resolve)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _children(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{key}.{name}" if key else str(name), item) for name, item in value.items())
    elif isinstance(value, list):
        yield from ((f"{key}[{index}]", item) for index, item in enumerate(value))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield key, value
    for at, item in _children(value, key):
        yield from _leaves(item, at)


def _nodes(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict with a `_target_`, the outermost first, with its dotted key."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
    for at, item in _children(value, key):
        yield from _nodes(item, at)


def targets(node: object) -> list[str]:
    """All `_target_`s, at every depth, in the order of the config."""
    return [sub["_target_"] for _, sub in _nodes(_plain(node), "") if isinstance(sub["_target_"], str)]


def _show(value: object) -> str:
    """`value` as one would type it on the command line: one line, at most 60 printable characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _error(error: BaseException) -> str:
    """What `error` says, on one line; its type too where the message alone tells little."""
    text = " ".join(str(error).split())
    if text and isinstance(error, ValueError | TypeError | RuntimeError | AssertionError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- looking a name up


def locate(path: str, key: str) -> object:
    """The object that the dotted name `path` stands for, found as Hydra finds it; `key` is where the config says so.

    Raises UserError if there is no such thing (with the nearest name that there is), if a module on the way exists but
    cannot be imported, and if Hydra's block-list refuses it.
    """
    if not _is_dotted(path):
        raise UserError(f"{key}={_show(path)}: is not a dotted name such as torch.optim.Adam")
    if refusal := _hydra_refusal(path):
        raise UserError(f"{key}={path}: {refusal}")
    found: object = None
    names = path.split(".")
    for depth in range(1, len(names) + 1):
        parent, found = found, _step(found, ".".join(names[:depth]), f"{key}={path}")
        if found is None:
            raise UserError(f"{key}={path}: {_not_found(parent, names, depth)}")
    return found


def _is_dotted(path: str) -> bool:
    return all(name.isidentifier() for name in path.split("."))


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
    return _import(path, said) if parent is None or isinstance(parent, ModuleType) else None


def _import(module: str, said: str) -> ModuleType | None:
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
        near = [name] if hasattr(parent, name) else (alike or get_close_matches(name, valid, n=1))
        if not near:
            return ""
        done.append(near[0])
        parent = getattr(parent, near[0], None) or sys.modules.get(".".join(done))
        if parent is None:  # not imported yet: what follows stays as it was typed
            break
    return ".".join([*done, *names[len(done) :]])


def _public(parent: object) -> list[str]:
    """The public names inside `parent`; of None, the names of all modules that can be imported."""
    path = getattr(parent, "__path__", None)
    names = [] if parent is None else dir(parent)
    if parent is None or path is not None:
        names += [module.name for module in pkgutil.iter_modules(path)]
    return sorted({name for name in names if not name.startswith("_")})


# --- checking arguments against signatures


def check(node: object, key: str, supplied: Sequence[str] | int = ()) -> list[str]:
    """All that is wrong with a node and the nodes inside it, judged by signatures alone; nothing is called.

    `supplied` are the arguments that sweeplab passes itself: their names, or how many leading positional ones.
    """
    plain = _plain(node)
    if not isinstance(plain, dict):
        return [f"{key}={_show(plain)}: must be a node with a _target_"]
    if "_target_" not in plain:
        return [f"{key}._target_: is missing; give the dotted name of a class, such as torch.nn.Linear"]
    problems: list[str] = []
    for at, sub in _called(plain, key):
        problems += _node_problems(sub, at, supplied if sub is plain else ())
    return problems


def _called(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes that Hydra itself calls: those under `_recursive_: false` are left to the class that gets them."""
    is_node = isinstance(value, dict) and "_target_" in value
    if is_node:
        yield key, value
    if not (is_node and value.get("_recursive_") is False):
        for at, item in _children(value, key):
            yield from _called(item, at)


def _node_problems(node: dict[str, Any], key: str, supplied: Sequence[str] | int) -> list[str]:
    path = node["_target_"]
    if not isinstance(path, str):
        return [f"{key}._target_={_show(path)}: must be the dotted name of a class"]
    try:
        found = locate(path, f"{key}._target_")
    except UserError as error:
        return [str(error)]
    if not callable(found):
        return [f"{key}._target_={path}: is a {type(found).__name__}, not a class{_classes_in(found)}"]
    signature = _signature(found)
    return [] if signature is None else _argument_problems(node, key, signature, supplied)


def _classes_in(module: object) -> str:
    """For `torch.optim.sgd`, where `torch.optim.sgd.SGD` was meant."""
    if not isinstance(module, ModuleType):
        return ""
    own = [value for value in vars(module).values() if isinstance(value, type)]
    return did_you_mean(
        "", [f"{each.__module__}.{each.__name__}" for each in own if each.__module__ == module.__name__]
    )


def _signature(found: Callable[..., object]) -> inspect.Signature | None:
    try:
        return inspect.signature(found)
    except (TypeError, ValueError):  # written in C, without one
        return None


def _argument_problems(
    node: dict[str, Any], key: str, signature: inspect.Signature, supplied: Sequence[str] | int
) -> list[str]:
    path, parameters = node["_target_"], list(signature.parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    kinds = {p.kind for p in parameters}
    count = supplied if isinstance(supplied, int) else 0
    ours = set(positional[:count] if isinstance(supplied, int) else supplied)
    listed = node.get("_args_") or []
    taken = ours | set(positional[: len(listed)])
    given = {name: value for name, value in node.items() if name not in _SPECIAL}

    problems = []
    if listed and count:  # Hydra would drop them without a word
        problems.append(f"{key}._args_={_show(listed)}: sweeplab passes the positional arguments of {path} itself")
    if inspect.Parameter.VAR_POSITIONAL not in kinds and max(len(listed), count) > len(positional):
        problems.append(
            f"{key}._target_={path}: takes {len(positional)} positional arguments, not {len(listed) or count}"
        )
    for name, value in given.items():
        said = f"{key}.{name}={_show(value)}"
        if name in taken:
            problems.append(f"{said}: {'sweeplab itself' if name in ours else '_args_'} gives {path} its '{name}'")
        elif name not in named and inspect.Parameter.VAR_KEYWORD not in kinds:
            hint = did_you_mean(name, [each for each in named if each not in taken])
            problems.append(f"{said}: {path} has no argument '{name}'{hint}")
        elif value == "???":
            problems.append(f"{said}: must be given")
    if not node.get("_partial_"):
        problems += [f"{key}.{name}: is missing; {path} needs it" for name in _required(parameters, {*taken, *given})]
    return problems


def _required(parameters: Iterable[inspect.Parameter], present: set[str]) -> list[str]:
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in needed if p.name not in present]


def accepts(target: str | Callable[..., object], name: str) -> bool:
    """Whether `target`, a dotted name or the thing itself, has a parameter of that name (`**kwargs` is none)."""
    found = locate(target, "_target_") if isinstance(target, str) else target
    signature = _signature(found) if callable(found) else None
    return signature is not None and name in signature.parameters


# --- building


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

    special = _SPECIAL - {"_target_"}
    return "_target_" in node and all(name not in special and plain(value) for name, value in node.items())


def build(node: object, key: str, *args: object, **kwargs: object) -> Any:
    """`instantiate`, but what a constructor raises becomes a UserError that names the key, and the value if it can."""
    plain = _plain(node)
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
    nodes = list(_nodes(plain, key))
    return next(((at, sub) for at, sub in nodes if re.sub(r"\W", "", at) == wanted), nodes[0] if nodes else (key, {}))


def _blame(node: dict[str, Any], key: str, cause: BaseException) -> str:
    """`key.argument=value: message (class)`, or without the argument if the message does not point to exactly one."""
    text = _error(cause)
    given = {name: value for name, value in node.items() if name not in _SPECIAL}
    by_name = [name for name in given if _says(text, name)]
    by_value = [name for name, value in given.items() if _says(text, str(value))]
    by_type = [name for name, value in given.items() if isinstance(value, str) and "'str'" in text]
    for suspects in (by_name, [name for name in by_name if name in by_value], by_value, by_type):
        if len(suspects) == 1:
            key = f"{key}.{suspects[0]}={_show(given[suspects[0]])}"
            break
    return f"{key}: {text} ({node.get('_target_', 'no _target_')})"


def _says(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a whole word or number: 1 is neither in 10 nor in -1 nor in 1.5."""
    return bool(word) and bool(re.search(rf"(?<![\w-])(?<!\d\.){re.escape(word)}(?!\w|\.\d)", text))


# --- the code digest


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


# --- trust


def ensure_trusted(node: object, key: str, trusted: Sequence[str] = ()) -> None:
    """Raise UserError unless everything that a foreign `node` would call is known to be harmless.

    That is: a class that is defined in `torch.nn`, `torch.optim`, sweeplab or a module of `trusted`, and is a Module,
    an Optimizer, a scheduler, a Dataset or a metric. First all names are judged, then they are looked up, through
    trusted modules only. Give a whole record, or a DictConfig inside its record: a plain `${a.b}` in a part of a record
    may lead to a node elsewhere in it.
    """
    prefixes = (*_TRUSTED, *trusted)
    for at, value in _leaves(_plain(node, resolve=False), key if isinstance(node, dict | list | str) else ""):
        # Only whole ones: from "${a}${b}" with a="$" and b="{oc.env:HOME}" Hydra makes what HOME holds.
        if isinstance(value, str) and "${" in value and not _PLAIN_INTERPOLATION.fullmatch(value):
            raise UserError(f"{at}={_show(value)}: refused: a record may refer to its own keys only")
    nodes = list(_nodes(_plain(node), key))
    for at, sub in nodes:
        _ensure_trusted_name(sub["_target_"], f"{at}._target_", prefixes)
    for at, sub in nodes:
        _ensure_trusted_class(sub["_target_"], f"{at}._target_", prefixes)


def _under(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _ensure_trusted_name(path: object, key: str, prefixes: Sequence[str]) -> None:
    if not isinstance(path, str) or not _is_dotted(path) or path in prefixes or not _under(path, prefixes):
        raise UserError(
            f"{key}={_show(path)}: refused: only names in {', '.join(prefixes)} are trusted (--trust MODULE)"
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
    found: object = _import(start, f"{key}={path}")
    for name in path.removeprefix(f"{start}.").split("."):
        # vars(), not getattr(): neither descriptors nor a module's __getattr__ run. A dunder name leads out of a class,
        # and importing `__main__` runs a package.
        is_open = isinstance(found, ModuleType | type) and not name.startswith("__")
        child = vars(found).get(name) if is_open else None
        if child is None and is_open and isinstance(found, ModuleType) and hasattr(found, "__path__"):
            child = _import(f"{found.__name__}.{name}", f"{key}={path}")
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
