"""One run on several ranks, as torchrun starts them: each computes its share of every batch (DDP).

The numbers are those of one process up to rounding, as long as a batch's loss is the mean of its examples'; but dropout
has a random stream on each rank, and BatchNorm without CUDA statistics of each. Alone, nothing here does anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sweeplab import code, config, data, loop, metrics, runtime, screen
from sweeplab.errors import Interrupted, UserError
from sweeplab.ranks import count, is_first, number

T = TypeVar("T")

PATIENCE = 10.0  # seconds in which torchrun ends a rank after another has ended


def check(settings: config.Config) -> None:
    """Raise UserError with all that several ranks cannot do, or not with the numbers of one."""
    if count() == 1:
        return
    trainer, here = settings.trainer, number("LOCAL_WORLD_SIZE", 1)
    loss: Any = code.build(settings.loss, "loss")
    optimizer = code.build(settings.optimizer, "optimizer", [nn.Parameter(torch.zeros(1))])
    found = [f"metrics.{name}: would see its rank's share only; leave it out" for name in settings.metrics]
    if trainer.batch_size % count():
        found.append(f"trainer.batch_size={trainer.batch_size}: must be a multiple of {count()}, for equal shares")
    if trainer.overfit_batches is not None:
        found.append(f"trainer.overfit_batches={trainer.overfit_batches}: is for one process; null turns it off")
    if isinstance(optimizer, torch.optim.LBFGS):
        found.append("optimizer=torch.optim.LBFGS: each rank would go by the loss of its share; take another")
    if getattr(loss, "reduction", "mean") != "mean" or getattr(loss, "weight", None) is not None:
        found.append("loss: must be a mean over examples without weights, or that of the shares is not the batch's")
    if _cuda(trainer) and here > torch.cuda.device_count():
        found.append(f"trainer.device={trainer.device}: {here} ranks on {torch.cuda.device_count()} GPUs; one for each")
    if found:
        raise UserError("\n".join([f"torchrun has started {count()} ranks of one run:", *found]))


def _cuda(trainer: config.Trainer) -> bool:
    return runtime.choose_device(trainer.device).type == "cuda"


@contextmanager
def joined(trainer: config.Trainer) -> Iterator[None]:
    """Meanwhile the ranks, if there are several, compute together."""
    if count() == 1:
        yield
        return
    if _cuda(trainer):
        torch.cuda.set_device(number("LOCAL_RANK", 0))
    dist.init_process_group("cpu:gloo,cuda:nccl" if _cuda(trainer) else "gloo")
    yield
    dist.destroy_process_group()  # not after an error: it may wait for ranks that are gone


@contextmanager
def ended_together() -> Iterator[None]:
    """When another rank is gone, wait for torchrun to end this one by a signal, the one that it was given or SIGTERM.

    An error of its own the first rank tells of at once; the others leave it the time for that.
    """
    try:
        yield
    except Exception as error:
        lost = "gloo" in str(error) or isinstance(error, dist.DistBackendError)  # gloo's errors have no type of theirs
        if count() > 1 and (lost or not is_first()):
            time.sleep(PATIENCE)
            if is_first():
                raise Interrupted from error
        raise


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
    threads = trainer.threads or max(1, runtime.cores() // number("LOCAL_WORLD_SIZE", 1))
    return replace(trainer, device=device, threads=threads)


class Share(data.Batches):
    """This rank's part of every batch: of a training batch an equal one, at the end of an evaluation perhaps none."""

    def __init__(self, split: data.Split, batch_size: int, **options: Any) -> None:
        super().__init__(split, batch_size, **options)
        self._examples, self._whole, self._rank = super().examples, batch_size, dist.get_rank()
        self.batch_size = max(1, len(range(self._rank, batch_size, count())))

    @property
    def examples(self) -> int:
        return self._examples

    def epoch(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.seed is not None:  # anew for each epoch, so that a checkpoint needs no rank's random state
            runtime.seed_stream(self.seed, f"dropout/{n}/{self._rank}")
        return super().epoch(n) if len(self.mine(torch.arange(self.examples))) else iter(())

    def mine(self, values: Tensor) -> Tensor:
        return torch.cat([each.tensor_split(count())[self._rank] for each in torch.split(values, self._whole)])


class Sums(metrics.Sums):
    """Over what all ranks have seen; to be read once, and by all of them."""

    def means(self) -> dict[str, float]:
        own = [0.0 if each is None else each.item() for each in (self._loss, self._score)]
        total = torch.tensor([*own, self._examples], dtype=torch.float64)
        dist.all_reduce(total)
        self._loss, self._score, self._examples = total[0], total[1], int(total[2])
        return super().means()


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
        self.module.train(mode)
        self.training = mode
        return self


def spread(task: loop.Task) -> None:
    """Have the ranks, if there are several, train one network."""
    if count() == 1:
        return
    if next(task.model.parameters()).is_cuda:
        task.model = nn.SyncBatchNorm.convert_sync_batchnorm(task.model)  # type: ignore[no-untyped-call]
    elif any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in task.model.modules()):
        screen.say("BatchNorm without CUDA: its statistics are those of each rank's share, so results are not one's")
    task.model, task.sums = Replica(task.model), Sums
    task.model.broadcast_buffers = False  # before each forward pass; `train` does it once an epoch
