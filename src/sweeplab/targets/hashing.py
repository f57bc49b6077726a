"""Hash what a config computes with: its code and its files, found without executing anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweeplab.targets.files import file_digests, is_file
from sweeplab.targets.lookup import is_dotted
from sweeplab.targets.sources import code_of, file_of, leads_to_code

DIGITS = 12  # of a digest that is recorded for people
NUMERICS: int = 6
"""Raised by hand when sweeplab's own results change bits: every finished run is then stale."""


def digest(paths: Iterable[str], words: Mapping[str, str] | None = None) -> str:
    """Return a SHA-256 over NUMERICS, project code, versions and files.

    The code is that of every project module that the targets `paths` import, however indirectly;
    the versions are those of the packages that they name; the files are those that the config
    names.

    `words` are the other strings of the config by their dotted keys. One that is the dotted name of
    a project's class or function counts as a target; one that names a file or a folder counts by
    its content.

    A project module is hashed under its name without comments, docstrings and layout (a compiled
    one by its bytes), and nothing is executed to find it. What it imports counts, and code that it
    names in a text (`"mine.act"`); where it computes the name of an import, every module of that
    package, or of its own. What is not seen: an import by a name of which nothing is written down
    outside of any package, what a compiled module imports, and files that the code opens by itself
    (`Path(__file__).with_name("words.txt")`): give their names in the config.
    """
    text = json.dumps([NUMERICS, _pieces(paths, words or {})])
    return _sha256(text)


def parts(paths: Iterable[str], words: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what `digest` hashes, piece by piece, so that two records tell what changed.

    `numerics` -> NUMERICS; module -> a short digest of its code; `timm (version)` -> a version;
    `model.vocab (file)` -> a short digest of what the key names.
    """
    result = {"numerics": str(NUMERICS)}
    for name, text in _pieces(paths, words or {}):
        is_short_version = name.endswith("(version)") and len(text) <= DIGITS
        result[name] = text if is_short_version else _sha256(text)[:DIGITS]
    return result


@dataclass(kw_only=True, slots=True, frozen=True)
class ModuleSource:
    """The file of a module."""

    path: str  # below the folder that its package is in
    content: bytes
    digest: str  # as `parts` has it


def source_of(module: str) -> ModuleSource | None:
    """Read the file of a project module; None if there is none that holds Python's text."""
    file = file_of(module)
    text = code_of([module]).modules.get(module)
    if file is None or text is None or file.suffix != ".py" or not file.is_file():
        return None
    path = module.replace(".", "/") + ("/__init__.py" if file.stem == "__init__" else ".py")
    return ModuleSource(path=path, content=file.read_bytes(), digest=_sha256(text)[:DIGITS])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pieces(paths: Iterable[str], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the code of modules, the versions of packages and the digests of files, sorted by
    name.
    """
    code = code_of([*paths, *_code_names(words.values())])
    pieces = dict(code.modules)
    pieces |= {f"{name} (version)": version for name, version in code.versions.items()}
    pieces |= {f"{key} (file)": digest for key, digest in file_digests(words).items()}
    return sorted(pieces.items())


def _code_names(words: Iterable[str]) -> list[str]:
    """Return the words that are dotted names of code; `mine:act` is another way to write
    `mine.act`.
    """
    names = [word.replace(":", ".", 1) for word in words if not is_file(word)]
    return [name for name in names if is_dotted(name) and leads_to_code(name)]
