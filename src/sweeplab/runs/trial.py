"""Network, loss, optimizer and scheduler on trial: whether they fit together, before any work."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sweeplab import metrics, targets
from sweeplab.config import Config, Data, Node, Trainer
from sweeplab.data import seeding
from sweeplab.errors import UserError, a_or_an, one_line
from sweeplab.runs import example_batches, metric_trial
from sweeplab.runs.example_batches import EXAMPLES
from sweeplab.runs.once import Once
from sweeplab.runs.parts import input_shape
from sweeplab.runs.screen import Layer
from sweeplab.runs.weights import refuse_unsafe, try_saving
from sweeplab.speed import dynamo
from sweeplab.train import groups, schedule, schedule_checks, state
from sweeplab.train.device import choose_device
from sweeplab.train.reduction import batch_weight
from sweeplab.train.train_state import checked_loss

CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
"""Losses whose targets are classes, so that they cannot regress."""

LARGE = (
    2**32
)  # bytes of weights; what is larger is tried on the meta device only, which needs no memory
SMALL = 10_000  # numbers of a parameter; the optimizer is tried on a cutting of what is larger


@dataclass(slots=True, frozen=True)
class Parameter:
    """What an optimizer sees of a parameter."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    trained: bool = True
    sparse: bool = False  # whether its gradients are


Group = tuple[Node, tuple[Parameter, ...]]
"""The arguments of a parameter group, and its parameters."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Fitted:
    """What a trial found out about a network and its loss."""

    layers: list[Layer]
    parameters: dict[groups.Names, Parameter]
    weights: dict[str, Any]  # the forms of the network's state, by names
    free: set[str]  # the names of those that may take another form


# --- Network and loss -------------------------------------------------------------------------------------------------


def fit_network(config: Config, once: Once | None = None) -> Fitted:
    """Build network and loss, and try them on two examples.

    It reads the sections model, loss and data. Raises UserError for what a constructor refuses, and
    where network, loss and data disagree.
    """
    dynamo.spare()
    with seeding.preserved():
        loss = module(config.loss, "loss")
        fitted = _tried(config, loss, once or Once())
        _try_loss(config, loss)
        if config.data.batch_transform is not None:
            _try_batch_transform(config, loss, once or Once())
        return fitted


def fit_metrics(config: Config, answers: tuple[Any, Any] | None = None) -> None:
    """Try the metrics: a matter of the sections metrics and data, and of what is monitored.

    `answers` are the output and target of a step of one's own. Raises UserError for what the
    metrics refuse.
    """
    dynamo.spare()
    with seeding.preserved():
        metric_trial.check(config, answers)


def _tried(config: Config, loss: nn.Module, once: Once) -> Fitted:
    """Try the network on the meta device, which needs no memory, and if that fails on the CPU.

    A network need not work without values, so errors on the meta device do not count.
    """
    model: nn.Module | None = None
    try:
        with torch.device("meta"):
            model = module(config.model, "model")
        return _used(config, model, loss, _blank(config, "meta"))
    except UserError as error:
        on_meta = error
    if on_meta.__cause__ is None:
        raise on_meta  # it did work, and its outputs are not what is needed
    if model is not None and size(model) > LARGE:
        if _wants_values(on_meta):
            return _used(
                config, model, loss, None
            )  # too large to be tried: the first batch will tell
        raise on_meta
    try:
        return _used(config, module(config.model, "model"), loss, _blank(config, "cpu"))
    except UserError as error:
        real = _real(config.data, once) if str(error) != str(on_meta) else None
        if real is None:
            raise
    return _used(config, module(config.model, "model"), loss, real)


def _used(config: Config, model: nn.Module, loss: nn.Module, inputs: Tensor | None) -> Fitted:
    """Compute outputs and try to save the weights."""
    weights, free = state.forms(model.state_dict()), state.undecided(model)
    rows = [] if inputs is None else _forward(config, model, inputs)
    return replace(fitted(model, loss, rows), weights=weights, free=free)


def fitted(model: nn.Module, loss: nn.Module, rows: Sequence[Layer]) -> Fitted:
    """Collect what is known of network and loss, and try to save the weights."""
    try_saving(model, loss)
    return Fitted(
        layers=[*rows, *_layer_of_loss(loss)],
        parameters=_parameters(model, loss),
        weights=state.forms(model.state_dict()),
        free=state.undecided(model),
    )


def _blank(config: Config, device: str) -> Tensor:
    return torch.zeros(EXAMPLES, *input_shape(config.data), device=device)


def _real(settings: Data, once: Once) -> Tensor | None:
    """Real inputs, for a network that does not take zeros; None where the data cannot be had."""
    try:
        inputs: Tensor = once(example_batches.first, settings)[0]
    except UserError:
        return None
    return inputs


def size(model: nn.Module) -> int:
    """Return the bytes of a network's weights."""
    return sum(each.nbytes for each in (*model.parameters(), *model.buffers()) if not is_lazy(each))


def _wants_values(error: UserError) -> bool:
    """Whether it was the meta device that failed, which has no values."""
    return isinstance(error.__cause__, NotImplementedError) or "meta" in str(error.__cause__)


def module(node: Node, key: str) -> nn.Module:
    """Build a network or a loss. Raises UserError if that is none."""
    built = targets.build(node, key)
    if not isinstance(built, nn.Module):
        raise UserError(
            f"{key}._target_={node['_target_']}: must be a torch.nn.Module, is {a_or_an(type(built).__name__)}"
        )
    return built


def _forward(config: Config, model: nn.Module, inputs: Tensor) -> list[Layer]:
    """Compute outputs and return the layer table. Raises UserError if they do not fit the data."""
    needs, target = config.data, config.model["_target_"]
    rows: list[Layer] = []
    try:
        with recorded(model, rows):
            output = model(inputs)
    except Exception as error:
        raise UserError(
            f"model={target}: does not take inputs of shape {_shape(inputs)} "
            f"(data={needs.name}, data.flatten={str(needs.flatten).lower()}): {_line(error)}"
        ) from error
    if not isinstance(output, Tensor):
        raise UserError(
            f"model={target}: must return one tensor, returned {a_or_an(type(output).__name__)}"
        )
    if tuple(output.shape) != (len(inputs), needs.out_features):
        key = "model.out_features" if "out_features" in config.model else "model"
        got = f"{key}={config.model['out_features']}" if "out_features" in config.model else key
        raise UserError(
            f"{got}: the network's output has the shape {_shape(output, len(inputs))}, but data={needs.name} needs "
            f"[B, {needs.out_features}] ({'classes' if needs.task == metrics.CLASSIFICATION else 'values'})"
        )
    return rows


def _try_loss(config: Config, loss: nn.Module) -> None:
    """Compute the loss of two examples; where it takes no zeros, of other numbers."""
    needs, target = config.data, config.loss["_target_"]
    classes = needs.task == metrics.CLASSIFICATION
    if not classes and isinstance(loss, CLASS_LOSSES):
        raise UserError(
            f"loss={target}: is for classes, but data={needs.name} is a regression; use loss=mse"
        )
    shape = (EXAMPLES, needs.out_features)
    try:
        value = loss(
            torch.zeros(shape),
            torch.zeros(EXAMPLES, dtype=torch.int64) if classes else torch.zeros(shape),
        )
    except Exception:
        different = torch.arange(EXAMPLES) % needs.out_features
        try:
            value = loss(torch.rand(shape), different if classes else torch.rand(shape))
        except Exception as error:
            hint = "loss=mse trains on one-hot targets" if classes else "loss=mse"
            raise UserError(
                f"loss={target}: does not fit outputs [B, {needs.out_features}] and the targets of "
                f"data={needs.name} ({hint}): {_line(error)}"
            ) from error
    if not isinstance(value, Tensor):
        raise UserError(f"loss={target}: must give a tensor, gave {a_or_an(type(value).__name__)}")
    if value.shape != ():
        raise UserError(
            f"loss={target}: must give one number a batch, not shape {list(value.shape)}"
        )


def _try_batch_transform(config: Config, loss: nn.Module, once: Once) -> None:
    """Try network, loss and score on what `data.batch_transform` makes of two examples."""
    errors: list[UserError] = []
    for batch in example_batches.batches(config.data, once):
        try:
            _try_transformed(config, loss, *example_batches.in_training(config.data, batch))
        except UserError as error:
            errors.append(error)
        else:
            return
    raise errors[-1]


def _try_transformed(config: Config, loss: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    # Autocast takes the narrow ones.
    is_wide = inputs.dtype not in (torch.float32, torch.float16, torch.bfloat16)
    if is_wide or list(inputs.shape[1:]) != input_shape(config.data):
        _forward(config, module(config.model, "model"), inputs)
    output = torch.rand(len(inputs), config.data.out_features)
    try:
        value = checked_loss(loss(output, targets))
        averager = metrics.MetricAverager(config.data.task, batch_weight(loss))
        averager.update(value, output, targets)
        averager.means()
    except Exception as error:
        made = f"the targets that data.batch_transform makes, {_shape(targets)} ({targets.dtype})"
        raise UserError(
            f"loss={config.loss['_target_']}: does not fit {made}: {_line(error)}"
        ) from error


def _layer_of_loss(loss: nn.Module) -> list[Layer]:
    """Return a row for the parameters of the loss; none if it has none."""
    size = sum(parameter.numel() for parameter in loss.parameters())
    return (
        [Layer(name="loss", kind=type(loss).__name__, output="", parameters=size)] if size else []
    )


def _parameters(model: nn.Module, loss: nn.Module) -> dict[groups.Names, Parameter]:
    """Return what an optimizer sees of all parameters, except of those without a shape."""
    sparse = {
        id(parameter)
        for part in chain(model.modules(), loss.modules())
        if getattr(part, "sparse", False) is True
        for parameter in part.parameters(recurse=False)
    }
    return {
        names: Parameter(tuple(each.shape), each.dtype, each.requires_grad, id(each) in sparse)
        for names, each in groups.named_parameters(model, loss).items()
        if not is_lazy(each)
    }


def _line(error: Exception) -> str:
    return one_line(error)[:200] or type(error).__name__


def _shape(tensor: Tensor, batch: int = EXAMPLES) -> str:
    """Write a shape as text, with B for the number of examples."""
    sizes = [str(size) for size in tensor.shape]
    if tensor.dim() and len(tensor) == batch:
        sizes[0] = "B"
    return f"[{', '.join(sizes)}]"


class recorded:  # noqa: N801  # a context manager, named as it reads
    """Add the output shape and parameters of every leaf module that runs to `rows`."""

    def __init__(self, model: nn.Module, rows: list[Layer]) -> None:
        leaves = [
            (name, module) for name, module in model.named_modules() if not list(module.children())
        ]
        self._hooks = [module.register_forward_hook(self._hook(name)) for name, module in leaves]
        self._rows = rows

    def _hook(self, name: str) -> Any:
        def record(module: nn.Module, _inputs: object, output: object) -> None:
            size = sum(p.numel() for p in module.parameters())
            shape = _shape(output) if isinstance(output, Tensor) else ""
            self._rows.append(
                Layer(name=name or "-", kind=type(module).__name__, output=shape, parameters=size)
            )

        return record

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


# --- Optimizer and scheduler ------------------------------------------------------------------------------------------


def updated(config: Config, fitted: Fitted) -> dict[str, list[Group]]:
    """Return the parameter groups of each optimizer, by the part of the network that it updates.

    Of parameters that look alike there is one in a group. Raises UserError for patterns that match
    no parameter, or contradict each other.
    """
    parameters = _as_frozen(config, fitted)
    found = {}
    for part, own in schedule.by_part(config).items():
        mine = groups.of_part(part, parameters)
        if part and not any(parameter.trained for parameter in mine.values()):
            why = f"freezes all of {part}: leave out optimizer.{part}, or freeze less"
            raise UserError(f"trainer.freeze={config.trainer.freeze}: {why}")
        found[part] = _groups(own.optimizer, mine, schedule.key("optimizer", part))
    return found


def _as_frozen(config: Config, fitted: Fitted) -> dict[groups.Names, Parameter]:
    """Return the parameters, with those marked that `trainer.freeze` freezes."""
    parameters = dict(fitted.parameters)
    for names in groups.frozen(config.trainer.freeze, parameters):
        parameters[names] = replace(parameters[names], trained=False)
    return parameters


def frozen_groups(config: Config, fitted: Fitted) -> list[str]:
    """Say of which groups of an optimizer `trainer.freeze` freezes all parameters."""
    notes = []
    parameters = _as_frozen(config, fitted)
    for part, own in schedule.by_part(config).items():
        mine = groups.of_part(part, parameters)
        for pattern in own.optimizer.get(groups.GROUPS) or {}:
            matched = [each for names, each in mine.items() if groups.matches(names, pattern)]
            if not any(each.trained for each in matched):
                key = f"{schedule.key('optimizer', part)}.{groups.GROUPS}.{pattern}"
                notes.append(f"{key}: has no effect: trainer.freeze freezes all that it matches")
    return notes


def _groups(node: Node, parameters: Mapping[groups.Names, Parameter], key: str) -> list[Group]:
    found = []
    for group in groups.grouped(node, parameters, key):
        arguments: Node = dict(group)
        alike = tuple(dict.fromkeys(arguments.pop("params")))
        found.append((arguments, alike))
    return found


def fit_optimizers(
    config: Config, parameters: Mapping[str, list[Group]], in_epoch: int = 1
) -> list[str]:
    """Build optimizers and schedulers on groups of parameters like these, and step them once.

    Returns notes on what the schedules never come to; `in_epoch` is the number of updates in an
    epoch. It reads the parameters, these two sections, `mode`, the device, and the number of
    epochs. Raises UserError for what they refuse.
    """
    dynamo.spare()
    notes: list[str] = []
    with seeding.preserved():
        for part, own in schedule.by_part(config).items():
            notes += _fit_optimizer(own, part, parameters[part], in_epoch)
    return list(dict.fromkeys(notes))


def _fit_optimizer(config: Config, part: str, found: list[Group], in_epoch: int) -> list[str]:
    key, scheduler_key = schedule.key("optimizer", part), schedule.key("scheduler", part)
    optimizer = _optimizer(config, key, found)
    if isinstance(optimizer, LBFGS) and (why := _looks_once(config.trainer, part)):
        name = config.optimizer["_target_"]
        raise UserError(f"{key}={name}: looks at a batch several times, and {why}")
    rates = schedule.rates(optimizer)
    scheduler = schedule.build(schedule.filled(config, in_epoch), scheduler_key, optimizer)
    try:
        optimizer.step(lambda: 0.0)
    except Exception as error:
        raise UserError(f"{key}={config.optimizer['_target_']}: {_line(error)}") from error
    try:  # some compute with their arguments only now
        scheduler.step(*([0.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
    except Exception as error:
        name = config.scheduler["_target_"]
        raise UserError(f"{scheduler_key}={name}: {_line(error)}") from error
    refuse_unsafe({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})
    return schedule_checks.notes(config, scheduler, in_epoch, rates)


def _looks_once(trainer: Trainer, part: str) -> str | None:
    """Say why a batch is looked at only once, if so."""
    if part:
        return "a step yields each loss once"
    if trainer.accumulate:
        return f"trainer.accumulate={trainer.accumulate} does not keep it"
    if trainer.precision == "fp16":
        return "trainer.precision=fp16 scales the gradients of one look; bf16 and fp32 do not"
    return None


def _optimizer(config: Config, key: str, found: list[Group]) -> Optimizer:
    """Build the optimizer on small stand-ins; what it refuses is named with the real shapes."""
    # What other devices want of gradients cannot be tried on the CPU.
    gradients = choose_device(config.trainer.device).type == "cpu"
    node = groups.without_groups(config.optimizer)
    for pattern, arguments in (config.optimizer.get(groups.GROUPS) or {}).items():
        # An optimizer looks at the values of its own arguments only
        one = [_stand_in(found[0][1][0], gradients=False)]
        targets.build({**node, **arguments}, f"{key}.{groups.GROUPS}.{pattern}", one)
    try:
        built: Optimizer = targets.build(node, key, _stand_ins(found, gradients=gradients))
    except UserError:
        with torch.device("meta"):
            targets.build(node, key, _stand_ins(found, gradients=False, cut=False))
        raise
    return built


def _stand_ins(
    found: list[Group], *, gradients: bool, cut: bool = True
) -> list[nn.Parameter] | list[dict[str, Any]]:
    """Make parameters as an optimizer takes them: a list, or groups with arguments each."""
    made: list[dict[str, Any]] = []
    for arguments, parameters in found:
        forms = dict.fromkeys(map(_cut, parameters)) if cut else parameters
        params = [_stand_in(form, gradients=gradients) for form in forms]
        made.append({"params": params, **arguments})
    if len(made) == 1 and not found[0][0]:
        only: list[nn.Parameter] = made[0]["params"]
        return only
    return made


def _cut(parameter: Parameter) -> Parameter:
    """Return a small parameter of the same kind."""
    if math.prod(parameter.shape) <= SMALL:
        return parameter
    return Parameter(
        tuple(min(size, 4) for size in parameter.shape),
        parameter.dtype,
        parameter.trained,
        parameter.sparse,
    )


def _stand_in(parameter: Parameter, *, gradients: bool) -> nn.Parameter:
    made = nn.Parameter(
        torch.zeros(parameter.shape, dtype=parameter.dtype), requires_grad=parameter.trained
    )
    if gradients and parameter.trained:
        slope = torch.full_like(made, 1e-3)
        made.grad = slope.to_sparse(1) if parameter.sparse else slope
    return made


# --- Weights ----------------------------------------------------------------------------------------------------------


def fit_weights(
    init_from: str, wanted: Mapping[str, Any], free: Collection[str], weights: Mapping[str, Any]
) -> None:
    """Raise UserError unless the network has weights of exactly these names and shapes.

    `wanted` are the forms of the network's weights by name; those that are `free` may take another.
    """
    given = state.forms(state.parts(weights)[0])
    names = {**wanted, **given}
    differing = [name for name in names if name not in free and wanted.get(name) != given.get(name)]
    wrong = [
        f"  {name}: the network has {wanted.get(name, 'none')}, the run {given.get(name, 'none')}"
        for name in differing
    ]
    if wrong:
        raise UserError(
            "\n".join([f"trainer.init_from={init_from}: its weights do not fit:", *wrong])
        )
