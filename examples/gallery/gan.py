"""A generative adversarial network of handwritten digits, with convolutions as in DCGAN."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class GAN(nn.Module):
    """A generator, [B, latent, 1, 1] to pictures [B, 1, 8, 8], and a discriminator of them."""

    def __init__(self, latent: int = 16, width: int = 32) -> None:
        super().__init__()
        self.latent = latent
        self.netG = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * width, kernel_size=2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        self.netD = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, kernel_size=2),
            nn.Flatten(),
        )

    def forward(self, count: int) -> Tensor:
        device = self.netG[0].weight.device
        return self.netG(torch.randn(count, self.latent, 1, 1, device=device))


def step(model: GAN, loss: nn.Module, batch: Any) -> Iterator[tuple[str, Tensor]]:
    """Update the discriminator, then the generator; tell how far apart their pictures are."""
    real, _ = batch
    fake = model(len(real))
    ones, zeros = real.new_ones(len(real), 1), real.new_zeros(len(real), 1)
    yield "netD", loss(model.netD(real), ones) + loss(model.netD(fake.detach()), zeros)
    yield "netG", loss(model.netD(fake), ones)
    distance = (real.mean(0) - fake.mean(0)).abs().mean()
    distance += (real.std(0) - fake.std(0)).abs().mean()
    return {"distance": distance, "pictures": fake[:8]}
