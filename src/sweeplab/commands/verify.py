"""`sweeplab verify SWEEP`: train some of its runs again, and say what that tells of all."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext, redirect_stdout
from secrets import randbelow

from sweeplab import console
from sweeplab.commands.compare import named_sweep
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import RunFailed, UserError
from sweeplab.replay.record import ensure_local
from sweeplab.replay.verification import GOOD, Verification, draw
from sweeplab.store import Store


def add_options(parser: ArgumentParser) -> None:
    """Add the sweep, how many of its runs, and whom to trust."""
    parser.add_argument("SWEEP", help="the beginning of its id, its experiment, or latest")
    sample = "how many of its finished runs (default 5)"
    parser.add_argument("--sample", metavar="N", type=int, default=5, help=sample)
    seed = "draws the same runs each time; without it nobody can know which are drawn"
    parser.add_argument("--seed", metavar="N", type=int, help=seed)
    trust = "whose classes and functions the runs may call, too"
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help=trust)
    parser.add_argument("--json", action="store_true", help="for scripts, on stdout alone")


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Refuse what would change the runs: their records say what to train."""
    if arguments.sample < 1:
        raise UserError(f"--sample={arguments.sample}: must be a whole number >= 1")
    if arguments.seed is not None and arguments.seed < 0:
        raise UserError(f"--seed={arguments.seed}: must be a whole number >= 0")
    ensure_local(words)
    arguments.overrides = words
    return words


def main(arguments: Namespace, settings: Config) -> None:
    """Train runs again; exit code 1 unless all that were drawn are as recorded."""
    home = Store(settings.store.root)
    try:
        sweep = named_sweep(home, arguments.SWEEP, settings)
    except UserError as error:
        if not any(run.id.startswith(arguments.SWEEP) for run in home.runs()):
            raise
        way = console.command(f"sweeplab replay {arguments.SWEEP}")
        raise UserError(f"{arguments.SWEEP}: is a run; {way} trains it again") from error
    seed = randbelow(2**31) if arguments.seed is None else arguments.seed
    result = draw(home, sweep, arguments.sample, seed)
    with console.waiting("loading PyTorch"):
        from sweeplab.replay.verify import verify
    place = redirect_stdout(sys.stderr) if arguments.json else nullcontext()
    try:
        with place:
            _announce(result)
            verify(result, home, settings, arguments.overrides, arguments.trust)
    except KeyboardInterrupt as error:
        _tell(result, as_json=arguments.json)
        raise type(error)(f"--seed {seed} draws the same runs again") from None
    _tell(result, as_json=arguments.json)
    good = result.count(*GOOD)
    if good < len(result.cells):
        raise RunFailed(
            f"{len(result.cells) - good} of {counted(len(result.cells), 'run')}: not as recorded, or not known"
        )


def _announce(result: Verification) -> None:
    """Say what is drawn, and what cannot be."""
    name, runs = result.sweep["id"][:12], console.counted(result.finished, "finished run")
    drawn = f"{len(result.cells)} drawn at random (again by --seed {result.seed})"
    console.say(f"sweep {name}: {runs}, {drawn}")
    for status, count in result.others.items():
        console.say(f"not drawn from: {console.counted(count, 'run')} ({status})")


def _tell(result: Verification, *, as_json: bool) -> None:
    """Say what came out, and what it tells of the rest."""
    if as_json:
        print(result.as_json())
        return
    for line in result.conclusions():
        console.say(line)
