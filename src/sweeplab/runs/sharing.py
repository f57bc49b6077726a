"""One network for several runs whose epochs are the same: what they share, and how it is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sweeplab.runs.checkpoint import OWN, Checkpoint
from sweeplab.runs.job import Job
from sweeplab.runs.resuming import captured, put_back
from sweeplab.runs.training import Training
from sweeplab.train import state as states
from sweeplab.train.attributes import Attributes


def digest(training: Training) -> str:
    """Compute a SHA-256 over all that the next epoch depends on, as a resume would need it."""
    saved = captured(training)
    return states.sha256({name: getattr(saved, name) for name in _shared()})


def share(training: Training, other: Training) -> None:
    """Go on with the network of another training, and all that belongs to it."""
    training.train, training.valid, training.test = other.train, other.valid, other.test
    training.state, training.attributes = other.state, other.attributes


@contextmanager
def undisturbed(training: Training) -> Iterator[None]:
    """Put the network, and all that belongs to it, back to what it is now, as a resume would.

    That is for those who go on with it when this training is finished. What the user's own modules
    hold is put back, too.
    """
    state, now = training.state, captured(training)
    metrics, others = state.metrics, state.others
    kept = states.to_bytes({name: getattr(now, name) for name in _shared()})
    device = training.runtime.device
    with training.attributes.preserved(device), _outside(training.job).preserved(device):
        try:
            yield
        finally:
            put_back(training, replace(now, **states.from_bytes(kept)))
            state.metrics, state.others = metrics, others


def _outside(job: Job) -> Attributes:
    """Return what modules of the user's own and their classes hold, one for all runs of a process."""
    owners: dict[str, object] = {}
    for name in job.code:
        if (module := sys.modules.get(name)) is None:
            continue
        owners[name] = module
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == name:
                owners[f"{name}.{value.__qualname__}"] = value
    return Attributes(owners)


def _shared() -> list[str]:
    return [name for name in Checkpoint.names() if name not in OWN]
