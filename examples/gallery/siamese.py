"""A siamese network: are two handwritten digits the same one? Learned by a contrastive loss."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def pairs(count: int) -> dict[str, Tensor]:
    """Draw pairs of pictures [N, 1, 8, 8], half of them of the same digit."""
    rng = torch.Generator().manual_seed(0)
    pixels, digits = (torch.tensor(array) for array in load_digits(return_X_y=True))
    pictures = pixels.float().view(-1, 1, 8, 8) / 16
    first, second = torch.randint(len(pictures), (2, count), generator=rng)
    for n in range(0, count, 2):
        alike = (digits == digits[first[n]]).nonzero().flatten()
        second[n] = alike[torch.randint(len(alike), (), generator=rng)]
    same = (digits[first] == digits[second]).float()
    return {"first": pictures[first], "second": pictures[second], "same": same}


class Embedding(nn.Module):
    """[B, 1, 8, 8] to [B, size]."""

    def __init__(self, size: int = 16, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * width * 4, size),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def step(model: Embedding, loss: nn.Module, batch: dict[str, Tensor], margin: float = 1.0) -> Any:
    """Draw pictures of the same digit together, and others apart, up to a margin."""
    same = batch["same"]
    distance = (model(batch["first"]) - model(batch["second"])).norm(dim=1)
    apart = (margin - distance).clamp(min=0)
    right = (distance < margin / 2) == same.bool()
    value = (same * distance**2 + (1 - same) * apart**2).mean()
    return {"loss": value, "accuracy": right.float().mean()}
