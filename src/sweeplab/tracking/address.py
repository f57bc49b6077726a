"""Which MLflow: the tracking URI, and the file or the server behind it."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from sweeplab import config
from sweeplab.errors import UserError

DEFAULT_EXPERIMENT = "sweeplab"


def resolve_uri(tracking: config.Tracking) -> str:
    """`tracking.uri`, else MLFLOW_TRACKING_URI, else an SQLite file in the root; relative paths are the root's."""
    return resolved(tracking.uri)


def resolved(given: str | None) -> str:
    root = config.root()
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)", uri)
    if database:
        return f"{database[1]}{root / database[2]}{database[3]}"
    return uri if re.match(r"[\w+]+:", uri) else str(root / uri)


def experiment_name(tracking: config.Tracking) -> str:
    return tracking.experiment or DEFAULT_EXPERIMENT


def public(uri: str) -> str:
    """The URI as it may be written down."""
    return config.redact_uri(uri).partition("?")[0]


def served(uri: str) -> bool:
    """Whether it is the address of an MLflow server, and not of a database."""
    return uri.startswith(("http://", "https://"))


def checked(uri: str) -> str:
    """The same; UserError if what talks to PostgreSQL is not installed, which does not pass as an absence does."""
    if re.match(r"postgresql(\+psycopg)?://", uri) and find_spec("psycopg") is None:
        raise UserError("tracking.uri=postgresql://...: psycopg is not installed: pip install 'sweeplab[server]'")
    return uri


def file(uri: str) -> Path | None:
    """The file of an SQLite database; None of another URI."""
    path = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(unquote(path[1])) if path else None


def folder(uri: str) -> Path | None:
    """Where an SQLite database lies; None of another URI."""
    found = file(uri)
    return None if found is None else found.parent


def artifact_location(uri: str, experiment: str) -> str | None:
    """Beside an SQLite database, for other databases in the root; a server decides by itself."""
    if served(uri):
        return None
    beside = folder(uri) or config.root()
    return (beside / "mlruns" / re.sub(r"[^\w.-]+", "_", experiment)).as_uri()
