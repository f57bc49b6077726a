"""What becomes of a job, by what the store has of it: new, resume, reuse, stale, failed."""

from __future__ import annotations

from dataclasses import dataclass

from sweeplab import store
from sweeplab.runs import job
from sweeplab.runs.job import Job
from sweeplab.runs.once import Once

NEW, RESUME, REUSE, STALE, FAILED = FATES = ("new", "resume", "reuse", "stale", "failed")


@dataclass(kw_only=True, slots=True, frozen=True)
class Fate:
    """One of FATES, and in words; all but `reuse` train."""

    kind: str
    text: str
    epoch: int = 0  # the one after which it goes on
    other_code: bool = False  # reused, although the code is not what it was (store.reuse=any)


def of(planned: Job, once: Once) -> Fate:
    """Look up the fate of a job in its store, which does not change meanwhile.

    The jobs of one plan share `once`.
    """
    home = store.Store(planned.config.store.root)
    run = home.run(planned.fingerprint)
    if planned.finished:
        return _reused(planned, run)
    if run.status == store.Status.FAILED:
        return Fate(kind=FAILED, text="failed before: trained from the start")
    saved = run.saved_epochs()
    if saved:
        return Fate(kind=RESUME, text=f"resume after epoch {max(saved)}", epoch=max(saved))
    others = job.other_answers(planned.config, planned.question, home, once)
    if others:
        changed = job.changed_code(planned, others[-1].start())
        return Fate(kind=STALE, text=f"stale: {changed or 'other code'}")
    return Fate(kind=NEW, text=NEW)


def _reused(planned: Job, run: store.Run) -> Fate:
    """Return the fate `reuse`, with how the run differs from what is asked for: code, threads."""
    threads, every = planned.config.trainer.threads, planned.config.trainer.keep_every
    any_code = planned.config.store.reuse == "any"
    if threads is None and every is None and not any_code:
        return Fate(kind=REUSE, text=REUSE)
    start = run.start()
    provenance = start.get("provenance", {})
    remarks = [REUSE]
    changed = job.changed_code(planned, start) if any_code else ""
    if changed:
        commit = (provenance.get("git") or {}).get("commit")
        at_commit = f" (commit {commit[:12]})" if commit else ""
        remarks.append(f"{changed} since run {run.id}{at_commit}")
    if store.weights.lacks(run, every):
        remarks.append(f"trained without trainer.keep_every={every}")
    threads_of_run = provenance.get("threads", threads)
    if threads is not None and threads != threads_of_run:
        remarks.append(f"computed with trainer.threads={threads_of_run}")
    return Fate(kind=REUSE, text=", ".join(remarks), other_code=bool(changed))
