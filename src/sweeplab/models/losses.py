"""Losses that take a network's raw outputs, as torch.nn.CrossEntropyLoss does."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import one_hot


class NLLLoss(nn.NLLLoss):
    """Negative log-likelihood of the log-softmax of the outputs: cross-entropy in two steps."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Map outputs [B, C] (any real numbers) and classes [B] to a scalar."""
        return super().forward(input.log_softmax(dim=1), target)


class MSELoss(nn.MSELoss):
    """Mean squared error; whole-number targets are classes, and stand for their one-hot vectors."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Map outputs [B, C] and values [B, C] or classes [B] to a scalar."""
        if not target.is_floating_point():
            target = one_hot(target, input.shape[1]).to(input.dtype)
        return super().forward(input, target)


class NoLoss(nn.Module):
    """Stand for no loss: a step that computes its loss by itself needs none."""

    def forward(self, *_: Tensor) -> Tensor:
        """Raise ValueError, since there is nothing to compute."""
        raise ValueError("the step calls its loss, and the config has none")


class FunctionLoss(nn.Module):
    """A loss that is a plain function of output and target: `loss=mine.f` makes one of it."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.function(output, target)
