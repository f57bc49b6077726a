"""How a run is computed: device, threads, precision, determinism, random streams; and the record of all that."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import random
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeplab.config import Trainer
from sweeplab.errors import UserError, did_you_mean
from sweeplab.train import cpus, ranks

PACKAGES = ("sweeplab", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "mlflow", "scikit-learn")
DEVICES = ("cpu", "cuda", "mps")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h

# Weights without gradients decay into numbers so small that a CPU takes many times as long for each; they count as 0.
# Set here, since torch's threads take it over from the one that makes them, and that is at the first work.
torch.set_flush_denormal(True)


@dataclass(kw_only=True, slots=True, frozen=True)
class Runtime:
    """Where and how a run computes."""

    device: torch.device
    threads: int
    precision: str  # fp32 | bf16
    onednn: bool = False  # whether oneDNN computes the linear layers, instead of MKL

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass: bf16 where it is asked for (weights and gradients stay fp32)."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def choose_device(name: str) -> torch.device:
    """`auto` -> cuda, else mps, else cpu. Raises UserError for a device that is unknown or not here."""
    if name == "auto":
        return torch.device("cuda" if _here("cuda") else "mps" if _here("mps") else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"trainer.device={name}: no such device{did_you_mean(name, ('auto', *DEVICES))}") from error
    if device.type not in DEVICES:
        raise UserError(f"trainer.device={name}: must be one of auto, {', '.join(DEVICES)}")
    if not _here(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(
            f"trainer.device={name}: there is none on this machine; trainer.device=auto takes what there is"
        )
    return device


def _here(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or torch.backends.mps.is_available()


def cores() -> int:
    """CPU cores that this process may use."""
    return cpus.count()


def start(trainer: Trainer, resumed: int | None = None, *, alone: bool = True) -> Runtime:
    """Set the process up for a run: device, threads, reproducible operations.

    The threads are those of the run that is resumed, else as configured, else OMP_NUM_THREADS, else all cores; but one
    where a run is not alone.
    """
    device = choose_device(trainer.device)
    threads = resumed or trainer.threads or (_threads() if alone else 1)
    torch.set_num_threads(threads)
    keep_memory()
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # read when CUDA starts; cuBLAS is not reproducible without
    if trainer.compile:
        torch.use_deterministic_algorithms(trainer.deterministic)
    else:  # the same, but for the import of torch._inductor, which is to be told, too
        torch.set_deterministic_debug_mode("error" if trainer.deterministic else "default")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010  # torch's stubs lack it; a debugging aid that costs a write of every tensor
    torch.backends.cudnn.benchmark = False
    onednn = device.type == "cpu" and not trainer.compile and mkl_is_slow()
    return Runtime(device=device, threads=threads, precision=trainer.precision, onednn=onednn)


def _threads() -> int:
    """Threads of a run that is alone: OMP_NUM_THREADS, as of any PyTorch program, but at most all cores."""
    return min(cpus.asked() or cores(), cores())


def mkl_is_slow() -> bool:
    """Whether this CPU has AVX-512 and is not Intel's: MKL then computes without it, half as fast as oneDNN."""
    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return both and torch.backends.cpu.get_cpu_capability() == "AVX512" and "GenuineIntel" not in _cpu_vendor()


def _cpu_vendor() -> str:
    """As the kernel names it; '' where it does not."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            return next((line for line in lines if line.startswith("vendor_id")), "")
    except OSError:
        return ""


def keep_memory() -> None:
    """Tell glibc to keep what is freed: a step frees what the next one needs, and mapping it anew costs page faults."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library may have none
    if mallopt is not None:
        for parameter, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)


RandomState = dict[str, Any]
"""The state of the global random streams, in types that a checkpoint may hold."""


def seed_stream(seed: int, stream: str) -> None:
    """Seed the global generators of torch, `random` and numpy for one purpose: `initialisation`, `dropout`, ...

    The streams of two purposes, and those of two seeds, are independent of each other.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    random.seed(digest[8:])
    np.random.seed(np.frombuffer(digest[8:], dtype=np.uint32))  # the generator that users' code draws from


def random_state(device: torch.device) -> RandomState:
    """Take the state of the global generators, which dropout and users' own code draw from."""
    version, words, gauss = random.getstate()
    algorithm, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # as above
    state: RandomState = {
        "cpu": torch.get_rng_state(),
        "python": (version, torch.tensor(words), gauss),
        "numpy": (algorithm, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: RandomState) -> None:
    """Go on where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    algorithm, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # as above
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class RandomStreams:
    """The global random streams (torch, `random`, numpy) of one of several runs that share a process, on the CPU.

    They begin as the process's are now. As a context manager they become the process's, and keep where they get to.
    """

    def __init__(self) -> None:
        self._keep()

    def __enter__(self) -> RandomStreams:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._keep()

    def restore(self) -> None:
        """Set the process's streams back to these."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # as above

    def moved(self) -> bool:
        """Whether anything was drawn from the process's streams since they were these."""
        now = RandomStreams()
        if not torch.equal(self._torch, now._torch) or self._python != now._python:
            return True
        algorithm, keys, *rest = self._numpy
        algorithm_now, keys_now, *rest_now = now._numpy
        return (algorithm, rest) != (algorithm_now, rest_now) or not np.array_equal(keys, keys_now)

    def _keep(self) -> None:
        # Not as `random_state` takes it: what a checkpoint may hold takes three times as long to make.
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = np.random.get_state(legacy=True)  # as above


def provenance(runtime: Runtime, folder: Path) -> dict[str, Any]:
    """What is recorded beside the config of a run, and not hashed; `folder` is where git is asked."""
    return {
        **(_remembered.get(folder) or _origin(folder)),
        "device": _device_name(runtime.device),
        "threads": runtime.threads,
        **({"ranks": ranks.count()} if ranks.count() > 1 else {}),
        "platform": platform.platform(),
        "cores": cores(),
        "torch": {
            "cuda": torch.version.cuda,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "onednn": runtime.onednn,
        },
    }


_remembered: dict[Path, dict[str, Any]] = {}


def remember(folder: Path) -> None:
    """Ask git and the packages now and not again: what is forked from this process is of one state of the code."""
    _remembered[folder] = _origin(folder)


def _origin(folder: Path) -> dict[str, Any]:
    commit, status = _git("rev-parse", "HEAD", folder=folder), _git("status", "--porcelain", folder=folder)
    return {
        "git": {"commit": commit, "dirty": bool(status) if commit else None},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    return {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments
            ["git", *arguments],  # noqa: S607  # looked up on PATH as in a shell
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
