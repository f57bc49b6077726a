"""A sweep of 32 jobs: 8 learning rates x 4 seeds, one hidden layer of 64, 3 epochs of MNIST, MLflow on.

Ours with its own launcher; Hydra's basic and joblib launchers over the Lightning program. What takes fewer jobs is
scaled to 32 from when its first run was made, so that its start counts once.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import LIGHTNING, TRAIN, Row, command, fresh, say
from benchmarks.stores import first_run_began, lightning_metric, our_metric

RATES = (0.0003, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02)
SEEDS = 4
ALL = len(RATES) * SEEDS
WORKERS = 2
JOBLIB = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}")
# Two processes that make a new database at once make one of them fail: a user of joblib makes it first, out of the clock.
DATABASE = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); mlflow.set_experiment('benchmark')"


def _grid(key: str, jobs: int) -> list[str]:
    """All the rates, and as many seeds as make so many jobs; below 8 jobs fewer rates."""
    rates = RATES[: min(jobs, len(RATES))]
    seeds = max(1, jobs // len(RATES))
    return [f"{key}={','.join(map(str, rates))}", f"seed={','.join(map(str, range(seeds)))}"]


def _count(jobs: int) -> int:
    return min(jobs, len(RATES)) * max(1, jobs // len(RATES))


def _ours(data: Path, jobs: int, folder: Path) -> float:
    words = [
        "-m",
        *_grid("optimizer.lr", jobs),
        f"data.root={data}",
        "model.hidden=64",
        "trainer.epochs=3",
    ]
    words += ["scheduler=constant", f"sweep.workers={WORKERS}"]
    return command([*TRAIN, *words], folder).seconds


def _lightning(data: Path, jobs: int, folder: Path, *launcher: str) -> float:
    command([sys.executable, "-c", DATABASE], folder)
    words = [
        "-m",
        *_grid("lr", jobs),
        f"data.root={data}",
        "hidden=[64]",
        "trainer.max_epochs=3",
        *launcher,
    ]
    done = command([*LIGHTNING, *words], folder)
    start = first_run_began(folder) - done.began
    return start + (done.seconds - start) * ALL / _count(jobs)


def measure(data: Path, rounds: int, jobs: int, ours: int = ALL) -> tuple[list[Row], Any]:
    """`jobs` of the peers, `ours` of our own; (rows, all that was measured)."""
    launchers: dict[str, tuple[str, ...]] = {
        "Hydra basic, Lightning": (),
        "Hydra joblib, Lightning": JOBLIB,
    }
    found: dict[str, list[float]] = {name: [] for name in ("sweeplab", *launchers)}
    accuracies: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        for name in found:
            with fresh() as folder:
                if name == "sweeplab":
                    found[name].append(_ours(data, ours, folder))
                    tested = our_metric(folder, "test/accuracy")
                else:
                    found[name].append(_lightning(data, jobs, folder, *launchers[name]))
                    tested = lightning_metric(folder, "test/accuracy")
                wanted = _count(ours if name == "sweeplab" else jobs)
                if len(tested) != wanted:
                    raise RuntimeError(f"{name}: {len(tested)} of {wanted} runs have finished")
                accuracies[name].append(statistics.fmean(tested))
        say(
            f"sweep, round {number}: "
            + ", ".join(
                f"{n} {each[-1]:.1f} s, mean {accuracies[n][-1]:.4f}" for n, each in found.items()
            )
        )
    return [_row(peer, found, accuracies, jobs, ours) for peer in launchers], {
        "seconds": found,
        "mean test accuracies": accuracies,
    }


def _row(
    peer: str,
    found: dict[str, list[float]],
    accuracies: dict[str, list[float]],
    jobs: int,
    ours: int,
) -> Row:
    notes = [] if _count(jobs) == ALL else [f"its time scaled from {_count(jobs)} jobs"]
    notes += [] if ours == ALL else [f"ours NOT scaled: {_count(ours)} jobs"]
    means = [statistics.fmean(accuracies[name]) for name in ("sweeplab", peer)]
    notes.append(f"mean test accuracy {means[0]:.4f} and {means[1]:.4f}")
    what = f"sweep of {ALL} jobs, {WORKERS} workers"
    return Row(
        part="sweep",
        what=what,
        ours="sweeplab",
        peer=peer,
        ours_seconds=found["sweeplab"],
        peer_seconds=found[peer],
        notes=notes,
    )
