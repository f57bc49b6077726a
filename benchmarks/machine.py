"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "jax",
    "jaxlib",
    "optax",
    "hydra-core",
    "hydra-joblib-launcher",
    "mlflow",
    "numpy",
)


def cores() -> list[int]:
    """Those that this process may use; of none in particular where the system cannot say."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


def _lines(file: str, key: str) -> list[str]:
    """The values of a key in a file of `key : value` lines, as /proc has them."""
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(key)]


def bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices by itself."""
    flags = " ".join(_lines("/proc/cpuinfo", "flags")[:1]).split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def describe() -> dict[str, object]:
    names = _lines("/proc/cpuinfo", "model name") or [platform.processor() or platform.machine()]
    return {
        "cpu": names[0],
        "cores": len(cores()),
        "bf16": bf16(),
        "memory": next(iter(_lines("/proc/meminfo", "MemTotal")), None),
        "platform": platform.platform(),
        "load": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
