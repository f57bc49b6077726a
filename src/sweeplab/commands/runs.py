"""`sweeplab runs`: the store listed, and room made in it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from sweeplab import console, tracking
from sweeplab.commands import listing
from sweeplab.commands.listing import Row
from sweeplab.commands.sync import by_cause, say_copied
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.store import Store


def main(given: Namespace, settings: Config) -> None:
    """List the store; with --clean, remove what did not come to its end."""
    if given.json if given.clean else given.yes or given.weights or given.older_than is not None:
        raise UserError("--weights, --older-than and --yes go with --clean, and --json without it")
    age = 0.0 if given.older_than is None else listing.seconds(given.older_than)
    home = Store(settings.store.root)
    found = listing.rows(home)
    if given.clean and given.weights:
        _clean_weights(settings, home, listing.holding(home, found, age), given.yes)
    elif given.clean:
        _clean(settings, home, listing.removable(found, age), given.yes)
    elif given.json:
        print(listing.as_json(found))
    elif found:
        listing.show(found, f"{len(found)} runs in {home.root}, {listing.size(sum(row.bytes for row in found))}")
    else:
        console.say(f"no runs in {home.root}")


def _clean(settings: Config, home: Store, chosen: list[Row], yes: bool) -> None:
    """Remove these runs if that is agreed to; MLflow keeps what it has, none of it as RUNNING."""
    if not chosen:
        console.say("nothing to remove")
        return
    title = f"to be removed: {listing.size(sum(row.bytes for row in chosen))}"
    if not _agreed(chosen, title, yes):
        return
    _bring_level(settings, home, chosen)
    gone = listing.remove(home, chosen)
    kept = [row.id for row in chosen if row not in gone]
    console.say(f"removed {_counted(gone)}, {listing.size(sum(row.bytes for row in gone))}")
    if kept:
        console.say(f"kept, since they are at work or finished now: {', '.join(kept)}")


def _agreed(chosen: Sequence[Row], title: str, yes: bool, what: str = "") -> bool:
    """Show what would go, and ask; `yes`: it has been agreed to."""
    listing.show(chosen, title)
    if yes or listing.agreed(chosen, what):
        return True
    console.say("nothing was removed")
    return False


def _counted(rows: Sequence[Row]) -> str:
    return "1 run" if len(rows) == 1 else f"{len(rows)} runs"


def _bring_level(settings: Config, home: Store, chosen: list[Row]) -> None:
    """Have MLflow get what it lacks of these runs, before some of it is removed."""
    if settings.tracking.enabled and tracking.is_behind(home, settings.tracking, {row.id for row in chosen}):
        say_copied(home)
        for lag in by_cause(tracking.sync(home, settings.tracking, lambda *_: None)):
            console.complain(f"MLflow lags behind: {lag}")


def _clean_weights(settings: Config, home: Store, chosen: list[Row], yes: bool) -> None:
    """Remove the weights of these finished runs if that is agreed to; their results stay, here and in MLflow."""
    if not chosen:
        console.say("no finished run holds weights: nothing to remove")
        return
    title = f"to lose their weights, and keep their results: {_counted(chosen)}"
    if not _agreed(chosen, title, yes, "the weights of "):
        return
    _bring_level(settings, home, chosen)
    second = tracking.second_names([home.run(row.id) for row in chosen], settings.tracking)
    gone, freed = listing.remove_weights(home, chosen, second)
    replay = console.command("sweeplab replay RUN")
    console.say(f"removed the weights of {_counted(gone)}, {listing.size(freed)}; {replay} puts them back")
    if kept := [row.id for row in chosen if row not in gone]:
        console.say(f"kept, since they are at work: {', '.join(kept)}")
