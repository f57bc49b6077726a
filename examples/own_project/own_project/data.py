"""The data set."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor
from torch.utils.data import Dataset


class Tumours(Dataset[tuple[Tensor, Tensor]]):
    """569 tumours: 30 measurements, each with mean 0 and standard deviation 1; 0 is malignant, 1 benign."""

    def __init__(self) -> None:
        measured, kinds = load_breast_cancer(return_X_y=True)
        raw = torch.tensor(measured, dtype=torch.float32)
        self.inputs = (raw - raw.mean(0)) / raw.std(0)
        self.targets = torch.tensor(kinds)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]
