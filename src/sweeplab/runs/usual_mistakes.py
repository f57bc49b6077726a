"""Usual mistakes in a network of one's own, with which it trains without an error, but not well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sweeplab.errors import UserError, counted
from sweeplab.models import NLLLoss

DEPTH = 3  # of lists in lists that are looked through
IN_A_LIST, IN_A_DICT, NO_PARAMETER = "in a list", "in a dict", "no torch.nn.Parameter"
INSTEAD = {
    (nn.Module, IN_A_LIST): "torch.nn.ModuleList",
    (nn.Module, IN_A_DICT): "torch.nn.ModuleDict",
    (Tensor, IN_A_LIST): "torch.nn.ParameterList",
    (Tensor, IN_A_DICT): "torch.nn.ParameterDict",
    (Tensor, NO_PARAMETER): "torch.nn.Parameter",
}
LOGITS = (nn.CrossEntropyLoss, NLLLoss)  # which compute log-softmax themselves
LAST = {
    "SoftmaxBackward0": "a softmax",
    "SigmoidBackward0": "a sigmoid",
    "ReluBackward0": "a ReLU",
}
"""What a network ends with, by the first step of its derivative."""
LINEAR = "AddmmBackward0"


def ensure_registered(module: nn.Module, about: str) -> None:
    """Raise UserError for layers and weights that PyTorch does not see: `parameters()` has them not,
    so that no optimizer trains them and no file keeps them.

    Those that are not to be trained, as a teacher's in a list, are let through.
    """
    known = {id(member) for member in (*module.modules(), *module.parameters())}
    for name, owner in module.named_modules():
        prefix = f"{name}." if name else ""
        for key, value in vars(owner).items():
            for path, found, where in _held(value, key):
                if id(found) in known or not _is_trained(found):
                    continue
                kind = nn.Module if isinstance(found, nn.Module) else Tensor
                raise UserError(
                    f"{about}: {prefix}{path} ({type(found).__name__}) is {where}, where PyTorch does not see "
                    f"its weights: they would not be trained or saved; use {INSTEAD[kind, where]}"
                )


def _held(value: Any, path: str, where: str = "", depth: int = 0) -> Iterator[tuple[str, Any, str]]:
    """Yield modules and tensors that an attribute holds: where each stands, itself, and in what."""
    if isinstance(value, nn.Module) and where:
        yield path, value, where
    elif isinstance(value, Tensor) and value.is_leaf:
        yield path, value, where or NO_PARAMETER
    elif isinstance(value, list | tuple) and depth < DEPTH:
        for index, each in enumerate(value):
            yield from _held(each, f"{path}[{index}]", IN_A_LIST, depth + 1)
    elif isinstance(value, dict) and depth < DEPTH:
        for key, each in value.items():
            yield from _held(each, f"{path}[{key!r}]", IN_A_DICT, depth + 1)


def _is_trained(found: nn.Module | Tensor) -> bool:
    if isinstance(found, Tensor):
        return found.requires_grad
    return any(parameter.requires_grad for parameter in found.parameters())


def notes(model: nn.Module, loss: nn.Module, output: Tensor, about: str) -> list[str]:
    """Say which weights have no part in an output, and what the loss does not expect of it.

    Raises UserError if no weight has.
    """
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if not trained:
        return []
    if not output.requires_grad and not _is_trained(loss):
        why = "it is computed under torch.no_grad(), or detached"
        raise UserError(f"{about}: no weight has a part in its output, so none can learn: {why}")
    found = [f"{about}: {advice}" for advice in _about_loss(loss, output)]
    names = _without_part(trained, output) if output.requires_grad else list(trained)
    if names:
        shown = ", ".join(names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        weights = counted(len(names), "weight tensor")
        found.append(
            f"{about}: {weights} had no part in its output, and will not learn: {shown}{more}"
        )
    return found


def _without_part(trained: dict[str, nn.Parameter], output: Tensor) -> list[str]:
    try:
        gradients = torch.autograd.grad(output.sum(), list(trained.values()), allow_unused=True)
    except Exception:  # the training will tell
        return []
    return [name for name, each in zip(trained, gradients, strict=True) if each is None]


def _about_loss(loss: nn.Module, output: Tensor) -> Iterator[str]:
    derivative = output.grad_fn.name() if output.grad_fn is not None else ""
    last = LAST.get(derivative, "")
    if isinstance(loss, LOGITS) and last:
        kind = type(loss).__name__
        yield f"ends with {last}, but {kind} takes the numbers before it (logits): leave it out"
    elif type(loss) is nn.NLLLoss and (last or derivative == LINEAR):
        yield f"ends with {last or 'a linear layer'}, but torch.nn.NLLLoss takes log-softmax: loss=nll computes it, too"
