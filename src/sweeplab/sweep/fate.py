"""What becomes of a job, by what the store has of it: new, resume, reuse, stale, failed."""

from __future__ import annotations

from dataclasses import dataclass

from sweeplab import store
from sweeplab.runs import job
from sweeplab.runs.job import Job, Memo

NEW, RESUME, REUSE, STALE, FAILED = FATES = ("new", "resume", "reuse", "stale", "failed")


@dataclass(kw_only=True, slots=True, frozen=True)
class Fate:
    """One of FATES, and in words; all but `reuse` train."""

    kind: str
    text: str
    epoch: int = 0  # the one after which it goes on
    other_code: bool = False  # reused, although the code is not what it was (store.reuse=any)


def of(planned: Job, memo: Memo) -> Fate:
    """The fate of a job whose store does not change meanwhile; the jobs of one plan share a `memo`."""
    home = store.Store(planned.config.store.root)
    run = home.run(planned.fingerprint)
    if planned.finished:
        remarks = _remarks(planned, run)
        return Fate(kind=REUSE, text=", ".join(["reuse", *remarks]), other_code=bool(_other_code(planned, run)))
    if run.status == store.Status.FAILED:
        return Fate(kind=FAILED, text="failed before: trained from the start")
    saved = run.saved_epochs()
    if saved:
        return Fate(kind=RESUME, text=f"resume after epoch {max(saved)}", epoch=max(saved))
    others = job.other_answers(planned.config, planned.question, home, memo)
    if others:
        changed = job.changed_code(planned, others[-1].start())
        return Fate(kind=STALE, text=f"stale: {changed or 'other code'}")
    return Fate(kind=NEW, text=NEW)


def _remarks(planned: Job, run: store.Run) -> list[str]:
    """In what the finished run is not just what is asked for."""
    asked, anything = planned.config.trainer.threads, planned.config.store.reuse == "any"
    if asked is None and not anything:
        return []
    began = run.start()
    threads = began.get("provenance", {}).get("threads", asked)
    changed = _other_code(planned, run)
    commit = (began.get("provenance", {}).get("git") or {}).get("commit") if changed else None
    remarks = [
        f"{changed} since run {run.id}{f' (commit {commit[:12]})' if commit else ''}" if changed else "",
        f"computed with trainer.threads={threads}" if asked not in (None, threads) else "",
    ]
    return [remark for remark in remarks if remark]


def _other_code(planned: Job, run: store.Run) -> str:
    return job.changed_code(planned, run.start()) if planned.config.store.reuse == "any" else ""
