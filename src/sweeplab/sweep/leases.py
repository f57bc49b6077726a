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
        """Lease cores, at most all, and GPUs or a share of one; None if they are not free."""
        cores = min(cores, self.cores)
        if self.workers is not None and len(self._out) >= self.workers:
            return None
        if cores > self.cores - self._used_cores:
            return None
        share = min(gpus, 1.0)
        count = 0 if gpus == 0 else max(1, round(gpus))
        used = {gpu: self._used_share(gpu) for gpu in self.gpus}
        free = [gpu for gpu in self.gpus if used[gpu] + share <= 1 + 1e-9]
        if len(free) < count:
            return None
        least_used = sorted(free, key=lambda gpu: (used[gpu], gpu))
        lease = Lease(cores, tuple(least_used[:count]), share, self.node)
        self._out.append(lease)
        return lease

    @property
    def full(self) -> bool:
        """Whether there is certainly no room for another."""
        return len(self._out) == self.workers or self._used_cores >= self.cores

    def give(self, lease: Lease) -> None:
        """Return a lease."""
        self._out.remove(lease)

    @property
    def _used_cores(self) -> int:
        return sum(lease.cores for lease in self._out)

    def _used_share(self, gpu: str) -> float:
        return sum(lease.share for lease in self._out if gpu in lease.gpus)


def of_this_machine(settings: Config) -> Leases:
    """Return what this process may use: its cores, and all GPUs if jobs need some.

    A number of workers above that of the cores is granted. Raises UserError if a job needs more
    GPUs than there are.
    """
    workers = None
    if settings.sweep.workers != "auto":
        workers = int(settings.sweep.workers)
    needed = gpus_per_worker(settings)
    gpus = _gpus() if needed else []
    if needed > len(gpus):
        raise UserError(f"sweep.gpus_per_worker={needed:g}: this machine has {len(gpus)}")
    return Leases(cores=max(cpus.count(), workers or 0), gpus=gpus, workers=workers)


def gpus_per_worker(settings: Config) -> float:
    """Return how many GPUs, or which share of one, a job leases.

    That is 0 for a job on a CPU, and for one that names its GPU.
    """
    device = choose_device(settings.trainer.device)
    if device.type != "cuda" or device.index is not None:
        return 0.0
    return settings.sweep.gpus_per_worker or 1.0


def gpus_elsewhere(settings: Config) -> float:
    """Return how many GPUs, or which share of one, a job leases on another machine.

    Unlike on this machine, `trainer.device=auto` with `sweep.gpus_per_worker` asks for GPUs: the
    others may have some where the launcher has none.
    """
    if settings.trainer.device == "auto" and settings.sweep.gpus_per_worker:
        return settings.sweep.gpus_per_worker
    return gpus_per_worker(settings)


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return visible.split(",")
    return [str(index) for index in range(torch.cuda.device_count())]


def of_worker() -> Leases:
    """Return what a worker of a cluster may use: what Slurm has given it, or else all there is."""
    cores = cpus.count()
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        cores = int(granted)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return Leases(cores=cores, gpus=[gpu for gpu in visible.split(",") if gpu])
