"""`sweeplab unpack`: take a sweep that somebody has packed into the store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeplab import config, console
from sweeplab.commands import sync
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.replay.unpack import Unpacked, unpack
from sweeplab.store import Store


def add_options(parser: ArgumentParser) -> None:
    """Add the file, and what of it is trusted."""
    parser.add_argument("FILE")
    trust = "whose classes may be called when a network of it is loaded"
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help=trust)


def main(arguments: Namespace, settings: Config) -> None:
    """Add the runs of a file to the store, and bring MLflow up to date with them."""
    file = config.expand_home(arguments.FILE)
    if not file.is_file():
        problem = "is a folder, no file" if file.is_dir() else "there is no such file"
        raise UserError(f"{arguments.FILE}: {problem}; sweeplab pack SWEEP makes one")
    home = Store(settings.store.root).check()
    with console.waiting("checking what is in it"):
        unpacked = unpack(file, home, arguments.trust)
    _say(unpacked)
    if settings.tracking.enabled:
        sync.main(arguments, settings)


def _say(unpacked: Unpacked) -> None:
    sweep = unpacked.sweep
    added = console.counted(len(unpacked.added), "run")
    there = f", {len(unpacked.kept)} were there already" if unpacked.kept else ""
    console.say(f"sweep {sweep['id'][:12]} ({sweep['name']}): {added} added{there}")
    if unpacked.other:
        ids = ", ".join(run[:8] for run in unpacked.other)
        console.say(f"of those, these came out otherwise here, and were kept: {ids}")
    if unpacked.code is not None:
        console.say(f"its code, as text that nothing imports: {unpacked.code}")
    console.say(f"nothing of it was run; see it: sweeplab compare {sweep['id'][:12]}")
    console.say("whether its numbers are true: sweeplab replay RUN trains a run of it again")
