"""Build the parts of a run from its config: network, loss, optimizer, scheduler and metrics."""

from __future__ import annotations

from torch import nn

from sweeplab.config import Config
from sweeplab.speed import dynamo, onednn
from sweeplab.targets import instantiate
from sweeplab.train import loop, metric_values, schedule
from sweeplab.train.device import Runtime
from sweeplab.train.random_state import seed_stream


def build(config: Config, runtime: Runtime, steps: int) -> loop.TrainState:
    """Build the parts of a run on its device, initialised from its seed.

    `steps` is the number of batches in an epoch.
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
    optimizer = instantiate(config.optimizer, [*model.parameters(), *loss.parameters()])
    further = {
        n: metric_values.to_device(instantiate(node), runtime.device)
        for n, node in config.metrics.items()
    }
    seed_stream(config.seed, "dropout")
    return loop.TrainState(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=instantiate(schedule.filled(config, steps), optimizer),
        kind=config.data.task,
        monitor=config.monitor,
        interval=config.interval,
        clip_norm=config.trainer.clip_norm,
        autocast=runtime.autocast,
        compile=config.trainer.compile,
        unit=config.data.target_std or 1.0,
        outputs=config.data.out_features,
        metrics=further,
    )
