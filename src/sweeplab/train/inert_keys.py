"""Keys of a config without effect on a run: what the schedule sets, and what is never reached."""

from __future__ import annotations

from dataclasses import replace

from torch.optim.lr_scheduler import OneCycleLR

from sweeplab.config import Config
from sweeplab.train.schedule import BY_BATCH, schedule_class


def replaced_keys(config: Config) -> dict[str, str]:
    """Return the optimizer's keys whose numbers the schedule sets itself, each with the reason."""
    target, node, optimizer = schedule_class(config), config.scheduler, config.optimizer
    if target is None or not issubclass(target, BY_BATCH):
        return {}
    name = target.__name__
    is_one_cycle = issubclass(target, OneCycleLR)
    setters = ("max_lr",) if is_one_cycle else ("base_lr", "max_lr")
    keys: dict[str, str] = {}
    if "lr" in optimizer and all(node.get(key) != optimizer["lr"] for key in setters):
        rates = " and ".join(f"scheduler.{key}={node.get(key)}" for key in setters)
        keys["optimizer.lr"] = f"has no effect: {name} goes by {rates}"
    if node.get("cycle_momentum", True):
        lowest, highest = (0.85, 0.95) if is_one_cycle else (0.8, 0.9)
        ends = f"{node.get('base_momentum', lowest)} and {node.get('max_momentum', highest)}"
        reason = f"has no effect: {name} moves it between {ends}"
        reason += "; scheduler.cycle_momentum=false keeps it"
        if "momentum" in optimizer:
            keys["optimizer.momentum"] = reason
        if "betas" in optimizer:
            keys["optimizer.betas"] = f"the first of them {reason}"
    return keys


def inert_keys(config: Config) -> dict[str, str]:
    """Return all keys that have no effect, or in part only, each with the reason."""
    keys = replaced_keys(config)
    target = schedule_class(config)
    if target is not None and issubclass(target, BY_BATCH):
        keys.setdefault("optimizer.lr", f"has no effect: {target.__name__} goes by its own")
    trainer = config.trainer
    if trainer.patience is None:
        keys["trainer.min_delta"] = "has no effect: it is for trainer.patience, which is null"
    elif trainer.patience >= trainer.epochs:
        reason = f"has no effect: trainer.epochs={trainer.epochs} ends the run first"
        keys["trainer.patience"] = reason
        keys["trainer.min_delta"] = reason
    return keys


def effective_config(config: Config) -> Config:
    """Return the config without what has no effect: two that are equal must come out equal."""
    keys = inert_keys(config)
    if not keys:
        return config
    optimizer, trainer = dict(config.optimizer), config.trainer
    for name in ("lr", "momentum"):
        if f"optimizer.{name}" in keys:
            optimizer.pop(name, None)
    if "optimizer.betas" in keys:
        optimizer["betas"] = list(optimizer["betas"])[1:]
    if "trainer.min_delta" in keys:
        trainer = replace(trainer, patience=None, min_delta=0.0)
    return replace(config, optimizer=optimizer, trainer=trainer)
