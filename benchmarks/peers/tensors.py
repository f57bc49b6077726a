"""MNIST as arrays, for the peers that hold it in memory; split as sweeplab and `random_split` split it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

HELD_OUT = 5_000


def read(root: Path, half: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures [N, 784], normalised, and labels [N] of `train` or `t10k`."""
    folder = root / "MNIST" / "raw"
    pixels = np.fromfile(folder / f"{half}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 784)
    labels = np.fromfile(folder / f"{half}-labels-idx1-ubyte", np.uint8, offset=8)
    return (pixels.astype(np.float32) / 255 - np.float32(0.1307)) / np.float32(
        0.3081
    ), labels.astype(np.int64)


def training(root: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 55,000 to train on."""
    pictures, labels = read(root, "train")
    kept = to_train_on(len(labels))
    return pictures[kept], labels[kept]


def to_train_on(count: int) -> NDArray[np.int64]:
    """Which of so many examples are not held out."""
    chosen: NDArray[np.int64] = torch.randperm(count, generator=torch.Generator().manual_seed(0))[
        HELD_OUT:
    ].numpy()
    return chosen
