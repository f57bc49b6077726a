"""Many small runs trained as one: runs that see the same batches share them, and the widest of their computations.

A small network's operations cost more than their arithmetic. Here the first linear layers of several networks are one
product, and their BatchNorms and activations one operation each; every run keeps its own loss, optimizer, random
streams, journal and result. Each epoch begins with a proof: its first step is computed in both ways, and only if all
losses, outputs, gradients and statistics have the same bits, and no random number was drawn, are the runs trained as
one. Where a step has few numbers, which may agree by chance, the proof is repeated on random inputs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeplab.config import class_paths
from sweeplab.metrics import EpochResult, MetricAverager
from sweeplab.models import MLP, losses
from sweeplab.speed import onednn
from sweeplab.targets import instantiate
from sweeplab.train import loop
from sweeplab.train.loop import Batch, Task, Trained
from sweeplab.train.random_state import RandomStreams

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
)  # fmt: skip

LOSSES = (nn.modules.loss.__name__, losses.__name__)  # modules whose losses draw nothing, learn nothing, keep nothing
STATELESS = ("torch", "torchmetrics", "sweeplab")  # packages that keep nothing in a process which changes a result

FEWEST = 8  # examples in a batch; a single row of several is laid out in memory in another way than alone
NUMBERS = 4096  # outputs of the first layer that a proof is over: another order of adding up changes a third of them

log = logging.getLogger(__name__)

_known: dict[Hashable, bool] = {}  # what the proofs on random inputs gave, in this process


def stateless(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all that these configs build comes from packages that several runs in one process may use.

    What a user's own class does cannot be told: a generator of its module, or a counter of the class, is one for all
    runs of a process, and then none of them has the numbers that it has alone.
    """
    return all(path.split(".")[0] in STATELESS for node in nodes for path in class_paths(node))


def shareable(loss: type) -> bool:
    """Whether this class of a loss computes the same of outputs and targets at any time."""
    return loss.__module__ in LOSSES


def possible(node: Mapping[str, Any]) -> bool:
    """Whether several networks of this config can be computed as one: linear layers, and MLPs without dropout."""
    if node["_target_"] not in ("torch.nn.Linear", f"{MLP.__module__}.MLP", "sweeplab.models.MLP"):
        return False
    with torch.device("meta"):
        model = instantiate(node)
    return all(type(layer) in (nn.Linear, nn.BatchNorm1d, *ELEMENTWISE) for layer in _layers(model))


def _layers(model: nn.Module) -> list[nn.Module]:
    return list(model) if isinstance(model, nn.Sequential) else [model]


@dataclass(kw_only=True, eq=False)
class Member:
    """One of several runs that are trained as one."""

    task: Task
    train: Callable[[int], Iterable[Batch]]  # the batches of an epoch
    valid: Callable[[], Iterable[Batch]]
    epoch: int = 1  # the next one
    streams: RandomStreams = field(default_factory=RandomStreams)
    done: bool = False  # for the caller to set; what a member raises sets it, too


def epochs(members: Sequence[Member]) -> Iterator[tuple[Member, EpochResult | Exception]]:
    """Train epoch after epoch, and yield each member with its result, until all are done.

    Members whose next epoch is the same are trained as one. What only one of them raises is yielded in the place of its
    result, and ends it alone. What is raised of what is computed for all is raised here, and so is KeyboardInterrupt.
    """
    while left := [member for member in members if not member.done]:
        number = min(member.epoch for member in left)
        same = [member for member in left if member.epoch == number]
        trained = train_epoch(
            [member.task for member in same],
            [member.train(number) for member in same],
            [member.streams for member in same],
        )
        for member, came in zip(same, trained, strict=True):
            yield member, _finished(member, came)


def _finished(member: Member, trained: Trained | Exception) -> EpochResult | Exception:
    """Validate the epoch of one of them."""
    if isinstance(trained, Exception):
        member.done = True
        return trained
    try:
        with member.streams:
            result = loop.finish_epoch(member.task, member.epoch, trained, member.valid())
    except Exception as error:
        member.done = True
        return error
    member.epoch += 1
    return result


def train_epoch(
    tasks: Sequence[Task], batches: Sequence[Iterable[Batch]], streams: Sequence[RandomStreams]
) -> list[Trained | Exception]:
    """Train an epoch of several runs as one, where that is proven to give the bits that each has alone.

    `batches` are those of each, which are the same for all; `streams` the random streams of each. What only one of them
    raised stands in its place.
    """
    if len(tasks) == 1 or not all(shareable(type(task.loss)) for task in tasks):
        return _one_by_one(tasks, batches, streams)
    started = time.perf_counter()
    shared = iter(batches[0])
    with streams[0]:
        before = RandomStreams()
        first = next(shared)
    one_product = None
    if len(first[0]) >= FEWEST and not before.moved():
        one_product = next((so for so in (True, False) if _same_as_alone(tasks, so, *first)), None)
    if one_product is None:
        log.info("%d runs as one do not have the bits that they have alone: trained one by one", len(tasks))
        return _one_by_one(tasks, [chain([first], shared), *batches[1:]], streams)
    sums = [task.sums() for task in tasks]
    broken = _train_shared(tasks, sums, chain([first], shared), one_product=one_product)
    if before.moved():  # too late to train them again: this would be nobody's bits
        raise RuntimeError("a random number was drawn after the first batch of an epoch; give sweep.fuse=false")
    means = [each.means() for each in sums]
    share = (time.perf_counter() - started) / len(tasks)
    trained = [Trained(mean, each.examples, share) for mean, each in zip(means, sums, strict=True)]
    return [broken.get(number, each) for number, each in enumerate(trained)]


def _one_by_one(
    tasks: Sequence[Task], batches: Sequence[Iterable[Batch]], streams: Sequence[RandomStreams]
) -> list[Trained | Exception]:
    """Train one after the other, each with its own random streams."""
    trained: list[Trained | Exception] = []
    for task, its_batches, its_streams in zip(tasks, batches, streams, strict=True):
        try:
            with its_streams:
                trained.append(loop.timed_epoch(task, its_batches))
        except Exception as error:
            trained.append(error)
    return trained


def _train_shared(
    tasks: Sequence[Task], sums: Sequence[MetricAverager], batches: Iterable[Batch], *, one_product: bool
) -> dict[int, Exception]:
    """Train on batches that all share. Returns what optimizers or schedulers raised, by the number of their task.

    The weights of such a task stay as they are.
    """
    broken: dict[int, Exception] = {}
    with _Stack(tasks, one_product=one_product) as stack:
        for inputs, targets in batches:
            for number, (loss, output) in enumerate(stack.gradients(inputs, targets)):
                if number in broken:
                    continue
                try:
                    loop.update(tasks[number])
                except Exception as error:
                    broken[number] = error
                sums[number].update(loss, output, targets)
    return broken


def _same_as_alone(tasks: Sequence[Task], one_product: bool, inputs: Tensor, targets: Tensor) -> bool:
    """Whether such batches give, as one, the bits that they give alone; nothing is changed by the trial."""
    if not _proven(tasks, one_product, inputs, targets):
        return False
    layers = _layers(tasks[0].model)
    numbers = inputs.shape[0] * getattr(layers[0], "out_features")  # noqa: B009  # of the first layer, a linear one
    key = one_product, len(tasks), inputs.shape, tuple((type(layer), repr(layer)) for layer in layers)
    if key not in _known:
        generator = torch.Generator().manual_seed(0)
        more = (torch.randn(inputs.shape, generator=generator) for _ in range(math.ceil(NUMBERS / numbers) - 1))
        _known[key] = all(_proven(tasks, one_product, random, targets) for random in more)
    return _known[key]


def _proven(tasks: Sequence[Task], one_product: bool, inputs: Tensor, targets: Tensor) -> bool:
    """Whether all that a step computes has the same bits as one as it has alone, and draws no random number.

    Nothing is changed by the trial.
    """
    streams = RandomStreams()
    before = [[buffer.clone() for buffer in task.model.buffers()] for task in tasks]

    def found(results: Iterable[tuple[Tensor, Tensor]]) -> list[list[Tensor | None]]:
        everything = [
            [*result, *(p.grad for p in task.parameters), *(buffer.clone() for buffer in task.model.buffers())]
            for task, result in zip(tasks, results, strict=True)
        ]
        for task, buffers in zip(tasks, before, strict=True):
            for buffer, it_was in zip(task.model.buffers(), buffers, strict=True):
                buffer.copy_(it_was)
        return everything

    for task in tasks:
        task.train()
    alone = found([loop.eager(task, inputs, targets) for task in tasks])
    if streams.moved():
        streams.restore()
        return False
    with _Stack(tasks, one_product=one_product) as stack:
        as_one = found(stack.gradients(inputs, targets))
    return all(_same(*both) for each in zip(alone, as_one, strict=True) for both in zip(*each, strict=True))


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Bit for bit: nan is nan, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)  # one column of several is not contiguous


class _Stack:
    """Several networks of the same layers as one; their weights lie side by side in memory meanwhile.

    `one_product`: their first linear layers are one. A library may add up wide products in another order.
    """

    def __init__(self, tasks: Sequence[Task], *, one_product: bool) -> None:
        self._tasks, self._one_product = tasks, one_product
        self._joined: list[tuple[Tensor, list[Tensor]]] = []  # the whole, and what are its parts meanwhile
        self._norms: list[nn.BatchNorm1d] = []
        positions: list[list[Any]] = [[*each] for each in zip(*(_layers(task.model) for task in tasks), strict=True)]
        self._layers = [self._first(positions[0]), *(self._further(layers) for layers in positions[1:])]

    def __enter__(self) -> _Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for part in (part for _, parts in self._joined for part in parts):
            part.data = part.data.clone()

    def gradients(self, inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The loss and the outputs of each; the gradients are in the parameters, and BatchNorm has counted."""
        for task in self._tasks:
            for parameter in task.parameters:
                parameter.grad = None
        wide = inputs
        for layer in self._layers:
            wide = layer(wide)
        outputs = _split(wide, wide.shape[-1] // len(self._tasks), -1)
        losses = [task.loss(output, targets) for task, output in zip(self._tasks, outputs, strict=True)]
        torch.autograd.backward(losses)
        for whole, parts in self._joined:
            if whole.grad is not None:
                for part, gradient in zip(parts, _split(whole.grad, len(parts[0])), strict=True):
                    part.grad = gradient
                whole.grad = None
        for norm in self._norms:
            norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]  # which an MLP's have
        return list(zip(losses, outputs, strict=True))

    def _join(self, parts: list[Tensor]) -> Tensor:
        whole = torch.cat([part.data for part in parts]).requires_grad_(parts[0].requires_grad)
        for part, its in zip(parts, _split(whole.data, len(parts[0])), strict=True):
            part.data = its
        self._joined.append((whole, parts))
        return whole

    def _first(self, layers: list[nn.Linear]) -> Callable[[Tensor], Tensor]:
        """Of the inputs, which they share."""
        if not self._one_product:
            return lambda x: torch.cat([layer(x) for layer in layers], -1)
        product = onednn.affine if type(layers[0]) is onednn.Linear else functional.linear
        weight = self._join([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else self._join([layer.bias for layer in layers])
        return lambda x: product(x, weight, bias)

    def _further(self, layers: list[Any]) -> Callable[[Tensor], Tensor]:
        """[B, width of one times their number] -> the same of what comes out."""
        if isinstance(layers[0], nn.Linear):
            width = layers[0].in_features
            return lambda x: torch.cat(
                [layer(its.contiguous()) for layer, its in zip(layers, _split(x, width, -1), strict=True)], -1
            )
        if isinstance(layers[0], nn.BatchNorm1d):
            return self._norm(layers)
        activation: Callable[[Tensor], Tensor] = layers[0]
        return activation

    def _norm(self, layers: list[nn.BatchNorm1d]) -> Callable[[Tensor], Tensor]:
        self._norms += layers
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (self._join([getattr(layer, name) for layer in layers]) for name in names)
        momentum, eps = layers[0].momentum, layers[0].eps
        assert momentum is not None
        return lambda x: functional.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)


def _split(tensor: Tensor, size: int, dim: int = 0) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = tensor.split(size, dim)
    return parts
