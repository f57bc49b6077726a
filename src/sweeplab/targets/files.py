"""Hash the files that a config names."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

WHOLE = 2**30
"""Bytes of a file, or of all files of a folder, up to which every byte is hashed."""

MOST_FILES = 1000
"""A folder of more files is a set of examples, whose state `data.version` names."""

_BLOCK, _BLOCKS = 2**16, 16
"""Size and number of the blocks that are hashed of each larger file, besides its size."""

_INPUT = re.compile(
    r"(?:.*_)?"
    r"(?:root|path|file|filename|folder|dir|directory|weight|checkpoint|ckpt|vocab|tokenizer)s?"
    r"|(?:.*_)?(?:pretrained|vocabulary|state_dict)",
    re.IGNORECASE,
)
_OUTPUT = re.compile(
    r"(?:.*_)?(?:cache|logs?|out|outputs?|save|results?|tmp|temp|work)_?"
    r"(?:dir|directory|folder|root)"
    r"|(?:cache|log|out|output|save|tmp)(?:_(?:to|path|file))?",
    re.IGNORECASE,
)


def file_digests(words: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file or folder that one of the `words` of a config names, by the
    same dotted key.

    A relative path starts at the current folder, as for `open`; `~` is the home, `$NAME` is of the
    environment, and `file://` may stand before it. Left out are words that name nothing, a folder
    of more than MOST_FILES files, a folder that the program works in, and what is written to by its
    argument's name (`cache_dir`, `log_file`). A word without a dot or a slash names a folder only
    if its argument's name says so (`root`, `model_dir`, `weights`). Above WHOLE, each file is
    hashed by its size and by blocks that are spread evenly.
    """
    digests: dict[str, str] = {}
    for key, text in words.items():
        without_indices = re.sub(r"\[\d+\]", "", key)
        argument = without_indices.rpartition(".")[2]  # `path` of `model.layers[0].path[1]`
        digest = _digest(argument, text)
        if digest is not None:
            digests[key] = digest
    return digests


def is_file(text: str) -> bool:
    """Whether a word of a config names a file or a folder."""
    return bool(text) and _status(_path(text)) is not None


def _digest(argument: str, text: str) -> str | None:
    if not text or _OUTPUT.fullmatch(argument):
        return None
    path = _path(text)
    status = _status(path)
    if status is None:
        return None
    if stat.S_ISREG(status.st_mode):
        return _file_digest(path, status, whole=status.st_size <= WHOLE)
    looks_like_a_path = re.search(r"[./\\~]", text) or _INPUT.fullmatch(argument)
    if stat.S_ISDIR(status.st_mode) and looks_like_a_path:
        return _folder_digest(path)
    return None


def _path(text: str) -> Path:
    try:
        return Path(os.path.expandvars(text.removeprefix("file://"))).expanduser().absolute()
    except (OSError, RuntimeError):  # `~nobody`
        return Path(text)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # there is none, or `path` is no path at all
        return None


def _folder_digest(folder: Path) -> str | None:
    """Hash the names and contents of all files; None of a folder that is no input."""
    if Path.cwd().is_relative_to(folder.resolve()):
        return None
    files: dict[Path, os.stat_result] = {}
    for path in _files_in(folder):
        status = _status(path)
        if status is not None and stat.S_ISREG(status.st_mode):
            files[path] = status
        if len(files) > MOST_FILES:
            return None
    whole = sum(status.st_size for status in files.values()) <= WHOLE
    sha = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(folder).as_posix()
        digest = _file_digest(path, files[path], whole=whole)
        sha.update(f"{name}\0{digest}\0".encode(errors="surrogateescape"))
    return sha.hexdigest() if files else None


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder`, except hidden ones and bytecode; each folder is entered
    once.
    """
    entered: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        status = _status(Path(here))
        if status is None or (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(name for name in visible if name != "__pycache__")
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name)


def _file_digest(path: Path, status: os.stat_result, *, whole: bool) -> str:
    """Hash a file; if it cannot be read, return the reason: whoever opens it will tell the user."""
    try:
        times = status.st_mtime_ns, status.st_ctime_ns
        return _cached_digest(path, status.st_size, times, status.st_ino, whole)
    except OSError as error:
        return f"unreadable: {error.strerror}"


@lru_cache(maxsize=4096)
def _cached_digest(path: Path, size: int, _times: tuple[int, int], _inode: int, whole: bool) -> str:
    with path.open("rb") as file:
        if whole or size <= _BLOCK * _BLOCKS:
            return hashlib.file_digest(file, "sha256").hexdigest()
        sha = hashlib.sha256(str(size).encode())
        for n in range(_BLOCKS):
            file.seek(n * (size - _BLOCK) // (_BLOCKS - 1))
            sha.update(file.read(_BLOCK))
        return sha.hexdigest()
