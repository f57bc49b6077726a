"""Sets of pictures: folders of a user's own, and those of torchvision."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sweeplab import config
from sweeplab.config.pictures import EXTENSIONS, class_folders, folder_of, halves, sides
from sweeplab.data.sources import Tensors
from sweeplab.errors import UserError, did_you_mean, one_line

MODES = {1: "L", 3: "RGB"}  # PIL's names of grey and coloured pictures
KEY = "data.dataset"


class ImageFolder(Dataset[Any]):
    """Pictures in a folder for each class, or in `train` and `test` with these.

    An example is (uint8 [channels, *size], class); the classes are numbered in the order of their
    names. A picture is cut from its middle to the shape of `size` (height, width), and resized.
    Without a size it is delivered as it is, for `data.transform`.
    """

    def __init__(
        self,
        folder: str | None = None,
        size: int | list[int] | None = None,
        channels: int = 3,
        train: bool | None = None,
    ) -> None:
        _check_sizes("size", size, channels)
        path = folder_of({"folder": folder}, config.root())
        both = halves(path)
        if train is not None and both is not None:
            path = both[0] if train else both[1]
        self.classes = class_folders(path)
        if both is not None and train is False:
            self._ensure_equal(class_folders(both[0]), path)
        self.size, self.channels = sides(size), channels
        self.files = [
            (file, number)
            for number, name in enumerate(self.classes)
            for file in _files(path / name)
        ]

    def _ensure_equal(self, trained: list[str], path: Path) -> None:
        if self.classes != trained:
            other = sorted(set(self.classes) ^ set(trained))
            raise UserError(
                f"{KEY}.folder={path}: its classes are others than those of train: {other[0]}"
            )

    @classmethod
    def brings_test_set(cls, node: Mapping[str, Any]) -> bool:
        """Tell whether there are folders for training and for the test."""
        return bool(node.get("folder")) and halves(folder_of(node, config.root())) is not None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        file, number = self.files[index]
        with Image.open(file) as picture:
            converted = picture.convert(MODES[self.channels])
        return fitted(converted, self.size), number


def _files(folder: Path) -> list[str]:
    """Return all pictures below a folder, sorted. Raises UserError if there are none."""
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        pictures = [name for name in names if name.lower().endswith(EXTENSIONS)]
        found += [f"{place}/{name}" for name in pictures if not name.startswith(".")]
    if not found:
        kinds = ", ".join(EXTENSIONS)
        raise UserError(f"{KEY}.folder={folder}: has no pictures ({kinds})")
    return sorted(found)


def _check_sizes(name: str, size: object, channels: int | None) -> None:
    if size is not None and sides(size) is None:
        wanted = "must be [height, width] in pixels, one number for both, or null"
        raise UserError(f"{KEY}.{name}={config.yaml_str(size)}: {wanted}")
    if channels is not None and channels not in MODES:
        raise UserError(f"{KEY}.channels={channels}: must be 3 (colours) or 1 (grey)")


def fitted(picture: Any, size: Sequence[int] | None) -> Any:
    """Return a picture of PIL as uint8 [channels, height, width]; as it is if there is no size."""
    if size is None:
        return picture
    from PIL import Image, ImageOps

    height, width = size
    cut = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    return as_tensor(cut)


def as_tensor(picture: Any) -> Tensor:
    """Return the pixels of a picture as uint8 [channels, height, width]."""
    pixels = torch.from_numpy(np.array(picture, np.uint8))
    if pixels.ndim == 2:
        return pixels.unsqueeze(0)
    return pixels.permute(2, 0, 1).contiguous()


class TorchVision(Dataset[Any]):
    """A set of `torchvision.datasets` for classification, by its name; fetched when missing.

    An example is (uint8 [channels, height, width], class). `resize` makes pictures of different
    sizes equal, as `size` does for ImageFolder; without it, pictures of a set with one size become
    tensors, too, and others are refused. Further arguments are those of torchvision's class.
    """

    def __init__(
        self,
        root: str,
        name: str | None = None,
        resize: int | list[int] | None = None,
        channels: int | None = None,
        train: bool | None = None,
        **options: Any,
    ) -> None:
        _check_sizes("resize", resize, channels)
        target = _torchvision_class(name)
        _check_options(target, options)
        self.resize, self.channels = sides(resize), channels
        self.pictures = _made(target, root, options | _half(target, train))

    @classmethod
    def brings_test_set(cls, node: Mapping[str, Any]) -> bool:
        """Tell whether torchvision's class makes training and test set."""
        target = _torchvision_class(node.get("name"))
        return any(name in _parameters(target) and name not in node for name in ("train", "split"))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        picture, label = self.pictures[index]
        if not hasattr(picture, "convert"):
            return picture, label
        if self.channels is not None:
            picture = picture.convert(MODES[self.channels])
        elif picture.mode not in MODES.values():
            picture = picture.convert("RGB")
        if self.resize is None:
            return as_tensor(picture), label
        return fitted(picture, self.resize), label


def _torchvision_class(name: object) -> Any:
    from torchvision import datasets  # slow: imported only where it is needed

    if not name:
        raise UserError(f"{KEY}.name=null: name a set of torchvision, as in {KEY}.name=KMNIST")
    known = [each for each in datasets.__all__ if isinstance(getattr(datasets, each), type)]
    if name not in known:
        near = did_you_mean(str(name), known)
        raise UserError(f"{KEY}.name={name}: torchvision has no such set{near}")
    return getattr(datasets, str(name))


def _parameters(target: Any) -> dict[str, Any]:
    """Return the parameters of a class, and of those that it is made of, with their defaults."""
    found: dict[str, Any] = {}
    for each in target.__mro__[:-1]:
        known = inspect.signature(each).parameters.values()
        named = [p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found = {p.name: p.default for p in named} | found
        if not any(p.kind == p.VAR_KEYWORD for p in known):
            break
    return found


def _check_options(target: Any, options: Mapping[str, Any]) -> None:
    known = [name for name in _parameters(target) if name not in ("root", "download")]
    for name, value in options.items():
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"{KEY}.{name}={value}: {target.__name__} has no such argument{near}")


def _half(target: Any, train: bool | None) -> dict[str, Any]:
    """Return the argument by which a class of torchvision makes training or test set."""
    known = _parameters(target)
    if train is None:
        return {}
    if "train" in known:
        return {"train": train}
    if "split" not in known:
        return {}
    training = "trainval" if known["split"] == "trainval" else "train"
    return {"split": training if train else "test"}


def _made(target: Any, root: str, options: dict[str, Any]) -> Any:
    """Build a set of torchvision, which is fetched if its class can do that."""
    known = _parameters(target)
    places = {"root": root} if "root" in known else {}
    downloads = {"download": True} if "download" in known else {}
    try:
        return target(**places, **downloads, **options)
    except Exception as error:  # of the network, of the disk, of torchvision's checks
        raise UserError(
            f"data.root={root}: torchvision's {target.__name__} is not complete there and could "
            f"not be fetched: {one_line(error)[:200]}; put its files there as torchvision does, or "
            "give data.root as the folder that has them"
        ) from error


class CIFAR10(Tensors):
    """50,000 (train) or 10,000 small photographs of 10 kinds of things: uint8 [N, 3, 32, 32].

    Fetched by torchvision, or read from `cifar-10-batches-py` (or its archive) in `root`.
    """

    name = "CIFAR10"

    def __init__(self, root: str, train: bool = True) -> None:
        made = _made(_torchvision_class(self.name), root, {"train": train})
        pixels = torch.from_numpy(np.asarray(made.data))
        inputs = pixels.permute(0, 3, 1, 2).contiguous()
        super().__init__(inputs, torch.tensor(made.targets))
