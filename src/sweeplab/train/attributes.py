"""What the parts of a run hold besides their `state_dict`: counters, averages, own generators.

A resumed run must have these, too, or it is another one. Only what an object holds itself is seen:
state of a class or of a module is one for all runs of a process, and belongs to none of them.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sweeplab.train import state

Key = tuple[str, str]
"""The owner's dotted name, as `model.0`, and the attribute's."""

MODULE = frozenset(vars(nn.Module()))  # a module's own: parameters, buffers, hooks, the mode
OPTIMIZER = frozenset({"state", "param_groups", "defaults"})  # are in its `state_dict`
RESULTS = frozenset({"_computed", "_cache"})  # of torchmetrics, until its next `reset`


class Attributes:
    """The attributes of a run's parts that training changes."""

    def __init__(self, owners: Mapping[str, object]) -> None:
        """Take the parts as they were built: modules, an optimizer, metrics."""
        self._owners = dict(_all_owners(owners))
        self._initial = {key: _digest(packed) for key, packed in self._packed()}

    def changed(self) -> dict[Key, Any]:
        """Return what is not as it was in the beginning, in types that a checkpoint may hold."""
        now = dict(self._packed())
        return {key: now[key] for key in now if self._initial.get(key) != _digest(now[key])}

    @contextmanager
    def preserved(self, device: torch.device) -> Iterator[None]:
        """Put back afterwards what is changed meanwhile."""
        before = dict(self._packed())
        try:
            yield
        finally:
            now = {key: _digest(packed) for key, packed in self._packed()}
            moved = [key for key in before if _digest(before[key]) != now.get(key)]
            self.restore({key: before[key] for key in moved}, device)

    def restore(self, changed: Mapping[Key, Any], device: torch.device) -> None:
        """Go on where `changed` was taken; tensors that were not on the CPU come to `device`."""
        for (owner, name), packed in changed.items():
            value = getattr(self._owners[owner], name, None)
            setattr(self._owners[owner], name, _restored(value, packed, device))

    def _packed(self) -> Iterator[tuple[Key, Any]]:
        for name, owner in self._owners.items():
            for attribute, value in _attributes(owner):
                try:
                    yield (name, attribute), _pack(value)
                except TypeError:  # an object of some class
                    continue


def _all_owners(owners: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the parts themselves, and the modules inside them."""
    for name, owner in owners.items():
        if isinstance(owner, nn.Module):
            for inner, module in owner.named_modules():
                yield f"{name}.{inner}".rstrip("."), module
        else:
            yield name, owner


def _attributes(owner: object) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that are in no `state_dict`."""
    known = RESULTS | set(getattr(owner, "_defaults", ()))  # what `reset` of torchmetrics sets
    if isinstance(owner, nn.Module):
        known |= MODULE
    elif isinstance(owner, Optimizer):
        known |= OPTIMIZER
    for name, value in getattr(owner, "__dict__", {}).items():
        if name not in known:
            yield name, value
    if isinstance(owner, nn.Module):
        for name in sorted(owner._non_persistent_buffers_set):
            yield name, owner._buffers[name]


# --- Packing: plain values stay, anything else is a tuple that begins with its kind ---------------


def _pack(value: Any) -> Any:
    """Copy a value as a checkpoint may hold it; of a generator the state.

    Raises TypeError for an object of another class, and for parameters.
    """
    if type(value) in state.PLAIN:
        return value
    if type(value) is list:
        return [_pack(item) for item in value]
    if type(value) is tuple:
        return "tuple", [_pack(item) for item in value]
    if type(value) is deque:
        return "deque", value.maxlen, [_pack(item) for item in value]
    if type(value) is dict:
        return {_pack(key): _pack(item) for key, item in value.items()}
    # A tensor on the meta device has no values.
    if type(value) is Tensor and state.is_ordinary(value) and not value.is_meta:
        return "tensor", value.is_cpu, value.detach().clone()
    if type(value) is np.ndarray and value.dtype != object:
        return "array", value.copy()
    return "generator", _generator_state(value)


def _generator_state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if type(generator) is random.Random:  # noqa: S311  # a user's
        version, words, gauss = generator.getstate()
        return [version, list(words), gauss]
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    raise TypeError


def _set_generator_state(generator: Any, packed: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = packed
    elif isinstance(generator, random.Random):  # noqa: S311  # a user's
        generator.setstate((packed[0], tuple(packed[1]), packed[2]))
    else:
        generator.set_state(packed)


def _digest(packed: Any) -> str:
    return state.sha256({"": packed})


def _restored(value: Any, packed: Any, device: torch.device) -> Any:
    """Unpack a value, if possible into the object that is there now: others may hold it, too."""
    if type(packed) is list:
        return _restored_list(value, packed, device)
    if type(packed) is dict:
        return _restored_dict(value, packed, device)
    if type(packed) is tuple:
        return _restored_object(value, packed, device)
    return packed


def _restored_list(value: Any, packed: list[Any], device: torch.device) -> list[Any]:
    before = [None] * len(packed)
    if isinstance(value, list) and len(value) == len(packed):
        before = list(value)
    items = [_restored(old, item, device) for old, item in zip(before, packed, strict=True)]
    if type(value) is not list:
        return items
    value[:] = items
    return value


def _restored_dict(value: Any, packed: dict[Any, Any], device: torch.device) -> dict[Any, Any]:
    before = dict(value) if type(value) is dict else {}
    items = {key: _restored(before.get(key), item, device) for key, item in packed.items()}
    if type(value) is not dict:
        return items
    value.clear()
    value.update(items)
    return value


def _restored_object(value: Any, packed: tuple[Any, ...], device: torch.device) -> Any:
    """Unpack what `_pack` made a tuple of."""
    kind, *rest, content = packed
    if kind == "generator":
        _set_generator_state(value, content)
        return value
    if kind == "tensor":
        return _restored_tensor(value, content, torch.device("cpu") if rest[0] else device)
    if kind == "array":
        return content
    items = _restored_list(None, content, device)
    if kind == "tuple":
        return tuple(items)
    return deque(items, rest[0])


def _restored_tensor(value: Any, content: Tensor, device: torch.device) -> Tensor:
    if isinstance(value, Tensor) and (value.shape, value.dtype) == (content.shape, content.dtype):
        with torch.no_grad():
            return value.copy_(content)
    return content.to(device)
