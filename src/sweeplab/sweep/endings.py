"""How the jobs of a sweep ended: said, told to the plan or the search, and started again."""

from __future__ import annotations

import signal
from dataclasses import replace
from enum import Enum, auto

from sweeplab import config, store
from sweeplab.runs import report
from sweeplab.sweep.attempts import Attempt, Attempts
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.screen import SweepScreen
from sweeplab.sweep.steering import Steering
from sweeplab.sweep.worker import BAD_INPUT, INTERRUPTED, LOST, RAISED, TERMINATED

LOSSES = 3  # nodes that a job may lose: after more, the job itself may be what ends them


class Cause(Enum):
    """Why a process ended."""

    ITSELF = auto()
    TIMEOUT = auto()
    STOPPED = auto()
    PRUNED = auto()
    PAUSED = auto()


class Endings:
    """Takes note of how jobs have ended."""

    def __init__(
        self,
        jobs: Jobs,
        settings: config.Sweep,
        view: SweepScreen,
        attempts: Attempts,
        steering: Steering,
    ) -> None:
        self._jobs = jobs
        self._settings = settings
        self._view = view
        self._attempts = attempts
        self._steering = steering

    def take(self, attempt: Attempt, code: int, cause: Cause, *, is_interrupted: bool) -> bool:
        """Say how a job ended, and start it again, by itself, if it died and may.

        Returns whether it has failed for good.
        """
        cell, run = attempt.cell, attempt.run
        result = run.result()
        if result is not None and result.status == store.Status.FINISHED:
            best = report.best(cell.job, run, result)
            self._view.finished(cell.name, report.brief(cell.job, result, best), best)
            self._jobs.ended(cell)
            return False
        if self._steering.holds(attempt) or is_interrupted or self._steering.is_stopped:
            return False
        has_raised = result is not None and result.status == store.Status.FAILED
        if cause is Cause.PAUSED and not has_raised:
            self._attempts.put_back([attempt])
            return False
        if code == LOST and cause is Cause.ITSELF and attempt.losses < LOSSES:
            self._start_elsewhere(attempt)
            return False
        if cause is Cause.PRUNED:
            last = max(run.epochs(), default=0)
            self._view.finished(cell.name, f"pruned after epoch {last}", None)
            self._jobs.ended(cell)
            return False
        reason = _describe_exit(code)
        if cause is Cause.TIMEOUT:
            reason = f"stopped after sweep.job_timeout={self._settings.job_timeout:g} s"
        return self._take_failure(attempt, reason, may_retry=code != BAD_INPUT and not has_raised)

    def _start_elsewhere(self, attempt: Attempt) -> None:
        """Start a job again whose node was lost; this does not count as an attempt."""
        self._view.failed(
            f"{attempt.cell.name}: its node was lost; started again on another", final=False
        )
        self._attempts.put_back([replace(attempt, losses=attempt.losses + 1)])

    def _take_failure(self, attempt: Attempt, reason: str, *, may_retry: bool) -> bool:
        """Say why a job did not finish, and start it again if it may and has attempts left.

        Returns whether it is not started again.
        """
        cell, run, retries = attempt.cell, attempt.run, self._settings.retries
        lines = [f"{cell.name}: {reason}"]
        tail = run.log_tail()
        lines += [f"    {line}" for line in tail]
        if not any(str(run.log_file) in line for line in tail):
            lines.append(f"    log: {run.log_file}")
        is_retried = may_retry and attempt.number <= retries
        if is_retried:
            lines.append(f"    started again ({attempt.number} of {retries})")
            self._attempts.put_back([replace(attempt, number=attempt.number + 1)])
        else:
            self._jobs.ended(cell)
            self._steering.hold(attempt, None)
        self._view.failed("\n".join(lines), final=not is_retried)
        return not is_retried


def _describe_exit(code: int) -> str:
    """Describe how a process ended: by its exit code, or minus the signal that it died of."""
    if code == LOST:
        return "its node was lost, and not for the first time; unfinished"
    if code < 0:
        try:
            return f"died: {signal.Signals(-code).name}; unfinished"
        except ValueError:
            return f"died: signal {-code}; unfinished"
    words = {
        RAISED: "failed",
        BAD_INPUT: "failed",
        INTERRUPTED: "interrupted",
        TERMINATED: "terminated",
    }
    return words.get(code, f"died: exit code {code}; unfinished")
