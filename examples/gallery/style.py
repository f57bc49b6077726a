"""Style transfer by one network (Johnson et al. 2016): photos of a temple, painted like a flower.

The style is judged by random filters instead of a trained VGG, which work as well for textures
(Ustyuzhaninov et al. 2016).
"""

from itertools import pairwise
from typing import Any

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss


def photo(name: str) -> Tensor:
    """Return one of the two photos that scikit-learn brings, at half its size: [3, 213, 320], 0 to 1."""
    pixels = torch.tensor(load_sample_image(name)).permute(2, 0, 1) / 255
    return nn.functional.avg_pool2d(pixels, kernel_size=2)


def pieces(count: int, side: int = 32) -> Tensor:
    """Cut squares out of a photo, [N, 3, side, side]."""
    rng = torch.Generator().manual_seed(0)
    whole = photo("china.jpg")[:, 60:]  # without the sky
    tops = torch.randint(whole.shape[1] - side, (count,), generator=rng).tolist()
    lefts = torch.randint(whole.shape[2] - side, (count,), generator=rng).tolist()
    cut = [whole[:, y : y + side, x : x + side] for y, x in zip(tops, lefts, strict=True)]
    return torch.stack(cut)


class Painter(nn.Module):
    """Pictures [B, 3, H, W] to others of the same size."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=5, padding=2, padding_mode="circular"),
            nn.InstanceNorm2d(width, affine=True), nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, padding_mode="circular"),
            nn.InstanceNorm2d(2 * width, affine=True), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, kernel_size=3, padding=1, padding_mode="circular"),
            nn.InstanceNorm2d(2 * width, affine=True), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 3, kernel_size=5, padding=2, padding_mode="circular"), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Step(nn.Module):
    """Judge pictures by filters that are not trained: their content and their style."""

    style: Tensor

    def __init__(self, weight: float = 1.0, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.weight = weight
        widths = [3] + [width] * depth
        self.filters = nn.ModuleList(nn.Conv2d(a, b, 3, bias=False) for a, b in pairwise(widths))
        self.requires_grad_(False)
        rng = torch.Generator().manual_seed(0)  # the same judge, whatever the seed of a run is
        for filters in self.filters:
            nn.init.kaiming_normal_(filters.weight, generator=rng)
        _, style = self.look(photo("flower.jpg")[None])
        self.register_buffer("style", style)

    def look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return where which features are, and which of them are together [B, depth, width, width]."""
        x, together = 2 * pictures - 1, []
        for filters in self.filters:
            x = avg_pool2d(filters(x).relu(), kernel_size=2)
            flat = x.flatten(2)
            together.append(flat @ flat.mT / flat.shape[2])
        return x, torch.stack(together, dim=1)

    def forward(self, model: Painter, loss: nn.Module, pictures: Tensor) -> dict[str, Any]:
        """Compute both errors: 1 is the content of another picture, and the style of the photo."""
        painted = model(pictures)
        content, style = self.look(painted)
        wanted, unpainted = self.look(pictures)
        content_error = mse_loss(content, wanted) / mse_loss(wanted.roll(1, 0), wanted)
        target = self.style.expand_as(style)
        style_error = mse_loss(style, target) / mse_loss(unpainted, target)
        result = {"content": content_error, "style": style_error, "painted": painted[:8]}
        return {"loss": content_error + self.weight * style_error, **result}
