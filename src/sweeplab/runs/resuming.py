"""What a checkpoint keeps of a training, and a training put back to where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.amp import GradScaler

from sweeplab.runs.checkpoint import Checkpoint
from sweeplab.train import own_step, schedule
from sweeplab.train.random_state import random_state, set_random_state
from sweeplab.train.state import collect, on_cpu, restore
from sweeplab.train.train_state import TrainState
from sweeplab.train.updater import Updater

if TYPE_CHECKING:
    from sweeplab.runs.training import Training


def captured(training: Training) -> Checkpoint:
    """Return what a resume needs."""
    averaged = training.state.averaged
    return Checkpoint(
        fingerprint=training.job.fingerprint,
        epoch=training.epoch,
        reason=training.reason,
        threads=training.runtime.threads,
        model=collect(training.state.model, training.state.loss),
        best=training.best,
        **updater_states(training.state.updaters),
        stopping=training.stopping.state_dict(),
        attributes=training.attributes.changed(),
        random=random_state(training.runtime.device),
        trained_examples=training.trained_examples,
        train_seconds=training.train_seconds,
        averaged=None if averaged is None else averaged.state_dict(),
        step={name: module.state_dict() for name, module in _step_modules(training.state)},
        scaler={part: scaler.state_dict() for part, scaler in _scalers(training.state)},
    )


def copied(checkpoint: Checkpoint) -> Checkpoint:
    """Copy what the next epoch would change; the best weights are a copy already."""
    names = ("model", "optimizer", "scheduler", "averaged", "step", "scaler", "stopping")
    return replace(checkpoint, **{name: on_cpu(getattr(checkpoint, name)) for name in names})


def updater_states(updaters: Mapping[str, Updater]) -> dict[str, dict[str, Any]]:
    """Return the states of all optimizers and schedulers, by part if there are several."""
    optimizers = {part: each.optimizer.state_dict() for part, each in updaters.items()}
    schedulers = {part: each.scheduler.state_dict() for part, each in updaters.items()}
    if "" in updaters:  # the only one
        return {"optimizer": optimizers[""], "scheduler": schedulers[""]}
    return {"optimizer": optimizers, "scheduler": schedulers}


def put_back(training: Training, saved: Checkpoint) -> None:
    """Put a training where it was when the checkpoint was written."""
    training.epoch, training.reason = saved.epoch, saved.reason
    restore(saved.model, training.state.model, training.state.loss)
    training.best = saved.best
    for part, updater in training.state.updaters.items():
        updater.optimizer.load_state_dict(saved.optimizer[part] if part else saved.optimizer)
        updater.scheduler.load_state_dict(saved.scheduler[part] if part else saved.scheduler)
    if training.state.averaged is not None and saved.averaged is not None:
        training.state.averaged.load_state_dict(saved.averaged)
    for name, module in _step_modules(training.state):
        module.load_state_dict(saved.step[name])
    for part, scaler in _scalers(training.state):
        scaler.load_state_dict(saved.scaler[part])
    training.stopping.load_state_dict(saved.stopping)
    training.attributes.restore(saved.attributes, training.runtime.device)
    set_random_state(training.runtime.device, saved.random)
    training.trained_examples, training.train_seconds = saved.trained_examples, saved.train_seconds


def stateful_parts(state: TrainState) -> dict[str, Any]:
    """Return what may keep a state in plain attributes, by its name in the config."""
    parts: dict[str, Any] = {
        "model": state.model,
        "loss": state.loss,
    }
    for part, updater in state.updaters.items():
        parts[schedule.key("optimizer", part)] = updater.optimizer
    for name, metric in state.metrics.items():
        parts[f"metrics.{name}"] = metric
    if state.step is not None:
        parts["step"] = state.step
    for name, module in _step_modules(state):
        parts[f"step.{name}"] = module
    return parts


def _step_modules(state: TrainState) -> list[tuple[str, nn.Module]]:
    """Return the modules that a step of one's own holds, by the names of its attributes."""
    return [] if state.step is None else list(own_step.modules_of(state.step).items())


def _scalers(state: TrainState) -> list[tuple[str, GradScaler]]:
    """Return what scales the losses in fp16, with the part of the network that each is for."""
    scalers = [(part, updater.scaler) for part, updater in state.updaters.items()]
    return [(part, scaler) for part, scaler in scalers if scaler is not None]
