"""Tell the installed package that a module file belongs to, its version, and whether it is the
user's own project.
"""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PathDistribution
from pathlib import Path

_SITES = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package. It is the user's `own` if it was not installed from an index."""

    name: str
    version: str | None  # None if it was copied there by hand
    own: bool


def is_standard(file: Path) -> bool:
    """Whether a file belongs to Python's standard library."""
    return _site(file) is None and not _standard().isdisjoint(file.parents)


@lru_cache
def _standard() -> frozenset[Path]:
    return frozenset(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def own_folders() -> list[str]:
    """List the folders of `sys.path` that are not Python's own or of installed packages."""
    # Unlike Path.resolve, abspath makes the current folder of "" and keeps links.
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    return [path for path in folders if os.pathsep not in path and not _is_of_python(path)]


def _is_of_python(path: str) -> bool:
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return path in standard | installed or Path(path).name in (zipped, "lib-dynload")


def package_of(file: Path) -> Package | None:
    """Return the installed package of a module file; None for a file outside the folders of
    installed packages.

    A file in site-packages that no package lists was copied or linked there by hand: it is the
    user's own.
    """
    folder = _site(file)
    if folder is None:
        return None
    claimed = _claimed(folder, file.relative_to(folder))
    metadata = _owner(str(folder), folder.stat().st_mtime_ns, claimed.as_posix())
    if metadata is None:
        return Package(name=claimed.parts[0], version=None, own=folder.name == "site-packages")
    name, version = _name_and_version(metadata)
    return Package(name=name, version=version, own=(metadata / "direct_url.json").is_file())


def _site(file: Path) -> Path | None:
    for folder in file.parents:
        if folder.name in _SITES:
            return folder
    return None


def _claimed(site: Path, relative: Path) -> Path:
    """Return the file whose owner owns `relative`: the `__init__.py` of its outermost package, or
    the file itself.
    """
    folder = site
    for part in relative.parts[:-1]:
        folder /= part
        init = folder / "__init__.py"
        if init.exists():
            return init.relative_to(site)
    return relative


@lru_cache(maxsize=4096)
def _owner(site: str, _mtime: int, relative: str) -> Path | None:
    """Return the metadata folder of the package that lists the file; looked up anew when something
    is installed.
    """
    top = relative.partition("/")[0].partition(".")[0]
    folders = [*Path(site).glob("*.dist-info"), *Path(site).glob("*.egg-info")]
    folders.sort(key=lambda folder: (not _is_named(folder, top), folder.name))  # likely ones first
    for folder in folders:
        if _lists(folder, relative, top):
            return folder
    return None


def _is_named(metadata: Path, name: str) -> bool:
    return _normalized(metadata.stem.partition("-")[0]) == _normalized(name)


def _lists(metadata: Path, relative: str, top: str) -> bool:
    """Whether a package lists the file; one that lists no files may list its top-level modules."""
    record = _text(metadata / "RECORD")
    if record:
        return f"\n{relative}," in f"\n{record}"
    return _is_named(metadata, top) or top in _text(metadata / "top_level.txt").split()


def _name_and_version(metadata: Path) -> tuple[str, str]:
    name, _, version = metadata.stem.partition("-")
    try:
        fields = PathDistribution(metadata).metadata
        if "Name" in fields and "Version" in fields:  # Python 3.12 warns of what is missing
            return str(fields["Name"]), str(fields["Version"])
    except (OSError, TypeError, KeyError, ValueError):  # there is no METADATA that can be read
        pass
    return name, version


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
