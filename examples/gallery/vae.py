"""A variational autoencoder of handwritten digits."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class VAE(nn.Module):
    """Encode a picture as mean and log-variance of a few numbers, and decode a draw of them."""

    def __init__(self, pixels: int, width: int = 128, latent: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, 2 * latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, pixels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(z), mean, log_variance


def step(model: VAE, loss: nn.Module, batch: Any, beta: float = 1.0) -> dict[str, Any]:
    """Compute the negative evidence lower bound of a batch, in nats per picture."""
    pictures, _ = batch
    decoded, mean, log_variance = model(pictures)
    error = functional.binary_cross_entropy_with_logits(decoded, pictures, reduction="sum")
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
    n = len(pictures)
    return {"loss": (error + beta * kl) / n, "kl": kl / n, "decoded": decoded[:8].sigmoid()}
