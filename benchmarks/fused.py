"""What a step costs of a run that is trained as one with others, beside alone: by the size of the network.

    uv run python -m benchmarks.fused

MNIST, batch 128, Adam, one thread; a step of one of them, its share; alone and as one in turn.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.measure import spread
from sweeplab import config, data
from sweeplab.runs import job
from sweeplab.runs.build import build
from sweeplab.train import fused, loop
from sweeplab.train.device import set_up
from sweeplab.train.random_state import RandomStreams

HIDDEN = ("16", "64", "128", "[128,128]", "256", "[392,196]")


def measure(
    hidden: str, count: int, rounds: int, steps: int, root: str, device: str
) -> tuple[int, list[float], list[float]]:
    """(parameters, microseconds of a step alone, of one's share of a step of so many), a number a round."""
    overrides = [
        f"data.root={root}",
        f"model.hidden={hidden}",
        f"trainer.limit_batches={steps}",
        "trainer.threads=1",
        f"trainer.device={device}",
    ]
    checked = job.prepare(
        config.compose([*overrides, "scheduler=constant", "tracking=off"]), overrides
    )
    settings, splits = checked.config, data.load(checked.config.data)
    how = set_up(settings.trainer)
    batches = data.Batches(
        splits.train, 128, device=how.device, seed=0, drop_last=True, limit=steps
    )
    single, *train_states = [build(settings, how, steps) for _ in range(count + 1)]
    alone, as_one = [], []
    for number in range(rounds):
        streams = [RandomStreams() for _ in train_states]
        trained = fused.train_epoch(
            train_states, [batches.epoch(number) for _ in train_states], streams
        )[0]
        assert isinstance(trained, loop.Trained)
        as_one.append(trained.seconds / steps * 1e6)
        alone.append(loop.train_epoch(single, batches.epoch(number)).seconds / steps * 1e6)
    return sum(parameter.numel() for parameter in single.parameters), alone, as_one


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data", help="a data.root with MNIST in it, or for it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=150, help="of an epoch; of MNIST it has 429")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--hidden", nargs="+", default=HIDDEN, help="widths of the layers")
    parser.add_argument("--counts", nargs="+", type=int, default=(2, 4, 8), help="runs as one")
    given = parser.parse_args()
    print(
        "| hidden | parameters | alone (us) | runs as one | a step of one of them (us) | ratio |\n|---|--:|--:|--:|--:|---|"
    )
    for hidden in given.hidden:
        for count in given.counts:
            size, alone, as_one = measure(
                hidden, count, given.rounds, given.steps, given.data, given.device
            )
            ratios = spread([b / a for a, b in zip(alone, as_one, strict=True)])
            medians = [f"{statistics.median(each):.0f}" for each in (alone, as_one)]
            print(
                f"| {hidden} | {size:,} | {medians[0]} | {count} | {medians[1]} | {ratios} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
