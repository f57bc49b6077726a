"""One run on several ranks, as torchrun starts them: each computes its share of every batch (DDP).

The numbers are those of one process up to rounding, as long as a batch's loss is the mean of its
examples'; but dropout has a random stream on each rank, and BatchNorm without CUDA statistics of
each. On one process, nothing here does anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sweeplab import config, console, data, metrics, targets
from sweeplab.errors import Interrupted, UserError
from sweeplab.train import cpus, groups
from sweeplab.train.device import choose_device
from sweeplab.train.random_state import seed_stream
from sweeplab.train.ranks import PATIENCE, rank, torchrun_number, world_size
from sweeplab.train.reduction import Reduction, reduction
from sweeplab.train.train_state import Batch, TrainState

T = TypeVar("T")


@contextmanager
def process_group(settings: config.Config) -> Iterator[None]:
    """Connect the ranks, if there are several. Raises UserError for what they cannot compute."""
    if world_size() == 1:
        yield
        return
    _check(settings)
    on_cuda = _on_cuda(settings.trainer)
    if on_cuda:
        torch.cuda.set_device(torchrun_number("LOCAL_RANK", 0))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    yield
    dist.destroy_process_group()  # not after an error: it may wait for ranks that are gone


def _on_cuda(trainer: config.Trainer) -> bool:
    return choose_device(trainer.device).type == "cuda"


def _check(settings: config.Config) -> None:
    """Raise UserError with all that several ranks cannot do, or not with the numbers of one."""
    trainer = settings.trainer
    size, few = trainer.batch_size, trainer.overfit_batches
    problems = []
    if size % world_size():
        wanted = f"must be a multiple of {world_size()}, for equal shares"
        problems.append(f"trainer.batch_size={size}: {wanted}")
    if few is not None:
        problems.append(f"trainer.overfit_batches={few}: is for one process; null is off")
    here, gpus = torchrun_number("LOCAL_WORLD_SIZE", 1), torch.cuda.device_count()
    if _on_cuda(trainer) and here > gpus:
        problems.append(f"trainer.device={trainer.device}: {here} ranks on {gpus} GPUs")
    node = groups.without_groups(settings.optimizer)
    optimizer = targets.build(node, "optimizer", [nn.Parameter(torch.zeros(1))])
    if isinstance(optimizer, torch.optim.LBFGS):
        problems.append("optimizer=torch.optim.LBFGS: would go by the loss of a share")
    loss: Any = targets.build(settings.loss, "loss")
    if not _is_plain_mean(loss):
        wanted = "must be a mean over examples without weights"
        problems.append(f"loss: {wanted}, or that of shares is not that of a batch")
    elif [*loss.parameters(), *loss.buffers()]:
        name = settings.loss["_target_"]
        problems.append(f"loss={name}: has parameters or buffers, which ranks do not share")
    if settings.step:
        name = settings.step["_target_"]
        problems.append(f"step={name}: a step of one's own is for one process")
    if settings.data.batch_transform:
        name = settings.data.batch_transform["_target_"]
        problems.append(f"data.batch_transform={name}: would see shares of batches; null is off")
    problems += [
        f"metrics.{name}: would see a share only; leave it out" for name in settings.metrics
    ]
    if problems:
        head = f"torchrun has started {world_size()} ranks of one run:"
        raise UserError("\n".join([head, *problems]))


def _is_plain_mean(loss: nn.Module) -> bool:
    """Tell whether the loss of a batch is, as far as is known, the mean of its examples' losses."""
    if getattr(loss, "reduction", "mean") != "mean" or getattr(loss, "weight", None) is not None:
        return False
    return reduction(loss) not in (Reduction.SUM, Reduction.WEIGHTED)


@contextmanager
def await_torchrun() -> Iterator[None]:
    """When another rank is gone, wait for the signal by which torchrun ends this one."""
    try:
        yield
    except Exception as error:
        # gloo's errors have no type of their own.
        is_of_ranks = "gloo" in str(error) or isinstance(error, dist.DistBackendError)
        if world_size() == 1 or not is_of_ranks:
            raise
        time.sleep(PATIENCE)
        raise Interrupted from error


def reported_by_torchrun(program: Callable[..., None]) -> Callable[..., None]:
    """Have torchrun report the error that ends a program: the other ranks print nothing."""
    from torch.distributed.elastic.multiprocessing.errors import record

    return record(program)


def broadcast(value: T) -> T:
    """Return the main process's value on every rank."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def place_rank(trainer: config.Trainer) -> config.Trainer:
    """Give this rank its GPU, or its part of the cores."""
    if world_size() == 1:
        return trainer
    device = f"cuda:{torchrun_number('LOCAL_RANK', 0)}" if _on_cuda(trainer) else "cpu"
    threads = trainer.threads or max(1, cpus.count() // torchrun_number("LOCAL_WORLD_SIZE", 1))
    return replace(trainer, device=device, threads=threads)


class ShardedBatches(data.Batches):
    """This rank's share of every batch: equal in training, perhaps none in an evaluation."""

    def __init__(self, split: data.Split, batch_size: int, **options: Any) -> None:
        super().__init__(split, batch_size, **options)
        self._full_size, self._rank = batch_size, rank()
        self.batch_size: int = max(1, len(range(self._rank, batch_size, world_size())))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Seeded for each epoch, so that a checkpoint needs no rank's random state.
        if self.seed is not None:
            seed_stream(self.seed, f"dropout/{number}/{self._rank}")
        if not len(self.rank_part(torch.arange(self.examples))):
            return iter(())
        return super().epoch(number)

    def rank_part(self, values: Tensor) -> Tensor:
        batches = torch.split(values, self._full_size)
        return torch.cat([batch.tensor_split(world_size())[self._rank] for batch in batches])


class GatheredAverager(metrics.MetricAverager):
    """Means over what all ranks have seen; every rank has to read them, and only once."""

    def totals(self) -> tuple[float, float, float, int]:
        total = torch.tensor(super().totals(), dtype=torch.float64)
        dist.all_reduce(total)
        loss, share, value, examples = total.tolist()
        self._examples = int(examples)
        return loss, share, value, self._examples


def gather(shares: list[Batch]) -> list[Batch]:
    """Gather the parts of an evaluation's batches from all ranks, in the order of the set."""
    of_ranks: list[Any] = [None] * world_size()
    dist.all_gather_object(of_ranks, [(output.cpu(), target.cpu()) for output, target in shares])
    device = shares[0][0].device if shares else torch.device("cpu")
    gathered = []
    for parts in zip_longest(*of_ranks):  # the ranks' shares of one batch
        for part in parts:
            if part is not None:
                output, target = part
                gathered.append((output.to(device), target.to(device)))
    return gathered


class DistributedModel(nn.parallel.DistributedDataParallel):
    """A rank's copy of the network, whose weights have the same names as on one process."""

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return self.module.state_dict(*args, **options)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        return self.module.load_state_dict(*args, **options)

    def train(self, mode: bool = True) -> DistributedModel:
        """Switch to training or evaluation; an evaluation takes over the main process's statistics."""
        if not mode:
            for buffer in self.module.buffers():
                dist.broadcast(buffer, src=0)
        return nn.Module.train(self, mode)


def wrap_ddp(state: TrainState) -> None:
    """Have the ranks, if there are several, train one network."""
    if world_size() == 1:
        return
    if next(state.model.parameters()).is_cuda:
        state.model = nn.SyncBatchNorm.convert_sync_batchnorm(state.model)
    elif _has_batch_norm(state.model):
        why = "its statistics are those of each rank's share, so results are not one's"
        console.say(f"BatchNorm without CUDA: {why}")
    state.model = DistributedModel(state.model)
    state.model.broadcast_buffers = False  # before each forward pass; `train` does it once an epoch
    state.compile, state.captured = False, None  # DDP hears of gradients as they are made
    state.averager, state.gather = GatheredAverager, gather


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
