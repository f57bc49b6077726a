"""Runs that are trained as one: each claimed, recorded and kept as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sweeplab import data, store
from sweeplab.metrics import EpochResult
from sweeplab.runs import recording
from sweeplab.runs.job import Job
from sweeplab.runs.run import claimed, finished, keep, reuse
from sweeplab.runs.training import begin
from sweeplab.train import fused
from sweeplab.train.random_state import RandomStreams


def train_fused(
    jobs: Sequence[Job], home: store.Store, splits: data.Splits | None = None
) -> list[store.Result | BaseException]:
    """Train runs that see the same batches as one.

    Returns the result of each, or what `train` would have raised for it.
    """
    splits = splits or jobs[0].load()
    before = RandomStreams()
    order = sorted(
        jobs, key=lambda job: job.fingerprint
    )  # two that claim the same runs do not wait for each other
    attempts = [_Attempt(job, home.run(job.fingerprint)) for job in order]
    with recording.sigterm(), recording.informed():  # until the last of them has ended
        try:
            members = [attempt.begin(splits, len(jobs)) for attempt in attempts]
            owners = {
                member: attempt
                for member, attempt in zip(members, attempts, strict=True)
                if member is not None
            }
            for member, result in fused.epochs(list(owners)):
                member.done = owners[member].take(result)
        except BaseException as error:  # an interrupt, or an error of what is computed for all
            for attempt in attempts:
                attempt.fail(error)
    before.restore()
    outcomes = {attempt.job.fingerprint: attempt.outcome for attempt in attempts}
    return [outcomes[job.fingerprint] for job in jobs]  # type: ignore[misc]  # each has come to one


class _Attempt:
    """One of several runs that are trained as one; what it raises is recorded, and ends it."""

    def __init__(self, job: Job, run: store.Run) -> None:
        self.job, self.run = job, run
        self.outcome: store.Result | BaseException | None = None
        self._streams = RandomStreams()
        self._claimed, self._recorded, self._at_work = ExitStack(), ExitStack(), ExitStack()

    def begin(self, splits: data.Splits, count: int) -> fused.Member | None:
        """Claim the run and build its training, one of `count`; None if it needs no training."""
        with self._alone():
            self._claimed.enter_context(claimed(self.run))
            if (result := finished(self.run)) is not None:
                self._end(reuse(self.run, self.job, result))
                return None
            self.job.ensure_unchanged()
            self._recorded.enter_context(recording.recorded(self.run, self.job))
            self._training = begin(self.job, self.run, splits, count)
            self._at_work.enter_context(self._training.at_work())
            if self._training.reason is None:
                return fused.Member(
                    state=self._training.state,
                    train=self._training.train_batches,
                    valid=self._training.valid_batches,
                    epoch=self._training.epoch + 1,
                    streams=self._streams,
                )
            self._finish()
        return None

    def take(self, result: EpochResult | Exception) -> bool:
        """Take an epoch in, or the error in its place. Returns whether it was the last."""
        with self._alone():
            if isinstance(result, Exception):
                raise result
            if self._training.take(result):
                self._finish()
        return self.outcome is not None

    def _finish(self) -> None:
        self._at_work.close()
        result = self._training.finish()
        self._recorded.close()
        keep(self.run, self.job, result)
        self._end(result)

    def _end(self, result: store.Result) -> None:
        self._claimed.close()
        self.outcome = result

    def fail(self, error: BaseException) -> None:
        """End the run by an error, which is recorded, if it has not come to its end."""
        if self.outcome is not None:
            return
        try:
            with recording.speaking(self.run), self._claimed, self._recorded, self._at_work:
                raise error  # noqa: TRY301  # where these contexts see it
        except BaseException as raised:
            self.outcome = raised

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Work for this run alone: with its random streams, in its log."""
        try:
            with self._streams, recording.speaking(self.run):
                yield
        except BaseException as error:
            self.fail(error)
            if isinstance(error, KeyboardInterrupt):
                raise
