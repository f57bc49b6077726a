"""Sets of pictures: the folders of their classes, and the sizes that are known. Knows no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeplab.errors import UserError

KEY = "data.dataset"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TEST_NAMES = ("test", "val", "valid", "validation")  # the first that is there is the test set

ANY_SIZE: dict[str, int] = {
    "Caltech101": 101,
    "Caltech256": 257,
    "Country211": 211,
    "DTD": 47,
    "FGVCAircraft": 100,
    "Flowers102": 102,
    "Food101": 101,
    "GTSRB": 43,
    "OxfordIIITPet": 37,
    "RenderedSST2": 2,
    "StanfordCars": 196,
}
"""Sets of torchvision with pictures of different sizes, and their numbers of classes."""

ONE_SIZE: dict[str, tuple[list[int], int]] = {
    "CIFAR10": ([3, 32, 32], 10),
    "CIFAR100": ([3, 32, 32], 100),
    "EuroSAT": ([3, 64, 64], 10),
    "FashionMNIST": ([1, 28, 28], 10),
    "KMNIST": ([1, 28, 28], 10),
    "MNIST": ([1, 28, 28], 10),
    "PCAM": ([3, 96, 96], 2),
    "QMNIST": ([1, 28, 28], 10),
    "STL10": ([3, 96, 96], 10),
    "SVHN": ([3, 32, 32], 10),
    "USPS": ([1, 16, 16], 10),
}
"""Sets of torchvision with pictures of one size: shape of a picture, and number of classes."""


def class_folders(folder: Path) -> list[str]:
    """Return the names of the classes in a folder of pictures, sorted.

    Raises UserError where it has none, or only one.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise UserError(f"{KEY}.folder={folder}: {error.strerror or error}") from error
    classes = [name for name in names if not name.startswith((".", "__"))]
    if len(classes) < 2:
        found = f"has one folder only, '{classes[0]}'" if classes else "has no folders"
        raise UserError(
            f"{KEY}.folder={folder}: {found}; it must have a folder of pictures for each class, or "
            "train and test with these"
        )
    return classes


def halves(folder: Path) -> tuple[Path, Path] | None:
    """Return the folders of training and test set; None if there is one set to be split."""
    tests = [folder / name for name in TEST_NAMES if (folder / name).is_dir()]
    if (folder / "train").is_dir() and tests:
        return folder / "train", tests[0]
    return None


def folder_of(node: Mapping[str, Any], root: Path) -> Path:
    """Return the folder that a config names. Raises UserError if it names none."""
    if not node.get("folder"):
        raise UserError(f"{KEY}.folder=null: name the folder, as in {KEY}.folder=pictures")
    return root / Path(str(node["folder"])).expanduser()


def folder_sizes(node: Mapping[str, Any], root: Path) -> tuple[list[int] | None, int]:
    """Return the shape of a picture, None if it is not made one, and the number of classes."""
    folder = folder_of(node, root)
    both = halves(folder)
    classes = len(class_folders(both[0] if both else folder))
    return _shape(node.get("size"), node.get("channels") or 3), classes


def known_sizes(node: Mapping[str, Any]) -> tuple[list[int] | None, int]:
    """Return shape and number of classes of a set of torchvision; one class if it is not known."""
    name = str(node.get("name"))
    shape, classes = ONE_SIZE.get(name, (None, ANY_SIZE.get(name, 1)))
    if node.get("resize"):
        channels = shape[0] if shape else 3
        shape = _shape(node["resize"], node.get("channels") or channels)
    return shape, classes


def _shape(size: Any, channels: int) -> list[int] | None:
    both = sides(size)
    return None if both is None else [int(channels), *both]


def sides(size: Any) -> list[int] | None:
    """Return height and width of a size, one number for both; None if it is none."""
    if type(size) is int and size >= 1:
        return [size, size]
    if isinstance(size, str | int | float) or size is None:
        return None
    numbers = list(size)
    if len(numbers) != 2 or any(type(side) is not int or side < 1 for side in numbers):
        return None
    return numbers
