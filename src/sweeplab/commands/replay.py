"""`sweeplab replay RUN`: train a recorded run again, and compare every bit."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeplab import console
from sweeplab.config import Config
from sweeplab.replay import record


def add_options(parser: ArgumentParser) -> None:
    """Add the run, and whom to trust."""
    trust = "whose classes and functions it may call, too"
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help=trust)
    parser.add_argument("RUN")


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Refuse what would change the run: the record says what to train."""
    record.ensure_local(words)
    arguments.overrides = words
    return words


def main(arguments: Namespace, settings: Config) -> None:
    """Train the run again; exit code 1 if the bits differ."""
    with tempfile.TemporaryDirectory(prefix="sweeplab-") as folder:
        scratch = Path(folder)
        run = record.read(record.find(arguments.RUN, settings, scratch))
        with console.waiting("loading PyTorch"):
            from sweeplab.replay.replay import replay
        replay(run, settings, scratch, arguments.overrides, arguments.trust)
