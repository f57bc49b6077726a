"""Knowledge distillation: a small network learns from the outputs of a large one, too."""

from typing import Any

from torch import nn
from torch.nn.functional import kl_div

from sweeplab import load_model


class Step:
    """Compute the student's loss: of the classes, and of the softened outputs of the teacher."""

    def __init__(self, teacher: str | None = None, weight: float = 0.5, heat: float = 2.0) -> None:
        self.weight = weight
        self.heat = heat
        self.teacher = load_model(teacher) if teacher else None

    def __call__(self, model: nn.Module, loss: nn.Module, batch: Any) -> dict[str, Any]:
        inputs, targets = batch
        output = model(inputs)
        total = loss(output, targets)
        if self.teacher is not None:
            soft = kl_div(
                (output / self.heat).log_softmax(dim=1),
                (self.teacher(inputs) / self.heat).softmax(dim=1),
                reduction="batchmean",
            )
            total = (1 - self.weight) * total + self.weight * self.heat**2 * soft
        return {"loss": total, "output": output, "target": targets}
