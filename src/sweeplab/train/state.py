"""The state of a network and its loss: torch's own `state_dict`, with all that it may hold.

Beside plain tensors that is `_metadata`, by which a module knows an older form of its own, what
`get_extra_state` returns, and tensors that are complex, sparse, quantized or expanded. What cannot
be read back without running code is refused by name.
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
"""The prefix of the loss's values. No network has such names, since a module's is not empty."""

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
    """Return the state as it is now, not copied."""
    state = model.state_dict()
    if loss is not None:
        loss.state_dict(destination=state, prefix=LOSS)
    return state


def snapshot(model: nn.Module, loss: nn.Module | None = None) -> State:
    """Copy the state, weights and BatchNorm's statistics included, so that later steps keep it."""
    state = collect(model, loss)
    copied = OrderedDict((name, _copy(value)) for name, value in state.items())
    _set_metadata(copied, copy.deepcopy(metadata(state)))
    return copied


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return copy.deepcopy(value)


def on_cpu(value: Any) -> Any:
    """Copy a nested state, its tensors to the CPU's memory, so that later steps keep it."""
    if isinstance(value, Tensor):
        if is_lazy(value) or value.is_meta:  # they have no numbers
            return value
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        filled: Any = copy.copy(value)  # with its `_metadata`, if it is a module's
        for key, item in value.items():
            filled[key] = on_cpu(item)
        return filled
    if type(value) in (list, tuple):
        return type(value)(on_cpu(item) for item in value)
    return value if type(value) in PLAIN else copy.deepcopy(value)


def metadata(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions of the modules, by their names."""
    return dict(getattr(state, "_metadata", None) or {})


def _set_metadata(state: OrderedDict[str, Any], versions: dict[str, Any]) -> None:
    state._metadata = versions  # type: ignore[attr-defined]  # as torch does it


def parts(state: Mapping[str, Any]) -> tuple[State, State]:
    """Split a state into the network's and the loss's."""
    model, loss = OrderedDict[str, Any](), OrderedDict[str, Any]()
    for name, value in state.items():
        if name.startswith(LOSS):
            loss[name.removeprefix(LOSS)] = value
        else:
            model[name] = value
    model_versions, loss_versions = {}, {}
    for name, version in metadata(state).items():
        if f"{name}.".startswith(LOSS):
            loss_versions[f"{name}.".removeprefix(LOSS)[:-1]] = version
        else:
            model_versions[name] = version
    _set_metadata(model, model_versions)
    _set_metadata(loss, loss_versions)
    return model, loss


# --- Loading --------------------------------------------------------------------------------------


def restore(state: Mapping[str, Any], model: nn.Module, loss: nn.Module | None = None) -> None:
    """Load this state into the network, and the loss's part of it into `loss`, if there is one."""
    model_state, loss_state = parts(state)
    _load(model, model_state)
    if loss is not None:
        _load(loss, loss_state)


def restore_loss(state: Mapping[str, Any], loss: nn.Module) -> None:
    """Load the loss's part of this state, if the loss has values of these names and shapes."""
    _, loss_state = parts(state)
    if forms(loss_state) == forms(loss.state_dict()):
        _load(loss, loss_state)


def forms(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape of each value, or "a value" where it is no tensor."""
    forms: dict[str, Any] = {}
    for name, value in state.items():
        is_shaped = isinstance(value, Tensor) and not is_lazy(value)
        forms[name] = list(value.shape) if is_shaped else "a value"
    return forms


def undecided(module: nn.Module) -> set[str]:
    """Return the names of what takes any shape: lazy values, and unset or empty buffers."""
    names = set()
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            if buffer is None or is_lazy(buffer) or not buffer.numel():
                names.add(_joined(prefix, name))
        for name, parameter in part._parameters.items():
            if is_lazy(parameter):
                names.add(_joined(prefix, name))
    return names


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _load(module: nn.Module, state: State) -> None:
    if isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module
    _make_room(module, state)
    loaded = OrderedDict[str, Any]()
    for name, value in state.items():
        loaded[name] = value if isinstance(value, Tensor) else copy.deepcopy(value)
    _set_metadata(loaded, metadata(state))
    module.load_state_dict(loaded)


def _make_room(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Make memory for buffers that torch cannot copy into: unset, of other size, or expanded."""
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            value = state.get(_joined(prefix, name))
            if not isinstance(value, Tensor) or is_lazy(buffer):
                continue
            if buffer is None:
                part._buffers[name] = value.detach().clone()
            elif buffer.shape != value.shape:
                part._buffers[name] = value.detach().clone().to(buffer.device)
    for value in module.state_dict(keep_vars=True).values():
        if isinstance(value, Tensor) and _overlaps(value):
            value.data = value.data.clone(memory_format=torch.contiguous_format)


def _overlaps(value: Tensor) -> bool:
    """Tell whether several of its numbers are one in memory, as in what `expand` returns."""
    if is_lazy(value) or not is_ordinary(value):
        return False
    dimensions = zip(value.stride(), value.shape, strict=True)
    return any(step == 0 and size > 1 for step, size in dimensions)


# --- Saving ---------------------------------------------------------------------------------------


def is_ordinary(value: Any) -> bool:
    """Tell whether a value is a tensor whose numbers lie in memory and mean what they are."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return not value.is_quantized and not value.is_nested


def to_bytes(value: Any) -> bytes:
    """Return the value as `torch.save` writes it."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's plans for quantized tensors
        torch.save(value, content)
    return content.getvalue()


def from_bytes(source: Path | bytes) -> Any:
    """Read what `to_bytes` wrote, or a file of it; nothing in it can run code."""
    with warnings.catch_warnings(), torch.serialization.safe_globals(SAFE):
        warnings.simplefilter("ignore")  # of how torch checks sparse tensors
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


# --- Digesting ------------------------------------------------------------------------------------


def sha256(state: Mapping[str, Any]) -> str:
    """Compute a SHA-256 over names, types, shapes and bits: the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} ".encode())
        for piece in _pieces(state[name]):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield all that makes up a value, as bytes."""
    if isinstance(value, Tensor) and is_lazy(value):
        yield b"lazy\n"
    elif isinstance(value, Tensor):
        yield from _tensor_pieces(value.detach().cpu())
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


def _tensor_pieces(value: Tensor) -> Iterator[bytes]:
    if is_ordinary(value):
        plain = value.resolve_conj().resolve_neg().contiguous()
        yield f"{value.dtype} {list(value.shape)}\n".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes()
        return
    yield f"{value.layout} {value.dtype} {list(value.shape)}\n".encode()
    if value.is_quantized:
        inner: list[Any] = [str(value.qscheme()), value.int_repr(), *_quantization(value)]
    elif value.layout == torch.sparse_coo:
        whole = value.coalesce()
        inner = [whole.indices(), whole.values()]
    elif value.layout in (torch.sparse_csr, torch.sparse_bsr):
        inner = [value.crow_indices(), value.col_indices(), value.values()]
    elif value.layout in (torch.sparse_csc, torch.sparse_bsc):
        inner = [value.ccol_indices(), value.row_indices(), value.values()]
    else:
        inner = [to_bytes(value)]
    for part in inner:
        yield from _pieces(part)


def _quantization(value: Tensor) -> list[Any]:
    """Return what a quantized tensor's whole numbers stand for."""
    if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [value.q_scale(), value.q_zero_point()]
    return [
        value.q_per_channel_scales(),
        value.q_per_channel_zero_points(),
        value.q_per_channel_axis(),
    ]
