"""Cores and GPUs, handed out so that the machine is never asked for more than it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.sweep.ledger import NoteFile
from sweeplab.train import cpus
from sweeplab.train.device import choose_device

WORKERS, CORES, GPUS = "workers", "cores", "GPUs"  # what there may be too little of
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Lease:
    """What one job may use."""

    cores: float
    gpus: tuple[str, ...] = ()  # their names, for CUDA_VISIBLE_DEVICES
    share: float = 0.0  # of each of these
    node: str = ""  # where that is, if on another machine
    file: NoteFile | None = field(default=None, compare=False)  # by which other sweeps know of it

    def environment(self, device: str) -> dict[str, str]:
        """Return what shows a job its GPUs alone; `auto` is to take none that is not leased."""
        if self.gpus or device == "auto":
            return {VISIBLE: ",".join(self.gpus)}
        return {}


@dataclass(slots=True)
class Leases:
    """The cores and GPUs of a machine, and which of them this process has leased."""

    cores: int
    gpus: list[str] = field(default_factory=list)
    workers: int | None = None  # at most so many leases at once; None: what cores and GPUs allow
    node: str = ""  # its name, if it is another machine
    is_queued: bool = False  # whether the last lease that was wanted waits for other sweeps
    _out: list[Lease] = field(default_factory=list)

    def take(self, cores: int, gpus: float = 0.0, others: Sequence[Lease] = ()) -> Lease | None:
        """Lease cores, at most all, and GPUs or a share of one; None if they are not free.

        `others` is what others have leased.
        """
        if self.lack(cores, gpus, others):
            return None
        chosen = self._free_gpus(gpus, others)[: _count(gpus)]
        lease = Lease(min(cores, self.cores), tuple(chosen), min(gpus, 1.0), self.node)
        self._out.append(lease)
        return lease

    def could_take(self, cores: int, gpus: float) -> bool:
        """Tell whether such a lease can be had once all is free."""
        return cores <= self.cores and _count(gpus) <= len(self.gpus)

    def lack(self, cores: int, gpus: float = 0.0, others: Sequence[Lease] = ()) -> str:
        """Say what there is too little of for such a lease; '' if there is enough of all."""
        if self.workers is not None and len(self._out) >= self.workers:
            return WORKERS
        used = self._used_cores + sum(lease.cores for lease in others)
        if min(cores, self.cores) > self.cores - used + 1e-9:
            return CORES
        if len(self._free_gpus(gpus, others)) < _count(gpus):
            return GPUS
        return ""

    def most(self, gpus: float) -> int:
        """Return how many jobs on one core, with so many GPUs each, can be at work at once."""
        workers = self.workers or self.cores
        if gpus == 0:
            return workers
        jobs_per_gpu = int(1 / min(gpus, 1.0) + 1e-9)
        jobs = len(self.gpus) // _count(gpus) * jobs_per_gpu
        return max(1, min(workers, jobs))

    @property
    def full(self) -> bool:
        """Whether there is certainly no room for another."""
        return len(self._out) == self.workers or self._used_cores >= self.cores

    def give(self, lease: Lease) -> None:
        """Return a lease."""
        self._out.remove(lease)

    @property
    def _used_cores(self) -> float:
        return sum(lease.cores for lease in self._out)

    def _free_gpus(self, gpus: float, others: Sequence[Lease]) -> list[str]:
        """List the GPUs with room for so many, or for this share of one, the least used first."""
        used = dict.fromkeys(self.gpus, 0.0)
        for lease in (*self._out, *others):
            for gpu in used.keys() & set(lease.gpus):
                used[gpu] += lease.share
        free = [gpu for gpu in self.gpus if used[gpu] + min(gpus, 1.0) <= 1 + 1e-9]
        return sorted(free, key=used.__getitem__)


def _count(gpus: float) -> int:
    """Return how many GPUs a lease uses: of a share of one, that one."""
    return 0 if gpus == 0 else max(1, round(gpus))


def described(cores: int, gpus: float | None) -> str:
    """Write `2 cores and 1 GPU`, and without GPUs `2 cores`."""
    if gpus is None:
        return counted(cores, "core")
    kind = "GPU" if 0 < gpus <= 1 else "GPUs"
    return f"{counted(cores, 'core')} and {gpus:g} {kind}"


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
    """Name the GPUs that this process may use, so that all sweeps of a machine name them alike."""
    import torch

    # CUDA reads the list up to the first invalid name, and ignores a list that has a name twice.
    # A job that is given a name which CUDA ignores finds no GPU, and computes on the CPU.
    names = [str(index) for index in range(torch.cuda.device_count())]
    visible = os.environ.get(VISIBLE)
    if visible:
        names = visible.split(",")[: len(names)]
    return [_stable_name(index, name) for index, name in enumerate(names)]


def _stable_name(index: int, name: str) -> str:
    """Return the UUID of a GPU: its number depends on CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES.

    A part of a GPU (MIG) keeps the name it was given, and so does one of AMD, which has only numbers.
    """
    import torch

    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip or " MIG " in properties.name:
        return name
    return f"GPU-{properties.uuid}"


def of_worker() -> Leases:
    """Return what a worker of a sweep may use: what Slurm has given it, or else all there is."""
    cores = cpus.count()
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        cores = int(granted)
    has_none = "SLURM_JOB_ID" in os.environ and not os.environ.get(VISIBLE)
    return Leases(cores=cores, gpus=[] if has_none else _gpus())
