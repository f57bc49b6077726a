"""Cross-validation: is a hidden layer worth it, with 569 patients?"""

from typing import Any

from sklearn.datasets import load_breast_cancer
from torch import nn


def patients() -> Any:
    """Return 30 measurements of each tumour [569, 30], and whether it is benign [569]."""
    return load_breast_cancer(return_X_y=True)


class Classifier(nn.Sequential):
    """Logistic regression, or (`hidden` > 0) a network with one hidden layer.

    BatchNorm standardises the inputs by what it sees in training: a fold that is tested has no part in that.
    """

    def __init__(self, in_features: int, out_features: int, hidden: int) -> None:
        layers: list[nn.Module] = [nn.BatchNorm1d(in_features, affine=False)]
        if hidden:
            layers += [nn.Linear(in_features, hidden), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden or in_features, out_features))
