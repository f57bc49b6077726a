"""Why MLflow did not do something, in one line."""

from __future__ import annotations

import re

from sweeplab import config
from sweeplab.tracking import address

REFUSED = (
    "it refuses the user or the password; they come from the URI (http://USER:PASSWORD@HOST), "
    "or from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
NOT_ALLOWED = (
    "this user may not do that there (403); ask whoever runs the server for the permission EDIT on "
    "the experiment"
)
NOT_THERE = (
    "there is no MLflow at this address (404); as tracking.uri give that of its pages, up to the #"
)
PROXY = (
    "a proxy asks for user and password (407); give HTTPS_PROXY=http://USER:PASSWORD@HOST (or "
    "HTTP_PROXY), or name the server in NO_PROXY if it is reached without one"
)
PAGE = (
    "a page answers that is not MLflow's: one to sign in, a proxy's or another program's; as "
    "tracking.uri give the address of the MLflow server itself"
)
NO_HTTPS = "it does not speak https; give its address as http://"
NO_ANSWER = "it hangs up without an answer; if it speaks https, give its address as https://"
CERTIFICATE = (
    r"its certificate is not trusted (\1); give the file of its authority in "
    "MLFLOW_TRACKING_SERVER_CERT_PATH"
)
OTHER_VERSION = (
    r"its tables are of another version of MLflow (\1, and not \2); if that is an older one, "
    "mlflow db upgrade DATABASE brings them level: make a copy first"
)
ANSWERS = (  # what a server, a proxy or MLflow answers, and what is said of it
    (r"failed with error code 401 ", REFUSED),
    (r"error code 403 .*'(Invalid Host header)", r"\1 (403); start it with this name allowed"),
    (r"failed with error code 403 |^PERMISSION_DENIED: ", NOT_ALLOWED),
    (r"failed with error code 404 |^INTERNAL_ERROR: Response: {'detail': 'Not Found'}", NOT_THERE),
    (r"failed with error code 407 |Tunnel connection failed: 407 ", PROXY),
    (r"too many (50[234]) error", r"it does not run, or is slow: what is before it answers \1"),
    (r"too many (\d+) error|error code (\d+) !=", r"it answers \1\2; its own log says why"),
    (r"the response body was not in a valid JSON format", PAGE),
    (r"out-of-date database schema \(found version (\w+), but expected (\w+)\)", OTHER_VERSION),
    (r"WRONG_VERSION_NUMBER", NO_HTTPS),
    (r"CERTIFICATE_VERIFY_FAILED\][^:]*: ([^(]+?) \(", CERTIFICATE),
    # as a server says that finds no request where TLS was to begin
    (r"^API request to http:.*(RemoteDisconnected|Connection reset by peer)", NO_ANSWER),
)
CAUSES = (  # as they stand in the texts of libraries that wrap them
    r"\[Errno -?\d+\] ([^')\"\]]+)",
    r"(?i)\b((?:read |connection )?timed out|Connection aborted|connection timeout expired)",
    r"failed: ((?:FATAL|ERROR|[Cc]onnection refused).*)",
    # as in `(sqlite3.OperationalError) database is locked`
    r"(?m)^(?:.*[:(] ?)?\((?:[a-zA-Z_]\w*\.)+\w+\) (.+)",
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
    if answer := known_cause(text, uri):
        return answer
    known = filter(None, (re.search(pattern, text) for pattern in CAUSES))
    cause = next((match[1] for match in known), text)
    line = next(iter(cause.splitlines()), "") or type(error).__name__
    table = _STATEMENT.search(text)
    where = f" (table {table[1]})" if table else ""
    return config.redact_text(line)[: MOST - len(where)] + where


def known_cause(text: str, uri: str) -> str:
    """Return what is said of a text that a server, or MLflow, answers; '' of an unknown one."""
    for pattern, answer in ANSWERS:
        if match := re.search(pattern, text):
            return match.expand(answer).replace("DATABASE", address.public(uri))
    return ""


def is_too_long(error: BaseException) -> bool:
    """Tell whether a database refused a text because of its length."""
    return _TOO_LONG.search(str(error)) is not None
