"""Small sweeps whose jobs fail as a file says, their workers, and what the store has of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ready

from sweeplab.store import Event, Run, Store

SMALL = ("data=digits", "tracking=off", "trainer.epochs=3")
OURS = "hydra/launcher=sweeplab"  # from this process, which has loaded PyTorch; a signal goes to one of its own
WORDS = ("-m", *SMALL, "model.dropout=0.1", "sweep.report=false")
FOUR = ("model.hidden=16,24", "seed=0,1")
ALL = ("model.hidden=16,24", "model.batch_norm=true,false", "seed=range(6)")
PACED = (
    *SMALL,
    "model=linear",
    "model._target_=faulty.Paced",
    "trainer.epochs=200",
    "trainer.patience=null",
    "trainer.limit_batches=1",
)
PACED_SWEEP = ("-m", *PACED, "+model.hidden=16,24", "sweep.workers=2", "sweep.report=false")
FAULTY = (*SMALL, "model=linear", "model._target_=faulty.Net", "trainer.checkpoint_every=0")


MAIN = "from sweeplab.commands.cli import main; main()"
BY_HAND = "hydra/launcher=workers"


def work(root: Path, *words: str) -> subprocess.Popen[str]:
    """Start a worker for the only sweep of a store."""
    (folder,) = (root / "runs" / "sweeps").glob("*.work")
    program = [sys.executable, "-c", MAIN, "work", folder.name[:12], *words]
    return ready.Popen(program, cwd=root, stdout=ready.PIPE, text=True)


def runs(root: Path) -> dict[int, Run]:
    """model.hidden -> run."""
    return {run.config()["model"]["hidden"]: run for run in Store(root / "runs").runs()}


def statuses(root: Path) -> dict[int, str]:
    return {hidden: run.status for hidden, run in runs(root).items()}


def starts(run: Run) -> int:
    return sum(event["event"] == Event.START for event in run.journal.events())


def digests(root: Path, store: str) -> dict[str, str | None]:
    """Fingerprint -> digest of the weights."""
    return {
        r.fingerprint: r.weights_sha256 for run in Store(root / store).runs() if (r := run.result())
    }


def table(out: str) -> str:
    """The comparison, but for its last column: seconds."""
    lines = out.partition("ranked by")[2].partition("mean ±")[0].splitlines()
    return "\n".join(
        " ".join(line.split()[:-1] if "±" not in line.split()[-2:] else line.split()[:-3])
        for line in lines
    )
