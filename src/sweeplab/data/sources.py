"""The built-in data sets that are two tensors in memory."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sweeplab import config
from sweeplab.config.tables import TableSettings, read_table
from sweeplab.data.fetch import FASHION_MNIST_FILES, MNIST_FILES, IdxSet
from sweeplab.data.splits import Pair
from sweeplab.data.trees import tensor_of
from sweeplab.errors import UserError


def digest_of(*tensors: Tensor) -> str:
    """Compute a SHA-256 over dtype, shape and bytes of each tensor."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def combined(digests: Iterable[str]) -> str:
    """Compute one digest of several."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def read_idx(content: bytearray) -> Tensor:
    """Return a uint8 tensor on the memory of an IDX file.

    Raises ValueError if header and length do not agree.

    The format: two zeros, the type (8 for bytes), the number of dimensions, the sizes (big-endian),
    the data.
    """
    offset = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:offset])
    if content[:3] != b"\0\0\x08" or len(content) != offset + int(np.prod(shape)):
        header = f"header {content[:4].hex()}, sizes {shape}, {len(content)} bytes"
        raise ValueError(f"not an IDX file of bytes: {header}")
    return torch.frombuffer(content, dtype=torch.uint8, offset=offset).reshape(shape)


class Tensors(Dataset[Pair]):
    """Examples in memory: `inputs` and `targets` [N, ...], of any dtype, not yet normalised."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Pair:
        return self.inputs[index], self.targets[index]


class MNIST(Tensors):
    """60,000 (train) or 10,000 handwritten digits: uint8 [N, 1, 28, 28]."""

    files: ClassVar[IdxSet] = MNIST_FILES
    sizes: ClassVar[tuple[int, int]] = (60_000, 10_000)

    def __init__(self, root: str | Path, train: bool = True) -> None:
        pictures, labels = self.files.read(root, self.files.half(train))
        super().__init__(read_idx(pictures).unsqueeze(1), read_idx(labels))
        self.digest = self.digest_of_half(train)

    @classmethod
    def digest_of_half(cls, train: bool) -> str:
        """Return the digest, which is known without reading anything."""
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
    """scikit-learn's 442 patients: 10 features, and how the disease progressed.

    Each feature is scaled to mean 0 and sum of squares 1.
    """

    def __init__(self) -> None:
        from sklearn.datasets import load_diabetes  # slow: imported only where it is needed

        super().__init__(*map(tensor_of, load_diabetes(return_X_y=True)))
        # Of the raw numbers: the scaled ones come from sums, whose last bit differs between
        # machines.
        self.digest = digest_of(*map(tensor_of, load_diabetes(return_X_y=True, scaled=False)))


@cache  # a command reads them twice, to check its config and to train
def _digits() -> np.ndarray[Any, Any]:
    """Read pixels and label of each digit from the file that `load_digits` reads.

    Importing scikit-learn for it would take seconds, and 120 MB of each launcher.
    """
    package = find_spec("sklearn")
    if package is not None:
        file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another version may keep it elsewhere

    pictures, labels = load_digits(return_X_y=True)
    return np.column_stack([pictures, labels])


class CSV(Tensors):
    """The rows of a CSV file: `inputs` float64 [N, numbers], and the `target` column.

    Numbers are taken as they are. A column of texts becomes a column of zeros and ones for each of
    its texts, in sorted order; texts as targets become classes, from 0, in sorted order. `columns`
    names the inputs (None: all but the target). Columns without a name are left out. `task` is that
    of the config, and `group` names the column by which the config splits the table.
    """

    def __init__(
        self,
        file: str | None = None,
        target: str | list[str] | None = None,
        columns: str | list[str] | None = None,
        separator: str = ",",
        decimal: str = ".",
        task: str = "classification",
        group: str | None = None,
    ) -> None:
        arguments = {
            "file": file,
            "target": target,
            "columns": columns,
            "separator": separator,
            "decimal": decimal,
            "group": group,
        }
        content = read_table(TableSettings.of(arguments, Path(config.root())))
        if content.classes is not None and task == "regression":
            texts = ", ".join(content.classes[:3])
            raise UserError(
                f"data.task=regression: the target '{target}' has texts ({texts}); give "
                "data.task=classification, or another target"
            )
        self.classes = content.classes
        self.groups = content.groups
        super().__init__(torch.from_numpy(content.inputs), torch.from_numpy(content.targets))


def is_tensors(delivered: object) -> TypeGuard[Tensors]:
    """Tell whether a set is two tensors; a user's subclass may have other examples."""
    return isinstance(delivered, Tensors) and type(delivered).__getitem__ is Tensors.__getitem__
