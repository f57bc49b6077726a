"""What is said of servers that do not answer as MLflow does: what it is, and what to do."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sweeplab.store import Store
from sweeplab.tracking import causes
from sweeplab.tracking.connection import AwayError, Connection

PAGE = "<!DOCTYPE html>\n<html><body>Sign in</body></html>"


@contextmanager
def server(status: int, body: str, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers everything so; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_CONNECT = do_GET  # noqa: N815  # as the base class names them

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        if context is not None:
            httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd.server_address[1]
        httpd.shutdown()


@pytest.fixture
def certified(tmp_path: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody trusts."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command = ["openssl", *words, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture
def cause(home: Store) -> Callable[[str], str]:
    """Connect, and return what is said after the address."""

    def connect(uri: str) -> str:
        with pytest.raises(AwayError) as error:
            Connection(home, uri).check()
        text = str(error.value)
        assert "\n" not in text
        assert text.startswith(f"MLflow at {uri} cannot be reached: ")
        return text.partition("cannot be reached: ")[2]

    return connect


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "You are not authenticated.", causes.REFUSED),
        (403, "Permission denied", causes.NOT_ALLOWED),
        (403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "no"}), causes.NOT_ALLOWED),
        (
            403,
            "Invalid Host header - possible DNS rebinding attack detected",
            "Invalid Host header (403); start it with this name allowed",
        ),
        (404, PAGE, causes.NOT_THERE),
        (404, json.dumps({"detail": "Not Found"}), causes.NOT_THERE),
        (
            404,
            json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No Experiment"}),
            "RESOURCE_DOES_NOT_EXIST: No Experiment",
        ),
        (407, PAGE, causes.PROXY),
        (200, PAGE, causes.PAGE),
        (413, PAGE, "it answers 413; its own log says why"),
        (500, PAGE, "it answers 500; its own log says why"),
        (502, PAGE, "it does not run, or is slow: what is before it answers 502"),
    ],
)
def test_an_answer_that_is_not_mlflows_is_one_line_with_what_to_do(
    status: int, body: str, said: str, cause: Callable[[str], str]
) -> None:
    with server(status, body) as port:
        assert cause(f"http://127.0.0.1:{port}") == said


def test_a_server_asked_in_the_wrong_scheme_is_named_with_the_right_one(
    certified: ssl.SSLContext, cause: Callable[[str], str]
) -> None:
    with server(200, PAGE) as port:
        assert cause(f"https://127.0.0.1:{port}") == causes.NO_HTTPS
    with server(200, PAGE, certified) as port:
        assert cause(f"http://127.0.0.1:{port}") == causes.NO_ANSWER
        assert cause(f"https://127.0.0.1:{port}") == (
            "its certificate is not trusted (self-signed certificate); give the file of its "
            "authority in MLFLOW_TRACKING_SERVER_CERT_PATH"
        )


def test_a_proxy_that_asks_for_a_password_is_told_from_the_server(
    cause: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(407, PAGE) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert cause("https://mlflow.example.org") == causes.PROXY


def test_tables_of_another_version_are_told_with_the_command_that_brings_them_level() -> None:
    said = (
        "Detected out-of-date database schema (found version ab12, but expected cd34). Take a "
        "backup of your database, then run 'mlflow db upgrade <database_uri>'"
    )
    assert causes.in_short(RuntimeError(said), "sqlite:////x/m.db") == (
        "its tables are of another version of MLflow (ab12, and not cd34); if that is an older "
        "one, mlflow db upgrade sqlite:////x/m.db brings them level: make a copy first"
    )
