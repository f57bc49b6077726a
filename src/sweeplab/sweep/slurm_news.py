"""What is said of a sweep's workers in Slurm's queue, and when there will be no more of them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from sweeplab import console
from sweeplab.errors import RunFailed
from sweeplab.sweep.slurm_queue import CANCELLED, LAUNCH_FAILED, Element, Ended, Report, summary

AGAIN = 30.0  # seconds until workers are submitted again after Slurm has refused some
USELESS = 3  # workers in a row that end without a job: then something is wrong with them all
WELL = ("COMPLETED", "")  # how workers end that nothing is said of; '': Slurm has forgotten it
NEVER = re.compile(  # reasons to wait that no waiting ends, as `man squeue` lists them
    r"Partition(Time|Node)Limit|BadConstraints|Invalid(Account|QOS)|\w+PerJob(Limit)?"
)
SOON = ("", "None", "Priority", "Resources")  # reasons to wait that pass when other jobs end
LOG_LINES = 5  # of the log of such a worker


class SlurmNews:
    """Says what changes in the queue."""

    def __init__(self, logs: Path) -> None:
        """Say nothing yet; `logs` is the folder with the log of each worker."""
        self._logs = logs
        self._said = ""  # the last line about the queue
        self._refused_at = -AGAIN  # when Slurm last took no more workers
        self._useless = 0  # workers in a row that ended without a job
        self._last_useless = ""  # id of the last one
        self._busy = 0  # workers that have had a job
        self._unlaunched: set[str] = set()  # Slurm jobs with a worker that could not be launched
        self._is_cancelled = False

    @property
    def may_submit(self) -> bool:
        """Whether workers that are missing are to be submitted: not if the user cancelled some, or
        the last ones were of no use.
        """
        if self._is_cancelled or self._useless >= USELESS:
            return False
        return time.monotonic() - self._refused_at > AGAIN

    def tell(self, report: Report, busy: Collection[str], *, has_jobs: bool) -> None:
        """Say what is new. Raises RunFailed if no worker will come for the jobs that there are.

        `busy` are the workers that have had a job.
        """
        if report.silent is not None:
            self._say(f"Slurm does not answer: {report.silent}; the workers go on")
            return
        for job in report.submitted:
            count = sum(element.id.startswith(f"{job}_") for element in report.elements)
            submitted = f"{console.counted(count, 'worker')} submitted"
            console.say(f"Slurm job {job}: {submitted}, logs: {self._logs}/{job}_*.txt")
        if len(busy) > self._busy:
            self._busy, self._useless = len(busy), 0
        for ended in report.ended:
            self._take_end(ended, busy)
        if self._useless >= USELESS:
            self._give_up(report)
        elif report.refused is not None:
            self._refused_at = time.monotonic()
            self._say(f"Slurm takes no more workers now: {report.refused}")
        elif report.elements:
            self._say(f"Slurm: {summary(report.elements)}{_advice(report.elements)}")
            _ensure_may_start([element.reason for element in report.elements])
        if has_jobs and self._is_cancelled and not report.elements:
            raise RunFailed("its Slurm jobs were cancelled")

    def say_end(self, ended: Ended) -> None:
        """Say how a worker has left the queue, unless it was well."""
        if ended.state in WELL:
            return
        errors = [line for line in self._log_tail(ended.id) if "slurmstepd" in line]
        said = "".join(f"\n    {line}" for line in errors[-1:])
        console.say(f"Slurm job {ended.id}: {ended.words}{said}", style="yellow")

    def _say(self, text: str) -> None:
        """Say how it stands with the queue, if that is new."""
        if text != self._said:
            self._said = text
            console.say(text)

    def _take_end(self, ended: Ended, busy: Collection[str]) -> None:
        """Take note of a worker that has left the queue."""
        self.say_end(ended)
        if ended.state in WELL:
            return
        job = ended.id.partition("_")[0]
        if ended.state == CANCELLED:
            self._is_cancelled = True
        elif any(worker.startswith(f"{ended.id}-") for worker in busy):
            self._useless = 0
        elif ended.state != LAUNCH_FAILED or job not in self._unlaunched:
            self._useless += 1
            self._last_useless = ended.id
        if ended.state == LAUNCH_FAILED:  # one cause for all workers of this Slurm job
            self._unlaunched.add(job)

    def _give_up(self, report: Report) -> None:
        """Say that no more workers are submitted. Raises RunFailed unless some run: a single node may be bad."""
        what = f"{USELESS} workers in a row ended without a job"
        said = "".join(f"\n    {line}" for line in self._log_tail(self._last_useless))
        if all(element.waits for element in report.elements):
            raise RunFailed(f"hydra/launcher=slurm: {what}; the last said:{said}")
        self._say(f"{what}, and no more are submitted; the others go on. The last said:{said}")

    def _log_tail(self, element: str) -> list[str]:
        log = self._logs / f"{element}.txt"
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return [f"nothing: there is no {log}"]
        return [*(lines[-LOG_LINES:] or ["nothing"]), f"log: {log}"]


def _advice(elements: Sequence[Element]) -> str:
    """Say how to end workers that all wait for somebody to do something: resume a node, say."""
    if any(not element.waits or element.reason in SOON for element in elements):
        return ""
    jobs = " ".join(sorted({element.id.partition("_")[0] for element in elements}))
    return f"; none begins until that has changed; to end them: scancel {jobs}"


def _ensure_may_start(reasons: Sequence[str]) -> None:
    """Raise RunFailed if all workers wait for something that no waiting brings."""
    if all(NEVER.fullmatch(reason) for reason in reasons):
        why = ", ".join(sorted(set(reasons)))
        what = "more than the partition, account or qos allows"
        raise RunFailed(f"hydra/launcher=slurm: Slurm will never start its workers ({why}): {what}")
