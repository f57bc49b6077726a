"""Record what belongs to a run and is not hashed: code, versions, machine, how it is computed."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sweeplab import speed
from sweeplab.errors import one_line
from sweeplab.train import cpus, ranks
from sweeplab.train.device import Runtime

PACKAGES = (
    "sweeplab",
    "torch",
    "torchvision",
    "numpy",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "scikit-learn",
)

CLUSTER = {
    "slurm.job": "SLURM_JOB_ID",
    "slurm.array_job": "SLURM_ARRAY_JOB_ID",
    "slurm.array_task": "SLURM_ARRAY_TASK_ID",
    "slurm.node": "SLURMD_NODENAME",
    "ray.node": "RAY_NODE_ID",
}
"""What is recorded of a cluster, and the variable that tells it."""

_remembered: dict[Path, dict[str, Any]] = {}  # code and versions, by the folder where git was asked


def provenance(runtime: Runtime, folder: Path) -> dict[str, Any]:
    """Collect the provenance of a run; `folder` is where git is asked."""
    facts = {
        **(_remembered.get(folder) or _code_and_versions(folder)),
        "device": _device_name(runtime.device),
        "threads": runtime.threads,
    }
    if ranks.world_size() > 1:
        facts["ranks"] = ranks.world_size()
    facts |= {
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": cpus.model(),
        "cores": cpus.count(),
        "torch": {
            "cuda": torch.version.cuda,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "onednn": runtime.onednn,
        },
    }
    facts |= cluster()
    if speed.is_plain():
        facts["plain"] = True  # some of the tricks in `speed` change bits
    return facts


def cluster() -> dict[str, Any]:
    """Return by which job of Slurm, and on which node of Slurm or Ray, this process runs; {} if on none."""
    facts: dict[str, Any] = {}
    for key, variable in CLUSTER.items():
        value = os.environ.get(variable)
        if value:
            name, _, fact = key.partition(".")
            facts.setdefault(name, {})[fact] = value
    return facts


def remember(folder: Path) -> None:
    """Ask git and the packages once, for all processes that are forked from this one."""
    _remembered[folder] = _code_and_versions(folder)


def _code_and_versions(folder: Path) -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD", folder=folder)
    status = _git("status", "--porcelain", folder=folder)
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "git": {"commit": commit, "dirty": bool(status) if commit else None},
        "versions": versions,
    }


def _device_name(device: torch.device) -> str:
    return (
        f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    )


def _git(*arguments: str, folder: Path) -> str | None:
    """Return what git prints, as text; None where that fails."""
    printed = git(*arguments, folder=folder)
    return None if printed is None else printed.decode(errors="replace").strip()


def git(*arguments: str, folder: Path) -> bytes | None:
    """Return what git prints, or None where that fails. Nothing of the repository is changed."""
    return _call_git(*arguments, folder=folder)[0]


def why_no_git(folder: Path) -> str:
    """Return what git says against this folder: that it is in no repository, say."""
    return _call_git("rev-parse", "--show-toplevel", folder=folder)[1]


def _call_git(*arguments: str, folder: Path) -> tuple[bytes | None, str]:
    """Return what git prints, or None and why there is nothing."""
    try:
        done = subprocess.run(  # noqa: S603  # no shell
            ["git", "--no-optional-locks", *arguments],  # noqa: S607  # looked up on PATH as in a shell
            cwd=folder,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return None, one_line(error)
    if done.returncode == 0:
        return done.stdout, ""
    said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
    return None, said.splitlines()[0].removeprefix("fatal: ")
