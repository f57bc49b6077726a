"""`sweeplab runs`: list the store, and make room in it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from sweeplab import console, tracking
from sweeplab.commands import choosing, cleaning, listing
from sweeplab.commands.listing import RUNNING, Row
from sweeplab.commands.sync import by_cause, say_copied
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.store import Store

REMOVE = "rm"


def add_options(parser: ArgumentParser) -> None:
    """Add what is listed, and what is removed."""
    parser.usage = "%(prog)s [rm] [options] [RUN ...] [key=value ...]"
    run = "the beginning of a run's id; with rm they are removed, also in MLflow"
    parser.add_argument("words", nargs="*", action="extend", metavar="RUN", help=run)
    parser.add_argument("--json", action="store_true", help="for scripts")
    choosing.add_options(parser)
    clean = "remove failed, interrupted, pruned and unfinished runs; MLflow keeps what it has"
    parser.add_argument("--clean", action="store_true", help=clean)
    weights = "with rm or --clean: the weights of finished runs instead"
    parser.add_argument("--weights", action="store_true", help=weights)
    parser.add_argument("--yes", action="store_true", help="remove them without asking")
    dry = "say what would be removed, and remove nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry)


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take `rm` and the names of runs, which have no `=`, from among the overrides."""
    names = [word for word in words if "=" not in word]
    arguments.remove = names[:1] == [REMOVE]
    arguments.names = names[1:] if arguments.remove else names
    return [word for word in words if "=" in word]


def main(arguments: Namespace, settings: Config) -> None:
    """List the runs that are chosen, or remove them. Raises UserError for what does not fit."""
    _ensure_options(arguments)
    home = Store(settings.store.root)
    sizes = listing.sizes(home.root)
    rows = choosing.choose(home, arguments, settings, sizes)
    if arguments.weights:
        _remove_weights(settings, home, cleaning.holding(home, rows), arguments)
    elif arguments.clean:
        _remove(settings, home, cleaning.removable(rows), arguments)
    elif arguments.remove:
        _remove(settings, home, _at_rest(rows, arguments.names), arguments)
    elif arguments.json:
        print(console.json_text("runs", listing.content(home, rows, sizes)))
    elif not sizes or not home.runs():
        console.say(f"no runs in {home.root}")
    else:
        listing.show(rows, f"{_counted(rows)} in {home.root}, {_size(rows)}")
        whole = listing.total(sizes)
        parts = [f"{listing.size(whole[name])} of {what}" for name, what in listing.PARTS.items()]
        console.say(f"the store: {listing.size(whole[listing.ALL])}, with {' and '.join(parts)}")


def _ensure_options(arguments: Namespace) -> None:
    removes = arguments.remove or arguments.clean
    if arguments.json and removes:
        raise UserError("--json lists, and goes with neither rm nor --clean")
    if (arguments.yes or arguments.weights or arguments.dry_run) and not removes:
        raise UserError("--weights, --yes and --dry-run go with rm or --clean")
    if arguments.remove and not (arguments.clean or choosing.is_filtered(arguments)):
        advice = "name runs, or choose them by --where, --status, --sweep or --older-than"
        raise UserError(f"rm: which? {advice}")


def _at_rest(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Leave out the runs that are at work. Raises UserError for one that was named."""
    working = [row for row in rows if row.status == RUNNING]
    if working and names:
        raise UserError(f"{working[0].id}: is at work; a run can be removed once it has ended")
    if working:
        console.say(f"kept, since they are at work: {', '.join(row.id for row in working)}")
    return [row for row in rows if row.status != RUNNING]


def _remove(settings: Config, home: Store, rows: list[Row], arguments: Namespace) -> None:
    """Remove these runs if the user agrees: after --clean, MLflow keeps what it has of them."""
    if not rows:
        console.say("nothing to remove")
        return
    home.check(to_write=not arguments.dry_run)
    listing.show(rows, f"to be removed: {_counted(rows)}, {_size(rows)}")
    if arguments.clean:
        if not _agreed(arguments, rows):
            return
        _feed(settings, home, rows)
        removed, deleted = cleaning.remove(home, rows), 0
    else:
        runs = [home.run(row.id) for row in rows]
        places = tracking.Deletion(home, settings.tracking, runs)
        if places.count:
            console.say(f"and {console.counted(places.count, 'run')} of MLflow, to its trash")
        console.warn(
            f"MLflow at {uri} keeps what it has of them; tracking.uri={uri} has it deleted there"
            for uri in places.elsewhere
        )
        if not _agreed(arguments, rows):
            return
        places.open()
        removed = cleaning.remove(home, rows, also_finished=True, before=places.delete)
        deleted = places.deleted
    trash = f"; {deleted} of MLflow are in its trash, which `mlflow gc` empties" if deleted else ""
    console.say(f"removed {_counted(removed)}, {_size(removed)}{trash}")
    _say_kept(rows, removed, "they are at work or finished now")


def _agreed(arguments: Namespace, rows: Sequence[Row], what: str = "") -> bool:
    if arguments.dry_run:
        console.say("nothing was removed: --dry-run")
        return False
    return arguments.yes or cleaning.agreed(rows, what)


def _remove_weights(settings: Config, home: Store, rows: list[Row], arguments: Namespace) -> None:
    """Remove the weights of these finished runs if the user agrees; their results stay."""
    if not rows:
        console.say("no finished run holds weights: nothing to remove")
        return
    home.check(to_write=not arguments.dry_run)
    listing.show(rows, f"to lose their weights, and keep their results: {_counted(rows)}")
    if not _agreed(arguments, rows, "the weights of "):
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
