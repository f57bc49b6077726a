"""The training loop. It knows tensors, a network, a loss and an optimizer, and nothing else of the framework."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sweeplab.metrics import LOSS, TRAIN, VALID, EpochResult, MetricAverager, learning_rates, with_prefix
from sweeplab.train import measured, schedule
from sweeplab.train.measured import Metric
from sweeplab.train.reduction import Reduction, reduction, share

Batch = tuple[Tensor, Tensor]


@dataclass(kw_only=True)
class Task:
    """What is trained: the parts of a step, in the order in which it uses them."""

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    kind: str  # classification | regression
    monitor: str  # the metric that a ReduceLROnPlateau is told
    interval: str = "auto"  # when the scheduler steps: step | epoch | auto
    clip_norm: float | None = None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)  # what they gave at last besides numbers
    averager: Callable[..., MetricAverager] = MetricAverager
    together: Callable[[list[Batch]], list[Batch]] = list  # this rank's outputs and targets -> those of all
    compile: bool = False  # forward and backward pass as one graph
    unit: float = 1.0  # what the targets of a regression were divided by
    outputs: int | None = None  # numbers that the network gives for an example; None: not checked
    rates: Sequence[float] = ()  # the learning rates of the parameter groups, with which the last batch was trained

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of network and loss, frozen ones included, each once."""
        return list(dict.fromkeys([*self.model.parameters(), *self.loss.parameters()]))

    @cached_property
    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters if parameter.requires_grad]

    @cached_property
    def gradients(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Sequence[Tensor | None]]]:
        """A batch -> (the loss; the outputs; its gradients), forward and backward pass compiled as one graph.

        As two graphs, which `model.compile()` gives, a step of a small network takes a quarter longer.
        """
        model, loss, autocast, trained, outputs = self.model, self.loss, self.autocast, self.trained, self.outputs

        def passes(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            with autocast():
                output = fitting(model(inputs), len(inputs), outputs)
            value = one_number(loss(output.float(), targets))
            return value.detach(), output.detach(), torch.autograd.grad(value, trained, allow_unused=True)

        if hasattr(torch._dynamo.config, "trace_autograd_ops"):  # an older PyTorch makes two graphs
            torch._dynamo.config.trace_autograd_ops = True
        return torch.compile(passes)

    @cached_property
    def reduction(self) -> Reduction:
        """How the loss of a set follows from those of its batches."""
        return reduction(self.loss)

    def sums(self) -> MetricAverager:
        """Start to add up batches."""
        return self.averager(self.kind, share(self.loss), total=self.reduction is Reduction.SUM, unit=self.unit)

    def train(self) -> None:
        """Switch network and loss to training."""
        self.model.train()
        self.loss.train()

    def eval(self) -> None:
        """Switch network and loss to evaluation."""
        self.model.eval()
        self.loss.eval()

    @cached_property
    def steps_each_batch(self) -> bool:
        return schedule.steps_by_batch(self.interval, self.scheduler)


class Trained(NamedTuple):
    """What came of the training part of an epoch: `loss` and `accuracy` (or `mae`) of how many examples, in seconds."""

    metrics: dict[str, float]
    examples: int
    seconds: float


def epochs(
    task: Task, train: Callable[[int], Iterable[Batch]], valid: Callable[[], Iterable[Batch]], first: int = 1
) -> Iterator[EpochResult]:
    """Train epoch after epoch, from number `first`, for as long as the caller asks for another one.

    `train(number)` gives the batches of an epoch in its order, `valid()` those of the validation set.
    """
    for number in count(first):
        trained = timed_epoch(task, train(number))
        yield finish_epoch(task, number, trained, valid())


def timed_epoch(task: Task, batches: Iterable[Batch]) -> Trained:
    """Train on the batches of an epoch, and take the time."""
    started = time.perf_counter()
    sums = train_epoch(task, batches)
    return Trained(sums.means(), sums.examples, time.perf_counter() - started)  # to read sums waits for the device


def finish_epoch(task: Task, number: int, trained: Trained, valid: Iterable[Batch]) -> EpochResult:
    """Validate, and step a scheduler that counts epochs."""
    started = time.perf_counter()
    if not task.steps_each_batch:
        task.rates = schedule.rates(task.optimizer)
    of_training = with_prefix(TRAIN, trained.metrics) | learning_rates(task.rates)
    metrics = of_training | with_prefix(VALID, evaluate(task, valid))
    metrics.setdefault(task.monitor, math.nan)  # a dict of a metric may lack it at times
    step_epoch(task, metrics)
    return EpochResult(
        epoch=number,
        metrics=metrics,
        examples=trained.examples,
        train_seconds=trained.seconds,
        seconds=trained.seconds + time.perf_counter() - started,
    )


def train_epoch(task: Task, batches: Iterable[Batch]) -> MetricAverager:
    """One pass over the batches; the sums are of the outputs as they were before each step.

    The loss of a user's own, of which no more is known, is summed as a mean over examples.
    """
    task.train()
    sums = task.sums()
    for inputs, targets in batches:
        loss, output = train_step(task, inputs, targets)
        sums.update(loss, output, targets)
    return sums


def train_step(task: Task, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Forward, backward, clip, update: (the loss, a scalar; the outputs). Nothing here waits for the device."""
    first: list[Tensor] = []  # the outputs before the step; an optimizer such as LBFGS looks several times

    def forward_backward() -> Tensor:
        loss, output = _compiled(task, inputs, targets) if task.compile else eager(task, inputs, targets)
        if not first:
            first.append(output)
        _clip(task)
        return loss

    loss = task.optimizer.step(forward_backward)  # type: ignore[arg-type]  # a tensor, as torch's own examples return
    _step_schedule(task)
    return loss, first[0]  # type: ignore[return-value]


def update(task: Task) -> None:
    """The part of a step that follows the gradients, for an optimizer that looks once."""
    _clip(task)
    task.optimizer.step()
    _step_schedule(task)


def _step_schedule(task: Task) -> None:
    """What a schedule does after a batch, if it counts batches."""
    if task.steps_each_batch:
        task.rates = schedule.rates(task.optimizer)
        task.scheduler.step()  # type: ignore[call-arg]  # no ReduceLROnPlateau here: it needs a metric


def _clip(task: Task) -> None:
    if task.clip_norm is not None:
        nn.utils.clip_grad_norm_(task.parameters, task.clip_norm)


def fitting(output: Tensor, examples: int, outputs: int | None) -> Tensor:
    """Return the output, [examples, outputs]. Raises ValueError for another shape: a loss may broadcast it silently."""
    shape = getattr(output, "shape", None)
    if outputs is not None and shape != (examples, outputs):
        got = f"has the shape {list(shape)}" if shape is not None else f"is a {type(output).__name__}"
        raise ValueError(f"the network's output {got}, but [{examples}, {outputs}] is needed")
    return output


def one_number(loss: Tensor) -> Tensor:
    """Return the loss of a batch. Raises ValueError if it is not one number."""
    if loss.dim() > 0:
        raise ValueError(f"the loss of a batch must be one number, not of shape {list(loss.shape)}")
    return loss


def eager(task: Task, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(the loss, the outputs) of a batch; the gradients are in the parameters."""
    for parameter in task.parameters:  # as the optimizer's zero_grad would, which takes a percent of a step
        parameter.grad = None
    with task.autocast():
        output = fitting(task.model(inputs), len(inputs), task.outputs)
    loss = one_number(task.loss(output.float(), targets))
    loss.backward()
    return loss, output


def _compiled(task: Task, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    loss, output, gradients = task.gradients(inputs, targets)
    for parameter, gradient in zip(task.trained, gradients, strict=True):
        parameter.grad = gradient
    return loss, output


def step_epoch(task: Task, metrics: Mapping[str, float]) -> None:
    """What a scheduler does after an epoch, if it does not step with the batches."""
    if isinstance(task.scheduler, ReduceLROnPlateau):
        task.scheduler.step(metrics[task.monitor])
    elif not task.steps_each_batch:
        task.scheduler.step()


@torch.no_grad()
def evaluate(task: Task, batches: Iterable[Batch]) -> dict[str, float]:
    """Loss, accuracy (or mae) and the further metrics over all batches, without gradients, in eval mode.

    The loss is that of the whole set, and does not depend on the size of the batches. Where a loss does not say how
    that follows from the batches', as one of a user's own, all outputs are kept, and it is computed of them at once.
    """
    task.eval()
    sums = task.sums()
    whole: list[Batch] = []
    for metric in task.metrics.values():
        metric.reset()
    for inputs, targets in batches:
        with task.autocast():
            output = fitting(task.model(inputs), len(inputs), task.outputs)
        output = output.float()
        if task.reduction is Reduction.WHOLE:
            whole.append((output, targets))
            loss = output.new_zeros(())
        else:
            loss = task.loss(output, targets)
        sums.update(loss, output, targets)
        for metric in task.metrics.values():
            metric.update(output, targets)
    means = sums.means()
    if task.reduction is Reduction.WHOLE and (together := task.together(whole)):
        outputs, all_targets = zip(*together, strict=True)
        means[LOSS] = float(task.loss(torch.cat(outputs), torch.cat(all_targets)))
    numbers, task.others = measured.read(task.metrics)
    return means | numbers
