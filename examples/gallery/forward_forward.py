"""The forward-forward algorithm (Hinton 2022): each layer learns alone, and no gradient goes from one to another."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, rms_norm, softplus


class Layers(nn.Module):
    """Inputs [B, in_features] and a class of each [B] to what each layer thinks of that, [layers, B]."""

    def __init__(
        self, in_features: int, classes: int = 10, width: int = 256, depth: int = 2
    ) -> None:
        super().__init__()
        self.classes = classes
        widths = [in_features + classes] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([x, 3 * one_hot(labels, self.classes)], dim=1)
        goodness = []
        for layer in self.layers:
            x = layer(rms_norm(x.detach(), x.shape[1:])).relu()
            goodness.append(x.square().mean(dim=1))
        return torch.stack(goodness)

    def scores(self, x: Tensor) -> Tensor:
        """Return how well each class goes with each input, [B, classes]."""
        labels = torch.arange(self.classes, device=x.device)
        return torch.stack([self(x, label.expand(len(x))).sum(dim=0) for label in labels], dim=1)


def step(model: Layers, loss: nn.Module, batch: Any, threshold: float = 2.0) -> dict[str, Any]:
    """Have layers respond to inputs with their own classes, and not to those with wrong ones.

    The sum of losses of which each depends on one layer has the gradients of each: with Adam, one
    optimizer does what one for each layer would.
    """
    x, labels = batch
    wrong = (labels + torch.randint_like(labels, 1, model.classes)) % model.classes
    right_loss = softplus(threshold - model(x, labels)).mean(dim=1)
    wrong_loss = softplus(model(x, wrong) - threshold).mean(dim=1)
    result: dict[str, Any] = {"loss": (right_loss + wrong_loss).sum()}
    return result if model.training else {**result, "output": model.scores(x), "target": labels}
