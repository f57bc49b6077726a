"""Cores and GPUs, handed out so that the machine is never asked for more than it has."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.train import cpus
from sweeplab.train.device import choose_device


@dataclass(frozen=True, slots=True)
class Lease:
    """What one job may use."""

    cores: int
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them
    share: float = 0.0  # of each of these
    node: str = ""  # where that is, if on another machine

    @property
    def environment(self) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}


@dataclass(slots=True)
class Leases:
    """What a machine has, and what of it is free."""

    cores: int
    gpus: list[str] = field(default_factory=list)
    workers: int | None = None  # at most so many leases at once; None: what cores and GPUs allow
    node: str = ""  # its name, if it is another machine
    _out: list[Lease] = field(default_factory=list)

    def take(self, cores: int, gpus: float = 0.0) -> Lease | None:
        """So many cores (all, if there are no more) and GPUs, or a share of one; None if they are not free now."""
        cores = min(cores, self.cores)
        if self.workers is not None and len(self._out) >= self.workers:
            return None
        if cores > self.cores - sum(lease.cores for lease in self._out):
            return None
        share = min(gpus, 1.0)
        free = sorted((self._used(gpu), gpu) for gpu in self.gpus if self._used(gpu) + share <= 1 + 1e-9)
        count = 0 if gpus == 0 else max(1, round(gpus))
        if len(free) < count:
            return None
        lease = Lease(cores, tuple(gpu for _, gpu in free[:count]), share if count else 0.0, self.node)
        self._out.append(lease)
        return lease

    @property
    def full(self) -> bool:
        """Whether there is certainly no room for another."""
        return len(self._out) == self.workers or sum(lease.cores for lease in self._out) >= self.cores

    def give(self, lease: Lease) -> None:
        """Back."""
        self._out.remove(lease)

    def _used(self, gpu: str) -> float:
        return sum(lease.share for lease in self._out if gpu in lease.gpus)


def of_this_machine(settings: Config) -> Leases:
    """All cores that this process may use, and all GPUs. Raises UserError if a job needs more GPUs than there are.

    More workers than cores are more than the machine has; who asks for them by number gets them.
    """
    workers = None if settings.sweep.workers == "auto" else int(settings.sweep.workers)
    asked = gpus_per_worker(settings)
    there = _gpus() if asked else []
    if asked > len(there):
        raise UserError(f"sweep.gpus_per_worker={asked:g}: this machine has {len(there)}")
    return Leases(cores=max(cpus.count(), workers or 0), gpus=there, workers=workers)


def gpus_per_worker(settings: Config) -> float:
    """How many GPUs (or which share of one) a job of this config leases; 0 on a CPU, or where it names its GPU."""
    device = choose_device(settings.trainer.device)
    if device.type != "cuda" or device.index is not None:
        return 0.0
    return settings.sweep.gpus_per_worker or 1.0


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
