"""A run that is asked for longer than a finished one goes on from it: the bits are the same.

That is so if the two differ in `trainer.epochs` alone, and no schedule depends on that number: then
the first epochs are those of the finished run, whose last checkpoint `store.keep=last` has kept. It
is given for both, since looking for shorter runs takes time: 1 ms for 20 epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sweeplab import console, store
from sweeplab.runs import checkpoint, identity
from sweeplab.runs.checkpoint import Checkpoint
from sweeplab.runs.job import Job
from sweeplab.train.stopping import StopReason

LAST = "last"  # of `store.keep`
MOST = 2000  # how many epochs less the shorter runs have that are looked for


@dataclass(kw_only=True, slots=True, frozen=True)
class Shorter:
    """A finished run of the same config with fewer epochs, at its end."""

    run: store.Run
    checkpoint: Checkpoint
    epochs: Mapping[int, dict[str, float]]  # the metrics of each


def find(job: Job) -> Shorter | None:
    """Return the longest finished run that this job goes on from; None if there is none."""
    if job.config.store.keep != LAST:
        return None
    asked, home = job.identity.asked, store.Store(job.config.store.root)
    last = job.config.trainer.epochs - 1
    for epochs in range(last, max(0, last - MOST), -1):
        trainer = {**asked["trainer"], "epochs": epochs}
        shorter = identity.identify(
            {**asked, "trainer": trainer}, job.facts.digest, job.identity.code
        )
        run = home.run(shorter.fingerprint)
        if not run.checkpoints.is_dir() or run.status != store.Status.FINISHED:
            continue
        if not _is_on_the_way(job, epochs):
            continue
        saved = checkpoint.latest(run.checkpoints, shorter.fingerprint, console.complain)
        known = run.epochs()
        if saved is not None and saved.reason is not None and saved.epoch == max(known, default=0):
            return Shorter(run=run, checkpoint=_adopted(job, saved), epochs=known)
    return None


def _is_on_the_way(job: Job, epochs: int) -> bool:
    """Tell whether a run of so many epochs begins as this job: no schedule depends on their number."""
    settings, examples = job.config, job.facts.train
    shorter = replace(settings, trainer=replace(settings.trainer, epochs=epochs))
    return identity.path(shorter, examples) == identity.path(settings, examples)


def _adopted(job: Job, saved: Checkpoint) -> Checkpoint:
    """Return the checkpoint as this job's, for which `trainer.epochs` was not the end."""
    reason = None if saved.reason is StopReason.MAX_EPOCHS else saved.reason
    return replace(saved, fingerprint=job.fingerprint, reason=reason)
