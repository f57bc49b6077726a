"""Start the fork server of a sweep.

This is a module of its own, so that the server can load PyTorch while the launcher does the same.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

PROGRAM = "from sweeplab.sweep.server import main; main()"
"""Not `-m`: the launcher sends classes of the module `sweeplab.sweep.server`, not of `__main__`."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A server and the launcher's end of its socket; it ends when that is closed."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def close(self) -> None:
        """End the server, and so its jobs."""
        self.connection.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start() -> Fork:
    """Start a server without waiting the seconds until it can take its first job."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal is the launcher's to handle
        )
    connection = Connection(ours.detach())
    connection.send(sys.path)
    return Fork(process, connection)
