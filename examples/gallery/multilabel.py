"""Several labels: which digits are in a picture that shows up to three, one over the other?"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor


def overlaid(count: int, most: int = 3) -> tuple[Tensor, Tensor]:
    """Draw pictures [N, 64] of one to `most` digits, and which of the ten they are, [N, 10]."""
    rng = torch.Generator().manual_seed(0)
    pixels, digits = (torch.tensor(array) for array in load_digits(return_X_y=True))
    drawn = torch.randint(len(pixels), (count, most), generator=rng)
    shown = torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=rng)
    pictures = (pixels[drawn] / 16 * shown[:, :, None]).amax(dim=1)
    labels = torch.zeros(count, 10).scatter_reduce(1, digits[drawn], shown.float(), "amax")
    return pictures.float(), labels


class F1:
    """The harmonic mean of precision and recall, over all examples and labels (micro)."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right = self.named = self.there = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        predicted = output > 0
        self.right += int((predicted & target.bool()).sum())
        self.named += int(predicted.sum())
        self.there += int(target.sum())

    def compute(self) -> float:
        return 2 * self.right / max(1, self.named + self.there)
