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
    for other in memo("finished", planned.config.store.root, lambda: job.finished_runs(home)).get(planned.question, [])[
        -1:
    ]:
        changed = _changed(planned, start(other))
        return Fate(kind=STALE, text=f"stale: {changed or 'other code'}")
    return Fate(kind=NEW, text=NEW)


def start(run: store.Run) -> dict[str, Any]:
    """The first line of a run's journal, which says what it was asked to compute, and how; nothing if there is none."""
    try:
        with run.journal.path.open("rb") as file:
            return store.parsed(file.readline().rstrip(b"\n"), run.journal.path, 1)
    except (OSError, store.DamagedError):
        return {}


def _remarks(planned: Job, run: store.Run) -> list[str]:
    """In what the finished run is not just what is asked for."""
    asked, anything = planned.config.trainer.threads, planned.config.store.reuse == "any"
    if asked is None and not anything:
        return []
    began = start(run)
    threads = began.get("provenance", {}).get("threads", asked)
    changed = _changed(planned, began) if anything else ""
    remarks = [changed, f"computed with trainer.threads={threads}" if asked not in (None, threads) else ""]
    return [remark for remark in remarks if remark]


def _changed(planned: Job, began: dict[str, Any]) -> str:
    """Which modules are other than when that run began; '' if none is, or it did not write them down."""
    now, then = planned.code, began.get("code") or planned.code
    names = sorted(name for name in {**now, **then} if now.get(name) != then.get(name))
    shown = ["sweeplab's own numerics" if name == "numerics" else name for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more} changed" if shown else ""
