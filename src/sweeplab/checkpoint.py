"""Weights and checkpoints on disk: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sweeplab.store import write_atomic

State = dict[str, Tensor]
Saved = dict[str, Any]
"""A checkpoint: tensors, numbers, texts and containers of them."""


def snapshot(model: nn.Module) -> State:
    """A copy of the weights (and BatchNorm's statistics) that later steps do not change, where they are."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """The weights in the safetensors format; tied ones are written once under each name."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def load_weights(path: Path, device: torch.device | str = "cpu") -> State:
    """The weights of a safetensors file; nothing in it can run code."""
    return {name: value.to(device) for name, value in safetensors.torch.load(path.read_bytes()).items()}


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bits, in the order of the names: the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# --- Everything that a resume needs -----------------------------------------------------------------------------------


KEYS = (
    "epoch", "reason", "threads", "model", "best", "optimizer", "scheduler", "stopping", "random",
    "trained_examples", "train_seconds",
)  # fmt: skip


def save(folder: Path, epoch: int, saved: Saved) -> None:
    """Write the checkpoint of an epoch, whole or not at all, and keep it and the one before."""
    folder.mkdir(exist_ok=True)
    content = io.BytesIO()
    torch.save(saved, content)
    write_atomic(folder / f"{epoch}.pt", content.getvalue())
    for number, file in _files(folder):
        if number < epoch - 1:
            file.unlink(missing_ok=True)


def latest(folder: Path, complain: Callable[[str], None]) -> Saved | None:
    """The last checkpoint that is whole; a damaged one is complained of, and the one before taken. None if none is."""
    for _, file in reversed(_files(folder)):
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
            saved = {name: saved[name] for name in KEYS}
        except Exception as error:  # whatever torch makes of damaged bytes
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            complain(f"{file}: this checkpoint is damaged ({reason}); the one before is taken")
            continue
        return saved
    return None


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder with their epochs, the first epoch first."""
    return sorted((int(file.stem), file) for file in folder.glob("*.pt") if file.stem.isdigit())
