"""Build the parts of a run from its config: network, loss, optimizer, scheduler and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sweeplab.config import Config
from sweeplab.speed import adam, captured, dynamo, onednn
from sweeplab.targets import instantiate
from sweeplab.train import fused, groups, metric_values, own_step, schedule
from sweeplab.train.device import Runtime
from sweeplab.train.random_state import seed_stream
from sweeplab.train.step import add_gradients
from sweeplab.train.step_result import Step
from sweeplab.train.train_state import TrainState
from sweeplab.train.updater import Updater


def build(config: Config, runtime: Runtime, updates: int) -> TrainState:
    """Build the parts of a run on its device, initialised from its seed.

    `updates` is the number of updates in an epoch: of its batches, or groups of them.
    """
    seed_stream(config.seed, "initialisation")
    model: nn.Module = instantiate(config.model).to(runtime.device)
    if runtime.onednn:
        onednn.use(model)
    if config.trainer.compile:
        model.compile()
    else:
        dynamo.spare()
    loss: nn.Module = instantiate(config.loss).to(runtime.device)
    parameters = groups.named_parameters(model, loss)
    for names in groups.frozen(config.trainer.freeze, parameters):
        parameters[names].requires_grad_(False)
    updaters = {
        part: _updater(own, part, groups.of_part(part, parameters), updates, runtime)
        for part, own in schedule.by_part(config).items()
    }
    further = {
        n: metric_values.to_device(instantiate(node), runtime.device)
        for n, node in config.metrics.items()
    }
    seed_stream(config.seed, "dropout")
    return TrainState(
        model=model,
        loss=loss,
        updaters=updaters,
        kind=config.data.task,
        monitor=config.monitor,
        accumulate=config.trainer.accumulate or 1,
        averaged=_averaged(model, config.trainer.ema),
        autocast=runtime.autocast,
        compile=config.trainer.compile,
        captured=_captured(config, runtime, model, loss),
        unit=config.data.target_std or 1.0,
        step=_step(config, runtime),
        outputs=config.data.out_features,
        metrics=further,
    )


def _updater(
    config: Config,
    part: str,
    parameters: Mapping[groups.Names, nn.Parameter],
    updates: int,
    runtime: Runtime,
) -> Updater:
    """Build the optimizer of these parameters, and its schedule."""
    params: list[Any] = list(parameters.values())
    if config.optimizer.get(groups.GROUPS):
        params = groups.grouped(config.optimizer, parameters)
    optimizer = instantiate(groups.without_groups(config.optimizer), params)
    if fused.stateless([config.scheduler]):  # a user's own may add parameters later
        adam.use(optimizer)  # before a scheduler wraps its step
    scheduler = schedule.build(schedule.filled(config, updates), "scheduler", optimizer)
    return Updater(
        optimizer=optimizer,
        scheduler=scheduler,
        parameters=list(parameters.values()),
        interval=config.interval,
        clip_norm=config.trainer.clip_norm,
        scaler=runtime.new_scaler(),
        key=schedule.key("scheduler", part),
    )


def _step(config: Config, runtime: Runtime) -> Step | None:
    """Build the user's own step, and move the modules that it holds to the device."""
    if not config.step:
        return None
    built = own_step.build(config.step)
    for module in own_step.modules_of(built).values():
        module.to(runtime.device)
    return built


def _averaged(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return the network with the exponential moving average of its weights, if it is asked for.

    Running statistics, as BatchNorm's, are those of the network.
    """
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def _captured(
    config: Config, runtime: Runtime, model: nn.Module, loss: nn.Module
) -> captured.CapturedGradients | None:
    """Have the gradients of a batch computed by a captured step, where that is possible."""
    if config.trainer.compile or config.step or config.trainer.accumulate not in (None, 1):
        return None
    if not captured.pays_off(runtime.device, model, loss):
        return None
    # A function of the user's own builds a part, or an optimizer freezes parameters on its way.
    if not fused.stateless([config.model, config.loss, config.optimizer, config.scheduler]):
        return None
    return captured.CapturedGradients(add_gradients)
