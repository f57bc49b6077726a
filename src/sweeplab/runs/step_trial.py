"""A step of one's own on trial: what it computes of two examples, before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sweeplab import metrics
from sweeplab.config import Config
from sweeplab.data import seeding
from sweeplab.errors import UserError, did_you_mean, failure
from sweeplab.metrics import ACCURACY, LOSS, MAE, TRAIN, VALID
from sweeplab.runs import example_batches, trial
from sweeplab.runs.example_batches import EXAMPLES
from sweeplab.runs.once import Once
from sweeplab.runs.screen import Layer
from sweeplab.speed import dynamo
from sweeplab.train import groups, own_step
from sweeplab.train.step_result import (
    Step,
    StepResult,
    compute,
    ensure_counted,
    no_update,
    task_score,
)

MOST = 200  # characters of the description of a batch


@dataclass(kw_only=True, slots=True, frozen=True)
class Measured:
    """What a step measures in an epoch."""

    train: list[str]  # names of numbers, without the split
    valid: list[str]
    answers: tuple[Any, Any] | None  # output and target of the evaluation, if it gives both
    untrained: list[str]  # modules of the step itself, whose parameters are in no optimizer


@dataclass(kw_only=True, slots=True, frozen=True)
class Tried:
    """What a trial found out about a network and a step."""

    fitted: trial.Fitted
    measured: Measured | None  # None: the network is too large to be tried


def fit(
    config: Config, parts: Sequence[str], frozen: list[str] | None = None, once: Once | None = None
) -> Tried:
    """Build network, loss and step, and train and evaluate on two examples; nothing is updated.

    It reads the sections model, loss, data and step. `parts` are those that have an optimizer,
    `frozen` the patterns of parameters that are not trained.
    Raises UserError for what cannot be.
    """
    dynamo.spare()
    with seeding.preserved():
        loss = trial.module(config.loss, "loss")
        form = _without_values(config)
        if form is not None and trial.size(form) > trial.LARGE:
            return Tried(fitted=trial.fitted(form, loss, []), measured=None)

        def attempt(batch: Any) -> Tried:
            model = trial.module(config.model, "model")
            parameters = groups.named_parameters(model, loss)
            for names in groups.frozen(frozen, parameters):
                parameters[names].requires_grad_(False)
            return _tried(config, parts, model, loss, batch)

        return example_batches.try_each(config.data, once or Once(), attempt)


def _without_values(config: Config) -> nn.Module | None:
    """Build the network on the meta device, which needs no memory; None if it needs values."""
    try:
        with torch.device("meta"):
            return trial.module(config.model, "model")
    except UserError:
        return None


def _tried(
    config: Config, parts: Sequence[str], model: nn.Module, loss: nn.Module, batch: Any
) -> Tried:
    """Train and evaluate once on a batch; raise UserError for what the step does wrong."""
    step = own_step.build(config.step)
    name = f"step={config.step['_target_']}"
    rows: list[Layer] = []

    def attempt(what: str, batch: Any, update: Callable[[str, Tensor], None]) -> StepResult:
        try:
            return ensure_counted(compute(step, model, loss, batch, nullcontext, update))
        except Exception as error:
            raise UserError(
                f"{name}: {what} fails on {_described(batch)}: {failure(error)}"
            ) from error

    yielded: list[str] = []

    def backward(part: str, value: Tensor) -> None:
        yielded.append(part)
        if "" in parts:
            words = f"~optimizer +optimizer@optimizer.{part or 'PART'}=adam"
            advice = f"the optimizer is of the whole network; give each part one, as in {words}"
            raise ValueError(f"it yields the part '{part}', but {advice}")
        if part not in parts:
            known = ", ".join(parts)
            raise ValueError(
                f"it yields the part '{part}', but the optimizers are those of {known}"
            )
        _ensure_trained(value, groups.of_part(part, groups.named_parameters(model, loss)))

    model.train()
    with trial.recorded(model, rows):
        trained = attempt("training", example_batches.in_training(config.data, batch), backward)
    if not yielded and "" not in parts:
        raise UserError(f"{name}: must yield (part, loss) for the optimizers of {', '.join(parts)}")
    if not yielded:
        try:
            _ensure_trained(trained.loss, groups.named_parameters(model, loss))
        except Exception as error:
            raise UserError(f"{name}: {failure(error)}") from error
    model.eval()
    with torch.no_grad():
        evaluated = attempt("evaluation", batch, no_update)
    answers = None
    if evaluated.output is not None and evaluated.target is not None:
        answers = (evaluated.output, evaluated.target)
    measured = Measured(
        train=_names(config, trained, name),
        valid=_names(config, evaluated, name),
        answers=answers,
        untrained=_untrained(step),
    )
    once_each = list({row.name: row for row in reversed(rows)}.values())
    return Tried(fitted=trial.fitted(model, loss, once_each[::-1]), measured=measured)


def _untrained(step: Step) -> list[str]:
    """Name the modules of a step with parameters that would have gradients, and no optimizer."""
    held = own_step.modules_of(step).items()
    return [name for name, module in held if any(p.requires_grad for p in module.parameters())]


def notes(measured: Measured) -> list[str]:
    """Say what a step holds that is not trained."""
    why = "are in no optimizer: make it a part of the model, or freeze it by requires_grad_(False)"
    return [f"step: the parameters of its '{name or 'self'}' {why}" for name in measured.untrained]


def _ensure_trained(loss: Tensor, parameters: dict[groups.Names, nn.Parameter]) -> None:
    """Compute the gradients of a loss. Raises ValueError if it depends on no parameter."""
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    if not trained:
        return  # a part that is frozen, which `trial.updated` refuses
    if not loss.requires_grad:
        raise ValueError("the loss does not depend on the network's parameters")
    torch.autograd.backward(loss, inputs=trained, retain_graph=True)


def _names(config: Config, result: StepResult, name: str) -> list[str]:
    """List the numbers of a result. Raises UserError for two of one name."""
    names = [LOSS, *result.numbers]
    for number in result.numbers:
        if metrics.is_learning_rate(f"{TRAIN}/{number}"):
            raise UserError(f"{name}: '{number}' is the name of the learning rate; give another")
        if number in config.metrics:
            raise UserError(f"{name}: gives '{number}', and so does metrics.{number}; rename one")
    try:
        score = task_score(config.data.task, result)
    except Exception as error:
        raise UserError(f"{name}: output and target do not fit: {failure(error)}") from error
    if score is not None and score[0] in names:
        advice = "which is computed of output and target, too; leave out one"
        raise UserError(f"{name}: gives '{score[0]}', {advice}")
    return names if score is None else [*names, score[0]]


def _described(batch: Any) -> str:
    """Describe a batch by the shapes of its tensors."""
    leaves, form = pytree.tree_flatten(batch)
    shown = [str(list(leaf.shape)) if isinstance(leaf, Tensor) else "..." for leaf in leaves]
    try:
        text = str(pytree.tree_unflatten(shown, form)).replace("'", "")
    except Exception:  # a class whose constructor looks at what it is given
        text = ", ".join(shown)
    return f"a batch of {EXAMPLES} examples, {text[:MOST]}"


def check(config: Config, measured: Measured) -> None:
    """Raise UserError if what is monitored, or what a metric needs, is not measured by the step."""
    split, _, number = config.monitor.partition("/")
    key = f"trainer.monitor={config.monitor}"
    names = {TRAIN: measured.train, VALID: [*measured.valid, *config.metrics]}.get(split, [])
    is_metric = any(number.startswith(f"{name}_") for name in config.metrics)
    if number not in names and not is_metric:
        known = [f"{TRAIN}/{name}" for name in measured.train]
        known += [f"{VALID}/{name}" for name in (*measured.valid, *config.metrics)]
        raise UserError(f"{key}: no such metric{did_you_mean(config.monitor, known)}")
    if config.trainer.mode == "auto" and number not in (LOSS, ACCURACY, MAE):
        why = f"nothing says which way {config.monitor} is better; give max or min"
        raise UserError(f"trainer.mode=auto: {why}")
    if config.metrics and measured.answers is None:
        first, name = next(iter(config.metrics)), config.step["_target_"]
        needs = "needs output and target of an evaluation, which the step does not give"
        raise UserError(f"metrics.{first}: {needs} (step={name})")
