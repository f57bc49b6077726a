"""Fine-tuning: a network that knows five kinds of digits learns five others from few examples."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor


def five(first: int, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the digits `first` to `first + 4`, the first `count` of them: [N, 64], classes [N]."""
    pixels, digits = load_digits(return_X_y=True)
    chosen = (digits >= first) & (digits < first + 5)
    return torch.tensor(pixels[chosen][:count]).float(), torch.tensor(
        digits[chosen][:count] - first
    )
