"""A real PostgreSQL, and the MLflow server of deploy/serve on it; each on loopback, in a temporary folder."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

PROJECT = Path(__file__).parent.parent
ADMIN, PASSWORD = (
    "admin",
    "corr3ct-horse-battery",
)  # as deploy/serve names the user; nowhere but in these servers
OWNER, OWNERS_PASSWORD = "owner", "st4ple-of-the-owner"


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them off the PATH."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/postgres"), shutil.which("postgres")]
    return next((Path(path).resolve().parent for path in found if path), None)


def missing() -> str | None:
    """Why there can be no PostgreSQL."""
    if binaries() is None:
        return "no PostgreSQL: apt-get install postgresql"
    if os.geteuid() == 0 and not [user for user in pwd.getpwall() if user.pw_name == "postgres"]:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@dataclass
class Postgres:
    """A cluster of our own; `start` and `crash` may be called again and again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def _popen(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        home = binaries()
        assert home is not None
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [home / program, "-D", self.folder / "data", *words],
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **user,
            )  # fmt: skip

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(OWNERS_PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, "postgres", "postgres")
        words = (
            "-U",
            OWNER,
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        )
        assert self._popen("initdb", *words).wait(60) == 0, (self.folder / "log").read_text()

    def start(self) -> None:
        settings = (
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            f"unix_socket_directories={self.folder}",
        )
        words = [word for setting in settings for word in ("-c", setting)]
        self.process = self._popen("postgres", "-p", str(self.port), *words)
        until(self._answers, 30)

    def _answers(self) -> bool:
        import psycopg

        try:
            return self.query("postgres", "select 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    def crash(self) -> None:
        """End it as a power cut would: nothing is written down, clients are cut off."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def uri(self, database: str, password: str = OWNERS_PASSWORD) -> str:
        return f"postgresql://{OWNER}:{password}@127.0.0.1:{self.port}/{database}"

    def fresh(self, database: str) -> str:
        self.query("postgres", f'create database "{database}"')
        return self.uri(database)

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        import psycopg

        return psycopg.connect(self.uri(database), autocommit=True)

    def query(self, database: str, text: str) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            done = connection.execute(text.encode())
            return done.fetchall() if done.description else []


@contextmanager
def postgresql() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, into which no other user may look
        cluster = Postgres(Path(folder), free_port())
        cluster.make()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.crash()


@dataclass
class Server:
    """`deploy/serve` on a database; its processes are a group of their own."""

    database: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, password: str = PASSWORD) -> str:
        return self.address.replace("//", f"//{ADMIN}:{password}@")

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_BACKEND_STORE_URI": self.database,
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "any text of this test",
            "PORT": str(self.port),
        }

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROJECT / "deploy" / "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self.environment,
                start_new_session=True,
            )  # fmt: skip
        until(lambda: self.get("/health")[0] == 200, 90)

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """(status, body); (0, b"") if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(30)


@contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[Server]:
    server = Server(database, folder, free_port())
    try:
        server.start()
        yield server
    finally:
        server.kill()
