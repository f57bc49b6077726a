"""The batches of a run: of training, validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeplab import config, data
from sweeplab.train import schedule
from sweeplab.train.device import Runtime
from sweeplab.train.distributed import ShardedBatches
from sweeplab.train.ranks import world_size
from sweeplab.train.train_state import TrainState


def of_run(
    settings: config.Config, how: Runtime, splits: data.Splits
) -> tuple[data.Batches, data.Batches, data.Batches]:
    """Return training, validation and test batches; on several ranks, this rank's share of them."""
    trainer = settings.trainer
    if trainer.overfit_batches is not None:
        few = data.Batches(
            splits.train, trainer.batch_size, device=how.device, limit=trainer.overfit_batches
        )
        return few, few, few
    batches = ShardedBatches if world_size() > 1 else data.Batches
    together = trainer.accumulate or 1
    train = batches(
        splits.train,
        trainer.batch_size,
        device=how.device,
        seed=settings.seed,
        drop_last=True,
        limit=schedule.updates_per_epoch(settings, len(splits.train)) * together,
        shift=_shift(settings),
        transform=data.batch_transform(settings.data),
    )
    size, limit = trainer.eval_batch_size, trainer.limit_batches
    valid, test = (
        batches(s, size, device=how.device, limit=limit) for s in (splits.valid, splits.test)
    )
    return train, valid, test


def _shift(settings: config.Config) -> data.Shift | None:
    pictures, most = settings.data, settings.trainer.shift
    if most is None or pictures.shape is None:
        return None
    channels, height, width = pictures.shape
    return data.Shift((channels, height, width), most, blank=data.blank_pixel(pictures))


def counted(state: TrainState, batches: data.Batches, epoch: int) -> Iterator[Any]:
    """Yield the batches; for a step of one's own each with the number of its examples."""
    if state.step is None:
        return batches.epoch(epoch)
    return zip(batches.epoch(epoch), batches.sizes(), strict=True)
