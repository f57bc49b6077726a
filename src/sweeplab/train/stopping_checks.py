"""What contradicts itself in how a run is watched: mode, target and min_delta."""

from __future__ import annotations

from sweeplab import metrics
from sweeplab.config import Config

NEVER_NEGATIVE = (
    "CrossEntropyLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss",
    "BCEWithLogitsLoss", "MultiMarginLoss", "sweeplab.models.NLLLoss",
)  # fmt: skip
"""Losses whose values are never below 0; torch's own NLLLoss, which takes any number, is not."""


def problems(config: Config) -> list[str]:
    """List what is wrong with how a run is watched."""
    trainer, monitor = config.trainer, config.monitor
    messages = []
    natural = metrics.mode_by_name(monitor)
    if natural is not None and config.mode != natural:
        better = "larger" if natural == "max" else "smaller"
        why = f"{monitor} is better the {better} it is; give {natural}, or auto"
        messages.append(f"trainer.mode={trainer.mode}: {why}")
    if trainer.target is not None:
        why = metrics.unreachable(monitor, trainer.target) or _below_zero(config, trainer.target)
        if why:
            messages.append(f"trainer.target={trainer.target:g}: {why}")
    if monitor.endswith(metrics.ACCURACY) and natural and trainer.min_delta >= 1:
        why = f"{monitor} never changes by more than 1; give less"
        messages.append(f"trainer.min_delta={trainer.min_delta:g}: {why}")
    return messages


def _below_zero(config: Config, target: float) -> str:
    """Say why the loss cannot reach a negative target; '' where it can, or no loss is monitored."""
    if config.monitor not in (metrics.TRAIN_LOSS, metrics.VALID_LOSS) or target >= 0:
        return ""
    name = str(config.loss.get("_target_"))
    if name.startswith(("torch.nn.", "sweeplab.")) and name not in NEVER_NEGATIVE:
        name = name.rpartition(".")[2]
    if name not in NEVER_NEGATIVE:
        return ""
    return f"{config.monitor} is never below 0; give a number >= 0"
