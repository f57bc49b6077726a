"""The folder in which the sweeps of a machine note what they have leased, and what they wait for.

A note is a file that is locked by the processes that it speaks of. The kernel takes the lock from
those that die, however they die, and a file without a lock counts for nothing: whoever reads next
removes it. Files are read and added only by who has locked the folder itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from sweeplab import store

VARIABLE, OFF = "SWEEPLAB_LEASES", "off"  # an environment variable: another folder, or none
STALE = 2.0  # seconds after which a waiting sweep that no longer looks has no precedence


@dataclass(kw_only=True, slots=True)
class Note:
    """What a sweep has leased for a job, or waits for."""

    who: str
    cpus: list[int]  # those that it may use
    cores: float = 0.0  # how many of them it has leased
    gpus: list[str] = field(default_factory=list)
    share: float = 0.0  # of each of these
    lacks: str = ""  # of one that waits: what there is too little of
    priority: int = 0
    since: float = 0.0  # Unix seconds


class NoteFile:
    """A note that is valid until it is removed, or until all processes that have it open have died.

    Given to a process that multiprocessing starts, it is open there, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._descriptor: int | None = os.open(path, flags, 0o644)
        os.fchmod(self._descriptor, 0o644)  # whatever the umask: other users have to read it
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, note: Note) -> None:
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(asdict(note)).encode(), 0)

    def close(self) -> None:
        """Leave the note to the other processes that have it open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        assert self._descriptor is not None
        return _opened, (reduction.DupFd(self._descriptor),)


def _opened(handle: Any) -> int:
    descriptor: int = handle.detach()
    return descriptor


class Ledger:
    """The notes of the sweeps of this machine; what this object adds is its own."""

    def __init__(self) -> None:
        """Make the folder. Raises OSError if there is no place for one that is this user's alone."""
        self._folder = _folder()
        self._name = uuid.uuid4().hex[:12]
        self._added = 0

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Lock the folder and yield True, or False if another process has it: for a moment only."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield False
            return
        try:
            yield True
        finally:
            os.close(descriptor)

    def add(self, note: Note) -> NoteFile:
        self._added += 1
        file = NoteFile(self._folder / f"{self._name}-{self._added}")
        file.write(note)
        return file

    def others(self) -> list[Note]:
        """Read the valid notes of others, without waiting sweeps that have ceased to look."""
        notes = []
        for path in self._folder.iterdir():
            if path.name.startswith(self._name):
                continue
            if not store.locked(path):
                with suppress(PermissionError):  # another user's, who alone may remove it
                    path.unlink(missing_ok=True)
                continue
            note = _read(path)
            if note is not None:
                notes.append(note)
        return notes


def _read(path: Path) -> Note | None:
    """Read a note; None if it does not count, or another version wrote it in another form."""
    try:
        values = json.loads(path.read_bytes())
        known = {key.name: values[key.name] for key in fields(Note) if key.name in values}
        note = Note(**known)
        is_stale = bool(note.lacks) and time.time() - path.stat().st_mtime > STALE
    except (OSError, ValueError, TypeError):
        return None
    return None if is_stale else note


def _folder() -> Path:
    """Make and return the folder: of this user and, as locks are, of the running kernel.

    XDG_RUNTIME_DIR would be gone with the last login, and jobs may outlive that.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:  # who chooses a folder answers for who may write in it
        folder = Path(chosen).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    boot = Path("/proc/sys/kernel/random/boot_id")
    kernel = boot.read_text(encoding="utf-8")[:8] if boot.exists() else platform.node()
    folder = Path(tempfile.gettempdir()) / f"sweeplab-{os.getuid()}-{kernel}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    is_private = status.st_uid == os.getuid() and not status.st_mode & 0o077
    if not stat.S_ISDIR(status.st_mode) or not is_private:
        raise PermissionError(0, "is not a folder of yours alone", str(folder))
    return folder
