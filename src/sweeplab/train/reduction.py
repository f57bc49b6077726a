"""How the losses of batches make up the loss of a whole set, whatever the size of the batches."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sweeplab.models import MSELoss, NLLLoss

BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, NLLLoss)
"""Losses whose mean is weighted by the classes of the targets."""

BY_EXAMPLE = (
    nn.MSELoss, MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss,
    nn.KLDivLoss, nn.PoissonNLLLoss, nn.SoftMarginLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss,
    nn.MultiLabelSoftMarginLoss, nn.HingeEmbeddingLoss,
)  # fmt: skip
"""Losses whose mean counts every example alike, weights of classes or not."""


class Reduction(Enum):
    """How the losses of batches make up the loss of a set."""

    MEAN = "mean"  # their mean, weighted by the number of examples
    WEIGHTED = "weighted"  # their mean, weighted by the weights of the targets' classes
    SUM = "sum"  # their sum
    WHOLE = "whole"  # not known: it is computed of all outputs and targets at once


def reduction(loss: nn.Module) -> Reduction:
    """Tell how this loss reduces; known are torch.nn's losses and ours, by their own code."""
    if not _computes_as(loss, BY_CLASS + BY_EXAMPLE):
        return Reduction.WHOLE
    if loss.reduction == "sum":
        return Reduction.SUM
    if not _weighs_classes(loss):
        return Reduction.MEAN
    # Smoothing gives a target of weight 0 a loss, too, which a batch of such targets divides by 0.
    smoothed = loss.weight is not None and float(getattr(loss, "label_smoothing", 0.0)) > 0
    return Reduction.WHOLE if smoothed else Reduction.WEIGHTED


def batch_weight(loss: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return how much a batch with these targets counts; None: by the number of its examples."""
    if reduction(loss) is Reduction.SUM:
        return _one
    if _weighs_classes(loss):
        return partial(_class_weights, loss)
    return None


def _weighs_classes(loss: nn.Module) -> bool:
    """Tell whether the class of a target decides how much it counts.

    That is so with weights, and where a class is ignored; by default what is ignored is negative,
    and no class.
    """
    if not _computes_as(loss, BY_CLASS):
        return False
    return loss.weight is not None or int(str(loss.ignore_index)) >= 0


def _computes_as(loss: nn.Module, known: tuple[type[nn.Module], ...]) -> bool:
    """Tell whether one of these classes computes the loss, and nothing is hooked onto it."""
    if loss._forward_hooks or loss._forward_pre_hooks or "forward" in vars(loss):
        return False
    return any(type(loss).forward is kind.forward for kind in known)


def _one(targets: Tensor) -> Tensor:
    return torch.ones((), device=targets.device)


def _class_weights(loss: Any, targets: Tensor) -> Tensor:
    """Sum the weights of the targets' classes, 0 for ignored ones: the divisor of the mean.

    Of targets that are shares of the classes that is the number of examples.
    """
    if targets.is_floating_point():
        return torch.tensor(float(len(targets)), device=targets.device)
    ignored: Tensor = targets.eq(loss.ignore_index)
    if loss.weight is None:
        return ignored.logical_not().float().sum()
    weights: Tensor = loss.weight.detach()
    # The index that is ignored need not be a class.
    return weights[targets.masked_fill(ignored, 0)].masked_fill(ignored, 0.0).sum()
