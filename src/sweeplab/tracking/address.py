"""Which MLflow: the tracking URI, and the file or the server behind it."""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

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
        return f"{sqlite(config.place(unquote(database[2])), database[1])}{database[3]}"
    if uri in DATABRICKS or _SCHEME.match(uri) or _HOST_AND_PORT.fullmatch(uri):
        return uri
    path = config.place(uri)
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


def artifact_location(uri: str, experiment: str) -> str | None:
    """Beside an SQLite database, for other databases in the root; a server or a plugin decides by itself."""
    if not database(uri):
        return None
    beside = folder(uri) or config.root()
    return (beside / "mlruns" / re.sub(r"[^\w.-]+", "_", experiment)).as_uri()
