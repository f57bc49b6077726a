"""`sweeplab runs`: list the store, and make room in it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from sweeplab import console, tracking
from sweeplab.commands import cleaning, listing
from sweeplab.commands.listing import Row
from sweeplab.commands.sync import by_cause, say_copied
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.store import Store


def add_options(parser: ArgumentParser) -> None:
    """Add what is listed, and what is removed."""
    parser.add_argument("--json", action="store_true", help="for scripts")
    clean = "remove failed, interrupted and unfinished runs"
    parser.add_argument("--clean", action="store_true", help=clean)
    weights = "with --clean: the weights of finished runs instead"
    parser.add_argument("--weights", action="store_true", help=weights)
    age = "only those idle for so long: 30m, 12h, 7d, 2w"
    parser.add_argument("--older-than", metavar="AGE", help=age)
    parser.add_argument("--yes", action="store_true", help="remove them without asking")


def main(arguments: Namespace, settings: Config) -> None:
    """List the store; with --clean, remove what did not come to its end."""
    has_clean_options = arguments.yes or arguments.weights or arguments.older_than is not None
    if (arguments.clean and arguments.json) or (has_clean_options and not arguments.clean):
        raise UserError("--weights, --older-than and --yes go with --clean, and --json without it")
    age = 0.0 if arguments.older_than is None else cleaning.seconds(arguments.older_than)
    home = Store(settings.store.root)
    rows = listing.rows(home)
    if arguments.clean and arguments.weights:
        _clean_weights(settings, home, cleaning.holding(home, rows, age), arguments.yes)
    elif arguments.clean:
        _clean(settings, home, cleaning.removable(rows, age), arguments.yes)
    elif arguments.json:
        print(listing.as_json(rows))
    elif rows:
        listing.show(rows, f"{len(rows)} runs in {home.root}, {_size(rows)}")
    else:
        console.say(f"no runs in {home.root}")


def _clean(settings: Config, home: Store, rows: list[Row], yes: bool) -> None:
    """Remove these runs if the user agrees; MLflow keeps what it has, none of it as RUNNING."""
    if not rows:
        console.say("nothing to remove")
        return
    listing.show(rows, f"to be removed: {_size(rows)}")
    if not yes and not cleaning.agreed(rows):
        return
    _feed(settings, home, rows)
    removed = cleaning.remove(home, rows)
    console.say(f"removed {_counted(removed)}, {_size(removed)}")
    _say_kept(rows, removed, "they are at work or finished now")


def _clean_weights(settings: Config, home: Store, rows: list[Row], yes: bool) -> None:
    """Remove the weights of these finished runs if the user agrees; their results stay."""
    if not rows:
        console.say("no finished run holds weights: nothing to remove")
        return
    listing.show(rows, f"to lose their weights, and keep their results: {_counted(rows)}")
    if not yes and not cleaning.agreed(rows, "the weights of "):
        return
    _feed(settings, home, rows)
    second_names = tracking.second_names([home.run(row.id) for row in rows], settings.tracking)
    cleaned, freed = cleaning.remove_weights(home, rows, second_names)
    replay = console.command("sweeplab replay RUN")
    weights = f"the weights of {_counted(cleaned)}, {listing.size(freed)}"
    console.say(f"removed {weights}; {replay} puts them back")
    _say_kept(rows, cleaned, "they are at work")


def _say_kept(rows: Sequence[Row], gone: Sequence[Row], why: str) -> None:
    kept = [row.id for row in rows if row not in gone]
    if kept:
        console.say(f"kept, since {why}: {', '.join(kept)}")


def _counted(rows: Sequence[Row]) -> str:
    return console.counted(len(rows), "run")


def _size(rows: Sequence[Row]) -> str:
    return listing.size(sum(row.bytes for row in rows))


def _feed(settings: Config, home: Store, rows: list[Row]) -> None:
    """Have MLflow get what it lacks of these runs, before some of it is removed."""
    ids = {row.id for row in rows}
    if settings.tracking.enabled and tracking.is_behind(home, settings.tracking, ids):
        say_copied(home)
        for lag in by_cause(tracking.sync(home, settings.tracking, lambda *_: None)):
            console.complain(f"MLflow lags behind: {lag}")
