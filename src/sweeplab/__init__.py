"""Compose a PyTorch experiment with Hydra, run it or a thousand variations of it, and get an answer you can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeplab.runs.run import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: importing sweeplab must not import torch.
    if name == "load_model":
        from sweeplab.runs.run import load_model

        return load_model
    raise AttributeError(f"module 'sweeplab' has no attribute '{name}'")
