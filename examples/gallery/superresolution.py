"""Super-resolution: digits of 8 x 8 pixels from 4 x 4, with sub-pixel convolutions (Shi et al. 2016)."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, mse_loss


def digits() -> tuple[Tensor, Tensor]:
    """Return digits of half the size, [N, 1, 4, 4], and as they are, [N, 1, 8, 8]."""
    large = torch.tensor(load_digits().images[:, None] / 16).float()
    return avg_pool2d(large, kernel_size=2), large


class ESPCN(nn.Module):
    """[B, 1, H, W] to [B, 1, 2 H, 2 W]: what a smooth enlargement lacks is learned."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 4, kernel_size=3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        smooth = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return smooth + self.layers(x)


def step(model: ESPCN, loss: nn.Module, batch: Any) -> dict[str, Any]:
    """Tell the signal-to-noise ratio in decibels, too, and that of the smooth enlargement."""
    small, large = batch
    output = model(small)
    smooth = interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    result = {
        "loss": loss(output, large),
        "psnr": psnr(output, large),
        "psnr_smooth": psnr(smooth, large),
    }
    return result if model.training else {**result, "pictures": output[:8]}


def psnr(output: Tensor, target: Tensor) -> Tensor:
    return -10 * mse_loss(output, target).log10()
