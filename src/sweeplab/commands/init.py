"""`sweeplab init`: write a project of one's own, which trains and tests itself by two commands."""

from __future__ import annotations

import json
import keyword
import os
import re
import shlex
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sweeplab import config, console
from sweeplab.config import Config
from sweeplab.errors import UserError

EXAMPLE = "own_project"
"""The example's folder, and its package; each place that names the package has the new name."""

ENTRIES = (
    ".gitignore",
    "README.md",
    "conf",
    "experiments",
    EXAMPLE,
    "pyproject.toml",
    "tests",
    "train.py",
)
"""What of the example is written: runs of who tried it lie there, too. pyproject.toml ships the same."""

TAKEN = ("conf", "data", "experiments", "mlartifacts", "mlruns", "runs", "tests", "train")
"""Names of other files and folders of a project."""


def add_options(parser: ArgumentParser) -> None:
    """Add the folder, and the name of the package."""
    parser.add_argument("FOLDER", nargs="?", default=".", help="the new project's; else this one")
    package = "the name of its Python package; without it that of the folder"
    parser.add_argument("--package", metavar="NAME", help=package)


def overrides(_: Namespace, words: list[str]) -> list[str]:
    """Refuse what would be written nowhere."""
    if words:
        raise UserError(f"{words[0]}: init takes one folder, and no settings")
    return words


def main(arguments: Namespace, _: Config) -> None:
    """Write the project, all of it or nothing, and say how it is started."""
    folder = config.expand_home(arguments.FOLDER).resolve()
    given = arguments.package
    package = given or re.sub(r"[-. ]", "_", folder.name)
    _ensure_name(package, given is not None)
    source = _source()
    try:
        written = _write(folder, package, source)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
    files = console.counted(len(written), "file")
    console.say(f"written: {folder} ({files}), with the package {package}")
    if source:
        console.say(f"sweeplab comes from where this one did, by its pyproject.toml: {source}")
    if folder != Path.cwd():
        console.say(f"  cd {shlex.quote(os.path.relpath(folder))}")
    console.say("  pip install uv && uv run train.py   # trains, and logs to MLflow")
    console.say("  uv run pytest                       # its tests")


def _ensure_name(package: str, is_given: bool) -> None:
    """Raise UserError for a name that no package can have, or that hides another one."""
    problem = ""
    if not package.isidentifier() or not package.isascii() or keyword.iskeyword(package):
        problem = "is no name of a Python package: letters, digits and _, no digit first"
    elif package.startswith("__"):
        problem = "is of Python's own names"
    elif package.lower() in TAKEN:
        problem = "is a file or folder of every project"
    elif package in sys.stdlib_module_names or PathFinder.find_spec(package, _elsewhere()):
        problem = f"would hide the installed module {package}"
    if not problem:
        return
    key = "--package=" if is_given else ""
    raise UserError(f"{key}{package}: {problem}; name another: --package my_project")


def _elsewhere() -> list[str]:
    """Return where modules are found, without the current folder."""
    here = Path.cwd()
    return [path for path in sys.path if path and Path(path).resolve() != here]


def _source() -> str:
    """Return where this sweeplab was installed from, as TOML for uv; '' if from a registry."""
    told = metadata.distribution("sweeplab").read_text("direct_url.json")
    if told is None:
        return ""
    origin = json.loads(told)
    url = urlsplit(origin["url"])
    if vcs := origin.get("vcs_info"):
        source = {vcs["vcs"]: origin["url"], "rev": vcs["commit_id"]}
    elif url.scheme == "file":
        source = {"path": unquote(url.path)}
    else:
        source = {"url": origin["url"]}
    if "subdirectory" in origin:
        source["subdirectory"] = origin["subdirectory"]
    pairs = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in source.items()]
    if origin.get("dir_info", {}).get("editable"):
        pairs.append("editable = true")
    return "{ " + ", ".join(pairs) + " }"


def _example() -> Path:
    """Return the folder of the example: in the installed package, or in a checkout."""
    base = config.conf_dir().parent
    installed = base / EXAMPLE
    return installed if installed.is_dir() else base / "examples" / EXAMPLE


def _write(folder: Path, package: str, source: str) -> list[Path]:
    """Write the project beside the folder first, then move it there; return its files.

    Raises UserError if a file would be overwritten, and OSError if the folder cannot be written.
    """
    if not folder.parent.is_dir() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder}: name a new folder in one that is there, or an empty one")
    place = folder if folder.is_dir() else folder.parent
    with tempfile.TemporaryDirectory(prefix=".sweeplab-init-", dir=place) as temporary:
        made = Path(temporary) / package
        made.mkdir()
        for entry in ENTRIES:
            _copy(_example() / entry, made / entry.replace(EXAMPLE, package), package)
        _depend(made / "pyproject.toml", source)
        files = [file.relative_to(made) for file in sorted(made.rglob("*")) if file.is_file()]
        if not folder.is_dir():
            made.rename(folder)
            return files
        there = [str(file) for file in files if os.path.lexists(folder / file)]
        if there:
            others = f" and {len(there) - 1} more" if there[1:] else ""
            raise UserError(f"{folder}: has {there[0]}{others} already; name another folder")
        _move(files, made, folder)
    return files


def _move(files: list[Path], made: Path, folder: Path) -> None:
    """Move the files into a folder that is there; all, or none."""
    inner = [entry.relative_to(made) for entry in sorted(made.rglob("*")) if entry.is_dir()]
    new = [folder / each for each in inner if not (folder / each).exists()]
    moved: list[Path] = []
    try:
        for each in new:
            each.mkdir()
        for file in files:
            (made / file).rename(folder / file)
            moved.append(folder / file)
    except OSError:
        for file in moved:
            file.unlink()
        for each in reversed(new):
            with suppress(OSError):  # it was not made yet
                each.rmdir()
        raise


def _copy(source: Path, target: Path, package: str) -> None:
    """Copy a file or a folder, with the new name of the package in its texts."""
    if source.is_dir():
        target.mkdir()
        for entry in source.iterdir():
            if entry.name != "__pycache__":
                _copy(entry, target / entry.name, package)
        return
    text = source.read_text(encoding="utf-8")
    target.write_text(re.sub(rf"\b{EXAMPLE}\b", package, text), encoding="utf-8")


def _depend(pyproject: Path, source: str) -> None:
    """Have the project depend on this version of sweeplab, from where this one is from."""
    text = pyproject.read_text(encoding="utf-8")
    version = metadata.version("sweeplab")
    text = text.replace('["sweeplab"]', f'["sweeplab>={version}"]')
    if source:
        text += f"\n[tool.uv.sources]\nsweeplab = {source}\n"
    pyproject.write_text(text, encoding="utf-8")
