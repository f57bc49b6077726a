"""Why MLflow did not do something, in one line."""

from __future__ import annotations

import re

from sweeplab import config
from sweeplab.tracking import address

CAUSES = (  # as they stand in the texts of libraries that wrap them
    r"\[Errno -?\d+\] ([^')\"\]]+)",
    r"(?i)\b((?:read |connection )?timed out|Connection aborted|connection timeout expired)",
    r"failed with error code (401)\b",
    r"failed with error code (\d+ .*)",
    r"failed: ((?:FATAL|ERROR|[Cc]onnection refused).*)",
    # as in `(sqlite3.OperationalError) database is locked`
    r"(?m)^(?:.*[:(] ?)?\((?:[a-zA-Z_]\w*\.)+\w+\) (.+)",
)
REFUSED = (
    "it refuses the user or the password; they come from the URI (http://USER:PASSWORD@HOST), "
    "or from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
MOST = 400  # characters

_STATEMENT = re.compile(r"\[SQL: (?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_TOO_LONG = re.compile(r"value too long for type|Data too long for column|would be truncated")


def in_short(error: BaseException, uri: str) -> str:
    """Return the cause of an error in one line, without what is secret in the URI.

    A database's refusal names the table: SQLAlchemy's first line tells of its own workings only.
    """
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = str(error).replace(uri, address.public(uri))
    known = filter(None, (re.search(pattern, text) for pattern in CAUSES))
    cause = next((match[1] for match in known), text)
    line = next(iter(cause.splitlines()), "") or type(error).__name__
    if line == "401":
        return REFUSED
    table = _STATEMENT.search(text)
    where = f" (table {table[1]})" if table else ""
    return config.redact_text(line)[: MOST - len(where)] + where


def is_too_long(error: BaseException) -> bool:
    """Tell whether a database refused a text because of its length."""
    return _TOO_LONG.search(str(error)) is not None
