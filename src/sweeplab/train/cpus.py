"""How many CPU cores this process may use: by affinity, control groups and OMP_NUM_THREADS."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


def count() -> int:
    """Count the CPU cores of this process's affinity, but no more than its quota pays for.

    `docker run --cpus=2` on 64 cores leaves all 64 in the affinity, and makes whoever uses them
    wait.
    """
    return max(1, math.ceil(min(len(usable()), quota())))


def usable() -> list[int]:
    """List the CPU cores of this process's affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def openmp_threads() -> int | None:
    """Read OMP_NUM_THREADS, the threads of a program that uses OpenMP; None where it is no number.

    A list is of nested levels: the first counts. What libgomp does not take is not taken here.
    """
    levels = [level.strip() for level in os.environ.get("OMP_NUM_THREADS", "").split(",")]
    if not all(re.fullmatch(r"\+?0*[1-9][0-9]{0,8}", level) for level in levels):
        return None
    return int(levels[0])


def quota(process: Path = PROCESS) -> float:
    """Return the CPU time that the control groups of a process get, in seconds a second.

    It is infinite where nothing limits it.
    """
    return min(_limits(process), default=math.inf)


def _limits(process: Path) -> Iterator[float]:
    """Read the quota of each visible control group of a process, and of each that it lies in."""
    with suppress(OSError, ValueError):
        groups = _groups(process)
        for kind, root, mounted in _mounts(process):
            if kind not in groups:
                continue
            for folder in _folders(root, mounted, groups[kind]):
                # The topmost group has no such file.
                with suppress(OSError, ValueError, ZeroDivisionError):
                    allowed, period = _quota_of(folder, kind)
                    if allowed > 0:  # -1: no limit
                        yield allowed / period


def _groups(process: Path) -> dict[str, str]:
    """Return the control groups that limit CPU time, by file system type.

    Of version 1 it is the hierarchy with `cpu` in its name.
    """
    groups: dict[str, str] = {}
    for line in _read(process / "cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            groups["cgroup2"] = group
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = group
    return groups


def _mounts(process: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the mounted control groups that may limit CPU time.

    Each is (file system type, the group at its root, where it is mounted).
    """
    for line in _read(process / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            root, mounted = (_unescaped(word) for word in before.split(" ")[3:5])
            yield kind, root, Path(mounted)


def _unescaped(word: str) -> str:
    """Decode a path as the kernel writes it there: a space is \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _folders(root: str, mounted: Path, group: str) -> Iterator[Path]:
    """Yield the folder of the control group, if it can be seen, and those that it lies in."""
    inside = PurePosixPath(group)
    below = PurePosixPath()
    # In a container the group may be named as its host does, while its own is all that is mounted.
    if inside.is_relative_to(root):
        below = inside.relative_to(root)
    if ".." in below.parts:  # outside of the namespace of this process
        below = PurePosixPath()
    for part in (below, *below.parents):
        yield mounted / part


def _quota_of(folder: Path, kind: str) -> tuple[float, float]:
    """Read (microseconds of CPU time, in how many); the first is not positive without a limit."""
    if kind == "cgroup2":
        allowed, period = _read(folder / "cpu.max").split()
        return (-1.0 if allowed == "max" else float(allowed)), float(period)
    return float(_read(folder / "cpu.cfs_quota_us")), float(_read(folder / "cpu.cfs_period_us"))


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def model() -> str:
    """Return the CPU's name, as the kernel has it, else its architecture: other kinds round otherwise."""
    with suppress(OSError, UnicodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
