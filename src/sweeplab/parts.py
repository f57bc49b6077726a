"""From a config to the parts of a run (network, loss, optimizer, scheduler), and whether they fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sweeplab import checkpoint, code, data, dynamo, loop, metrics, state
from sweeplab.config import Config, Data, Node
from sweeplab.errors import UserError, did_you_mean
from sweeplab.models import onednn
from sweeplab.runtime import Runtime, random_state, seed_stream, set_random_state
from sweeplab.screen import Layer

SUPPLIED = {"optimizer": ("params",), "scheduler": ("optimizer",)}
"""Arguments that are not in the config: a part gets them from the part before it."""

CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
"""Losses whose targets are classes, so that they cannot regress."""


def problems(config: Config) -> list[str]:
    """All that is wrong with the `_target_`s, judged by their signatures, and with what depends on several sections."""
    found = [p for name, node, supplied in _nodes(config) for p in code.check(node, name, supplied)]
    if config.trainer.shift is not None and len(config.data.shape or ()) != 3:
        found.append(f"trainer.shift={config.trainer.shift}: is for pictures, but data.shape={config.data.shape}")
    known = epoch_metrics(config)
    if config.monitor not in known:
        found.append(f"trainer.monitor={config.monitor}: no such metric{did_you_mean(config.monitor, known)}")
    if config.trainer.mode == "auto" and config.monitor.removeprefix(f"{metrics.VALID}/") in config.metrics:
        found.append(f"trainer.mode=auto: nothing says which way {config.monitor} is better; give max or min")
    return found


def targets(config: Config) -> list[str]:
    """Every class path that this config names, at every depth."""
    return [path for _, node, _ in _nodes(config) for path in code.targets(node)]


def words(config: Config, *, held: bool) -> dict[str, str]:
    """All strings that this config gives to its `_target_`s, by their dotted keys: they may name code, or files.

    The files of a data set that is `held` in memory are left out: its examples are known, wherever they lie.
    """
    found: dict[str, str] = {}
    for name, node, _ in _nodes(config):
        given = code.words(node, name)
        if held and name == "data.dataset":
            given = {key: word for key, word in given.items() if not code.is_file(word)}
        found |= given
    return found


def _nodes(config: Config) -> Iterator[tuple[str, Node, Sequence[str]]]:
    for name in ("model", "loss", "optimizer"):
        yield name, getattr(config, name), SUPPLIED.get(name, ())
    yield "scheduler", scheduler_node(config, steps=1), SUPPLIED["scheduler"]
    yield "data.dataset", config.data.dataset, _supplied_to_dataset(config)
    for name, node in config.metrics.items():
        yield f"metrics.{name}", node, ()


def _supplied_to_dataset(config: Config) -> Sequence[str]:
    try:
        return data.supplied(config.data)
    except (KeyError, UserError):  # no `_target_`, or one that is not there: the check says so
        return ()


def epoch_metrics(config: Config) -> list[str]:
    """The names of what an epoch measures, and so of what can be monitored."""
    plain = (metrics.LOSS, metrics.score(config.data.task))
    valid = (*plain, *config.metrics)
    return [f"{metrics.TRAIN}/{name}" for name in plain] + [f"{metrics.VALID}/{name}" for name in valid]


def fit_network(config: Config) -> list[Layer]:
    """Build network, loss and metrics, the network on the meta device (no memory, no random numbers), and try it on two
    examples; the layer table. A matter of the sections model, loss, metrics and data.

    Raises UserError for what a constructor refuses, and where network, loss and data disagree.
    """
    dynamo.spare()
    with _same_random_numbers():
        with torch.device("meta"):
            model = _module(config.model, "model")
        loss = _module(config.loss, "loss")
        for name, node in config.metrics.items():
            code.build(node, f"metrics.{name}")
        rows = [*_try(config, model, loss), *_layer_of_loss(loss)]
        checkpoint.try_saving(model, loss)
        return rows


def _layer_of_loss(loss: nn.Module) -> list[Layer]:
    """A row for what the loss trains; none where it does not."""
    size = sum(parameter.numel() for parameter in loss.parameters())
    return [Layer(name="loss", kind=type(loss).__name__, output="", parameters=size)] if size else []


def fit_optimizer(config: Config) -> None:
    """Build optimizer and scheduler and step them once: a matter of these two sections and of `mode`.

    Raises UserError for what they refuse.
    """
    dynamo.spare()
    with _same_random_numbers():
        _try_scheduler(config, code.build(config.optimizer, "optimizer", [nn.Parameter(torch.zeros(1))]))


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the global random streams as they were: what is built on trial draws from them."""
    state = random_state(torch.device("cpu"))
    try:
        yield
    finally:
        set_random_state(torch.device("cpu"), state)


def input_shape(data: Data) -> list[int]:
    """The shape of one example, as a network gets it."""
    return [data.in_features] if data.flatten or data.shape is None else data.shape


def fit_weights(config: Config, weights: Mapping[str, Any]) -> None:
    """Raise UserError unless the network has weights of exactly these names and shapes."""
    with torch.device("meta"):
        model = _module(config.model, "model")
    wanted, given = state.forms(model.state_dict()), state.forms(state.parts(weights)[0])
    free = state.undecided(model)
    wrong = [
        f"  {name}: the network has {wanted.get(name, 'none')}, the run {given.get(name, 'none')}"
        for name in {**wanted, **given}
        if name not in free and wanted.get(name) != given.get(name)
    ]
    if wrong:
        raise UserError("\n".join([f"trainer.init_from={config.trainer.init_from}: its weights do not fit:", *wrong]))


def _try_scheduler(config: Config, optimizer: Optimizer) -> None:
    """Build it and step once: some schedulers compute with their arguments only then."""
    scheduler = code.build(scheduler_node(config, steps=1), "scheduler", optimizer)
    optimizer.step(lambda: 0.0)
    try:
        scheduler.step(*([0.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
    except Exception as error:
        raise UserError(f"scheduler={config.scheduler['_target_']}: {_line(error)}") from error
    checkpoint.refuse_unsafe({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})


def _module(node: Node, key: str) -> nn.Module:
    built = code.build(node, key)
    if not isinstance(built, nn.Module):
        raise UserError(f"{key}._target_={node['_target_']}: must be a torch.nn.Module, is a {type(built).__name__}")
    return built


def _try(config: Config, model: nn.Module, loss: nn.Module) -> list[Layer]:
    needs = config.data
    if needs.task == metrics.REGRESSION and isinstance(loss, CLASS_LOSSES):
        raise UserError(
            f"loss={config.loss['_target_']}: is for classes, but data={needs.name} is a regression; use loss=mse"
        )
    rows: list[Layer] = []
    with _recorded(model, rows):
        output = _forward(config, model, torch.empty(2, *input_shape(needs), device="meta"))
    if output is None:
        return rows
    if tuple(output.shape) != (2, needs.out_features):
        key = "model.out_features" if "out_features" in config.model else "model"
        got = f"{key}={config.model['out_features']}" if "out_features" in config.model else key
        raise UserError(
            f"{got}: the network's output has the shape {_shape(output)}, but data={needs.name} needs "
            f"[B, {needs.out_features}] ({'classes' if needs.task == metrics.CLASSIFICATION else 'values'})"
        )
    _try_loss(config, loss, output)
    return rows


def _forward(config: Config, model: nn.Module, inputs: Tensor) -> Tensor | None:
    """The output for meta inputs; None for a network that cannot compute without values."""
    try:
        output = model(inputs)
    except Exception as error:
        if isinstance(error, NotImplementedError) or "meta tensor" in str(error):
            return None
        raise UserError(
            f"model={config.model['_target_']}: does not take inputs of shape {_shape(inputs)} "
            f"(data={config.data.name}, data.flatten={str(config.data.flatten).lower()}): {_line(error)}"
        ) from error
    if not isinstance(output, Tensor):
        raise UserError(f"model={config.model['_target_']}: must return one tensor, returned a {type(output).__name__}")
    return output


def _try_loss(config: Config, loss: nn.Module, output: Tensor) -> None:
    classes = config.data.task == metrics.CLASSIFICATION
    target = torch.zeros(2, dtype=torch.int64) if classes else torch.zeros(2, config.data.out_features)
    hint = "loss=mse trains on one-hot targets" if classes else "loss=mse"
    try:
        # On real numbers: a loss may look at the values of its targets. Two examples cost nothing.
        value = loss(torch.zeros(output.shape), target)
    except Exception as error:
        raise UserError(
            f"loss={config.loss['_target_']}: does not fit outputs {_shape(output)} and the targets of "
            f"data={config.data.name} ({hint}): {_line(error)}"
        ) from error
    if not isinstance(value, Tensor):
        raise UserError(f"loss={config.loss['_target_']}: must give a tensor, gave a {type(value).__name__}")
    if value.shape != ():
        raise UserError(f"loss={config.loss['_target_']}: must give one number a batch, not shape {list(value.shape)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(['B', *map(str, tensor.shape[1:])])}]"


class _recorded:  # noqa: N801  # a context manager, named as it reads
    """While it is entered, the output shape and parameters of every leaf module that runs are added to `rows`."""

    def __init__(self, model: nn.Module, rows: list[Layer]) -> None:
        leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
        self._hooks = [module.register_forward_hook(self._hook(name)) for name, module in leaves]
        self._rows = rows

    def _hook(self, name: str) -> Any:
        def record(module: nn.Module, _inputs: object, output: object) -> None:
            size = sum(p.numel() for p in module.parameters())
            shape = _shape(output) if isinstance(output, Tensor) else ""
            self._rows.append(Layer(name=name or "-", kind=type(module).__name__, output=shape, parameters=size))

        return record

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def scheduler_node(config: Config, steps: int) -> Node:
    """The scheduler's config with what only the run knows: null `steps_per_epoch` and `mode` are filled in."""
    known = {"steps_per_epoch": steps, "mode": config.mode}
    return {k: known.get(k) if v is None else v for k, v in config.scheduler.items()}


def build(config: Config, runtime: Runtime, steps: int) -> loop.Task:
    """The parts of a run on its device, initialised from its seed; `steps` is the number of batches of an epoch."""
    seed_stream(config.seed, "initialisation")
    model: nn.Module = code.instantiate(config.model).to(runtime.device)
    if runtime.onednn:
        onednn.use(model)
    if config.trainer.compile:
        model.compile()
    else:
        dynamo.spare()
    loss: nn.Module = code.instantiate(config.loss).to(runtime.device)
    optimizer = code.instantiate(config.optimizer, [*model.parameters(), *loss.parameters()])
    further = {name: code.instantiate(node) for name, node in config.metrics.items()}
    seed_stream(config.seed, "dropout")
    return loop.Task(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=code.instantiate(scheduler_node(config, steps), optimizer),
        kind=config.data.task,
        monitor=config.monitor,
        interval=config.trainer.scheduler_interval,
        clip_norm=config.trainer.clip_norm,
        autocast=runtime.autocast,
        compile=config.trainer.compile,
        metrics=further,
    )
