"""Group the jobs of a sweep that had best be trained in one process.

Those that differ in when they stop alone share their epochs. Of others the networks may be one. On a
GPU any small ones share a process: it takes longer to start there than many of them to train.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import torch

from sweeplab import targets
from sweeplab.config import Data, Node
from sweeplab.metrics import ANY
from sweeplab.runs import identity
from sweeplab.runs.once import Once
from sweeplab.store import Store
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.fate import NEW, RESUME, STALE
from sweeplab.train import fused
from sweeplab.train.device import choose_device

MOST = 8  # networks in a group: more gain little, and are lost together if their process is killed
MOST_ON_GPU = 64  # starting a process there takes longer than training a small network
MOST_SHARING = 64  # jobs that share their epochs: each has files open, and writes checkpoints
SMALL = {"cpu": fused.SMALL, "cuda": 1_000_000}
"""The most parameters of a network whose run shares a process, by device: on a GPU the training of
larger ones takes longer than starting.
"""


def group(cells: Sequence[Cell], workers: int) -> list[list[Cell]]:
    """Group jobs for so many workers; for 0 workers each job is a group."""
    if not workers:
        return [[cell] for cell in cells]
    walks = shared(cells)
    once = Once()
    most = MOST if not walks or _is_on_cpu(walks[0][0], once) else MOST_ON_GPU
    # Two groups a worker, if there are so many, so that none waits long for the last.
    size = min(most, len(walks) // (2 * workers))
    if size < 2:
        return walks
    alike: dict[str, list[list[Cell]]] = {}
    for walk in walks:
        alike.setdefault(_key(walk, once), []).append(walk)
    groups: list[list[Cell]] = []
    for members in alike.values():
        parts = [members[start : start + size] for start in range(0, len(members), size)]
        groups += [list(chain.from_iterable(part)) for part in parts]
    return groups


def shared(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group jobs that go through the same epochs, since they differ only in when they stop: a walk."""
    walks: dict[str, list[Cell]] = {}
    for cell in cells:
        walks.setdefault(_path(cell), []).append(cell)
    parts: list[list[Cell]] = []
    for walk in walks.values():
        parts += [walk[at : at + MOST_SHARING] for at in range(0, len(walk), MOST_SHARING)]
    return parts


def _path(cell: Cell) -> str:
    """Return a text that is equal for jobs that share their epochs, whatever these compute.

    Whoever is stopped by the clock shares none, nor does a job that is to be profiled.
    """
    job, trainer = cell.job, cell.job.config.trainer
    if not _may_share(cell) or cell.fate.kind not in (NEW, STALE, RESUME) or trainer.profile:
        return job.fingerprint
    return f"{_threads(cell)} {identity.path(job.config, job.facts.train)}"


def _threads(cell: Cell) -> int:
    """Return the number of threads that a job is computed on: a run that was begun keeps its own."""
    run = Store(cell.job.config.store.root).run(cell.job.fingerprint)
    return run.threads or cell.job.config.trainer.threads or 1


def _may_share(cell: Cell) -> bool:
    """Tell whether a job may share a process with others."""
    config = cell.job.config
    has_limit = config.sweep.job_timeout is not None or config.trainer.time_limit is not None
    return config.sweep.fuse and not has_limit


def _key(walk: Sequence[Cell], once: Once) -> str:
    """Return a text that is equal for jobs that had best share a process; no bit of them changes.

    On a CPU these are the ones that can be trained as one.
    """
    if not all(_is_fusible(cell, once) for cell in walk):
        return walk[0].job.fingerprint
    config = walk[0].job.config
    process = (config.trainer.device, config.trainer.deterministic)
    if _is_on_cpu(walk[0], once):
        return f"{process} {fused.fusion_key(config)}"
    return f"{process} {config.data}"  # which is loaded once


def _is_on_cpu(cell: Cell, once: Once) -> bool:
    device: torch.device = once(choose_device, cell.job.config.trainer.device)
    return device.type == "cpu"


def _is_fusible(cell: Cell, once: Once) -> bool:
    """Whether a job begins now, with a small network and nothing that needs a process of its own.

    What needs one is the list below.
    """
    config, trainer, facts = cell.job.config, cell.job.config.trainer, cell.job.facts
    if not _may_share(cell) or cell.fate.kind not in (NEW, STALE):
        return False
    if _threads(cell) != 1 or trainer.precision != "fp32":
        return False
    own_process = (trainer.compile, trainer.profile, trainer.init_from, trainer.overfit_batches)
    own_updates = (config.step, trainer.accumulate, trainer.ema, trainer.freeze)
    if any(own_process) or any(own_updates):
        return False
    small = SMALL.get(once(choose_device, trainer.device).type, 0)
    if cell.job.parameters > small:
        return False
    optimizer = str(config.optimizer.get("_target_"))  # none, where several update parts
    if not optimizer.startswith("torch.optim.") or optimizer.endswith(".LBFGS"):
        return False  # LBFGS looks at a batch several times
    if not facts.held or not _has_plain_batches(config.data):
        return False
    parts = [config.model, config.loss, config.optimizer, config.scheduler]
    if not fused.stateless([*parts, *config.metrics.values()]):
        return False
    if not once(_loss_can_be_shared, config.loss):
        return False
    return once(fused.network_can_be_fused, config.model)


def _has_plain_batches(data: Data) -> bool:
    """Whether a batch is (inputs, targets), and no transform of the user's changes it."""
    return data.task != ANY and data.train_transform is None and data.batch_transform is None


def _loss_can_be_shared(loss: Node) -> bool:
    target = targets.locate(loss["_target_"], "loss._target_")
    return isinstance(target, type) and fused.loss_can_be_shared(target)
