"""What becomes of a job, by what the store has of it: new, resume, reuse, stale, failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeplab import job, store
from sweeplab.job import Job, Memo

NEW, RESUME, REUSE, STALE, FAILED = FATES = ("new", "resume", "reuse", "stale", "failed")


@dataclass(kw_only=True, slots=True, frozen=True)
class Fate:
    """One of FATES, and in words; all but `reuse` train."""

    kind: str
    text: str
    epoch: int = 0  # the one after which it goes on


def of(planned: Job, memo: Memo) -> Fate:
    """The fate of a job whose store does not change meanwhile; the jobs of one plan share a `memo`."""
    home = store.Store(planned.config.store.root)
    run = home.run(planned.fingerprint)
    if planned.finished:
        return Fate(kind=REUSE, text=", ".join(["reuse", *_remarks(planned, run)]))
    if run.status == store.FAILED:
        return Fate(kind=FAILED, text="failed before: trained from the start")
    saved = run.saved()
    if saved:
        return Fate(kind=RESUME, text=f"resume after epoch {max(saved)}", epoch=max(saved))
    others = job.other_answers(planned.config, planned.question, home, memo)
    if others:
        changed = _changed(planned, others[-1].start())
        return Fate(kind=STALE, text=f"stale: {changed or 'other code'}")
    return Fate(kind=NEW, text=NEW)


def _remarks(planned: Job, run: store.Run) -> list[str]:
    """In what the finished run is not just what is asked for."""
    asked, anything = planned.config.trainer.threads, planned.config.store.reuse == "any"
    if asked is None and not anything:
        return []
    began = run.start()
    threads = began.get("provenance", {}).get("threads", asked)
    changed = _changed(planned, began) if anything else ""
    commit = (began.get("provenance", {}).get("git") or {}).get("commit") if changed else None
    remarks = [
        f"{changed} since run {run.id}{f' (commit {commit[:12]})' if commit else ''}" if changed else "",
        f"computed with trainer.threads={threads}" if asked not in (None, threads) else "",
    ]
    return [remark for remark in remarks if remark]


def _changed(planned: Job, began: dict[str, Any]) -> str:
    """Which modules are other than when that run began; '' if none is, or it did not write them down."""
    now, then = planned.code, began.get("code") or planned.code
    names = sorted(name for name in {**now, **then} if now.get(name) != then.get(name))
    shown = ["sweeplab's own numerics" if name == "numerics" else name for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more} changed" if shown else ""
