"""How long does it take to plan a sweep? All of our planning beside Hydra's own composition alone, in turn.

    uv run python -m benchmarks.planning --rounds 3

Prints the seconds of each round, the medians, and the ratio. Imports and the first round of each are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from sweeplab import config
from sweeplab.sweep import combinations, compose, preview
from sweeplab.sweep.plan import make

SWEEP = ["model.batch_norm=true,false", "optimizer.lr=0.001,0.002", "data=digits", "tracking=off"]


def clocked(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(seeds: int, rounds: int) -> list[tuple[float, float]]:
    """(Hydra's composition alone, our whole plan), in seconds, round by round; 4 jobs for each seed."""
    given = [f"seed=range({seeds})", *SWEEP]
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    loader = hydra.config_loader
    master = hydra.compose_config("config", given, run_mode=RunMode.MULTIRUN, from_shell=False)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)

    def theirs() -> None:
        for job in combinations.combined(combinations.axes(parsed)):
            loader.load_sweep_config(master, job)

    def ours() -> None:
        plan = make(
            combinations.combined(combinations.axes(parsed)),
            given,
            compose.Composer(loader, master),
        )
        assert len(plan.cells) == 4 * seeds
        assert preview.summary(plan) == f"{4 * seeds} jobs: {4 * seeds} new"

    found = []
    for number in range(rounds):
        a, b = clocked(theirs), clocked(ours)
        print(
            f"round {number}: Hydra's composition {a:.2f} s, our plan {b:.2f} s, ratio {b / a:.3f}",
            flush=True,
        )
        found.append((a, b))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=250, help="there are 4 jobs for each")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(config.conf_dir()), version_base="1.3"),
    ):
        os.environ["SWEEPLAB_ROOT"] = folder
        measure(2, 1)  # warm
        found = measure(given.seeds, given.rounds)
    theirs, ours = (statistics.median(each) for each in zip(*found, strict=True))
    ratio = statistics.median(b / a for a, b in found)
    jobs = 4 * given.seeds
    print(f"\n| {jobs} jobs, median of {given.rounds} | seconds | ms a job |\n|---|--:|--:|")
    print(f"| Hydra's composition alone | {theirs:.2f} | {1000 * theirs / jobs:.1f} |")
    print(
        f"| composed, validated, fingerprinted, looked up | {ours:.2f} | {1000 * ours / jobs:.1f} |"
    )
    print(
        f"\nratio: median {ratio:.3f}, {min(b / a for a, b in found):.3f} to {max(b / a for a, b in found):.3f}"
    )


if __name__ == "__main__":
    main()
