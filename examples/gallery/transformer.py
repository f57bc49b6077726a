"""A vision transformer (Dosovitskiy et al. 2021), small enough for pictures of 8 x 8 pixels."""

import torch
from torch import Tensor, nn


class ViT(nn.Module):
    """[B, 1, side, side] to [B, out_features]: patches, a token for the class, attention."""

    def __init__(
        self, out_features: int, side: int = 8, patch: int = 2, width: int = 32, depth: int = 2,
        heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, width))
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            2 * width,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out_features))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)
        return self.out(self.layers(tokens + self.places)[:, 0])
