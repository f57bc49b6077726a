"""Where and how a run computes: device, threads, precision, and reproducible operations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.amp import GradScaler

from sweeplab.config import Trainer
from sweeplab.data import seeding
from sweeplab.errors import UserError, did_you_mean
from sweeplab.speed import denormals, malloc, onednn
from sweeplab.train import cpus

DEVICES = ("cpu", "cuda", "mps")
FILL = "fill_uninitialized_memory"


@dataclass(kw_only=True, slots=True, frozen=True)
class Runtime:
    """Where and how a run computes."""

    device: torch.device
    threads: int
    precision: str  # fp32 | bf16 | fp16
    onednn: bool = False  # whether oneDNN computes the linear layers, instead of MKL

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass; weights and their gradients stay fp32."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def new_scaler(self) -> GradScaler | None:
        """Return what scales a loss in fp16, whose small gradients would be 0; else None."""
        return GradScaler(self.device.type) if self.precision == "fp16" else None


def choose_device(name: str) -> torch.device:
    """Resolve a device's name; `auto` is cuda, else mps, else cpu.

    Raises UserError for a device that is unknown or not on this machine.
    """
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if _is_available(kind)))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        near = did_you_mean(name.lower().replace("gpu", "cuda"), ("auto", *DEVICES))
        raise UserError(f"trainer.device={name}: no such device{near}") from error
    if device.type not in DEVICES:
        raise UserError(f"trainer.device={name}: must be one of auto, {', '.join(DEVICES)}")
    if not _is_available(device.type, device.index or 0):
        advice = "trainer.device=auto takes what there is"
        raise UserError(f"trainer.device={name}: there is none on this machine; {advice}")
    return device


def _is_available(kind: str, index: int = 0) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available() and index < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


@contextmanager
def put_back() -> Iterator[None]:
    """Compute meanwhile under PyTorch's own defaults, whatever the program has set.

    Afterwards put back the program's settings, which `set_up` changes, and its random generators.

    So a run has the same bits in a notebook as in a process of its own, and the next cell finds
    what it left.
    """
    switches = _switches()
    device = torch.get_default_device()
    if device.type != "cpu":
        torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    try:
        with seeding.preserved(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for switch, value in switches:
            switch(value)
        if device.type != "cpu":
            torch.set_default_device(device)


def _switches() -> list[tuple[Callable[[Any], object], Any]]:
    """List the PyTorch settings that a run depends on: the function that sets each, and its value."""
    deterministic, cudnn = torch.utils.deterministic, torch.backends.cudnn
    # There is no other way to ask: denormal numbers are 0 then.
    is_flushed = (torch.tensor(1e-40) * 1).item() == 0
    return [
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()),
        (torch.set_num_threads, torch.get_num_threads()),
        (torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode()),
        (torch.set_flush_denormal, is_flushed),
        (partial(setattr, deterministic, FILL), getattr(deterministic, FILL)),
        (partial(setattr, cudnn, "benchmark"), cudnn.benchmark),
    ]


def set_up(trainer: Trainer, resumed_threads: int | None = None, *, alone: bool = True) -> Runtime:
    """Set the process up for a run: device, threads, reproducible operations.

    The number of threads is that of the run that is resumed, else as configured, else
    OMP_NUM_THREADS (as in any PyTorch program), else all cores; a run that is not alone, as in a
    sweep, gets one.
    """
    device = choose_device(trainer.device)
    default_threads = min(cpus.openmp_threads() or cpus.count(), cpus.count()) if alone else 1
    threads = resumed_threads or trainer.threads or default_threads
    denormals.flush()
    malloc.keep_freed_memory()
    torch.set_num_threads(threads)
    # CUDA reads this when it starts; cuBLAS is not reproducible without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if trainer.compile:
        torch.use_deterministic_algorithms(trainer.deterministic)
    else:
        # The same, without the import of torch._inductor, which only compiling needs.
        torch.set_deterministic_debug_mode("error" if trainer.deterministic else "default")
    # A debugging aid, on by default, that writes every new tensor once more; torch's stubs lack it.
    setattr(torch.utils.deterministic, FILL, False)
    torch.backends.cudnn.benchmark = False
    return Runtime(
        device=device,
        threads=threads,
        precision=trainer.precision,
        onednn=device.type == "cpu" and not trainer.compile and onednn.pays_off(),
    )
