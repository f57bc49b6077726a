"""What the parts of a run hold besides their `state_dict`: counters, averages, random generators of their own.

A resumed run must have these, too, or it is another one. Only what an object holds itself is seen: state of a class or
of a module is one for all runs of a process, and belongs to none of them.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator, Mapping
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
        """`owners` are the parts as they were built: modules, an optimizer, metrics."""
        self._owners = dict(_all_owners(owners))
        self._began = {key: _digest(packed) for key, packed in self._packed()}

    def changed(self) -> dict[Key, Any]:
        """What is not as it was in the beginning, in types that a checkpoint may hold."""
        return {key: packed for key, packed in self._packed() if self._began.get(key) != _digest(packed)}

    def restore(self, changed: Mapping[Key, Any], device: torch.device) -> None:
        """Go on where `changed` was taken; tensors that were not on the CPU come to `device`."""
        for (owner, name), packed in changed.items():
            value = getattr(self._owners[owner], name, None)
            setattr(self._owners[owner], name, _renewed(value, packed, device))

    def _packed(self) -> Iterator[tuple[Key, Any]]:
        for owner, each in self._owners.items():
            for name, value in _attributes(each):
                try:
                    yield (owner, name), _pack(value)
                except TypeError:  # an object of some class
                    continue


def _all_owners(owners: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The parts themselves, and the modules inside them."""
    for name, owner in owners.items():
        if isinstance(owner, nn.Module):
            for inner, module in owner.named_modules():
                yield f"{name}.{inner}".rstrip("."), module
        else:
            yield name, owner


def _attributes(owner: object) -> Iterator[tuple[str, Any]]:
    """Those that are in no `state_dict`."""
    known = MODULE if isinstance(owner, nn.Module) else OPTIMIZER if isinstance(owner, Optimizer) else frozenset()
    known |= RESULTS | set(getattr(owner, "_defaults", ()))  # what `reset` of torchmetrics sets
    yield from ((name, value) for name, value in getattr(owner, "__dict__", {}).items() if name not in known)
    if isinstance(owner, nn.Module):
        yield from ((name, owner._buffers[name]) for name in sorted(owner._non_persistent_buffers_set))


# --- Packed: as a checkpoint may hold it; what is no plain value is a tuple that begins with its kind -----------------


def _pack(value: Any) -> Any:
    """A copy; of a generator its state. Raises TypeError for an object of another class, and for parameters."""
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
    if type(value) is Tensor and state.is_ordinary(value) and not value.is_meta:  # which has no values
        return "tensor", value.is_cpu, value.detach().clone()
    if type(value) is np.ndarray and value.dtype != object:
        return "array", value.copy()
    return "generator", _state_of(value)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if type(generator) is random.Random:  # noqa: S311  # a user's, looked at
        version, words, gauss = generator.getstate()
        return [version, list(words), gauss]
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    raise TypeError


def _set_state(generator: Any, packed: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = packed
    elif isinstance(generator, random.Random):  # noqa: S311  # as above
        generator.setstate((packed[0], tuple(packed[1]), packed[2]))
    else:
        generator.set_state(packed)


def _digest(packed: Any) -> str:
    return state.sha256({"": packed})


def _renewed(value: Any, packed: Any, device: torch.device) -> Any:
    """What was packed, if possible in the object that is there now: others may hold it, too."""
    if type(packed) is list:
        return _renewed_list(value, packed, device)
    if type(packed) is dict:
        before = dict(value) if type(value) is dict else {}
        items = {key: _renewed(before.get(key), item, device) for key, item in packed.items()}
        if type(value) is not dict:
            return items
        value.clear()
        value.update(items)
        return value
    return _renewed_object(value, packed, device) if type(packed) is tuple else packed


def _renewed_list(value: Any, packed: list[Any], device: torch.device) -> list[Any]:
    before = list(value) if isinstance(value, list) and len(value) == len(packed) else [None] * len(packed)
    items = [_renewed(old, item, device) for old, item in zip(before, packed, strict=True)]
    if type(value) is not list:
        return items
    value[:] = items
    return value


def _renewed_object(value: Any, packed: tuple[Any, ...], device: torch.device) -> Any:
    kind, *rest, content = packed
    if kind == "generator":
        _set_state(value, content)
        return value
    if kind == "tensor":
        if isinstance(value, Tensor) and value.shape == content.shape and value.dtype == content.dtype:
            with torch.no_grad():
                return value.copy_(content)
        return content.to("cpu" if rest[0] else device)
    if kind == "array":
        return content
    items = _renewed_list(None, content, device)
    return tuple(items) if kind == "tuple" else deque(items, rest[0])
