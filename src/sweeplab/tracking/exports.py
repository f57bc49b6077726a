"""A command's tie to the process that carries its runs to further trackers than MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeplab import config
from sweeplab.console import counted
from sweeplab.store import Store
from sweeplab.tracking import exporting
from sweeplab.tracking.records import Node

PROGRAM = "from sweeplab.tracking.exporting import main; main()"


class Exports:
    """The process that carries the runs of a command; without exporters there is none."""

    def __init__(self, process: subprocess.Popen[str] | None, log: Path | None = None) -> None:
        self._process, self._log = process, log

    def finish(self) -> None:
        """Have the process end when it has carried what there is now."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdin = None

    def wait(self, seconds: float) -> str | None:
        """Wait until all is carried, at most so long; return what lags and why, a line a tracker."""
        self.finish()
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process = process
            limit = f"for up to {exporting.PATIENCE / 60:.0f} minutes more"
            return f"{exporting.KEY}: still at work, {limit}; what they print: {self._log}"
        if process.returncode != 0 or not output:  # a tracker may end the process
            return f"{exporting.KEY}: ended with exit code {process.returncode}; see {self._log}"
        return described(json.loads(output))

    def leave(self) -> None:
        """Leave the process to itself: it ends without us."""
        self.finish()
        if self._process is not None:
            self._process.returncode = 0  # it goes on without us, which Popen would warn of


@contextmanager
def exporting_runs(store: Store, tracking: config.Tracking, only: Node) -> Iterator[Exports]:
    """Carry runs to the exporters of the config meanwhile; `only` is as of `exporting.carry`."""
    process = _start(store, tracking, only) if tracking.exporters else None
    exports = Exports(process, store.root / exporting.LOG)
    try:
        yield exports
    finally:
        exports.leave()


def _start(store: Store, tracking: config.Tracking, only: Node) -> subprocess.Popen[str]:
    """Start the process, in a session of its own, so that Ctrl-C in the terminal spares it.

    What it is to do comes on stdin, since a command line shows in `ps`.
    """
    process = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
        encoding="utf-8",
    )
    order = {
        "store": str(store.root.resolve()),
        "root": str(config.root()),
        "path": [entry or str(config.root()) for entry in sys.path],
        "exporters": tracking.exporters,
        "only": only,
    }
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    return process


def described(lag: Mapping[str, Mapping[str, str]]) -> str | None:
    """Say what lags, a line for each tracker, with the first reason; None if nothing does."""
    lines = []
    for name, reasons in lag.items():
        reason = next(iter(reasons.values()))
        by = "" if "" in reasons else f" by {counted(len(reasons), 'run')}"
        lines.append(f"{exporting.KEY}.{name} lags behind{by}: {reason}")
    return "\n".join(lines) or None
