"""The built-in data sets, as torch Datasets in memory; and how any other data set becomes one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sweeplab.data import iterables, trees
from sweeplab.data.fetch import FASHION_MNIST_FILES, MNIST_FILES, IdxSet
from sweeplab.data.transforms import Transforms, transformed
from sweeplab.errors import UserError, a_or_an

Pair = tuple[Tensor, Tensor]


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


class Converted(Dataset[Pair]):
    """A map-style dataset with its examples as pairs of tensors, their inputs transformed."""

    def __init__(self, dataset: Any, transforms: Transforms = ()) -> None:
        self.dataset = dataset
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Pair:
        example = self.dataset[index]
        if not isinstance(example, tuple | list) or len(example) != 2:
            wanted = "it must be a pair (input, target), or data.task=any"
            raise UserError(f"data.dataset: an example is {a_or_an(kind_of(example))}; {wanted}")
        inputs, target = example
        return tensor_of(transformed(inputs, self.transforms)), tensor_of(target)


Examples = Tensors | Converted


def examples_of(delivered: object, memory: int, transforms: Transforms = ()) -> Examples:
    """Make a map-style dataset of what a user's `_target_` delivered.

    Raises UserError where that cannot be one, or only iterates and does not fit into `memory` MiB.
    """
    examples: Examples
    if is_tensors(delivered):
        examples = delivered
    elif _is_pair_of_arrays(delivered):
        examples = _from_arrays(*map(tensor_of, delivered))
    elif isinstance(delivered, Mapping | str | bytes):
        raise not_a_set(delivered, WANTED)
    elif iterables.is_map_style(delivered):
        examples = Converted(delivered, transforms)
    elif iterables.is_iterable(delivered):
        read = iterables.read_through(delivered, _size_as_floats, memory)  # type: ignore[arg-type]
        examples = Converted(read, transforms)
    else:
        raise not_a_set(delivered, WANTED)
    ensure_some(examples)
    if transforms and isinstance(examples, Tensors):
        return Converted(examples, transforms)
    return examples


def is_tensors(delivered: object) -> TypeGuard[Tensors]:
    """Tell whether a set is two tensors; a user's subclass may have other examples."""
    return isinstance(delivered, Tensors) and type(delivered).__getitem__ is Tensors.__getitem__


def is_in_memory(delivered: object) -> bool:
    """Tell whether there is nothing to be read."""
    return is_tensors(delivered) or isinstance(
        delivered, tuple | list | Mapping | Tensor | np.ndarray
    )


def _size_as_floats(example: object) -> int:
    """Return the bytes that the input takes as float32; of what is no pair, whatever it takes."""
    if isinstance(example, tuple | list) and len(example) == 2:
        return 4 * tensor_of(example[0]).numel()
    return trees.size(example)


def ensure_some(examples: Any) -> None:
    """Raise UserError if there are no examples."""
    if len(examples) == 0:
        raise UserError("data.dataset: the target delivers no examples")


WANTED = (
    "a torch Dataset with __len__ and __getitem__ (or __iter__), or a pair (inputs, targets) of "
    "arrays"
)


def not_a_set(delivered: object, wanted: str) -> UserError:
    """Return the error for what is no set."""
    description = _description(delivered)
    return UserError(f"data.dataset: the target delivers {description}; it must deliver {wanted}")


def _is_pair_of_arrays(value: object) -> TypeGuard[Sequence[object]]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(array, Tensor | np.ndarray) for array in value)


def _from_arrays(inputs: Tensor, targets: Tensor) -> Tensors:
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.ndim == 0:
            wanted = "they must be an array of a row for each example"
            raise UserError(f"data.dataset: the {name} are one number; {wanted}")
    if len(inputs) != len(targets):
        raise UserError(f"data.dataset: {len(inputs)} inputs, but {len(targets)} targets")
    return Tensors(inputs, targets)


def _description(value: object) -> str:
    """Describe what is no set, and how it differs from one."""
    kind = kind_of(value)
    if isinstance(value, DataLoader):
        return f"{a_or_an(kind)}, whose batches sweeplab makes itself"
    if isinstance(value, IterableDataset):
        return f"{a_or_an(kind)}, an IterableDataset without __len__"
    if iterables.is_frame(value):
        return f"{a_or_an(kind)} of pandas (data=csv reads a table)"
    if not isinstance(value, Mapping):
        return a_or_an(kind)
    keys = [str(key) for key in value]
    if not keys:
        return f"an empty {kind}"
    text = f"{a_or_an(kind)} of the keys {', '.join(keys[:6])}"
    if len(keys) > 6:
        text += ", ..."
    if "data" in value and "target" in value:
        text += " (scikit-learn's own take return_X_y: true beside _target_)"
    return text


def tensor_of(value: object) -> Tensor:
    """Make a tensor on the CPU of a tensor, an array, a number, or a PIL image."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized:
            kind = f"a {value.layout} tensor of {value.dtype}"
            raise UserError(f"data.dataset: {kind} is not dense numbers; make it so")
        return value.detach().cpu()
    try:
        # A copy: torch takes no read-only or reversed memory
        return torch.from_numpy(np.array(value, order="C"))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"data.dataset: {a_or_an(kind_of(value))} cannot be made a tensor: {error}"
        ) from error


def collate(examples: Sequence[Pair]) -> Pair:
    """Stack examples to a raw batch. Raises UserError where they differ in shape."""
    try:
        inputs = torch.stack([pair[0] for pair in examples])
        return inputs, torch.stack([pair[1] for pair in examples])
    except RuntimeError as error:
        raise UserError(f"data.dataset: the examples differ in shape: {error}") from error


def kind_of(value: object) -> str:
    """Name the type of a value, and how many items a sequence has."""
    name = type(value).__name__
    return f"{name} of {len(value)}" if isinstance(value, tuple | list) else name
