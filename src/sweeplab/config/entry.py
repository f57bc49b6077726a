"""Which `conf/` a project composes: read in its train.py, which is not run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from sweeplab.config.hydra_calls import conf_dir
from sweeplab.config.validation import expand_home
from sweeplab.errors import UserError

ENTRY = "train.py"
ADVICE = "name its folder with --config-dir, and its file with --config-name"


@dataclass(kw_only=True, slots=True, frozen=True)
class Entry:
    """A primary config: the file `name`.yaml of a folder, or of what ships with sweeplab."""

    folder: Path
    name: str = "config"
    problem: str = ""  # why a train.py that is there is not heeded


def entry(config_dir: str | Path | None = None, config_name: str | None = None) -> Entry:
    """Find the primary config: a named folder's, else that of ./train.py, else sweeplab's own.

    Without `config_name` it is the one that train.py, in this folder or beside `config_dir`, names.
    Raises UserError if there is no such folder.
    """
    if config_dir is None:
        chosen = _read(Path.cwd() / ENTRY) or Entry(folder=conf_dir())
    else:
        folder = expand_home(config_dir).resolve()
        if not folder.is_dir():
            raise UserError(f"{config_dir}: there is no such folder of configs")
        beside = _read(folder.parent / ENTRY)
        name = beside.name if beside and beside.folder == folder else "config"
        chosen = Entry(folder=folder, name=name)
    if config_name is None:
        return chosen
    return Entry(folder=chosen.folder, name=str(config_name).removesuffix(".yaml"))


def entry_of(script: Path) -> Entry:
    """Find the primary config of a program, sweeplab's own if it names none."""
    return _read(script) or Entry(folder=conf_dir())


def _read(file: Path) -> Entry | None:
    """Read what a program gives to `hydra.main`; None if it is none of sweeplab's."""
    try:
        tree = ast.parse(file.read_bytes(), file.name)
    except FileNotFoundError:
        return None
    except (OSError, SyntaxError, ValueError) as error:
        return Entry(folder=conf_dir(), problem=f"{file}: cannot be read ({error}); {ADVICE}")
    call = _hydra_main(tree)
    if call is None or not _imports_sweeplab(tree):
        return None
    given = dict(zip(("config_path", "config_name"), call.args, strict=False))
    given |= {word.arg: word.value for word in call.keywords if word.arg}
    try:
        path = ast.literal_eval(given.get("config_path", ast.Constant(None)))
        name = ast.literal_eval(given.get("config_name", ast.Constant("config")))
    except ValueError:
        path, name = "", None
    if not isinstance(name, str) or "://" in str(path) or path == "":
        problem = "what it gives to hydra.main cannot be read without running it"
        return Entry(folder=conf_dir(), problem=f"{file}: {problem}; {ADVICE}")
    folder = conf_dir() if path is None else (file.parent / path).resolve()
    return Entry(folder=folder, name=name.removesuffix(".yaml"))


def _hydra_main(tree: ast.Module) -> ast.Call | None:
    """Find the decorator `hydra.main(...)` of a function."""
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", []):
            is_call = isinstance(decorator, ast.Call)
            if is_call and ast.unparse(decorator.func) in ("hydra.main", "main"):
                assert isinstance(decorator, ast.Call)
                return decorator
    return None


def _imports_sweeplab(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.partition(".")[0] == "sweeplab" for name in names):
            return True
    return False
