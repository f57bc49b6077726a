"""Many small runs trained as one: they see the same batches, and share operations.

Calling an operation of a small network takes longer than its arithmetic. Here the first linear
layers of several networks are one product, and their BatchNorms and activations one operation each;
every run keeps its own loss, optimizer, random streams, journal and result.

Each epoch begins with a proof: its first step is computed in both ways, and only if all losses,
outputs, gradients and statistics have the same bits, and no random number was drawn, are the runs
trained as one. Where a step has few numbers, which may agree by chance, the proof is repeated on
random inputs.
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

from sweeplab import speed
from sweeplab.config import Config, class_paths
from sweeplab.metrics import EpochResult, MetricAverager
from sweeplab.models import MLP, losses
from sweeplab.speed.captured import WARM_UP, CapturedGradients
from sweeplab.speed.same_bits import same_bits
from sweeplab.speed.tape import Result
from sweeplab.targets import instantiate
from sweeplab.train import loop
from sweeplab.train.fused_network import FusedNetwork, layers_of
from sweeplab.train.loop import Trained
from sweeplab.train.random_state import RandomStreams
from sweeplab.train.step import add_gradients
from sweeplab.train.train_state import Batch, TrainState

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
)  # fmt: skip

# Modules whose losses draw nothing, learn nothing, keep nothing.
LOSSES = (nn.modules.loss.__name__, losses.__name__)
# Packages that keep nothing in a process which changes a result
STATELESS = ("torch", "torchmetrics", "sweeplab")

# Parameters: the step of a larger network is as quick alone (`python -m benchmarks.fused`).
SMALL = 100_000
# Examples in a batch, at least: a single row of several networks is laid out in memory in another
# way than alone.
FEWEST = 8
# Outputs of the first layer that a proof compares, at least. If numbers were added up in another
# order a third of them would differ, so that so many do not agree by chance.
NUMBERS = 4096
# Steps of an epoch, after which the step of all is captured: in a short epoch that does not pay.
LONG = 20

log = logging.getLogger(__name__)

_proven: dict[Hashable, bool] = {}  # what the proofs on random inputs gave, in this process


# --- What can be trained as one -------------------------------------------------------------------


def stateless(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether all that these configs build comes from packages that keep no state.

    What a user's own class does cannot be told: a generator of its module, or a counter of the
    class, is one for all runs of a process, and then none of them has the numbers that it has
    alone.
    """
    return all(path.split(".")[0] in STATELESS for node in nodes for path in class_paths(node))


def loss_can_be_shared(loss: type) -> bool:
    """Tell whether this class of a loss computes the same of outputs and targets at any time."""
    return loss.__module__ in LOSSES


def fusion_key(settings: Config) -> str:
    """Return a text that is equal for runs that can be trained as one.

    They see the same batches and have the same network and loss. How they are optimized, and when
    they stop, may differ.
    """
    trainer = settings.trainer
    batches = (
        settings.data,
        settings.seed,
        trainer.batch_size,
        trainer.limit_batches,
        trainer.shift,
    )
    return repr((settings.model, settings.loss, batches))


def network_can_be_fused(node: Mapping[str, Any]) -> bool:
    """Tell whether networks of this config can be one: linear layers, and MLPs without dropout."""
    if node["_target_"] not in ("torch.nn.Linear", f"{MLP.__module__}.MLP", "sweeplab.models.MLP"):
        return False
    with torch.device("meta"):
        model = instantiate(node)
    known = (nn.Linear, nn.BatchNorm1d, *ELEMENTWISE)
    return all(type(layer) in known for layer in layers_of(model))


# --- Training -------------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Member:
    """One of several runs that are trained as one."""

    state: TrainState
    train: Callable[[int], Iterable[Batch]]  # the batches of an epoch
    valid: Callable[[], Iterable[Batch]]
    epoch: int = 1  # the next one
    streams: RandomStreams = field(default_factory=RandomStreams)
    fusion_key: str = ""  # equal for those that can be trained as one
    done: bool = False  # for the caller to set; what a member raises sets it, too


def epochs(members: Sequence[Member]) -> Iterator[tuple[Member, EpochResult | Exception]]:
    """Train epoch after epoch, and yield each member with its result, until all are done.

    Members with the same fusion key whose next epoch is the same are trained as one. What only one
    of them raises is yielded in the place of its result, and ends it alone. What is raised of what
    is computed for all is raised here, and so is KeyboardInterrupt.
    """
    while left := [member for member in members if not member.done]:
        number = min(member.epoch for member in left)
        by_key: dict[str, list[Member]] = {}
        for member in left:
            if member.epoch == number:
                by_key.setdefault(member.fusion_key, []).append(member)
        for group in by_key.values():
            outcomes = train_epoch(
                [member.state for member in group],
                [member.train(number) for member in group],
                [member.streams for member in group],
            )
            for member, outcome in zip(group, outcomes, strict=True):
                yield member, _finish(member, outcome)


def _finish(member: Member, trained: Trained | Exception) -> EpochResult | Exception:
    """Validate the epoch of one member."""
    if isinstance(trained, Exception):
        member.done = True
        return trained
    try:
        with member.streams:
            result = loop.finish_epoch(member.state, member.epoch, trained, member.valid())
    except Exception as error:
        member.done = True
        return error
    member.epoch += 1
    return result


def train_epoch(
    states: Sequence[TrainState],
    batches: Sequence[Iterable[Batch]],
    streams: Sequence[RandomStreams],
) -> list[Trained | Exception]:
    """Train an epoch of several runs as one, if that is proven to give the bits of each alone.

    `batches` are those of each, which are the same for all; `streams` the random streams of each.
    What only one of them raised stands in its place.
    """
    if len(states) == 1 or not all(loss_can_be_shared(type(state.loss)) for state in states):
        return _one_by_one(states, batches, streams)
    started = time.perf_counter()
    shared = iter(batches[0])
    with streams[0]:  # which stay the process's afterwards
        before = RandomStreams()
        first = next(shared)
    one_product = None
    if len(first[0]) < FEWEST:
        why = f"batches of fewer than {FEWEST} examples are laid out otherwise"
    elif before.moved():
        why = "a random number is drawn for a batch"
    else:
        one_product = _choose_product(states, *first)
        why = "as one they would have other bits than alone, or draw random numbers"
    if one_product is None:
        log.info("%d runs are trained one by one: %s", len(states), why)
        return _one_by_one(states, [chain([first], shared), *batches[1:]], streams)
    averagers = [state.new_averager() for state in states]
    errors = _train_shared(states, averagers, chain([first], shared), one_product=one_product)
    if before.moved():  # too late to train them again: this would be nobody's bits
        why = "a random number was drawn after the first batch of an epoch"
        raise RuntimeError(f"{why}; give sweep.fuse=false")
    means = [averager.means() for averager in averagers]
    seconds = (time.perf_counter() - started) / len(states)
    outcomes: list[Trained | Exception] = []
    for number, averager in enumerate(averagers):
        outcomes.append(errors.get(number, Trained(means[number], averager.examples, seconds)))
    return outcomes


def _one_by_one(
    states: Sequence[TrainState],
    batches: Sequence[Iterable[Batch]],
    streams: Sequence[RandomStreams],
) -> list[Trained | Exception]:
    """Train one after the other, each with its own random streams."""
    outcomes: list[Trained | Exception] = []
    for state, own_batches, own_streams in zip(states, batches, streams, strict=True):
        try:
            with own_streams:
                outcomes.append(loop.train_epoch(state, own_batches))
        except Exception as error:
            outcomes.append(error)
    return outcomes


def _train_shared(
    states: Sequence[TrainState],
    averagers: Sequence[MetricAverager],
    batches: Iterable[Batch],
    *,
    one_product: bool,
) -> dict[int, Exception]:
    """Train on batches that all share.

    Returns what optimizers or schedulers raised, by the number of their run, whose weights then
    stay as they are.
    """
    errors: dict[int, Exception] = {}
    gradients: Callable[[Any, Tensor, Tensor], Result] = FusedNetwork.gradients
    if not speed.is_plain():
        on_gpu = states[0].parameters[0].is_cuda
        gradients = CapturedGradients(FusedNetwork.gradients, WARM_UP if on_gpu else LONG)
    with FusedNetwork(states, one_product=one_product) as network:
        for inputs, targets in batches:
            losses, outputs = gradients(network, inputs, targets)
            for number, (loss, output) in enumerate(zip(losses, outputs, strict=True)):
                if number in errors:
                    continue
                try:
                    states[number].updater.step()
                except Exception as error:
                    errors[number] = error
                averagers[number].update(loss, output, targets)
    return errors


# --- The proof ------------------------------------------------------------------------------------


def _choose_product(states: Sequence[TrainState], inputs: Tensor, targets: Tensor) -> bool | None:
    """Choose whether the first layers are one product; None where neither way is exact."""
    for one_product in (True, False):
        trial = states, one_product, inputs, targets
        if _is_exact(*trial) and _is_exact_on_more(*trial):
            return one_product
    return None


def _is_exact_on_more(
    states: Sequence[TrainState], one_product: bool, inputs: Tensor, targets: Tensor
) -> bool:
    """Repeat the proof on random inputs until it is over enough numbers, once in a process."""
    layers = layers_of(states[0].model)
    kinds = tuple((type(layer), repr(layer)) for layer in layers)
    key = one_product, len(states), inputs.shape, kinds
    if key not in _proven:
        first: Any = layers[0]  # a linear one
        repeats = math.ceil(NUMBERS / (inputs.shape[0] * first.out_features)) - 1
        generator = torch.Generator().manual_seed(0)
        more = (
            torch.randn(inputs.shape, generator=generator).to(inputs.device) for _ in range(repeats)
        )
        _proven[key] = all(_is_exact(states, one_product, random, targets) for random in more)
    return _proven[key]


def _is_exact(
    states: Sequence[TrainState], one_product: bool, inputs: Tensor, targets: Tensor
) -> bool:
    """Tell whether a step as one has the bits of each alone, and draws no random number.

    Nothing is changed by the trial.
    """
    streams = RandomStreams()
    buffers = [[buffer.clone() for buffer in state.model.buffers()] for state in states]
    for state in states:
        state.train()
    alone = []
    for state in states:
        state.updater.clear_gradients()
        alone.append(add_gradients(state, inputs, targets))
    expected = _collect(states, alone, buffers)
    if streams.moved():
        streams.restore()
        return False
    with FusedNetwork(states, one_product=one_product) as network:
        computed = zip(*network.gradients(inputs, targets), strict=True)
        fused = _collect(states, list(computed), buffers)
    return all(same_bits(*pair) for pair in zip(expected, fused, strict=True))


def _collect(
    states: Sequence[TrainState],
    results: Sequence[tuple[Tensor, Tensor]],
    buffers: Sequence[Sequence[Tensor]],
) -> list[Tensor | None]:
    """Collect all that a step computed, and put the buffers back to what they were."""
    everything: list[Tensor | None] = []
    for state, result, before in zip(states, results, buffers, strict=True):
        everything += result
        everything += [parameter.grad for parameter in state.parameters]
        for buffer, value in zip(state.model.buffers(), before, strict=True):
            everything.append(buffer.clone())
            buffer.copy_(value)
    return everything
