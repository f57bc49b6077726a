"""The built-in data sets, torch Datasets that hold all their examples as two tensors; and what makes any set one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from sweeplab.data.fetch import FASHION_MNIST_FILES, MNIST_FILES, IdxSet
from sweeplab.errors import UserError

Pair = tuple[Tensor, Tensor]


def digest_of(*tensors: Tensor) -> str:
    """SHA-256 over dtype, shape and bytes of each tensor."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def combined(digests: Iterable[str]) -> str:
    """One digest of several."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def read_idx(content: bytearray) -> Tensor:
    """A uint8 tensor, on the memory of an IDX file: two zeros, the type, the number of dimensions, the sizes
    (big-endian), the data. Raises ValueError if header and length do not agree.
    """
    offset = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:offset])
    if content[:3] != b"\0\0\x08" or len(content) != offset + int(np.prod(shape)):
        raise ValueError(f"not an IDX file of bytes: header {content[:4].hex()}, sizes {shape}, {len(content)} bytes")
    return torch.frombuffer(content, dtype=torch.uint8, offset=offset).reshape(shape)


class Tensors(Dataset[Pair]):
    """Examples in memory: `inputs` [N, ...] and `targets` [N, ...], of any dtype, not yet normalised."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Pair:
        return self.inputs[index], self.targets[index]


class MNIST(Tensors):
    """Handwritten digits: 60,000 (train) or 10,000 pictures, uint8 [N, 1, 28, 28], from verified files below `root`."""

    files: ClassVar[IdxSet] = MNIST_FILES
    sizes: ClassVar[tuple[int, int]] = (60_000, 10_000)

    def __init__(self, root: str | Path, train: bool = True) -> None:
        pictures, labels = self.files.read(root, self.files.half(train))
        super().__init__(read_idx(pictures).unsqueeze(1), read_idx(labels))
        self.digest = self.digest_of_half(train)

    @classmethod
    def digest_of_half(cls, train: bool) -> str:
        """Known without reading anything, and the same on every machine."""
        return combined(file.sha256 for file in cls.files.half(train))


class FashionMNIST(MNIST):
    """Pictures of clothes, in the same format as MNIST."""

    files: ClassVar[IdxSet] = FASHION_MNIST_FILES


class Digits(Tensors):
    """scikit-learn's 1,797 handwritten digits: float32 [N, 1, 8, 8], whole numbers from 0 to 16."""

    def __init__(self) -> None:
        table = tensor_of(_digits())
        super().__init__(table[:, :-1].float().reshape(-1, 1, 8, 8), table[:, -1].to(torch.int64))
        self.digest = digest_of(self.inputs, self.targets)


class Diabetes(Tensors):
    """scikit-learn's 442 patients: 10 features, each scaled to mean 0 and sum of squares 1; the disease's progress."""

    def __init__(self) -> None:
        from sklearn.datasets import load_diabetes  # slow: imported only where it is needed

        super().__init__(*map(tensor_of, load_diabetes(return_X_y=True)))
        # Of the raw numbers: the scaled ones come from sums, whose last bit differs between machines.
        self.digest = digest_of(*map(tensor_of, load_diabetes(return_X_y=True, scaled=False)))


def _digits() -> np.ndarray[Any, Any]:
    """Pixels and label of each digit, from the file that `load_digits` reads.

    Importing scikit-learn for it would take seconds, and 120 MB of each launcher.
    """
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if file is not None and file.exists():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another version may keep it elsewhere

    pictures, labels = load_digits(return_X_y=True)
    return np.column_stack([pictures, labels])


class Converted(Dataset[Pair]):
    """A user's map-style dataset, its examples as pairs of tensors."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Pair:
        example = self.dataset[index]
        if not isinstance(example, tuple | list) or len(example) != 2:
            raise UserError(f"data.dataset: an example is a {_kind(example)}; it must be a pair (input, target)")
        return tensor_of(example[0]), tensor_of(example[1])


Examples = Tensors | Converted


def examples_of(made: object) -> Examples:
    """What a user's `_target_` delivered, as a map-style dataset. Raises UserError where it cannot be one."""
    dataset: Examples
    if isinstance(made, Tensors) and type(made).__getitem__ is Tensors.__getitem__:
        dataset = made
    elif isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(a, Tensor | np.ndarray) for a in made):
        dataset = _pair_of_arrays(tensor_of(made[0]), tensor_of(made[1]))
    elif not isinstance(made, Mapping | IterableDataset) and hasattr(made, "__len__") and hasattr(made, "__getitem__"):
        dataset = Converted(made)
    else:
        raise UserError(f"data.dataset: the target delivers {_no_dataset(made)}; it must deliver {WANTED}")
    if len(dataset) == 0:
        raise UserError("data.dataset: the target delivers no examples")
    return dataset


WANTED = "a torch Dataset with __len__ and __getitem__, or a pair (inputs, targets) of arrays"


def _pair_of_arrays(inputs: Tensor, targets: Tensor) -> Tensors:
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.ndim == 0:
            raise UserError(f"data.dataset: the {name} are one number; they must be an array of a row for each example")
    if len(inputs) != len(targets):
        raise UserError(f"data.dataset: {len(inputs)} inputs, but {len(targets)} targets")
    return Tensors(inputs, targets)


def _no_dataset(made: object) -> str:
    """What is no map-style dataset, and how it differs from one."""
    if isinstance(made, Mapping):
        keys = [str(key) for key in made]
        more = ", ..." if len(keys) > 6 else ""
        named = f"a {_kind(made)} of the keys {', '.join(keys[:6])}{more}" if keys else f"an empty {_kind(made)}"
        is_bunch = "data" in made and "target" in made
        return named + (" (scikit-learn's own take return_X_y: true beside _target_)" if is_bunch else "")
    if isinstance(made, IterableDataset):
        return f"a {_kind(made)}, an IterableDataset, whose examples have no numbers to be drawn by"
    return f"a {_kind(made)}"


def tensor_of(value: object) -> Tensor:
    """A tensor on the CPU of a tensor, an array, a number, or a PIL image."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise UserError(f"data.dataset: a {value.layout} tensor of {value.dtype} is not dense numbers; make it so")
        return value.detach().cpu()
    try:
        return torch.from_numpy(np.array(value, order="C"))  # a copy: torch takes no read-only or reversed memory
    except (TypeError, ValueError) as error:
        raise UserError(f"data.dataset: a {_kind(value)} cannot be made a tensor: {error}") from error


def collate(examples: Sequence[Pair]) -> Pair:
    """Examples stacked to a raw batch. Raises UserError where they differ in shape."""
    try:
        return torch.stack([x for x, _ in examples]), torch.stack([y for _, y in examples])
    except RuntimeError as error:
        raise UserError(f"data.dataset: the examples differ in shape: {error}") from error


def _kind(value: object) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
