"""`sweeplab replay RUN`: train a recorded run again, and compare every bit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeplab import console
from sweeplab.config import Config


def add_options(parser: ArgumentParser) -> None:
    """Add the run, and whom to trust."""
    trust = "whose classes and functions it may call, too"
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help=trust)
    parser.add_argument("RUN")


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Refuse what would change the run: the record says what to train."""
    with console.waiting("loading PyTorch"):
        from sweeplab.replay import replay
    replay.ensure_local(words)
    arguments.overrides = words
    return words


def main(arguments: Namespace, settings: Config) -> None:
    """Train the run again; exit code 1 if the bits differ."""
    from sweeplab.replay import replay

    replay.main(arguments.RUN, settings, arguments.overrides, arguments.trust)
