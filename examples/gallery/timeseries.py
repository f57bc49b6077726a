"""Time series: the next values of a noisy sum of two sine waves."""

import torch
from torch import Tensor, nn


def waves(count: int, past: int = 40, future: int = 10) -> tuple[Tensor, Tensor]:
    """Draw series [N, past], and how each goes on, [N, future]."""
    rng = torch.Generator().manual_seed(0)
    times = torch.arange(past + future)
    period, phase, height = torch.rand(3, count, 2, 1, generator=rng)
    waves = (0.5 + height) * (6.28 * (times / (8 + 24 * period) + phase)).sin()
    series = waves.sum(dim=1)
    noisy = series + 0.05 * torch.randn(series.shape, generator=rng)
    return noisy[:, :past], series[:, past:]


class Forecaster(nn.Module):
    """[B, past] to [B, out_features]: a GRU reads the past, and then feeds on its own forecasts."""

    def __init__(self, out_features: int, width: int = 32) -> None:
        super().__init__()
        self.out_features = out_features
        self.gru = nn.GRU(1, width, batch_first=True)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, state = self.gru(x[:, :, None])
        forecasts = [self.out(states[:, -1:])]
        while len(forecasts) < self.out_features:
            states, state = self.gru(forecasts[-1], state)
            forecasts.append(self.out(states))
        return torch.cat(forecasts, dim=1).squeeze(2)
