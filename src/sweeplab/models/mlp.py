"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sweeplab.models import layers


class MLP(nn.Sequential):
    """Linear, BatchNorm1d, activation, dropout for each width of `hidden`, then Linear.

    Takes [B, in_features], gives [B, out_features]. Raises ValueError that names the argument for a
    width < 1, an unknown activation, and a dropout outside [0, 1).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: int | Sequence[int],
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float | None = None,
    ) -> None:
        parts: list[nn.Module] = []
        p = layers.probability("dropout", dropout)
        for width in layers.widths("hidden", hidden):
            parts.append(nn.Linear(in_features, width))
            if batch_norm:
                parts.append(nn.BatchNorm1d(width))
            parts.append(layers.activation(activation))
            if p > 0:
                parts.append(nn.Dropout(p))
            in_features = width
        super().__init__(*parts, nn.Linear(in_features, out_features))
