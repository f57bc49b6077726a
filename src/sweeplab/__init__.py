"""Compose a PyTorch experiment with Hydra, run it or a thousand variations of it, and get an answer you can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeplab.runs.loading import load_model, load_predictor
    from sweeplab.runs.predictions import Predictor

__all__ = ["Predictor", "load_model", "load_predictor"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: importing sweeplab must not import torch.
    if name in ("load_model", "load_predictor"):
        from sweeplab.runs import loading

        return getattr(loading, name)
    if name == "Predictor":
        from sweeplab.runs.predictions import Predictor

        return Predictor
    raise AttributeError(f"module 'sweeplab' has no attribute '{name}'")
