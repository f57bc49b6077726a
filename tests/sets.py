"""Data sets of a user's own, and the config that names them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sweeplab.config import Data


def torch_pair(count: int = 24) -> tuple[Tensor, Tensor]:
    """Example i is [i, i + 0.5], its class i % 3."""
    numbers = torch.arange(count)
    return torch.stack([numbers, numbers + 0.5], 1), numbers % 3


def pictures(count: int = 24) -> tuple[Tensor, Tensor]:
    """Bytes: example i is [[i, 255 - i]]."""
    numbers = torch.arange(count, dtype=torch.uint8)
    return torch.stack([numbers, 255 - numbers], 1).unsqueeze(1), numbers % 3


def numpy_pair(count: int = 24) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    inputs, targets = torch_pair(count)
    return inputs.numpy()[::-1][::-1], targets.numpy()


def pandas_pair(count: int = 24) -> tuple[object, object]:
    import pandas as pd

    inputs, targets = torch_pair(count)
    return pd.DataFrame(inputs.numpy()), pd.Series(targets.numpy())


class Listed(Dataset[Any]):
    """The same examples, one by one."""

    def __init__(self, count: int = 24) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[object, object]:
        return np.array([index, index + 0.5], np.float32), index % 3


class InHalves(Listed):
    """A set that brings a test set: 24 examples to train on, 6 to test on."""

    def __init__(self, root: str, train: bool) -> None:
        super().__init__(24 if train else 6)
        self.root = root


def given(what: str) -> object:
    """Whatever is wrong."""
    ones, classes = torch.ones(24, 2), torch.zeros(24, dtype=torch.int64)
    spoilt = ones.clone()
    spoilt[3, 1] = torch.nan
    return {
        "nan": (spoilt, classes),
        "nan target": (ones, spoilt),
        "class 3": (ones, classes + 3),
        "class -1": (ones, classes - 1),
        "float": (ones, classes.float()),
        "one-hot": (ones, torch.zeros(24, 3, dtype=torch.int64)),
        "three": (torch.ones(24, 3), classes),
        "turned": (torch.ones(24, 2, 3), classes),
        "channels last": (torch.ones(24, 4, 4, 3), classes),
        "uneven": (ones, classes[:20]),
        "none": (ones[:0], classes[:0]),
        "two": (ones[:2], classes[:2]),
        "text": (np.array(["a"] * 24), np.zeros(24)),
        "three arrays": (ones, classes, classes),
        "triples": [(1, 2, 3)] * 24,
        "ragged": [(torch.ones(i % 2 + 2), 0) for i in range(24)],
        "iterator": iter([]),
        "large": (ones * 3e38, classes),
    }[what]


def config(
    target: str = "torch_pair", node: dict[str, object] | None = None, **changes: Any
) -> Data:
    """A config for one of the sets above, or for that of another module."""
    path = target if "." in target else f"{__name__}.{target}"
    dataset = {"_target_": path} | (node or {})
    keys: dict[str, Any] = {
        "name": "mine",
        "task": "classification",
        "in_features": 2,
        "out_features": 3,
        "dataset": dataset,
    }
    return Data(**(keys | changes))
