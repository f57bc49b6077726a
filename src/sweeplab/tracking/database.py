"""The database behind a tracking URI, which several processes may open at once when it is fresh.

mlflow makes its tables when it first opens a database, and guards that against other threads only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sweeplab.tracking import address

LOCK = 0x5357454550  # of PostgreSQL's advisory locks: any number that is always the same


@contextmanager
def alone_at(uri: str) -> Iterator[None]:
    """Hold the database: of two processes that make its tables at once, both may fail."""
    with _postgresql(uri) if uri.startswith("postgresql") else _sqlite(address.file(uri)):
        yield


@contextmanager
def _postgresql(uri: str) -> Iterator[None]:
    """Hold a lock by a connection of our own.

    It also says at once what is wrong, whereas mlflow would try for 100 seconds.
    """
    from sqlalchemy import NullPool, create_engine, text

    with create_engine(uri, poolclass=NullPool).begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield


@contextmanager
def _sqlite(path: Path | None) -> Iterator[None]:
    if path is not None:
        with suppress(OSError):  # MLflow will say why
            path.parent.mkdir(parents=True, exist_ok=True)
    if path is None or not path.parent.is_dir():
        yield
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ensure_readable(uri: str) -> None:
    """Raise OSError or sqlite3.Error if an SQLite file cannot be read, or cannot be made.

    MLflow would try for 100 seconds.
    """
    path = address.file(uri)
    if path is None:
        return
    if not path.parent.is_dir():
        number = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
        raise OSError(number, os.strerror(number), str(path.parent))
    if path.is_symlink() and not path.exists():
        problem = "is a link that leads nowhere; mend it, or remove it"
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    if path.exists():
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            connection.execute("select name from sqlite_master").fetchone()


def make(uri: str, empty: Path | None = None) -> None:
    """Make an SQLite database that is not there, whole or not at all; a copy of `empty`, if given.

    MLflow can never again open one that was left half-made, as by a feeder that is killed.
    """
    path = address.file(uri)
    if path is None or os.path.lexists(path) or not path.parent.is_dir():
        return
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # of a feeder that was killed while making it
    new.with_name(f"{new.name}-journal").unlink(missing_ok=True)
    if empty is None:
        make_empty(new)
    else:
        shutil.copyfile(empty, new)
    if not path.exists():  # else a server of the user's own has made one meanwhile
        new.rename(path)


def make_empty(path: Path) -> Path:
    """Make an SQLite database of MLflow's without any runs; it takes about a second."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=address.sqlite(path)).search_experiments(max_results=1)
    return path
