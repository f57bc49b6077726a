"""The digest of what a config computes with: its code and its files, found without executing anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from sweeplab.targets import files
from sweeplab.targets.lookup import is_dotted
from sweeplab.targets.sources import code_of, leads_to_code

# Raised by hand when sweeplab's own results change bits: every finished run is then stale.

NUMERICS: int = 6


def digest(paths: Iterable[str], words: Mapping[str, str] | None = None) -> str:
    """SHA-256 over NUMERICS, the code of every project module that the targets `paths` import, however indirectly,
    the versions of the packages that they name, and the files that the config names.

    `words` are the other strings of the config by their dotted keys. One that is the dotted name of a project's class
    or function counts as a target; one that names a file or a folder counts by its content.

    A project module is hashed under its name without comments, docstrings and layout (a compiled one by its bytes), and
    nothing is executed to find it. What it imports counts, and code that it names in a text (`"mine.act"`); where it
    computes the name of an import, every module of that package, or of its own. What is not seen: an import by a name
    of which nothing is written down outside of any package, what a compiled module imports, and files that the code
    opens by itself (`Path(__file__).with_name("words.txt")`): give their names in the config. `ast.unparse` may write
    new syntax differently in another minor version of Python.
    """
    return hashlib.sha256(json.dumps([NUMERICS, sorted(_pieces(paths, words or {}).items())]).encode()).hexdigest()


def parts(paths: Iterable[str], words: Mapping[str, str] | None = None) -> dict[str, str]:
    """What `digest` is over, piece by piece, so that two records tell what changed: sweeplab's own NUMERICS under
    `numerics`; module -> a short digest of its code; `timm (version)` -> a version; `model.vocab (file)` -> a short
    digest of what the key names.
    """
    pieces = sorted(_pieces(paths, words or {}).items())
    return {"numerics": str(NUMERICS)} | {name: _short(name, text) for name, text in pieces}


def _short(name: str, text: str) -> str:
    if name.endswith("(version)") and len(text) <= 12:
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _pieces(paths: Iterable[str], words: Mapping[str, str]) -> dict[str, str]:
    found = code_of([*paths, *_named(words.values())])
    pieces = dict(found.modules)
    pieces |= {f"{name} (version)": version for name, version in found.versions.items()}
    return pieces | {f"{key} (file)": content for key, content in files.contents(words).items()}


def _named(words: Iterable[str]) -> list[str]:
    """Those of the words that are dotted names of code; `mine:act` is another way to write `mine.act`."""
    names = [word.replace(":", ".", 1) for word in words if not files.exists(word)]
    return [name for name in names if is_dotted(name) and leads_to_code(name)]
