"""Small sweeps whose jobs fail as a file says, and what the store has of them."""

from __future__ import annotations

from pathlib import Path

from sweeplab.store import Event, Run, Store

SMALL = ("data=digits", "tracking=off", "trainer.epochs=3")
OURS = "hydra/launcher=sweeplab"  # from this process, which has loaded PyTorch; a signal goes to one of its own
FAULTY = (*SMALL, "model=linear", "model._target_=faulty.Net")


def runs(root: Path) -> dict[int, Run]:
    """model.hidden -> run."""
    return {run.config()["model"]["hidden"]: run for run in Store(root / "runs").runs()}


def statuses(root: Path) -> dict[int, str]:
    return {hidden: run.status for hidden, run in runs(root).items()}


def starts(run: Run) -> int:
    return sum(event["event"] == Event.START for event in run.journal.events())
