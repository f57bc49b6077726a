"""The state of a network and its loss: torch's own `state_dict`, with all that it may hold beside plain tensors.

That is `_metadata`, by which a module knows an older form of its own, what `get_extra_state` returns, and tensors that
are complex, sparse, quantized or expanded. What cannot be read back without running code is refused by name.
"""

from __future__ import annotations

import copy
import hashlib
import io
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

State = dict[str, Any]
"""Names and values, in the order of the modules; an OrderedDict, with the attribute `_metadata`."""

LOSS = ".loss."
"""Before the names of the loss's values. A module's name is not empty, so that no network has a name like these."""

PLAIN = (type(None), bool, int, float, complex, str, bytes)

SAFE: list[Any] = [
    np.ndarray,
    np.dtype,
    np.zeros(0).__reduce__()[0],  # what numpy makes an array of, and a number
    np.float64(0).__reduce__()[0],
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    frozenset,
]
"""What is read back besides what torch itself calls safe: plain data, all of it."""


def collect(model: nn.Module, loss: nn.Module | None = None) -> State:
    """The state as it is now, not copied."""
    state = model.state_dict()
    if loss is not None:
        loss.state_dict(destination=state, prefix=LOSS)
    return state


def snapshot(model: nn.Module, loss: nn.Module | None = None) -> State:
    """A copy of the weights (BatchNorm's statistics and the like included) that later steps do not change."""
    state = collect(model, loss)
    copied = OrderedDict((name, _copy(value)) for name, value in state.items())
    copied._metadata = copy.deepcopy(metadata(state))  # type: ignore[attr-defined]  # as torch does it
    return copied


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def metadata(state: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of the modules, by their names."""
    return dict(getattr(state, "_metadata", None) or {})


def parts(state: Mapping[str, Any]) -> tuple[State, State]:
    """Part a state into the network's and the loss's."""
    model, loss = OrderedDict[str, Any](), OrderedDict[str, Any]()
    for name, value in state.items():
        (loss if name.startswith(LOSS) else model)[name.removeprefix(LOSS)] = value
    versions = metadata(state)
    own = {f"{name}.".removeprefix(LOSS)[:-1]: v for name, v in versions.items() if f"{name}.".startswith(LOSS)}
    model._metadata = {name: v for name, v in versions.items() if not f"{name}.".startswith(LOSS)}  # type: ignore[attr-defined]
    loss._metadata = own  # type: ignore[attr-defined]
    return model, loss


# --- Loaded -----------------------------------------------------------------------------------------------------------


def restore(state: Mapping[str, Any], model: nn.Module, loss: nn.Module | None = None) -> None:
    """Give the network this state, and the loss its part of it; without `loss` that is left aside."""
    of_model, of_loss = parts(state)
    _load(model, of_model)
    if loss is not None:
        _load(loss, of_loss)


def restore_loss(state: Mapping[str, Any], loss: nn.Module) -> None:
    """Give the loss its part of this state, if it has values of these names and shapes."""
    own = parts(state)[1]
    if forms(own) == forms(loss.state_dict()):
        _load(loss, own)


def forms(state: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of each value, and that there is one, where it is no tensor."""
    return {
        name: list(value.shape) if isinstance(value, Tensor) and not is_lazy(value) else "a value"
        for name, value in state.items()
    }


def undecided(module: nn.Module) -> set[str]:
    """The names of what takes any shape: buffers that are not set or empty at first, and what torch calls lazy."""
    found = set()
    for prefix, part in module.named_modules():
        free = [
            name for name, buffer in part._buffers.items() if buffer is None or is_lazy(buffer) or not buffer.numel()
        ]
        free += [name for name, parameter in part._parameters.items() if is_lazy(parameter)]
        found |= {f"{prefix}.{name}" if prefix else name for name in free}
    return found


def _load(module: nn.Module, state: State) -> None:
    if isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module
    _make_room(module, state)
    own = OrderedDict((n, v if isinstance(v, Tensor) else copy.deepcopy(v)) for n, v in state.items())
    own._metadata = metadata(state)  # type: ignore[attr-defined]  # as torch does it
    module.load_state_dict(own)


def _make_room(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Give what torch would copy into memory of its own: a buffer that is set later, that grows, or is expanded."""
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            value = state.get(f"{prefix}.{name}" if prefix else name)
            if isinstance(value, Tensor) and not is_lazy(buffer) and (buffer is None or buffer.shape != value.shape):
                part._buffers[name] = value.detach().clone().to(None if buffer is None else buffer.device)
    for value in module.state_dict(keep_vars=True).values():
        if isinstance(value, Tensor) and _overlaps(value):
            value.data = value.data.clone(memory_format=torch.contiguous_format)


def _overlaps(value: Tensor) -> bool:
    """Whether several of its numbers are one in memory, as in what `expand` returns."""
    if is_lazy(value) or not is_ordinary(value):
        return False
    return any(step == 0 and size > 1 for step, size in zip(value.stride(), value.shape, strict=True))


# --- Kept -------------------------------------------------------------------------------------------------------------


def is_ordinary(value: Any) -> bool:
    """Whether it is a tensor whose numbers lie in memory and mean what they are."""
    return (
        isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and not value.is_nested
    )


def to_bytes(value: Any) -> bytes:
    """The value as `torch.save` writes it."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells of its own plans for tensors that are quantized
        torch.save(value, content)
    return content.getvalue()


def from_bytes(source: Path | bytes) -> Any:
    """What `to_bytes` wrote, or a file of it; nothing in it can run code."""
    with warnings.catch_warnings(), torch.serialization.safe_globals(SAFE):
        warnings.simplefilter("ignore")  # and of how it checks those that are sparse
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        return torch.load(file, map_location="cpu", weights_only=True)


def unsafe(value: Any, name: str = "") -> Iterator[str]:
    """Name each part of the value that could not be read back, and its type."""
    if type(value) in PLAIN or (type(value) in (Tensor, nn.Parameter) and is_ordinary(value)):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            yield from unsafe(key, f"{name}, a key")
            yield from unsafe(item, f"{name}.{key}" if name else str(key))
        return
    if type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield from unsafe(item, f"{name}[{index}]")
        return
    try:
        from_bytes(to_bytes(value))
    except Exception:  # whatever pickle or torch makes of it
        yield f"{name} ({type(value).__name__})"


# --- Digested ---------------------------------------------------------------------------------------------------------


def sha256(state: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bits, in the order of the names: the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} ".encode())
        for piece in _pieces(state[name]):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """All that makes up a value, as bytes."""
    if isinstance(value, Tensor):
        yield from _of_tensor(value.detach().cpu())
    elif isinstance(value, Mapping):
        yield f"{type(value).__name__} {len(value)}\n".encode()
        for key, item in value.items():
            yield from _pieces(key)
            yield from _pieces(item)
    elif isinstance(value, set | frozenset):
        yield from _pieces(sorted(value, key=repr))
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)}\n".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {list(value.shape)}\n".encode()
        yield value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
    else:
        yield f"{value!r}\n".encode()


def _of_tensor(value: Tensor) -> Iterator[bytes]:
    if is_ordinary(value):
        plain = value.resolve_conj().resolve_neg().contiguous()
        yield f"{value.dtype} {list(value.shape)}\n".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes()
        return
    yield f"{value.layout} {value.dtype} {list(value.shape)}\n".encode()
    if value.is_quantized:
        inside: list[Any] = [str(value.qscheme()), value.int_repr(), *_scale(value)]
    elif value.layout == torch.sparse_coo:
        whole = value.coalesce()
        inside = [whole.indices(), whole.values()]
    elif value.layout in (torch.sparse_csr, torch.sparse_bsr):
        inside = [value.crow_indices(), value.col_indices(), value.values()]
    elif value.layout in (torch.sparse_csc, torch.sparse_bsc):
        inside = [value.ccol_indices(), value.row_indices(), value.values()]
    else:
        inside = [to_bytes(value)]
    for part in inside:
        yield from _pieces(part)


def _scale(value: Tensor) -> list[Any]:
    """What a quantized tensor's whole numbers stand for."""
    if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [value.q_scale(), value.q_zero_point()]
    return [value.q_per_channel_scales(), value.q_per_channel_zero_points(), value.q_per_channel_axis()]
