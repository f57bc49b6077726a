"""One run on several ranks, as torchrun starts them: each computes its share of every batch (DDP).

The numbers are those of one process up to rounding, as long as a batch's loss is the mean of its examples'; but dropout
has a random stream on each rank, and BatchNorm without CUDA statistics of each. Alone, nothing here does anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sweeplab import config, console, data, metrics, targets
from sweeplab.errors import Interrupted, UserError
from sweeplab.train import cpus, loop
from sweeplab.train.device import choose_device
from sweeplab.train.random_state import seed_stream
from sweeplab.train.ranks import PATIENCE, count, number
from sweeplab.train.reduction import Reduction, reduction

T = TypeVar("T")


@contextmanager
def joined(settings: config.Config) -> Iterator[None]:
    """Meanwhile the ranks, if there are several, compute together. Raises UserError for what they cannot."""
    if count() == 1:
        yield
        return
    _check(settings)
    if _cuda(settings.trainer):
        torch.cuda.set_device(number("LOCAL_RANK", 0))
    dist.init_process_group("cpu:gloo,cuda:nccl" if _cuda(settings.trainer) else "gloo")
    yield
    dist.destroy_process_group()  # not after an error: it may wait for ranks that are gone


def _cuda(trainer: config.Trainer) -> bool:
    return choose_device(trainer.device).type == "cuda"


def _check(settings: config.Config) -> None:
    """Raise UserError with all that several ranks cannot do, or not with the numbers of one."""
    trainer, here, gpus = settings.trainer, number("LOCAL_WORLD_SIZE", 1), torch.cuda.device_count()
    size, few = trainer.batch_size, trainer.overfit_batches
    loss: Any = targets.build(settings.loss, "loss")
    weighted = getattr(loss, "reduction", "mean") != "mean" or getattr(loss, "weight", None) is not None
    weighted |= reduction(loss) in (Reduction.SUM, Reduction.WEIGHTED)
    stateful = not weighted and any(True for _ in chain(loss.parameters(), loss.buffers()))
    optimizer = targets.build(settings.optimizer, "optimizer", [nn.Parameter(torch.zeros(1))])
    wrong = {
        f"trainer.batch_size={size}: must be a multiple of {count()}, for equal shares": size % count(),
        f"trainer.overfit_batches={few}: is for one process; null is off": few is not None,
        f"trainer.device={trainer.device}: {here} ranks on {gpus} GPUs": _cuda(trainer) and here > gpus,
        "optimizer=torch.optim.LBFGS: would go by the loss of a share": isinstance(optimizer, torch.optim.LBFGS),
        "loss: must be a mean over examples without weights, or that of shares is not that of a batch": weighted,
        f"loss={settings.loss['_target_']}: has parameters or buffers, which ranks do not share": stateful,
        **{f"metrics.{name}: would see a share only; leave it out": True for name in settings.metrics},
    }
    if any(wrong.values()):
        found = [message for message, is_so in wrong.items() if is_so]
        raise UserError("\n".join([f"torchrun has started {count()} ranks of one run:", *found]))


@contextmanager
def ended_together() -> Iterator[None]:
    """When another rank is gone, wait for torchrun's signal to end: the one that it was given, or SIGTERM."""
    try:
        yield
    except Exception as error:
        # gloo's errors have no type of their own
        if count() == 1 or not ("gloo" in str(error) or isinstance(error, dist.DistBackendError)):
            raise
        time.sleep(PATIENCE)
        raise Interrupted from error


def told_by_torchrun(rank: Callable[..., None]) -> Callable[..., None]:
    """The same, with the error that ends it in torchrun's last words: a rank itself says nothing."""
    from torch.distributed.elastic.multiprocessing.errors import record

    return record(rank)


def from_first(value: T) -> T:
    """What the first rank gives here, on every rank."""
    given = [value]
    if count() > 1:
        dist.broadcast_object_list(given, src=0, device=torch.device("cpu"))
    return given[0]


def placed(trainer: config.Trainer) -> config.Trainer:
    """The same for this rank: with its GPU, or its part of the cores."""
    if count() == 1:
        return trainer
    device = f"cuda:{number('LOCAL_RANK', 0)}" if _cuda(trainer) else "cpu"
    threads = trainer.threads or max(1, cpus.count() // number("LOCAL_WORLD_SIZE", 1))
    return replace(trainer, device=device, threads=threads)


class Share(data.Batches):
    """This rank's part of every batch: of a training batch an equal one, at the end of an evaluation perhaps none."""

    def __init__(self, split: data.Split, batch_size: int, **options: Any) -> None:
        super().__init__(split, batch_size, **options)
        self._whole, self._rank = batch_size, number("RANK", 0)
        self.batch_size = max(1, len(range(self._rank, batch_size, count())))

    def epoch(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.seed is not None:  # anew for each epoch, so that a checkpoint needs no rank's random state
            seed_stream(self.seed, f"dropout/{n}/{self._rank}")
        return super().epoch(n) if len(self.rank_part(torch.arange(self.examples))) else iter(())

    def rank_part(self, values: Tensor) -> Tensor:
        return torch.cat([each.tensor_split(count())[self._rank] for each in torch.split(values, self._whole)])


class GatheredAverager(metrics.MetricAverager):
    """Means over what all ranks have seen; every rank has to read them, and only once."""

    def totals(self) -> tuple[float, float, float, int]:
        total = torch.tensor(super().totals(), dtype=torch.float64)
        dist.all_reduce(total)
        loss, share, value, examples = total.tolist()
        self._examples = int(examples)
        return loss, share, value, self._examples


def gathered(shares: list[loop.Batch]) -> list[loop.Batch]:
    """Gather the parts of an evaluation's batches from all ranks, in the order of the set."""
    given: list[Any] = [None] * count()
    dist.all_gather_object(given, [(output.cpu(), target.cpu()) for output, target in shares])
    device = shares[0][0].device if shares else torch.device("cpu")
    in_order = [part for parts in zip_longest(*given) for part in parts if part is not None]
    return [(output.to(device), target.to(device)) for output, target in in_order]


class Replica(nn.parallel.DistributedDataParallel):
    """A rank's copy of the network, whose weights have the names that they have alone."""

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return self.module.state_dict(*args, **options)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        return self.module.load_state_dict(*args, **options)

    def train(self, mode: bool = True) -> Replica:
        """Evaluated are the statistics that are kept: the first rank's."""
        for buffer in () if mode else self.module.buffers():
            dist.broadcast(buffer, src=0)
        return nn.Module.train(self, mode)


def spread(task: loop.Task) -> None:
    """Have the ranks, if there are several, train one network."""
    if count() == 1:
        return
    if next(task.model.parameters()).is_cuda:
        task.model = nn.SyncBatchNorm.convert_sync_batchnorm(task.model)
    elif any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in task.model.modules()):
        console.say("BatchNorm without CUDA: its statistics are those of each rank's share, so results are not one's")
    task.model, task.compile = Replica(task.model), False  # which hears of gradients as they are made
    task.averager, task.together = GatheredAverager, gathered
    task.model.broadcast_buffers = False  # before each forward pass; `train` does it once an epoch
