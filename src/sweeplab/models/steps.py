"""Steps: what is computed of a batch. To be read, and to be copied into a module of one's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def supervised(model: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Compute the loss of inputs and targets: the same numbers as without a step.

    Output and target are given for accuracy, or mae, and for further metrics.
    """
    inputs, targets = batch
    output = model(inputs).float()
    return {"loss": loss(output, targets), "output": output, "target": targets}
