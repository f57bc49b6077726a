"""Files that are written whole or not at all, and known to be whole when they are read back."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sweeplab.errors import UserError, first_line

DIGEST = b',\n  "sha256": "'
"""Begins the last line of a JSON file: the digest of all that stands before."""
TAIL = b'"\n}\n'
DEAD_AFTER = 3600.0  # seconds; no file takes so long to be written


class DamagedError(UserError):
    """A file of the store is not as it was written. The message names it."""

    def __init__(self, file: Path, why: str, advice: str = "") -> None:
        self.why = why
        super().__init__(f"{file}: is damaged: {why}{f'; {advice}' if advice else ''}")


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_atomic(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """Write the file whole or not at all, whenever the process or the machine stops.

    One that is not `lasting` may be lost or damaged when the machine loses its power; nobody waits
    for the disk then.
    """
    with replacing(path, lasting=lasting) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of this one when all is written, as `write_atomic` does.

    Raises OSError for a path that is no file, as a device is: root would replace /dev/null.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no file that can be replaced", str(path))
    with (
        naming(path),
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file,
    ):
        try:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
            # Others may read it, as any new file; a temporary one is private.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    if not lasting:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the new name may be lost with the power
    finally:
        os.close(folder)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what goes wrong with the file meanwhile name it: a full disk alone does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, value: Mapping[str, Any], *, lasting: bool = True) -> None:
    """Write `value` as indented JSON, atomically, with its digest as the last key, `sha256`."""
    body = json.dumps(plain(value), indent=2).encode().removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest().encode()
    write_atomic(path, body + DIGEST + digest + TAIL, lasting=lasting)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` has written; a file without a digest is taken as it is.

    Raises FileNotFoundError if there is none, DamagedError if it is not whole.
    """
    content = read_bytes(path)
    body, mark, rest = content.rpartition(DIGEST)
    if mark and rest.endswith(TAIL):
        digest = hashlib.sha256(body).hexdigest().encode()
        if rest != digest + TAIL:
            raise DamagedError(path, "its content does not fit the digest in it")
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, first_line(error)) from error
    if not isinstance(value, dict):
        raise DamagedError(path, "it holds no JSON object")
    value.pop("sha256", None)
    return value


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises FileNotFoundError if there is none, DamagedError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(path, error.strerror or first_line(error)) from error


def plain(value: Any) -> Any:
    """JSON has no nan and no infinity: they are written as the strings that `float` reads."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def remove_leftovers(
    folder: Path, pattern: str = ".*", *, older: float = 0.0, keep: str | None = None
) -> None:
    """Remove what killed writers have left in a folder: hidden files that fit the pattern.

    To be called where nobody writes them any more: under the lock of those who do, or with an age.
    `keep` begins the names of those that somebody else may be writing.
    """
    try:
        found = list(folder.glob(pattern))
    except OSError:
        return
    for file in found:
        if not file.name.startswith(".") or (keep is not None and file.name.startswith(keep)):
            continue
        try:
            if time.time() - file.lstat().st_mtime < older:
                continue
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
        except OSError:  # gone, or not ours to remove
            continue


def locked(path: Path, *, is_shared: bool = False) -> bool:
    """Tell whether a living process holds this lock. Only reads: the disk may be read-only.

    A lock that several hold at once (`is_shared`) can only be seen by who asks for it alone, which
    takes a file that can be written.
    """
    try:
        descriptor = os.open(path, (os.O_RDWR if is_shared else os.O_RDONLY) | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # another user's; what cannot be told is left alone
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if is_shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
