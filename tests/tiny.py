"""The smallest network and the smallest training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from sweeplab.metrics import REGRESSION
from sweeplab.train.train_state import TrainState
from sweeplab.train.updater import Updater


def train_state(model: nn.Module, loss: nn.Module | None = None, **changes: Any) -> TrainState:
    """Plain SGD with lr=0.125, which binary fractions survive exactly; a regression by mean squared error."""
    loss = loss or nn.MSELoss()
    optimizer = changes.pop("optimizer", None) or SGD(model.parameters(), lr=0.125)
    updater = Updater(
        optimizer=optimizer,
        scheduler=changes.pop("scheduler", None) or LambdaLR(optimizer, lambda _: 1.0),
        parameters=[*model.parameters(), *loss.parameters()],
        interval=changes.pop("interval", "auto"),
        clip_norm=changes.pop("clip_norm", None),
        scaler=changes.pop("scaler", None),
    )
    parts = {
        "model": model,
        "loss": loss,
        "updaters": {"": updater},
        "kind": REGRESSION,
        "monitor": "valid/loss",
    }
    return TrainState(**{**parts, **changes})


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer
