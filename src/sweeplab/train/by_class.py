"""What a classification gets right, by class."""

from __future__ import annotations

from torch import Tensor

MOST = 100  # classes, whose matrix has 10,000 numbers


class ByClass:
    """A metric of further results: the confusion matrix, and the accuracy of each class."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self.reset()

    def reset(self) -> None:
        """Forget all answers."""
        self._counts: Tensor | None = None  # [classes * classes], of pairs of true class and answer

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count the answers of scores [B, classes] to targets [B].

        What else a step may give is not counted.
        """
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return
        if output.shape != (len(target), self._classes) or target.dim() != 1:
            return
        pairs = target.long() * self._classes + output.argmax(dim=1)
        counts = pairs.bincount(minlength=self._classes**2)
        self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> dict[str, Tensor]:
        """Return `confusion_matrix` [true class, answer], and `accuracy` [class]."""
        if self._counts is None:
            return {}
        matrix = self._counts.reshape(self._classes, self._classes)
        return {"accuracy": matrix.diagonal() / matrix.sum(dim=1), "confusion_matrix": matrix}
