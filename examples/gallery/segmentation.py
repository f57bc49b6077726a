"""Segmentation: which pixels of a noisy picture belong to a disc, and which to a square."""

import torch
from torch import Tensor, nn


def shapes(count: int, side: int = 16) -> tuple[Tensor, Tensor]:
    """Draw pictures [N, 1, side, side] of a disc and a square, and the class of each pixel."""
    rng = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    masks = torch.zeros(count, side, side, dtype=torch.long)
    for mask in masks:
        (y, v), (x, u) = torch.randint(3, side - 3, (2, 2), generator=rng).tolist()
        radius, half = torch.randint(2, 5, (2,), generator=rng).tolist()
        mask[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 1
        mask[((rows - v).abs() <= half) & ((columns - u).abs() <= half)] = 2
    noise = 0.4 * torch.randn(count, 1, side, side, generator=rng)
    return (masks[:, None] > 0) + noise, masks


class UNet(nn.Module):
    """[B, 1, H, W] to [B, classes, H, W]: down, up, and a connection across."""

    def __init__(self, classes: int = 3, width: int = 16) -> None:
        super().__init__()
        self.down = _block(1, width)
        self.deep = nn.Sequential(nn.MaxPool2d(2), _block(width, 2 * width))
        self.up = nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2)
        self.out = nn.Sequential(_block(2 * width, width), nn.Conv2d(width, classes, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        across = self.down(x)
        return self.out(torch.cat([across, self.up(self.deep(across))], dim=1))


def _block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
    )  # fmt: skip


class PixelLoss(nn.CrossEntropyLoss):
    """Cross entropy of pixels in one row: of pictures a GPU has no reproducible one."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return super().forward(output.movedim(1, -1).flatten(0, -2), target.flatten())


class IoU:
    """Intersection over union of predicted and true pixels, averaged over the classes."""

    def __init__(self, classes: int = 3) -> None:
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        self.both = torch.zeros(self.classes)
        self.either = torch.zeros(self.classes)

    def update(self, output: Tensor, target: Tensor) -> None:
        predicted = output.argmax(dim=1)
        for k in range(self.classes):
            self.both[k] += ((predicted == k) & (target == k)).sum().cpu()
            self.either[k] += ((predicted == k) | (target == k)).sum().cpu()

    def compute(self) -> Tensor:
        return (self.both / self.either).mean()
