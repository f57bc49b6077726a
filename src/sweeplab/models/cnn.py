"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sweeplab.models import layers


class CNN(nn.Sequential):
    """3x3 convolution, BatchNorm2d, activation, 2x2 max-pooling for each of `channels`, then Linear.

    Takes [B, C, H, W] or flat [B, C*H*W] for `shape` = (C, H, W), gives [B, out_features].
    Raises ValueError that names the argument for channels < 1, a shape that is no image or too
    small for so many poolings, an unknown activation, and a dropout outside [0, 1).
    """

    def __init__(
        self,
        shape: Sequence[int] | None,
        out_features: int,
        channels: int | Sequence[int],
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float | None = None,
    ) -> None:
        depths = layers.widths("channels", channels)
        sides = layers.widths("shape", shape) if shape else []
        if len(sides) != 3 or min(sides[1:]) < 2 ** len(depths):
            raise ValueError(
                f"shape must be [channels, height, width], each side at least {2 ** len(depths)} "
                f"for {len(depths)} poolings, got {shape}"
            )
        depth, height, width = sides
        parts: list[nn.Module] = [nn.Flatten(), nn.Unflatten(1, (depth, height, width))]
        for next_depth in depths:
            parts.append(nn.Conv2d(depth, next_depth, kernel_size=3, padding=1))
            if batch_norm:
                parts.append(nn.BatchNorm2d(next_depth))
            parts += [layers.activation(activation), nn.MaxPool2d(2)]
            depth, height, width = next_depth, height // 2, width // 2
        parts.append(nn.Flatten())
        p = layers.probability("dropout", dropout)
        if p > 0:
            parts.append(nn.Dropout(p))
        super().__init__(*parts, nn.Linear(depth * height * width, out_features))
