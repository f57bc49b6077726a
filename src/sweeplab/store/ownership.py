"""Whose a store is: its id, and whether this folder was given it, was moved, or is a copy.

MLflow runs are told apart by the id. A copy of a folder has the same id in it, and would take the
runs of the other one for its own. So the place is kept beside the id: the path, the folder's number
on its disk (inode), and the machine.

- Another folder, at a place where this store has been, has the same id: this one is a copy.
- The same path: the same store, even if the inode is another one, as of a restored archive or of a
  network share. But the same path on another machine, on a disk of its own, is a copy.
- Another path, and the same inode: moved, or seen through another mount.
- Another path and another inode, and nothing is left at the old place: moved to another disk, if on
  the same machine; else a copy.
"""

from __future__ import annotations

import errno
import hashlib
import platform
import tempfile
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from sweeplab.store.files import DamagedError, read_json, write_json

FILE = "store.json"
KEPT = 20  # places and machines that are remembered
# File systems whose inodes may change.
FLEETING = ("fuse", "9p", "cifs", "smb", "overlay", "virtiofs", "drvfs")


@dataclass(frozen=True, slots=True)
class Here:
    """Where a folder is now."""

    path: str
    inode: int
    machine: str

    @classmethod
    def of(cls, root: Path) -> Here:
        path = root.resolve()
        return cls(str(path), path.stat().st_ino, machine())


def machine() -> str:
    """Identify this machine: a digest of the system's own id, or of the host's name."""
    try:
        name = Path("/etc/machine-id").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    return hashlib.sha256((name or platform.node()).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ownership:
    """What `store.json` says."""

    id: str
    owner: str  # of what was made in MLflow: another one once the folder is not surely the same one
    places: list[str] = field(default_factory=list)  # the latest last
    inode: int = 0
    machines: list[str] = field(default_factory=list)  # that have seen this inode
    # Ids of the stores that this is a copy of, the latest last.
    former: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The id before records said whose they are."""
        return self.former[0] if self.former else self.id

    @classmethod
    def read(cls, root: Path) -> Ownership | None:
        """Read the file; None if there is none yet. Raises DamagedError."""
        file = root / FILE
        try:
            values = read_json(file)
        except FileNotFoundError:
            return None
        known = {name: values[name] for name in cls.__slots__ if name in values}
        if not isinstance(known.get("id"), str) or not known["id"]:
            raise DamagedError(file, "it has no id")
        return cls(**{"owner": "", **known})


def settle(root: Path) -> tuple[Ownership, str | None]:
    """Find out and note whose the folder is; return that, and of what it is a copy, if it is.

    Raises DamagedError.
    """
    known = Ownership.read(root)
    if known is not None and _is_sure(known, root):
        return known, None
    try:
        with FileLock(root / "store.lock"):
            known = Ownership.read(root)
            if known is not None and _is_sure(known, root):
                return known, None
            now, original = _settled(root, known)
            write_json(root / FILE, asdict(now))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or known is None:
            raise
        return known, None  # it can only be read, and so nothing of it is sent
    return now, original


def _is_sure(known: Ownership, root: Path) -> bool:
    here = Here.of(root)
    is_same = known.places[-1:] == [here.path] and known.inode == here.inode
    return is_same and here.machine in known.machines


def _settled(root: Path, known: Ownership | None) -> tuple[Ownership, str | None]:
    here = Here.of(root)
    if known is None or not known.places:  # of a version that did not note them
        store_id = known.id if known else uuid.uuid4().hex
        known = Ownership(id=store_id, owner="", inode=-1, machines=[here.machine])
    original = _original(root, known, here)
    if original is not None:
        former = [*known.former, known.id]
        known = Ownership(id=uuid.uuid4().hex, owner="", inode=-1, former=former)
    if here.inode != known.inode:
        known = replace(known, owner=uuid.uuid4().hex, inode=here.inode, machines=[])
    places, machines = _last(known.places, here.path), _last(known.machines, here.machine)
    return replace(known, places=places, machines=machines), original


def _original(root: Path, known: Ownership, here: Here) -> str | None:
    """Tell of what this folder is a copy; None if it is none."""
    last = known.places[-1] if known.places else here.path
    if here.path == last and here.inode == known.inode:
        return None
    for path in reversed(known.places):
        if path != here.path and _is_another(Path(path), root, known.id):
            return path
    if here.inode == known.inode or here.machine in known.machines:
        return None
    if here.path == last and _kind(here.path).startswith(FLEETING):
        return None
    return f"{last} of another machine"


def _is_another(other: Path, root: Path, store_id: str) -> bool:
    """Tell whether there is a store of this id, and no other mount of the same folder."""
    try:
        if read_json(other / FILE).get("id") != store_id:
            return False
    except (OSError, DamagedError):
        return False
    with tempfile.NamedTemporaryFile(dir=root, prefix=f".{FILE}.") as probe:
        return not (other / Path(probe.name).name).exists()


def _kind(path: str) -> str:
    """Return the kind of the file system that holds this path; '' if it cannot be told."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind


def _last(values: list[str], value: str) -> list[str]:
    """Return the values with this one at the end, once."""
    return [*(one for one in values if one != value), value][-KEPT:]
