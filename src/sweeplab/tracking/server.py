"""MLflow's UI: a server of its own for a database."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from sweeplab import config
from sweeplab.errors import UserError
from sweeplab.tracking import address, causes, database, library
from sweeplab.tracking.links import PORT, base_of

MOST_PORT = 65535
PORTS = f"must be a whole number from 0 to {MOST_PORT}; 0 takes any that is free"
TRIED_PORTS = 20


@contextmanager
def serve(uri: str, port: int = PORT, seconds: float = 90.0) -> Iterator[str]:
    """Serve this database on 127.0.0.1, at `port` or the next free one; yield the address.

    For an http(s) URI, or Databricks, that is the server itself, and nothing is started. Raises
    UserError if the server does not answer within `seconds`.
    """
    if address.served(uri) or address.databricks(address.checked(uri)):
        yield base_of(uri)
        return
    try:
        database.ensure_readable(uri)
    except (OSError, sqlite3.Error) as error:
        reason = causes.in_short(error, uri)
        raise UserError(f"{address.public(uri)} cannot be read: {reason}") from error
    port = _free_port(port)
    with tempfile.TemporaryFile() as log, _server(uri, port, log.fileno()) as process:
        deadline = time.monotonic() + seconds
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                where = address.public(uri)
                words = log.read().decode(errors="replace").replace(uri, where)
                problem = f"the MLflow server of {where} did not start"
                if cause := causes.known_cause(words, uri):
                    raise UserError(f"{problem}: {cause}")
                raise UserError(
                    "\n".join([f"{problem}; its last words:", *words.splitlines()[-10:]])
                )
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _server(uri: str, port: int, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an MLflow server, and end it with all that it has started."""
    environment = {
        **os.environ,
        **library.ENVIRONMENT,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,  # here, since arguments show in `ps`
        "MLFLOW_REGISTRY_STORE_URI": uri,
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # its last words are shown
    }
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(  # noqa: S603  # no shell, our own words
        [sys.executable, "-P", "-m", "mlflow", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        cwd=config.root(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(5)


def _healthy(port: int) -> bool:
    import http.client  # takes 50 ms

    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _free_port(first: int) -> int:
    """Return `first`, or the next free port; any for 0. Raises UserError if 20 are taken."""
    if not 0 <= first <= MOST_PORT:
        raise UserError(f"--port={first}: {PORTS}")
    for port in range(first, first + TRIED_PORTS):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return int(trial.getsockname()[1])
    last = first + TRIED_PORTS - 1
    raise UserError(f"ports {first} to {last} of 127.0.0.1 are all taken; give another one")
