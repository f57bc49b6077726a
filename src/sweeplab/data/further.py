"""Further inputs that are no examples of the set, taken as the set's own are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab.config.pictures import sides
from sweeplab.data.loading import load
from sweeplab.data.pairs import Pairs
from sweeplab.data.pictures import (
    CIFAR10,
    MODES,
    ImageFolder,
    TorchVision,
    as_tensor,
    fitted,
)
from sweeplab.data.sources import MNIST, FashionMNIST
from sweeplab.data.splits import InMemorySplit
from sweeplab.data.transforms import transformed, transforms_for_all
from sweeplab.data.trees import tensor_of
from sweeplab.errors import UserError
from sweeplab.targets import locate

if TYPE_CHECKING:
    from sweeplab.config import Data

OF_BYTES = (MNIST, FashionMNIST, CIFAR10)
OF_FILES = (ImageFolder, TorchVision)


def inputs_of(data: Data, raw: Sequence[Any]) -> Tensor:
    """Return raw inputs as a network takes them: transformed, shaped, normalised.

    Raises UserError where they are not as those of the set.
    """
    transforms = transforms_for_all(data)
    tensors = [tensor_of(transformed(value, transforms)) for value in raw]
    if len({(tensor.shape, tensor.dtype) for tensor in tensors}) > 1:
        shapes = ", ".join(sorted({str(list(tensor.shape)) for tensor in tensors}))
        raise UserError(f"the inputs differ in shape: {shapes}")
    return Pairs(data).prepare_inputs(torch.stack(tensors))


def read_picture(data: Data, file: Path) -> Any:
    """Read a picture as `as_picture` takes it."""
    from PIL import Image

    with Image.open(file) as picture:
        return as_picture(data, picture, str(file))


def as_picture(data: Data, picture: Any, shown: str) -> Any:
    """Take a picture of PIL as the set would deliver it, before `data.transform`.

    It is cut from its middle to the set's shape, and resized. Raises UserError, which names it as
    `shown`, where the set has no pictures, or its own pictures are not the bytes of files.
    """
    node = data.dataset
    target: Any = locate(node["_target_"], "data.dataset._target_")
    shape = data.shape or []
    channels = node.get("channels") or (shape[0] if len(shape) == 3 else None)
    if channels not in MODES:
        raise UserError(f"{shown}: is a picture, and data={data.name} has none")
    if target not in (*OF_BYTES, *OF_FILES) and (data.transform or not _has_bytes(data)):
        why = f"how data={data.name} makes numbers of pictures, only its class knows"
        raise UserError(f"{shown}: is a picture, and {why}; give rows of numbers")
    picture = picture.convert(MODES[channels])
    if target not in OF_FILES or data.transform is None:
        return fitted(picture, shape[1:])
    size = sides(node.get("size") or node.get("resize"))
    if size is None and target is TorchVision:
        return as_tensor(picture)
    return fitted(picture, size)


def as_delivered(data: Data, numbers: Tensor, shown: str) -> Tensor:
    """Return numbers in the type in which the set delivers its own: bytes of pictures, or floats.

    Raises UserError, which names them as `shown`, for pixels that are neither bytes nor 0 to 1.
    """
    target: Any = locate(data.dataset["_target_"], "data.dataset._target_")
    are_pixels = target in (*OF_BYTES, *OF_FILES)
    low, high = float(numbers.min()), float(numbers.max())
    if not are_pixels:
        are_bytes = numbers.dtype == torch.uint8 and _has_bytes(data)
    elif high > 1:  # whole numbers, as rows of text have them
        are_bytes = bool((numbers == numbers.round()).all())
    else:
        are_bytes = not numbers.is_floating_point()
    most = 255 if are_bytes else 1
    if (are_bytes or are_pixels) and not 0 <= low <= high <= most:
        wanted = "pixels are whole numbers from 0 to 255, or 0 to 1"
        raise UserError(f"{shown}: has numbers from {low:g} to {high:g}, and {wanted}")
    return numbers.to(torch.uint8) if are_bytes else numbers.float()


def _has_bytes(data: Data) -> bool:
    """Tell whether the pictures of the set are bytes, as those of files are."""
    test = load(data).test
    return isinstance(test, InMemorySplit) and test.inputs.dtype == torch.uint8
