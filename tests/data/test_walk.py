"""The files that a batch crosses, from the bytes on the disk to its gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT, Command
from PIL import Image
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import IterableDataset

from sweeplab import data
from sweeplab.runs import build
from sweeplab.train import loop

SOURCE = f"{PROJECT / 'src/sweeplab'}/"
SMALL = ("model=linear", "trainer.epochs=1", "trainer.batch_size=16", "trainer.limit_batches=2")
TRAINING = ["data/batches.py", "runs/screen.py", "train/loop.py", "train/step.py"]
NUMBERS = 6000  # of an example of a stream

Crossed = Callable[..., tuple[list[str], list[str]]]


class Stream(IterableDataset[tuple[Tensor, int]]):
    """300 examples of 24,000 bytes, which are more than 1 MiB."""

    def __len__(self) -> int:
        return 300

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for number in range(300):
            yield torch.full((NUMBERS,), float(number)), number % 2


class Walk:
    """Notes the files whose functions return or yield inputs, of at least so many numbers."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.least = 0

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        file = frame.f_code.co_filename
        if event != "return" or not file.startswith(SOURCE):
            return
        name = file.removeprefix(SOURCE)
        if name not in self.files and any(map(self._is_input, pytree.tree_leaves(value))):
            self.files.append(name)

    def _is_input(self, leaf: object) -> bool:
        if isinstance(leaf, Tensor):  # whole numbers are classes, or those of examples
            return leaf.dtype != torch.int64 and leaf.numel() >= self.least
        return isinstance(leaf, bytearray) and len(leaf) >= self.least

    def of(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function, and note the files in their order."""
        self.files = []
        sys.setprofile(self)
        try:
            return function(*given)
        finally:
            sys.setprofile(None)


@pytest.fixture
def crossed(train: Command, monkeypatch: pytest.MonkeyPatch) -> Crossed:
    """Train; return the files that are crossed until the set is split, and by the first batch."""
    loading, batch = Walk(), Walk()
    load, train_epoch, add_gradients = data.load, loop.train_epoch, build.add_gradients

    def noted_gradients(*given: Any) -> Any:
        if sys.getprofile() is batch:
            sys.setprofile(None)
            # Which take the batch; a step that is captured calls the second through speed/captured.py
            batch.files += ["train/loop.py", "train/step.py"]
        return add_gradients(*given)

    monkeypatch.setattr(data, "load", lambda *given: loading.of(load, *given))
    monkeypatch.setattr(loop, "train_epoch", lambda *given: batch.of(train_epoch, *given))
    monkeypatch.setattr(build, "add_gradients", noted_gradients)

    def run(least: int, *words: str) -> tuple[list[str], list[str]]:
        loading.least = batch.least = least
        done = train(*SMALL, *words)
        assert done.code == 0, done.err
        return loading.files, batch.files

    return run


def test_five_files_lead_from_a_set_in_memory_to_a_gradient_and_three_into_memory(
    crossed: Crossed, mnist_root: Path
) -> None:
    loading, batch = crossed(16 * 784, "data=mnist", f"data.root={mnist_root}")
    assert loading == ["data/fetch.py", "data/sources.py", "data/pairs.py"]
    assert batch == ["data/splits.py", *TRAINING]


def test_nine_files_lead_from_a_picture_on_the_disk_to_a_gradient(
    crossed: Crossed, root: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 100, 100, 3), np.uint8)
    for number, picture in enumerate(pixels):
        folder = root / "pictures" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    pictures = ("data=image_folder", "data.dataset.folder=pictures", "data.dataset.size=100")
    _, batch = crossed(3 * 100 * 100, *pictures, "data.memory=1", "data.version=1")
    read = ["data/pictures.py", "data/trees.py", "data/pairs.py", "data/examples.py"]
    assert batch == [*read, "data/splits.py", *TRAINING]


def test_nine_files_lead_from_a_set_that_iterates_to_a_gradient(crossed: Crossed) -> None:
    stream = (f"data.dataset._target_={__name__}.Stream", f"data.in_features={NUMBERS}")
    more = ("data.shape=null", "data.out_features=2", "data.memory=1", "data.version=1")
    _, batch = crossed(NUMBERS, "data=digits", *stream, *more)
    read = ["data/examples.py", "data/trees.py", "data/pairs.py", "data/splits.py"]
    assert batch == [*read, "data/scaling.py", *TRAINING]
