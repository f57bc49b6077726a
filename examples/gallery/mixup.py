"""Mixup: train on pictures that are mixed in pairs, and on their classes in the same shares."""

from typing import Any

import torch
from torch import nn
from torch.distributions import Beta


def step(model: nn.Module, loss: nn.Module, batch: Any, alpha: float = 0.4) -> dict[str, Any]:
    inputs, targets = batch
    if not model.training:
        output = model(inputs)
        return {"loss": loss(output, targets), "output": output, "target": targets}
    share = Beta(alpha, alpha).sample()
    other = torch.randperm(len(inputs))
    output = model(share * inputs + (1 - share) * inputs[other])
    return {"loss": share * loss(output, targets) + (1 - share) * loss(output, targets[other])}
