"""A database that was moved, or copied, together with its project: MLflow keeps absolute places of files in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from sweeplab import store
from sweeplab.errors import UserError
from sweeplab.tracking import address, places, records

FOLDER = "mlruns"
COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def bring_along(uri: str, home: store.Store | None = None) -> None:
    """Have an SQLite database know where its files lie now, and the runs of `home` in it whose they are now.

    Done where the database, and `mlruns` beside it, were moved or copied: it would write to the old place, which may
    be another project's by now. What is wrong with the database MLflow will say.
    """
    path = address.file(uri)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=20)) as connection, suppress(sqlite3.DatabaseError):
        locations = [place for (place,) in connection.execute("select artifact_location from experiments") if place]
        former = _former(home)
        moved = {place: now for place in locations if (now := _moved(place, path, former)) is not None}
        if not moved and not former:
            return
        with connection:
            connection.execute("begin immediate")
            for place, now in moved.items():
                _rewrite(connection, place, now)
            if home is not None and former:
                _take_over(connection, former, home, path)


def _former(home: store.Store | None) -> list[str]:
    """The ids of the stores that this one is a copy of; none if that cannot be told, which feeding will say."""
    try:
        return [] if home is None else home.ownership.former
    except UserError:
        return []


def _moved(location: str, database: Path, former: Sequence[str]) -> str | None:
    """Where the files of an experiment lie now; None if they do where the database says.

    In the place of another database they are left to that, if there are files here, or it holds a `former` store.
    """
    before, beside = places.local(location), database.parent
    if before is None or before.parent.name != FOLDER or before.parent.parent == beside:
        return None
    old, now = before.parent.parent, beside / FOLDER / before.name
    twin = old / database.name  # the database of the other one, of which this is a copy
    copied = twin.is_file() and not twin.samefile(database) and (now.is_dir() or _holds(twin, former))
    gone = not before.exists() and (now.is_dir() or not old.is_dir())
    if not (copied or gone):
        return None
    return address.file_uri(now) if location.startswith("file:") else str(now)


def _holds(database: Path, stores: Sequence[str]) -> bool:
    """Whether runs of one of these stores (ids) are in the database; False if that cannot be told."""
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database, timeout=20)) as connection:
        found = connection.execute("select distinct value from tags where key = 'store.id'")
        return not {value for (value,) in found}.isdisjoint(stores)
    return False


def _rewrite(connection: sqlite3.Connection, before: str, now: str) -> None:
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    for table, column in COLUMNS:
        if table in tables:
            connection.execute(
                f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608  # our own words
                f"where {column} = ? or substr({column}, 1, ?) = ? || '/'",
                (now, len(before) + 1, before, len(before) + 1, before),
            )


def _take_over(connection: sqlite3.Connection, former: Sequence[str], home: store.Store, database: Path) -> None:
    """Have the runs in a copied database be those of the copied store; one that both use keeps them as they are.

    Those of the latest of its `former` ids; none if this store has runs there already: each would be there twice.
    """
    if database.resolve().parent != home.root.resolve().parent:  # it was not copied with the store
        return
    owners = {value for (value,) in connection.execute("select distinct value from tags where key = 'store.id'")}
    latest = next((store_id for store_id in reversed(former) if store_id in owners), None)
    if latest is None or home.id in owners:
        return
    if any(places.are_same(database, known) for known in _databases_of(latest, home)):
        return
    mark = ("store.id", latest)
    runs = connection.execute("select run_uuid from tags where key = ? and value = ?", mark)
    records.note_made(home, *(run for (run,) in runs))
    connection.execute("update tags set value = ? where key = ? and value = ?", (home.id, *mark))


def _databases_of(former: str, home: store.Store) -> Iterator[Path]:
    """The databases that this store was in before it became a copy: its records tell of them."""
    seen: set[str] = set()
    for record in records.all_records(home):
        for uri in records.read_json(record).keys() - seen:
            noted = {entry.get("store", home.ownership.first) for entry in records.entries(record, uri).values()}
            if former in noted:
                seen.add(uri)
                if (file := address.file(uri)) is not None:
                    yield file


def ensure_there(experiment: str, location: str) -> None:
    """Raise UserError if there can be no files where an experiment's lie: no folder, or one that is gone for good.

    That of a project that is no more would be made again.
    """
    folder = places.local(location)
    if folder is None or folder.is_dir():
        return
    above = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if above.is_dir() and above in (folder.parent, folder.parent.parent):
        return  # it is made with the first file
    said = f"the files of MLflow's experiment '{experiment}' lie at {folder}, and"
    if above in (folder, folder.parent):
        what = "a link that leads nowhere" if above.is_symlink() else "no folder"
        raise UserError(f"{said} {above} is {what}; mend it, or remove it")
    raise UserError(
        f"{said} {folder.parent.parent} is no more; if it was moved, leave a link there (ln -s NEW OLD), or choose "
        "another tracking.experiment"
    )
