"""Examples and batches of any form: pytrees of tensors, arrays, numbers, texts and objects."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sweeplab.errors import UserError, a_or_an

Tree = Any
"""Nested tuples, lists, dicts and named tuples, with anything as leaves."""

NUMBERS = (bool, int, float, complex, np.generic)
STACKED_KINDS = "biufc"  # of numpy: booleans, whole numbers, floats, complex numbers


def moved(tree: Tree, device: torch.device) -> Tree:
    """Move the tensors of a batch, and objects that have a method `to`, to a device."""
    return pytree.tree_map(partial(_moved_leaf, device), tree)


def _moved_leaf(device: torch.device, leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.to(device, non_blocking=True)
    if isinstance(leaf, type) or not callable(getattr(leaf, "to", None)):
        return leaf
    result = leaf.to(device)
    if result is None:  # moved in place
        return leaf
    return result


def detached(tree: Tree) -> Tree:
    """Return an example with its tensors on the CPU, and without a graph of gradients."""
    return pytree.tree_map_only(Tensor, lambda leaf: leaf.detach().cpu(), tree)


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
        problem = _no_numbers(value) or str(error)
        raise UserError(
            f"data.dataset: {a_or_an(kind_of(value))} cannot be made a tensor: {problem}"
        ) from error


def _no_numbers(value: object) -> str:
    """Say of what kind the items of an array are, if they are no numbers; '' of other values."""
    if not is_array(value):
        return ""
    array = np.asarray(value)
    if array.dtype.kind not in "OUS":
        return ""
    kinds = sorted({type(item).__name__ for item in array.flat})
    return f"its items are {', '.join(kinds[:3])}, and numbers are needed"


def is_array(value: object) -> bool:
    """Tell whether this is an array: a tensor, one of numpy, or a table or a column of pandas."""
    return hasattr(value, "__array__") and hasattr(value, "__len__")


def kind_of(value: object) -> str:
    """Name the type of a value, and how many items a sequence has."""
    name = type(value).__name__
    return f"{name} of {len(value)}" if isinstance(value, tuple | list) else name


def pinned(tree: Tree) -> Tree:
    """Copy the tensors of a batch to memory from which a GPU copies quickly."""
    return pytree.tree_map(_pinned_leaf, tree)


def _pinned_leaf(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.pin_memory() if leaf.layout == torch.strided else leaf
    if isinstance(leaf, type) or not callable(getattr(leaf, "pin_memory", None)):
        return leaf
    return leaf.pin_memory()


def loaded(tree: Tree) -> Tree:
    """Return an example whose pictures are read from their files, which are closed then."""
    for leaf in pytree.tree_leaves(tree):
        if _is_picture(leaf):
            leaf.load()
    return detached(tree)


def copied(tree: Tree) -> Tree:
    """Copy containers, tensors and arrays; other objects stay the same ones."""
    return pytree.tree_map(_copied_leaf, tree)


def _copied_leaf(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.clone()
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    return leaf


def is_plain(tree: Tree) -> bool:
    """Tell whether the containers are tuples, lists and dicts, and no subclasses of them."""
    if type(tree) in (tuple, list):
        return all(map(is_plain, tree))
    if type(tree) is dict:
        return all(map(is_plain, tree.values()))
    return isinstance(tree, int)


# --- Their form -----------------------------------------------------------------------------------


def form(tree: Tree) -> tuple[pytree.TreeSpec, list[tuple[object, ...]]]:
    """Return the structure, and kind, shape and type of each leaf."""
    leaves, structure = pytree.tree_flatten(tree)
    return structure, [_leaf_form(leaf) for leaf in leaves]


def _leaf_form(leaf: Any) -> tuple[object, ...]:
    if isinstance(leaf, Tensor):
        return "tensor", list(leaf.shape), leaf.dtype, leaf.layout
    if isinstance(leaf, np.ndarray):
        return "array", list(leaf.shape), leaf.dtype
    if isinstance(leaf, NUMBERS):
        return "number", [], type(leaf)
    return type(leaf).__name__, []


def stacks(tree: Tree) -> bool:
    """Tell whether examples of this form can become one tensor a leaf."""
    leaves = pytree.tree_leaves(tree)
    return bool(leaves) and all(map(_stacks_leaf, leaves))


def _stacks_leaf(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        return leaf.layout == torch.strided and not leaf.is_quantized
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in STACKED_KINDS
    return isinstance(leaf, NUMBERS)


def difference(first: Tree, other: Tree) -> str:
    """Say where two examples differ in structure or shape; '' if they can be one batch."""
    paths, structure = pytree.tree_flatten_with_path(first)
    _, forms = form(first)
    other_structure, other_forms = form(other)
    if structure != other_structure:
        return "it has another structure"
    for (path, _), leaf, other_leaf in zip(paths, forms, other_forms, strict=True):
        if leaf[:2] != other_leaf[:2]:
            place = pytree.keystr(path)
            where = f" at {place}" if place else ""
            return f"{_in_words(other_leaf)} instead of {_in_words(leaf)}{where}"
    return ""


def _in_words(leaf: tuple[object, ...]) -> str:
    kind, shape = leaf[:2]
    named = a_or_an(str(kind))
    return f"{named} of shape {shape}" if shape else named


def size(tree: Tree) -> int:
    """Estimate the memory of an example, in bytes."""
    return sum(_leaf_size(leaf) for leaf in pytree.tree_leaves(tree))


def _leaf_size(leaf: Any) -> int:
    if isinstance(leaf, Tensor):
        return leaf.numel() * leaf.element_size()
    if isinstance(leaf, np.ndarray):
        return int(leaf.nbytes)
    if _is_picture(leaf):
        return int(leaf.width * leaf.height * len(leaf.getbands()))
    content = _content(leaf)
    if content is not None:
        return size(content)
    return sys.getsizeof(leaf)


# --- Their digest ---------------------------------------------------------------------------------


def digest(tree: Tree, *, any_object: bool = False) -> str:
    """Compute a SHA-256 over structure, types, shapes and values.

    Raises UserError for an object of which it is not known what it holds, unless `any_object` is
    true: then its type stands for it.
    """
    sha = hashlib.sha256()
    for piece in _pieces(tree, any_object):
        sha.update(piece)
    return sha.hexdigest()


def _pieces(value: Any, any_object: bool) -> Iterator[Any]:
    """Yield bytes that are equal for equal values only."""
    if isinstance(value, Tensor):
        yield from _tensor_pieces(value, any_object)
    elif isinstance(value, np.ndarray | np.generic):
        yield from _array_pieces(np.asarray(value), any_object)
    elif isinstance(value, str | bytes | bytearray):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        yield f"{type(value).__name__} of {len(data)}:".encode()
        yield data
    elif isinstance(value, Enum | PurePath | torch.dtype | torch.device):
        yield f"{type(value).__name__} {value};".encode()
    elif value is None or isinstance(value, NUMBERS):
        yield f"{type(value).__name__} {value!r};".encode()
    elif isinstance(value, set | frozenset):
        members = sorted(digest(item, any_object=any_object) for item in value)
        yield f"{type(value).__name__} {members};".encode()
    elif _is_picture(value):
        data = value.tobytes()
        yield f"picture {value.mode} {value.size} of {len(data)} {value.getpalette()}:".encode()
        yield data
    else:
        yield from _object_pieces(value, any_object)


def _tensor_pieces(value: Tensor, any_object: bool) -> Iterator[Any]:
    tensor = value.detach().cpu()
    if tensor.layout != torch.strided:
        sparse = tensor.to_sparse_coo().coalesce()
        yield f"{tensor.layout} of {list(tensor.shape)}".encode()
        yield from _tensor_pieces(sparse.indices(), any_object)
        yield from _tensor_pieces(sparse.values(), any_object)
        return
    if tensor.is_quantized:
        yield f"{tensor.dtype}".encode()
        tensor = tensor.int_repr()
    yield f"{tensor.dtype}{list(tensor.shape)}".encode()
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    yield tensor.reshape(-1).view(torch.uint8).numpy().data


def _array_pieces(array: np.ndarray[Any, Any], any_object: bool) -> Iterator[Any]:
    yield f"array {array.dtype.str}{list(array.shape)}".encode()
    if array.dtype.hasobject:
        for item in array.reshape(-1).tolist():
            yield from _pieces(item, any_object)
        return
    yield array.tobytes()


def _object_pieces(value: Any, any_object: bool) -> Iterator[Any]:
    content = _content(value)
    if content is not None:
        keys = list(content)
        yield f"{type(value).__name__} of {len(keys)}:".encode()
        for key in keys:
            yield from _pieces(key, any_object)
            yield from _pieces(content[key], any_object)
        return
    children, structure = pytree.tree_flatten(value, is_leaf=lambda item: item is not value)
    if isinstance(value, tuple | list):
        children = list(value)
    if not structure.is_leaf() or isinstance(value, tuple | list):
        yield f"{type(value).__name__} of {len(children)}:".encode()
        for child in children:
            yield from _pieces(child, any_object)
        return
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if not any_object:
        raise UserError(
            f"data.dataset: an example has {a_or_an(name)}, and nothing tells what it holds: give it a "
            "method to_dict(), or name the state of the set, as in data.version=1; it is then "
            "read anew in each epoch"
        )
    yield f"object {name};".encode()


def _content(value: Any) -> Mapping[Any, Any] | None:
    """Return what an object holds, by name; None if nothing tells."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if not callable(getattr(value, "to_dict", None)):
        return None
    content = value.to_dict()
    return content if isinstance(content, Mapping) else None


def _is_picture(value: object) -> bool:
    """Tell whether this is an image of PIL, which is not imported for it."""
    return type(value).__module__.startswith("PIL.") and hasattr(value, "getpalette")
