"""Weights on disk and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

State = dict[str, Tensor]


def snapshot(model: nn.Module) -> State:
    """A copy of the weights (and BatchNorm's statistics) that later steps do not change, where they are."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """The weights in the safetensors format; tied ones are written once under each name."""
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def load_weights(path: Path, device: torch.device | str = "cpu") -> State:
    """The weights of a safetensors file; nothing in it can run code."""
    return {name: value.to(device) for name, value in load(path.read_bytes()).items()}


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bits, in the order of the names: the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
