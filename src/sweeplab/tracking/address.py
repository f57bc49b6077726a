"""Which MLflow: the tracking URI, and the file or the server behind it."""

from __future__ import annotations

import hashlib
import os
import re
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

from sweeplab import config
from sweeplab.errors import UserError

DEFAULT_EXPERIMENT = "sweeplab"
DATABRICKS = ("databricks", "databricks-uc", "uc")  # the only ones that MLflow takes without `://`, too

_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):")
_DATABASE = re.compile(r"(?:sqlite|postgresql|mysql|mssql)(?:\+\w+)?:")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}/?")  # of a server, whose `http://` was left out
_FILES = (".db", ".sqlite", ".sqlite3")  # what a path ends in that is a database's, without `sqlite:///`


def resolve_uri(tracking: config.Tracking) -> str:
    """`tracking.uri`, else MLFLOW_TRACKING_URI, else an SQLite file in the root; relative paths are the root's."""
    return resolved(tracking.uri)


def resolved(given: str | None) -> str:
    """What MLflow is told: a scheme of its own, of a database or of a plugin as it is, a path made absolute."""
    uri = (given or os.environ.get("MLFLOW_TRACKING_URI") or "").strip() or "sqlite:///mlflow.db"
    database = _SQLITE.fullmatch(uri)
    if database:
        return f"{sqlite(config.absolute(unquote(database[2])), database[1])}{database[3]}"
    if uri in DATABRICKS or _SCHEME.match(uri) or _HOST_AND_PORT.fullmatch(uri):
        return uri
    path = config.absolute(uri)
    return sqlite(path) if path.suffix in _FILES else str(path)


def sqlite(path: Path, prefix: str = "sqlite:///") -> str:
    """The URI of an SQLite file: what SQLAlchemy would read otherwise is quoted, all else stays readable.

    Behind `sqlite:///`, and no other prefix, MLflow makes the folder that the text names, quoted as it is.
    """
    text = str(path).replace("%", "%25").replace("?", "%3F")
    plain = text == str(path) or prefix != "sqlite:///"
    return f"{prefix if plain else 'sqlite+pysqlite:///'}{text}"


def experiment_name(tracking: config.Tracking) -> str:
    return tracking.experiment or DEFAULT_EXPERIMENT


def public(uri: str) -> str:
    """The URI as it may be written down."""
    return config.redact_uri(uri).partition("?")[0]


def served(uri: str) -> bool:
    """Whether it is the address of an MLflow server, and not of a database."""
    return uri.startswith(("http://", "https://"))


def database(uri: str) -> bool:
    """Whether it is the address of a database."""
    return _DATABASE.match(uri) is not None


def databricks(uri: str) -> bool:
    """Whether it is a workspace of Databricks, which has a page of its own."""
    return uri.partition(":")[0] in DATABRICKS


def has_page(uri: str) -> bool:
    """Whether there is a page for what is tracked there without `sweeplab ui`."""
    return served(uri) or databricks(uri)


def checked(uri: str) -> str:
    """The same; UserError if MLflow knows no such scheme, if a database has no file, or if what talks to PostgreSQL is
    not installed: none of it passes as a server's absence does.
    """
    if _HOST_AND_PORT.fullmatch(uri):
        raise UserError(f"tracking.uri={uri}: what kind of server? give tracking.uri=http://{uri}")
    if uri.startswith("sqlite") and file(uri) is None:
        raise UserError(f"tracking.uri={public(uri)}: names no file; give sqlite:///mlflow.db")
    scheme = _SCHEME.match(uri)
    known = served(uri) or database(uri) or databricks(uri) or scheme is None or scheme[1] == "file"
    if not known and not entry_points(group="mlflow.tracking_store", name=scheme[1] if scheme else ""):
        raise UserError(
            f"tracking.uri={public(uri)}: MLflow has no such kind of store, and no plugin brings it; "
            "give http(s)://, sqlite:///, postgresql://, mysql://, mssql:// or databricks"
        )
    if re.match(r"postgresql(\+psycopg)?://", uri) and find_spec("psycopg") is None:
        raise UserError("tracking.uri=postgresql://...: psycopg is not installed: pip install 'sweeplab[server]'")
    return uri


def file(uri: str) -> Path | None:
    """The file of an SQLite database; None of another URI."""
    path = _SQLITE.match(uri)
    return Path(unquote(path[2])) if path else None


def folder(uri: str) -> Path | None:
    """Where an SQLite database lies; None of another URI."""
    found = file(uri)
    return None if found is None else found.parent


NAME_LENGTH = 80  # characters of a folder; file systems hold 255 bytes, and a character may have three
SHORTEST = 16  # the digest alone
LOCATION_LENGTH = 200 - len(f"/{'0' * 32}/artifacts")
"""Characters of where an experiment keeps its files: with a run's id behind it, MLflow's tables hold 200."""


def artifact_location(uri: str, experiment: str) -> str | None:
    """Beside an SQLite database, for other databases in the root; a server or a plugin decides by itself.

    Raises UserError if it is too long for a database other than SQLite, which holds any.
    """
    if not database(uri):
        return None
    beside = folder(uri)
    place = (beside or config.root()) / "mlruns"
    room = NAME_LENGTH if beside else min(NAME_LENGTH, LOCATION_LENGTH - len(file_uri(place / "x")) + 1)
    location = file_uri(place / _folder_name(experiment, max(room, SHORTEST)))
    if beside is None and len(location) > LOCATION_LENGTH:
        raise too_long(location)
    return location


def too_long(location: str) -> UserError:
    return UserError(
        f"where its files lie is too long for MLflow's database, which holds {LOCATION_LENGTH} characters: make the "
        f"experiment at a shorter place (mlflow experiments create -n NAME -l file:///PLACE); {location}"
    )


def _folder_name(experiment: str, most: int) -> str:
    """The experiment as a folder; what is too long ends in a digest."""
    name = re.sub(r"[^\w.-]+", "_", experiment)
    if name.strip("."):
        if len(name) <= most:
            return name
    else:  # `..` leads elsewhere
        name = ""
    return name[: most - SHORTEST] + hashlib.sha256(experiment.encode(errors="replace")).hexdigest()[:SHORTEST]


def file_uri(path: Path) -> str:
    """The path as `file://`, letters of any script as they are: quoted, one takes nine characters of the column."""
    return "file://" + re.sub(r"[\0-\x7f\ud800-\udfff]+", lambda part: quote(os.fsencode(part[0])), str(path))
