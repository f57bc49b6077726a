"""The network."""

from torch import Tensor, nn


class Residual(nn.Module):
    """[B, in_features] -> [B, out_features]: `depth` blocks of one width between two linear layers."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        width: int = 16,
        depth: int = 4,
        skip: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.first = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())
            for _ in range(depth)
        )
        self.last = nn.Linear(width, out_features)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x) if self.skip else block(x)
        return self.last(x)
