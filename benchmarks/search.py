"""What adaptive search is worth, on digits: TPE with half the trials beside random search, and what pruning saves.

    uv run python -m benchmarks.search --repeats 10

In each repeat, with other sampler seeds: random search with `--trials` trials, TPE with half of them, and the same TPE
with a pruner. The best value is that of the monitored metric (valid/loss), the epochs are those of all journals. The
differences are paired by repeat; `saved` is the share of the epochs that pruning did without. Two workers.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.measure import TRAIN, command, fresh, say
from sweeplab.compare.statistics import Mean, mean
from sweeplab.store import Status, Store

SPACE = (
    "optimizer.lr=tag(log, interval(0.0001, 0.3))",
    "model.hidden=tag(log, int, interval(4, 256))",
    "model.dropout=interval(0, 0.6)",
    "trainer.batch_size=choice(16,32,64,128,256)",
)
FIXED = (
    "data=digits",
    "data.valid=300",
    "trainer.monitor=valid/loss",
    "trainer.patience=null",
    "trainer.threads=1",
)
QUIET = ("tracking=off", "sweep.report=false", "sweep.workers=2")
RANDOM = ("hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler",)
PRUNER = (
    "hydra.sweeper.pruner._target_=optuna.pruners.MedianPruner",
    "+hydra.sweeper.pruner.n_warmup_steps=3",
)
METHODS = {"random": RANDOM, "TPE": (), "TPE, pruned": PRUNER}


def searched(words: tuple[str, ...], trials: int, epochs: int, seed: int) -> dict[str, float]:
    """One search in a store of its own."""
    asked = (
        f"hydra.sweeper.n_trials={trials}",
        f"hydra.sweeper.sampler.seed={seed}",
        f"trainer.epochs={epochs}",
    )
    with fresh() as folder:
        done = command(
            [*TRAIN, "-m", "hydra/sweeper=optuna", *SPACE, *FIXED, *QUIET, *asked, *words], folder
        )
        return {**read(folder), "seconds": done.seconds}


def read(folder: Path) -> dict[str, float]:
    """The best value of the finished runs, all epochs that were trained, and how many runs were pruned."""
    runs = Store(folder / "runs").runs()
    epochs = [run.epochs() for run in runs]
    finished = [
        each for run, each in zip(runs, epochs, strict=True) if run.status == Status.FINISHED
    ]
    return {
        "best": min(values["valid/loss"] for each in finished for values in each.values()),
        "epochs": sum(len(each) for each in epochs),
        "runs": len(runs),
        "pruned": sum(run.status == Status.PRUNED for run in runs),
    }


def shown(found: Mean | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:+.4f}" + (
        "" if found.half is None else f" ± {found.half:.4f} (95 %, n={found.n})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--trials", type=int, default=40, help="of random search; TPE has half of them"
    )
    parser.add_argument("--epochs", type=int, default=30, help="of each trial")
    parser.add_argument("--json", type=Path, help="file to write all that was measured to")
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for repeat in range(given.repeats):
        for name, words in METHODS.items():
            trials, seed = (
                (given.trials, 1000 * (repeat + 1))
                if name == "random"
                else (given.trials // 2, repeat)
            )
            found[name].append(searched(words, trials, given.epochs, 100 * seed))
            say(f"repeat {repeat}, {name}: {json.dumps(found[name][-1])}")
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(
        "| search | trials | best valid/loss: median (least to greatest) | epochs | pruned | seconds |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, each in found.items():
        best = [one["best"] for one in each]
        rest = [
            f"{statistics.median(one[key] for one in each):.0f}"
            for key in ("epochs", "pruned", "seconds")
        ]
        trials = given.trials if name == "random" else given.trials // 2
        spread = f"{statistics.median(best):.4f} ({min(best):.4f} to {max(best):.4f})"
        print(f"| {name} | {trials} | {spread} | {' | '.join(rest)} |")
    tpe, pruned = found["TPE"], found["TPE, pruned"]
    less = mean(a["best"] - b["best"] for a, b in zip(tpe, found["random"], strict=True))
    loss = mean(b["best"] - a["best"] for a, b in zip(tpe, pruned, strict=True))
    saved = [1 - b["epochs"] / a["epochs"] for a, b in zip(tpe, pruned, strict=True)]
    print(f"\nTPE less random, best valid/loss: {shown(less)}")
    print(
        f"saved by pruning: median {statistics.median(saved):.0%} of the epochs ({min(saved):.0%} to {max(saved):.0%})"
    )
    print(f"pruned less not pruned, best valid/loss: {shown(loss)}")


if __name__ == "__main__":
    main()
