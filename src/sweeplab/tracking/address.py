"""Which MLflow: the tracking URI, and the file or the server behind it."""

from __future__ import annotations

import hashlib
import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

from sweeplab import config
from sweeplab.errors import UserError

DEFAULT_EXPERIMENT = "sweeplab"
DATABRICKS = ("databricks", "databricks-uc", "uc")  # MLflow takes these without `://`, too

_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):")
_DATABASE = re.compile(r"(?:sqlite|postgresql|mysql|mssql)(?:\+\w+)?:")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}/?")  # of a server, whose `http://` was left out
_FILES = (".db", ".sqlite", ".sqlite3")  # endings of a database's path without `sqlite:///`


def resolve_uri(tracking: config.Tracking) -> str:
    """Return `tracking.uri`, else MLFLOW_TRACKING_URI, else an SQLite file in the root.

    A relative path is the root's.
    """
    return resolved(tracking.uri)


def resolved(uri: str | None) -> str:
    """Return what MLflow is told: a path is made absolute, all else stays as it is."""
    uri = (uri or os.environ.get("MLFLOW_TRACKING_URI") or "").strip() or "sqlite:///mlflow.db"
    if match := _SQLITE.fullmatch(uri):
        prefix, path, query = match.groups()
        return f"{sqlite(config.absolute(unquote(path)), prefix)}{query}"
    if uri in DATABRICKS or _SCHEME.match(uri) or _HOST_AND_PORT.fullmatch(uri):
        return uri
    file = config.absolute(uri)
    return sqlite(file) if file.suffix in _FILES else str(file)


def sqlite(path: Path, prefix: str = "sqlite:///") -> str:
    """Return the URI of an SQLite file; only what SQLAlchemy would misread is quoted.

    Behind `sqlite:///`, and no other prefix, MLflow makes the folder that the text names, quoted as
    it is.
    """
    text = str(path).replace("%", "%25").replace("?", "%3F")
    if text != str(path) and prefix == "sqlite:///":
        prefix = "sqlite+pysqlite:///"
    return prefix + text


def experiment_name(tracking: config.Tracking) -> str:
    """Return the name of the experiment to track under."""
    return tracking.experiment or DEFAULT_EXPERIMENT


def public(uri: str) -> str:
    """Return the URI without its secrets, as it may be written down."""
    return config.redact_uri(uri).partition("?")[0]


def served(uri: str) -> bool:
    """Tell whether it is the address of an MLflow server."""
    return uri.startswith(("http://", "https://"))


def database(uri: str) -> bool:
    """Tell whether it is the address of a database."""
    return _DATABASE.match(uri) is not None


def databricks(uri: str) -> bool:
    """Tell whether it is a workspace of Databricks, which has a page of its own."""
    return uri.partition(":")[0] in DATABRICKS


def has_page(uri: str) -> bool:
    """Tell whether it has a page of its own, without `sweeplab ui`."""
    return served(uri) or databricks(uri)


def checked(uri: str) -> str:
    """Return the URI if MLflow can use it.

    Raises UserError if MLflow knows no such scheme, a database has no file, or PostgreSQL's driver
    is not installed: unlike a server's absence, none of it passes by itself.
    """
    if _HOST_AND_PORT.fullmatch(uri):
        raise UserError(f"tracking.uri={uri}: what kind of server? give tracking.uri=http://{uri}")
    if uri.startswith("sqlite") and file(uri) is None:
        raise UserError(f"tracking.uri={public(uri)}: names no file; give sqlite:///mlflow.db")
    if _is_folder(uri) and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in (
        "true",
        "1",
    ):
        reason = "MLflow keeps its runs in no folder any more"
        raise UserError(f"tracking.uri={public(uri)}: {reason}; give sqlite:///mlflow.db")
    if not _is_known(uri):
        raise UserError(
            f"tracking.uri={public(uri)}: MLflow has no such kind of store, and no plugin brings it"
            "; give http(s)://, sqlite:///, postgresql://, mysql://, mssql:// or databricks"
        )
    if re.match(r"postgresql(\+psycopg)?://", uri) and find_spec("psycopg") is None:
        install = "pip install 'sweeplab[server]'"
        raise UserError(f"tracking.uri=postgresql://...: psycopg is not installed: {install}")
    return uri


def ensure_writable(uri: str) -> None:
    """Raise UserError for an SQLite file that can be neither made nor written here."""
    path = file(uri)
    if path is None:
        return
    try:
        parent = next(folder for folder in path.parents if folder.exists())
        why = _why_unwritable(path, parent)
    except OSError as error:  # a name that is too long, say
        why = f"{path}: {error.strerror}"
    if why:
        advice = "give another place, as in tracking.uri=sqlite:///$HOME/mlflow.db, or tracking=off"
        raise UserError(f"tracking.uri={public(uri)}: {why}; {advice}")


def _why_unwritable(path: Path, parent: Path) -> str:
    """Say why a file cannot be written; '' if it can. `parent` is its nearest folder there is."""
    if not parent.is_dir():
        return f"{parent} is not a folder"
    if path.is_dir():
        return f"{path} is a folder"
    # SQLite puts its journal beside the file.
    places = [path, parent] if path.exists() else [parent]
    if locked := [place for place in places if not os.access(place, os.W_OK)]:
        return f"{locked[0]} cannot be written"
    return ""


def _is_folder(uri: str) -> bool:
    scheme = _SCHEME.match(uri)
    return scheme[1] == "file" if scheme else not databricks(uri)


def _is_known(uri: str) -> bool:
    """Tell whether MLflow, or a plugin of it, has a store for this kind of URI."""
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1] == "file" or served(uri) or database(uri) or databricks(uri):
        return True
    from importlib.metadata import entry_points  # loads what takes 20 ms

    return bool(entry_points(group="mlflow.tracking_store", name=scheme[1]))


def file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for another URI."""
    path = _SQLITE.match(uri)
    return Path(unquote(path[2])) if path else None


NAME_LENGTH = 80  # characters of a folder's name; file systems hold 255 bytes, up to 3 a character
SHORTEST = 16  # the digest alone
LOCATION_LENGTH = 200 - len(f"/{'0' * 32}/artifacts")
"""Characters of an experiment's artifact location; MLflow's tables hold 200 with a run's folder."""


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return where an experiment is to keep its files; None where a server or a plugin decides.

    They lie beside an SQLite database, and for other databases in the root. Raises UserError if the
    location is too long for a database other than SQLite, which holds any.
    """
    if not database(uri):
        return None
    path = file(uri)
    if path is not None:
        return file_uri(path.parent / "mlruns" / _folder_name(experiment, NAME_LENGTH))
    mlruns = config.root() / "mlruns"
    room = LOCATION_LENGTH - len(file_uri(mlruns / "x")) + 1
    length = max(min(NAME_LENGTH, room), SHORTEST)
    location = file_uri(mlruns / _folder_name(experiment, length))
    if len(location) > LOCATION_LENGTH:
        raise too_long(location)
    return location


def too_long(location: str) -> UserError:
    """Return an error which says that an artifact location is too long for the database."""
    return UserError(
        f"where its files lie is too long for MLflow's database, which holds {LOCATION_LENGTH} "
        "characters: make the experiment at a shorter place (mlflow experiments create -n NAME "
        f"-l file:///PLACE); {location}"
    )


def _folder_name(experiment: str, most: int) -> str:
    """Name the folder of an experiment; what is too long ends in a digest."""
    name = re.sub(r"[^\w.-]+", "_", experiment)
    if not name.strip("."):  # `..` leads elsewhere
        name = ""
    elif len(name) <= most:
        return name
    digest = hashlib.sha256(experiment.encode(errors="replace")).hexdigest()
    return name[: most - SHORTEST] + digest[:SHORTEST]


def file_uri(path: Path) -> str:
    """Return the path as `file://`, with letters of any script as they are.

    Quoted, such a letter would take nine characters of the column.
    """

    def quoted(match: re.Match[str]) -> str:
        return quote(os.fsencode(match[0]))

    return "file://" + re.sub(r"[\0-\x7f\ud800-\udfff]+", quoted, str(path))
