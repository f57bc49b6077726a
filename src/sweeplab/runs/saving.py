"""When a training writes its checkpoints: every so many seconds, and where it is cut off.

A checkpoint costs a second name and several waits for the disk, which an epoch of milliseconds is
not worth, least of all where many nodes share a disk. In between, what a resume needs is held in
memory, and written if the training is cut off by a signal or an error. Only a process that is
killed trains again what came after its last checkpoint, at most `trainer.checkpoint_every` seconds
and an epoch: the journal keeps the first lines, and compares.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sweeplab import store
from sweeplab.runs import checkpoint
from sweeplab.runs.checkpoint import Checkpoint


class Checkpoints:
    """The checkpoints of a training that is at work."""

    def __init__(self, run: store.Run, every: float) -> None:
        self._run, self._every = run, every
        self._written_at = time.monotonic()
        self._held: Checkpoint | None = None  # later than the last that was written

    @property
    def are_due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() - self._written_at >= self._every

    def hold(self, latest: Checkpoint) -> None:
        """Keep a checkpoint in memory, which nobody changes any more, in case of an early end."""
        self._held = latest

    def write(self, latest: Checkpoint) -> None:
        """Write a checkpoint: first what the journal says of its epochs, then the checkpoint."""
        self._held = latest  # until it is written
        self._run.journal.sync()
        checkpoint.save(self._run.checkpoints, latest)
        self._held, self._written_at = None, time.monotonic()

    @contextmanager
    def written_at_the_end(self) -> Iterator[None]:
        """Write what is held if the training is cut off meanwhile; a full disk is no other error."""
        try:
            yield
        except BaseException:
            if self._held is not None:
                with suppress(OSError):
                    self.write(self._held)
            raise
