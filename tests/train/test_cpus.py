"""Cores: of the affinity, and within the quota of control groups as the kernel shows them (man 7 cgroups, man 5 proc)."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from sweeplab.train import cpus


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def process(root: Path, groups: str, *mounts: str) -> Path:
    """A folder as /proc/self: its control groups, and where these are mounted."""
    folder = root / "proc"
    write(folder / "cgroup", groups)
    lines = [f"{31 + n} 23 0:{28 + n} {mount}" for n, mount in enumerate(mounts)]
    write(
        folder / "mountinfo",
        "".join(f"{line}\n" for line in ["23 1 0:21 / / rw - ext4 /dev/sda1 rw", *lines]),
    )
    return folder


def version_2(root: Path, group: str, mounted: str = "/") -> Path:
    return process(
        root, f"0::{group}\n", f"{mounted} {root}/fs rw,relatime shared:4 - cgroup2 cgroup2 rw"
    )


def version_1(root: Path, group: str, mounted: str = "/") -> Path:
    groups = f"9:name=systemd:/else\n3:cpuset:/\n2:cpu,cpuacct:{group}\n0::/else\n"
    return process(
        root,
        groups,
        f"{mounted} {root}/set rw - cgroup cgroup rw,cpuset",
        f"{mounted} {root}/fs rw - cgroup cgroup rw,cpu,cpuacct",
        f"/ {root}/unified rw - cgroup2 cgroup2 rw",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", math.inf),
        ("200000 100000", 2.0),
        ("50000 100000", 0.5),
        ("250000 100000", 2.5),
        ("25000 10000", 2.5),
        ("no number", math.inf),
        ("", math.inf),
        ("100000 0", math.inf),
    ],
)
def test_the_quota_of_version_2(tmp_path: Path, text: str, expected: float) -> None:
    write(tmp_path / "fs/cpu.max", text)
    assert cpus.quota(version_2(tmp_path, "/")) == expected


@pytest.mark.parametrize(
    ("allowed", "period", "expected"),
    [("-1", "100000", math.inf), ("200000", "100000", 2.0), ("150000", "50000", 3.0)],
)
def test_the_quota_of_version_1(tmp_path: Path, allowed: str, period: str, expected: float) -> None:
    write(tmp_path / "fs/cpu.cfs_quota_us", f"{allowed}\n")
    write(tmp_path / "fs/cpu.cfs_period_us", f"{period}\n")
    assert cpus.quota(version_1(tmp_path, "/")) == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"": "max 100000", "a": "400000 100000", "a/b": "max 100000"}, 4.0),
        ({"a": "400000 100000", "a/b": "300000 100000"}, 3.0),
        ({"a": "200000 100000", "a/b": "300000 100000"}, 2.0),
        ({"other": "100000 100000"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_least_quota_of_nested_groups_counts(
    tmp_path: Path, limits: dict[str, str], expected: float
) -> None:
    for group, text in limits.items():
        write(tmp_path / "fs" / group / "cpu.max", text)
    assert cpus.quota(version_2(tmp_path, "/a/b")) == expected


def test_nested_groups_of_version_1(tmp_path: Path) -> None:
    for group, allowed in (
        ("", "-1"),
        ("slurm", "800000"),
        ("slurm/job_7", "300000"),
        ("slurm/job_7/step_0", "-1"),
    ):
        write(tmp_path / "fs" / group / "cpu.cfs_quota_us", allowed)
        write(tmp_path / "fs" / group / "cpu.cfs_period_us", "100000")
    assert cpus.quota(version_1(tmp_path, "/slurm/job_7/step_0")) == 3.0


@pytest.mark.parametrize("version", [version_1, version_2])
@pytest.mark.parametrize(
    ("group", "mounted"),
    [("/docker/77", "/docker/77"), ("/docker/77", "/kubepods/pod1"), ("/../../other", "/")],
)
def test_in_a_container_its_own_group_is_what_is_mounted(
    tmp_path: Path, version: type, group: str, mounted: str
) -> None:
    write(tmp_path / "fs/cpu.max", "200000 100000")
    write(tmp_path / "fs/cpu.cfs_quota_us", "200000")
    write(tmp_path / "fs/cpu.cfs_period_us", "100000")
    assert cpus.quota(version(tmp_path, group, mounted)) == 2.0


def test_a_mount_whose_path_has_a_space(tmp_path: Path) -> None:
    write(tmp_path / "f s/cpu.max", "200000 100000")
    there = process(tmp_path, "0::/\n", f"/ {tmp_path}/f\\040s rw - cgroup2 cgroup2 rw")
    assert cpus.quota(there) == 2.0


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    assert cpus.quota(tmp_path) == math.inf, "as on a system without control groups"
    write(tmp_path / "fs/cpu.max/file", "")
    assert cpus.quota(version_2(tmp_path, "/")) == math.inf
    write(tmp_path / "proc/cgroup", "0::/\ntorn")
    assert cpus.quota(tmp_path / "proc") == math.inf


@pytest.mark.parametrize(
    ("quota", "expected"), [(math.inf, 8), (64.0, 8), (2.0, 2), (2.5, 3), (0.5, 1), (0.0, 1)]
)
def test_cores_are_those_that_the_quota_pays_for(
    monkeypatch: pytest.MonkeyPatch, quota: float, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "quota", lambda: quota)
    assert cpus.count() == expected
