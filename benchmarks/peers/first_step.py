"""train.py as it is, which also writes the time of its first step's end into a file:

python -m benchmarks.peers.first_step FILE OVERRIDES...
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sweeplab.commands import cli

PROJECT = Path(__file__).parents[2]


def main() -> None:
    file = Path(sys.argv.pop(1))
    train = cli.train

    def noting(config: DictConfig) -> None:
        import sweeplab.runs.run  # noqa: F401  # the next thing that `train` does, so nothing is moved
        from sweeplab.train import loop

        step = loop.train_step

        def first(*given: Any) -> Any:
            done = step(*given)
            file.write_text(str(time.time()))
            loop.train_step = step
            return done

        loop.train_step = first
        train(config)

    cli.train = noting
    runpy.run_path(str(PROJECT / "train.py"), run_name="__main__")


if __name__ == "__main__":
    main()
