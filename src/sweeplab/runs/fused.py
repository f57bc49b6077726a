"""Runs that share a process: each claimed, recorded and kept as if it were alone.

- Runs that differ only in when they stop go through the same epochs, which are trained once. Here
  that is one `_Walk`.
- Of runs that have the same `fusion_key` the networks are computed as one, by `train.fused`.
- Any others, as there are on a GPU, take turns, an epoch each.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

from sweeplab import data, store
from sweeplab.errors import UserError
from sweeplab.metrics import EpochResult
from sweeplab.runs import identity, recording
from sweeplab.runs.job import Job
from sweeplab.runs.run import claimed, finished, keep, reuse
from sweeplab.runs.sharing import digest, share, undisturbed
from sweeplab.runs.training import begin
from sweeplab.train import fused
from sweeplab.train.random_state import RandomStreams


def train_fused(
    jobs: Sequence[Job], home: store.Store, splits: data.Splits | None = None
) -> list[store.Result | BaseException]:
    """Train runs that see the same batches as one, the epochs that they share once, others in turn.

    Returns the result of each, or what `train` would have raised for it.
    """
    splits = splits or jobs[0].load()
    before = RandomStreams()
    # In this order two processes that claim the same runs cannot wait for each other.
    order = sorted(jobs, key=lambda job: job.fingerprint)
    attempts = [_Attempt(job, home.run(job.fingerprint)) for job in order]
    threads = {attempt.threads for attempt in attempts}
    paths = [attempt.path for attempt in attempts]
    paths_of: dict[str, set[str]] = {}  # by the key of those that can be trained as one
    for attempt in attempts:
        paths_of.setdefault(attempt.fusion_key, set()).add(attempt.path)
    walks: list[_Walk] = []
    with recording.sigterm(), recording.informed():  # until the last of them has ended
        try:
            for attempt in attempts:
                as_one = len(paths_of[attempt.fusion_key])
                counts = {"fused": as_one, "shared": paths.count(attempt.path)}
                together = {how: number for how, number in counts.items() if number > 1}
                if attempt.begin(splits, together, threads):
                    key = attempt.fusion_key if as_one > 1 else attempt.job.fingerprint
                    walks.append(_Walk(attempt, key))
                    _merge(walks)
            owners = {walk.member: walk for walk in walks}
            for member, result in fused.epochs(list(owners)):
                owners[member].take(result)
                _merge(walks)
        except BaseException as error:  # an interrupt, or an error of what is computed for all
            for attempt in attempts:
                attempt.fail(error)
    before.restore()
    outcomes = {attempt.job.fingerprint: attempt.outcome for attempt in attempts}
    return [outcomes[job.fingerprint] for job in jobs]  # type: ignore[misc]  # each has come to one


class _Attempt:
    """One of several runs that share a process; what it raises is recorded, and ends this run alone."""

    def __init__(self, job: Job, run: store.Run) -> None:
        self.job, self.run = job, run
        self.path = identity.path(job.config, job.facts.train)
        small = job.parameters <= fused.SMALL
        self.fusion_key = fused.fusion_key(job.config) if small else job.fingerprint
        self.outcome: store.Result | BaseException | None = None
        self.streams = RandomStreams()
        self._claimed, self._recorded, self._at_work = ExitStack(), ExitStack(), ExitStack()

    @property
    def threads(self) -> int:
        """The number of threads that the run is to be computed on."""
        return self.run.threads or self.job.config.trainer.threads or 1

    def begin(self, splits: data.Splits, together: Mapping[str, int], threads: set[int]) -> bool:
        """Claim the run and build its training; return whether there is anything to train."""
        with self._alone():
            self._claimed.enter_context(claimed(self.run))
            if (result := finished(self.run)) is not None:
                self._end(reuse(self.run, self.job, result))
                return False
            self.job.ensure_unchanged()
            if self.threads not in threads:  # another process has begun the run meanwhile
                why = f"was begun meanwhile with trainer.threads={self.threads}"
                raise UserError(f"run {self.run.id} {why}; issue the command again")
            self._recorded.enter_context(recording.recorded(self.run, self.job))
            self.training = begin(self.job, self.run, splits, together)
            self._at_work.enter_context(self.training.at_work())
            if self.training.reason is None:
                return True
        self.finish()
        return False

    def take(self, result: EpochResult | Exception) -> None:
        """Take in an epoch; an error in its place ends the run."""
        with self._alone():
            if isinstance(result, Exception):
                raise result
            self.training.take(result)

    def finish(self) -> None:
        """Write down what came out, unless an error has ended the run."""
        if self.outcome is not None:
            return
        with self._alone():
            self._at_work.close()
            result = self.training.finish()
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
                raise error  # noqa: TRY301  # within the contexts that record it
        except BaseException as raised:
            self.outcome = raised

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Work for this run alone: with its random streams, in its log."""
        try:
            with self.streams, recording.speaking(self.run):
                yield
        except BaseException as error:
            self.fail(error)
            if isinstance(error, KeyboardInterrupt):
                raise


class _Walk:
    """Runs whose epochs are trained once, and given to each of them."""

    def __init__(self, attempt: _Attempt, fusion_key: str) -> None:
        self.attempts = [attempt]
        self.member = fused.Member(
            state=attempt.training.state,
            train=attempt.training.train_batches,
            valid=attempt.training.valid_batches,
            epoch=attempt.training.epoch + 1,
            streams=attempt.streams,
            fusion_key=fusion_key,
        )

    @property
    def position(self) -> tuple[str, int]:
        """The path, and the next epoch on it: runs with the same weights have the same position."""
        return self.attempts[0].path, self.member.epoch

    def digest(self) -> str:
        """Return a digest of all that the next epoch depends on."""
        with self.member.streams:
            return digest(self.attempts[0].training)

    def absorb(self, other: _Walk) -> None:
        """Take over the runs of another walk that is at the same position."""
        for attempt in other.attempts:
            share(attempt.training, self.attempts[0].training)
        self.attempts += other.attempts
        other.attempts, other.member.done = [], True

    def take(self, result: EpochResult | Exception) -> None:
        """Give an epoch, or the error in its place, to each run; finish those whose last it was."""
        for attempt in self.attempts:
            attempt.streams = copy.copy(self.member.streams)  # as if it were the only one
            attempt.take(result)
        left = [attempt for attempt in self.attempts if attempt.outcome is None]
        ended = [attempt for attempt in left if attempt.training.reason is not None]
        self.attempts = [attempt for attempt in left if attempt not in ended]
        self.member.done = not self.attempts
        if self.attempts:
            self.member.streams = copy.copy(self.attempts[0].streams)
        for attempt in ended:
            is_last = self.member.done and attempt is ended[-1]  # nobody needs the network after it
            with nullcontext() if is_last else undisturbed(attempt.training):
                attempt.finish()


def _merge(walks: Sequence[_Walk]) -> None:
    """Let walks that have come to the same position, with the same bits, go on as one."""
    positions: dict[tuple[str, int], list[_Walk]] = {}
    for walk in walks:
        if not walk.member.done:
            positions.setdefault(walk.position, []).append(walk)
    for several in positions.values():
        first, *others = several
        for other in others:
            if first.digest() == other.digest():
                first.absorb(other)
