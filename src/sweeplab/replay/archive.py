"""The file of a packed sweep: a tar archive in gzip, whose first member lists all others.

gzip is what Python 3.11 packs and unpacks fastest of what it has, and it cannot blow up a file by
more than about 1,000 times. The same members make the same bytes: no time, owner or mode is kept.
Names, sizes and digests are checked before a member is written, so that nothing else than what is
listed, and allowed, ever reaches the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sweeplab.errors import UserError, first_line
from sweeplab.store.files import replacing

FORMAT = 1
MANIFEST, SWEEP, RUNS, WEIGHTS, CODE = "manifest.json", "sweep.json", "runs", "weights", "code"
MIB = 2**20
_PART = r"[A-Za-z_][A-Za-z0-9_]*"
ALLOWED = {
    rf"{SWEEP}": 16 * MIB,
    rf"{RUNS}/[0-9a-f]{{16}}\.jsonl": 16 * MIB,  # some 40,000 epochs
    rf"{WEIGHTS}/[0-9a-f]{{16}}\.safetensors": 16384 * MIB,
    rf"{CODE}/(?:{_PART}/){{0,8}}{_PART}\.py": 4 * MIB,
}
"""The names that members may have, and the most bytes of each."""
LONGEST_NAME = 100
MOST_MEMBERS = 100_000
MOST_TIMES = 50  # the size of the file: real ones unpack to about 10 times
MOST_VALUES = 500_000  # in a record: parsed, each takes up to 100 bytes of memory
_BLOCK, _CHUNK, _PACKED_CHUNK = 512, MIB, 2**16
_LONGEST_LIST = 16 * MIB
_MEMBER_PACKED = 64  # bytes that a member takes at least in a real file: no digest can be packed
_END = bytes(2 * _BLOCK)


@dataclass(kw_only=True, slots=True, frozen=True)
class ArchiveMember:
    """An entry of the archive's list."""

    name: str
    size: int
    sha256: str


def is_allowed(name: str) -> bool:
    """Whether a member may have this name."""
    return _limit(name) > 0


def _limit(name: str) -> int:
    """Return the most bytes of a member of this name; 0 if no member may have it."""
    for pattern, limit in ALLOWED.items():
        if len(name) <= LONGEST_NAME and re.fullmatch(pattern, name, re.ASCII):
            return limit
    return 0


def fits(name: str, record: bytes) -> bool:
    """Whether a record may be a member of this name."""
    return len(record) <= _limit(name) and _count_values(record) <= MOST_VALUES


def write(file: Path, about: Mapping[str, Any], members: Mapping[str, bytes | Path]) -> None:
    """Write an archive, whole or not at all; `about` is what its list says besides."""
    listed = [(name, *_measured(members[name])) for name in sorted(members)]
    head = json.dumps({"format": FORMAT, **about, "members": listed}).encode()
    with replacing(file) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        packed.write(_header(MANIFEST, len(head)) + head + _padding(len(head)))
        for name, size, _ in listed:
            packed.write(_header(name, size))
            _put(packed, members[name])
            packed.write(_padding(size))
        packed.write(_END)


def _measured(content: bytes | Path) -> tuple[int, str]:
    """Return size and SHA-256."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _put(packed: gzip.GzipFile, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        packed.write(content)
        return
    with content.open("rb") as file:
        shutil.copyfileobj(file, packed, _CHUNK)


def _header(name: str, size: int) -> bytes:
    """Write the one header that a member of this name and size can have."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


# --- reading what may come from anyone


def extract(file: Path, folder: Path) -> dict[str, Any]:
    """Write the members of an archive into an empty folder; return its list, without the members.

    Raises UserError for a file that is not exactly what `write` makes. The folder may then hold
    some members, under allowed names only.
    """
    try:
        with file.open("rb") as raw:
            packed = _Unzipped(raw)
            about = _read_list(packed)
            members = _members(about.pop("members", None), file.stat().st_size)
            _ensure_space(members, folder)
            for member in members:
                _extract_one(packed, member, folder)
            _ensure_end(packed)
    except UserError as error:
        raise UserError(f"{file}: refused: {error}") from error
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise UserError(f"{file}: {error.strerror}") from error
        raise UserError(f"{file}: refused: {first_line(error)}") from error
    except EOFError as error:
        raise UserError(f"{file}: refused: {first_line(error)}") from error
    except zlib.error as error:
        reason = f"it is damaged, or no file of sweeplab pack ({first_line(error)})"
        raise UserError(f"{file}: refused: {reason}") from error
    return about


class _Unzipped:
    """The content of one gzip stream: `gzip` would look for further ones, for as long as there are
    any.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._stream = raw, zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def read(self, size: int) -> bytes:
        """Return so many bytes, or those up to the end. Raises EOFError, zlib.error."""
        content = bytearray()
        while len(content) < size and not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._raw.read(_PACKED_CHUNK)
            unpacked = self._stream.decompress(packed, size - len(content))
            if not packed and not unpacked:
                raise EOFError("it ends too early")
            content += unpacked
        return bytes(content)

    def has_more(self) -> bool:
        """Whether anything follows, in the stream or behind it."""
        return bool(self.read(1) or self._stream.unused_data or self._raw.read(1))


def _ensure_end(packed: _Unzipped) -> None:
    if packed.read(len(_END)) != _END or packed.has_more():
        raise UserError("something stands after its last member")


def _count_values(text: bytes) -> int:
    """Count what JSON holds, at least: a sign stands before each item of a list or mapping."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _read_list(packed: _Unzipped) -> dict[str, Any]:
    size = _declared_size(packed.read(_BLOCK))
    if not 0 < size <= _LONGEST_LIST:
        raise UserError("it does not begin with the list of its members")
    content = packed.read(size + len(_padding(size)))
    if _count_values(content) > MOST_VALUES:
        raise UserError(f"its list holds more than {MOST_VALUES:,} values")
    try:
        about = json.loads(content[:size].decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"its list: {first_line(error)}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError("it is of another format; this version of sweeplab reads format 1")
    return about


def _declared_size(header: bytes) -> int:
    """Read the size in the header of the list; 0 if it is the header of anything else."""
    try:
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
    except (tarfile.HeaderError, ValueError):
        return 0
    return size if 0 <= size < 2**33 and header == _header(MANIFEST, size) else 0


def _members(listed: object, packed_size: int) -> list[ArchiveMember]:
    """Check the list of members: names, sizes, duplicates. Raises UserError."""
    most = min(1000 + packed_size // _MEMBER_PACKED, MOST_MEMBERS)
    if not isinstance(listed, list) or len(listed) > most:
        raise UserError(f"its list is none of at most {most:,} members, as a file of its size has")
    members = [_member(entry) for entry in listed]
    names = {member.name.casefold() for member in members}
    if len(names) < len(members):
        raise UserError("two members have the same name")
    if [member.name for member in members] != sorted(member.name for member in members):
        raise UserError("its members are not in order")
    if sum(member.size for member in members) > MOST_TIMES * packed_size + MIB:
        raise UserError(f"it would unpack to more than {MOST_TIMES} times its size")
    return members


def _member(entry: object) -> ArchiveMember:
    match entry:
        case [str(name), int(size), str(sha256)]:
            if not is_allowed(name):
                raise UserError(f"{name[:LONGEST_NAME]!r} is no name of a member")
            if type(size) is not int or not 0 <= size <= _limit(name):
                raise UserError(f"{name}: is too large, or its size is no number")
            return ArchiveMember(name=name, size=size, sha256=sha256)
    raise UserError("its list has an entry that is not [name, bytes, sha256]")


def _ensure_space(members: list[ArchiveMember], folder: Path) -> None:
    total = sum(member.size for member in members)
    if total > shutil.disk_usage(folder).free:
        raise UserError(f"it needs {math.ceil(total / MIB):,} MiB, and there is no such space left")


def _extract_one(packed: _Unzipped, member: ArchiveMember, folder: Path) -> None:
    """Write the next member, which has to be this one. Raises UserError."""
    if packed.read(_BLOCK) != _header(member.name, member.size):
        raise UserError(f"{member.name}: is not what the list says comes next")
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left, values = hashlib.sha256(), member.size, 0
    is_record = target.suffix in (".json", ".jsonl")
    with target.open("xb") as file:
        while left:
            chunk = packed.read(min(left, _CHUNK))
            if not chunk:
                raise UserError("it ends too early")
            values += _count_values(chunk) if is_record else 0
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    if values > MOST_VALUES:
        raise UserError(f"{member.name}: holds more than {MOST_VALUES:,} values")
    if digest.hexdigest() != member.sha256:
        raise UserError(f"{member.name}: its content does not fit its digest")
    if any(packed.read(len(_padding(member.size)))):
        raise UserError(f"{member.name}: something stands behind it")
