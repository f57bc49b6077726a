"""Why MLflow did not do something, in one line."""

from __future__ import annotations

import re

from sweeplab import config
from sweeplab.tracking import address

CAUSES = (  # of what libraries wrap around them
    r"\[Errno -?\d+\] ([^')\"\]]+)",
    r"(?i)\b((?:read |connection )?timed out|Connection aborted|connection timeout expired)",
    r"failed with error code (401)\b",
    r"failed with error code (\d+ .*)",
    r"failed: ((?:FATAL|ERROR|[Cc]onnection refused).*)",
    r"(?m)^(?:.*[:(] ?)?\((?:[a-zA-Z_]\w*\.)+\w+\) (.+)",  # `(sqlite3.OperationalError) database is locked`
)
REFUSED = (
    "it refuses the user or the password; they come from the URI (http://USER:PASSWORD@HOST), or from "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
MOST = 400  # characters

_STATEMENT = re.compile(r"\[SQL: (?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")


def in_short(error: BaseException, uri: str) -> str:
    """The cause of an error in one line, without what is secret in the URI.

    Of a database's refusal the table is named: SQLAlchemy's first line tells of its own workings only.
    """
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = str(error).replace(uri, address.public(uri))
    known = next((match for pattern in CAUSES if (match := re.search(pattern, text))), None)
    line = next(iter((known[1] if known else text).splitlines()), "") or type(error).__name__
    if line == "401":
        return REFUSED
    table = _STATEMENT.search(text)
    where = f" (table {table[1]})" if table else ""
    return config.redact_text(line)[: MOST - len(where)] + where


def is_too_long(error: BaseException) -> bool:
    """Whether a database refused a text because of its length."""
    return re.search(r"value too long for type|Data too long for column|would be truncated", str(error)) is not None
