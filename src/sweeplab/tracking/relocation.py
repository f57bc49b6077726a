"""A database that was moved, or copied, together with its project.

MLflow keeps absolute places of files in its database; they are rewritten to where the files lie
now.
"""

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
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def bring_along(uri: str, home: store.Store | None = None) -> None:
    """Rewrite in a moved or copied SQLite database where its files lie, and whose its runs are.

    The old place may be another project's by now, and would be written to. The runs in the database
    become those of `home`, if that is a copy. What is wrong with the database MLflow will say.
    """
    path = address.file(uri)
    if path is None or not path.is_file():
        return
    former: list[str] = []  # the stores that this one is a copy of
    if home is not None:
        with suppress(UserError):  # feeding will say so
            former = home.ownership.former
    with closing(sqlite3.connect(path, timeout=20)) as connection, suppress(sqlite3.DatabaseError):
        rows = connection.execute("select artifact_location from experiments")
        locations = [location for (location,) in rows if location]
        moved = {}
        for location in locations:
            new_location = _moved(location, path, former)
            if new_location is not None:
                moved[location] = new_location
        if not moved and not former:
            return
        with connection:
            connection.execute("begin immediate")
            for location, new_location in moved.items():
                _rewrite(connection, location, new_location)
            if home is not None and former:
                _take_over(connection, former, home, path)


def _moved(location: str, database: Path, former: Sequence[str]) -> str | None:
    """Return where the files of an experiment lie now; None if they lie where the database says.

    If the place that it says has another database, the files there are left to that one, provided
    that there are files here, or that the other one holds a `former` store.
    """
    before, project = places.local(location), database.parent
    if before is None or before.parent.name != FOLDER or before.parent.parent == project:
        return None
    old_project, now = before.parent.parent, project / FOLDER / before.name
    original = old_project / database.name  # the database that this one may be a copy of
    is_copied = original.is_file() and not original.samefile(database)
    is_copied = is_copied and (now.is_dir() or _holds(original, former))
    is_gone = not before.exists() and (now.is_dir() or not old_project.is_dir())
    if not is_copied and not is_gone:
        return None
    return address.file_uri(now) if location.startswith("file:") else str(now)


def _holds(database: Path, stores: Sequence[str]) -> bool:
    """Tell whether runs of one of these store ids are in the database; False if that fails."""
    with (
        suppress(sqlite3.DatabaseError),
        closing(sqlite3.connect(database, timeout=20)) as connection,
    ):
        return not _owners(connection).isdisjoint(stores)
    return False


def _owners(connection: sqlite3.Connection) -> set[str]:
    """Return the ids of the stores whose runs are in the database."""
    rows = connection.execute("select distinct value from tags where key = 'store.id'")
    return {value for (value,) in rows}


def _rewrite(connection: sqlite3.Connection, before: str, now: str) -> None:
    """Replace a place of files, and all that lie below it, in all tables."""
    rows = connection.execute("select name from sqlite_master where type = 'table'")
    tables = {name for (name,) in rows}
    for table, column in COLUMNS:
        if table in tables:
            connection.execute(
                f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608  # ours
                f"where {column} = ? or substr({column}, 1, ?) = ? || '/'",
                (now, len(before) + 1, before, len(before) + 1, before),
            )


def _take_over(
    connection: sqlite3.Connection,
    former: Sequence[str],
    home: store.Store,
    database: Path,
) -> None:
    """Make the runs of the latest `former` store, in a copied database, those of its copy `home`.

    A database that both stores use keeps them as they are. So does one in which `home` has runs
    already: each would be there twice.
    """
    if database.resolve().parent != home.root.resolve().parent:  # it was not copied with the store
        return
    owners = _owners(connection)
    latest = next((store_id for store_id in reversed(former) if store_id in owners), None)
    if latest is None or home.id in owners:
        return
    if any(places.are_same(database, known) for known in _databases_of(latest, home)):
        return
    tag = ("store.id", latest)
    rows = connection.execute("select run_uuid from tags where key = ? and value = ?", tag)
    records.note_made(home, *(run_id for (run_id,) in rows))
    connection.execute("update tags set value = ? where key = ? and value = ?", (home.id, *tag))


def _databases_of(former: str, home: store.Store) -> Iterator[Path]:
    """Go through the databases that the records name for the store before it became a copy."""
    seen: set[str] = set()
    for record in records.all_records(home):
        for uri in records.read_json(record).keys() - seen:
            entries = records.entries(record, uri).values()
            if former in {entry.get("store", home.ownership.first) for entry in entries}:
                seen.add(uri)
                file = address.file(uri)
                if file is not None:
                    yield file


def ensure_there(experiment: str, location: str) -> None:
    """Raise UserError if an experiment's files lie in no folder, or in one that is gone for good.

    The folder of a project that is no more would be made again.
    """
    folder = places.local(location)
    if folder is None or folder.is_dir():
        return
    above = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if above.is_dir() and above in (folder.parent, folder.parent.parent):
        return  # it is made with the first file
    place = f"the files of MLflow's experiment '{experiment}' lie at {folder}, and"
    if above in (folder, folder.parent):
        what = "a link that leads nowhere" if above.is_symlink() else "no folder"
        raise UserError(f"{place} {above} is {what}; mend it, or remove it")
    raise UserError(
        f"{place} {folder.parent.parent} is no more; if it was moved, leave a link there "
        "(ln -s NEW OLD), or choose another tracking.experiment"
    )
