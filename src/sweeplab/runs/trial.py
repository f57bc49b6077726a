"""Network and loss on trial: whether they fit each other and the data, before any work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sweeplab import metrics, targets
from sweeplab.config import Config, Data, Node
from sweeplab.data import seeding
from sweeplab.errors import UserError, a_or_an, summary
from sweeplab.runs import example_batches, metric_trial, usual_mistakes
from sweeplab.runs.example_batches import EXAMPLES
from sweeplab.runs.once import Once
from sweeplab.runs.parts import input_shape
from sweeplab.runs.screen import Layer
from sweeplab.runs.weights import try_saving
from sweeplab.speed import dynamo
from sweeplab.train import groups, state
from sweeplab.train.reduction import batch_weight
from sweeplab.train.train_state import checked_loss

CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
"""Losses whose targets are classes, so that they cannot regress."""

# Bytes of weights; what is larger is tried on the meta device only, which needs no memory
LARGE = 2**32


@dataclass(slots=True, frozen=True)
class Parameter:
    """What an optimizer sees of a parameter."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    trained: bool = True
    sparse: bool = False  # whether its gradients are


@dataclass(kw_only=True, slots=True, frozen=True)
class Fitted:
    """What a trial found out about a network and its loss."""

    layers: list[Layer]
    parameters: dict[groups.Names, Parameter]
    weights: dict[str, Any]  # the forms of the network's state, by names
    free: set[str]  # the names of those that may take another form
    notes: list[str]  # to be shown to the user


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


def ensure_one_trains(config: Config) -> None:
    """Raise UserError for a network that cannot be trained on one example at a time.

    It reads the sections model and data. A network that needs values, and so does not run on the
    meta device, is not judged.
    """
    try:
        with seeding.preserved(), torch.device("meta"):
            module(config.model, "model")(_blank(config, "meta")[:1])
    except Exception as error:
        if "more than 1 value per channel" in str(error):
            why = "BatchNorm cannot normalise one example by itself"
            raise UserError(f"trainer.batch_size=1: {why}; give at least 2") from error


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
        fitted = _used(config, model, loss, _blank(config, "meta"))
        if size(model) > LARGE or not _has_doubles(model):
            return fitted
        return _used(config, module(config.model, "model"), loss, _blank(config, "cpu"))
    except UserError as error:
        on_meta = error
    if on_meta.__cause__ is None:
        raise on_meta  # it did work, and its outputs are not what is needed
    if model is not None and size(model) > LARGE:
        if _wants_values(on_meta):
            # Too large to be tried: whether it works, the first batch shows.
            return _used(config, model, loss, None)
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
    rows: list[Layer] = []
    notes: list[str] = []
    if inputs is not None:
        rows, output = _forward(config, model, inputs)
        target = config.model["_target_"]
        if not target.startswith("sweeplab."):
            notes = usual_mistakes.notes(model, loss, output, f"model={target}")
    return replace(fitted(model, loss, rows), weights=weights, free=free, notes=notes)


def fitted(model: nn.Module, loss: nn.Module, rows: Sequence[Layer]) -> Fitted:
    """Collect what is known of network and loss, and try to save the weights."""
    try_saving(model, loss)
    return Fitted(
        layers=[*rows, *_layer_of_loss(loss)],
        parameters=_parameters(model, loss),
        weights=state.forms(model.state_dict()),
        free=state.undecided(model),
        notes=[],
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
    return sum(
        tensor.nbytes for tensor in (*model.parameters(), *model.buffers()) if not is_lazy(tensor)
    )


def _has_doubles(model: nn.Module) -> bool:
    """Whether weights are float64: the meta device lets them meet types that the CPU refuses."""
    return any(parameter.dtype == torch.float64 for parameter in model.parameters())


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
    usual_mistakes.ensure_registered(built, f"{key}={node['_target_']}")
    return built


def _forward(config: Config, model: nn.Module, inputs: Tensor) -> tuple[list[Layer], Tensor]:
    """Compute outputs; returns the layer table and them. Raises UserError if they do not fit the data."""
    needs, target = config.data, config.model["_target_"]
    rows: list[Layer] = []
    try:
        with recorded(model, rows):
            output = model(inputs)
    except Exception as error:
        problem = _other_form(needs, model, inputs) or f": {summary(error)}"
        if "dtype" in problem and inputs.dtype == torch.float32 and _has_doubles(model):
            problem += "; inputs are float32, and so must its weights be: leave double() out"
        raise UserError(
            f"model={target}: does not take inputs of shape {_shape(inputs)} "
            f"(data={needs.name}, data.flatten={str(needs.flatten).lower()}){problem}"
        ) from error
    if not isinstance(output, Tensor):
        raise UserError(
            f"model={target}: must return one tensor, returned {a_or_an(type(output).__name__)}; "
            "a step of your own takes what it likes: step._target_=my_module.step"
        )
    if tuple(output.shape) != (len(inputs), needs.out_features):
        key = "model.out_features" if "out_features" in config.model else "model"
        got = f"{key}={config.model['out_features']}" if "out_features" in config.model else key
        raise UserError(
            f"{got}: the network's output has the shape {_shape(output, len(inputs))}, but data={needs.name} needs "
            f"[B, {needs.out_features}] ({'classes' if needs.task == metrics.CLASSIFICATION else 'values'})"
        )
    return rows, output


def _other_form(data: Data, model: nn.Module, inputs: Tensor) -> str:
    """Say how the network takes the inputs flattened, or as pictures, if only so; '' if it does not."""
    other = replace(data, flatten=not data.flatten)
    blank = inputs.new_zeros(EXAMPLES, *input_shape(other))
    try:
        model(blank)
    except Exception:
        return ""
    return f", but of {_shape(blank)}: add data.flatten={str(other.flatten).lower()}"


def _try_loss(config: Config, loss: nn.Module) -> None:
    """Raise UserError for a loss that does not fit the outputs and targets of the data."""
    needs, target = config.data, config.loss["_target_"]
    classes = needs.task == metrics.CLASSIFICATION
    if not classes and isinstance(loss, CLASS_LOSSES):
        raise UserError(
            f"loss={target}: is for classes, but data={needs.name} is a regression; use loss=mse"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # training will repeat them
            value = _loss_of_two(loss, needs.out_features, classes=classes)
    except Exception as error:
        hint = "loss=mse trains on one-hot targets" if classes else "loss=mse"
        raise UserError(
            f"loss={target}: does not fit outputs [B, {needs.out_features}] and the targets of "
            f"data={needs.name} ({hint}): {summary(error)}"
        ) from error
    if not isinstance(value, Tensor):
        raise UserError(f"loss={target}: must give a tensor, gave {a_or_an(type(value).__name__)}")
    if value.shape != ():
        raise UserError(
            f"loss={target}: must give one number a batch, not shape {list(value.shape)}"
        )


def _loss_of_two(loss: nn.Module, size: int, *, classes: bool) -> Any:
    """Compute the loss of two examples of `size` outputs: of zeros, else of other numbers."""
    shape = (EXAMPLES, size)
    try:
        zeros = torch.zeros(EXAMPLES, dtype=torch.int64) if classes else torch.zeros(shape)
        return loss(torch.zeros(shape), zeros)
    except Exception:
        different = torch.arange(EXAMPLES) % size if classes else torch.rand(shape)
        return loss(torch.rand(shape), different)


def _try_batch_transform(config: Config, loss: nn.Module, once: Once) -> None:
    """Try network, loss and score on what `data.batch_transform` makes of two examples."""

    def attempt(batch: Any) -> None:
        _try_transformed(config, loss, *example_batches.in_training(config.data, batch))

    example_batches.try_each(config.data, once, attempt)


def _try_transformed(config: Config, loss: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Try the network where the transform changes the form of the inputs, and the loss anyway."""
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
            f"loss={config.loss['_target_']}: does not fit {made}: {summary(error)}"
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


def _shape(tensor: Tensor, batch: int = EXAMPLES) -> str:
    """Write a shape as text, with B for the number of examples."""
    sizes = [str(size) for size in tensor.shape]
    if tensor.dim() and len(tensor) == batch:
        sizes[0] = "B"
    return f"[{', '.join(sizes)}]"


@contextmanager
def recorded(model: nn.Module, rows: list[Layer]) -> Iterator[None]:
    """Add the output shape and parameters of every leaf module that runs meanwhile to `rows`."""

    def record(name: str, module: nn.Module, _inputs: object, output: object) -> None:
        size = sum(parameter.numel() for parameter in module.parameters())
        shape = _shape(output) if isinstance(output, Tensor) else ""
        kind = type(module).__name__
        rows.append(Layer(name=name or "-", kind=kind, output=shape, parameters=size))

    leaves = [named for named in model.named_modules() if not list(named[1].children())]
    hooks = [module.register_forward_hook(partial(record, name)) for name, module in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
