"""The feeder: carries the journals of a store into MLflow, in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from filelock import FileLock, Timeout

from sweeplab import console, store
from sweeplab.tracking import address, database, library, records
from sweeplab.tracking.check import CheckedView
from sweeplab.tracking.connection import AwayError
from sweeplab.tracking.creation import NoParentError
from sweeplab.tracking.goals import TrackedRun
from sweeplab.tracking.records import Node
from sweeplab.tracking.view import View
from sweeplab.tracking.writer import Writer

# A new database is written hundreds of times over, and would wait for a disk.
MEMORY = "/dev/shm"  # noqa: S108  # in a private folder
PAUSE, LONGEST_PAUSE = 1.0, 5.0  # seconds between two looks at the store; with the server away
WAKE = signal.SIGCONT  # which does nothing to a process that does not ask for it
GRACE = 4.0  # seconds to drain in after the last client has gone


class Feeder:
    """Looks at the store again and again, and brings MLflow up to date with it."""

    def __init__(
        self,
        home: store.Store,
        uri: str,
        lock: FileLock,
        *,
        log: bool = True,
        whole: bool = False,
        asked: int | None = None,
    ) -> None:
        """Prepare to feed; requests up to `asked` need no answer, None: up to the latest one."""
        self.store: store.Store = home
        self.uri: str = uri
        self.writer: Writer = Writer(home, uri)
        self.checked: CheckedView = CheckedView(
            View(home, uri), self.writer.connection, whole=whole
        )
        if asked is not None:
            self.checked.asked = asked
        self._lock, self._log = lock, log
        self._answered = self.checked.asked  # the latest request for which MLflow has been checked
        self._clients_left = threading.Event()
        # No Event: a signal handler that sets one may deadlock on its lock.
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        self._state: Node = {}

    def report(self, error: str | None = None, lag: Mapping[str, str] | None = None) -> None:
        """Tell the clients, by a file, what stands in the way."""
        state: Node = {
            "pid": os.getpid(),
            "host": platform.node(),
            "uri": address.public(self.uri),
            "error": error,
            "lag": dict(lag or {}),
            "checked": self._answered,
        }
        if state != self._state:
            file = records.state_file(self.store)
            store.remove_leftovers(file.parent, f".{file.name}.*")
            store.write_json(file, state, lasting=False)
            if self._log:
                print(time.strftime("%F %T"), error or lag or "at work", flush=True)
        self._state = state

    def once(
        self,
        *,
        has_clients: bool = True,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> bool | None:
        """Go through the store once, and feed what is behind.

        Return whether nothing was left to do; None if something cannot be done now.
        """
        try:
            jobs = self.checked.jobs(has_clients=has_clients)
            lag = self._feed(jobs, progress)
        except AwayError as error:
            self.report(str(error))
            return None
        self._answered = self.checked.asked
        self.report(lag=lag)
        return None if lag else not jobs

    def _feed(
        self,
        jobs: Sequence[TrackedRun],
        progress: Callable[[int, int], None],
    ) -> dict[str, str]:
        """Feed all jobs; return what went wrong, by the id of the run or sweep."""
        lag = self.checked.view.damaged
        for number, job in enumerate(jobs, start=1):
            if refusal := self.checked.refused.get(job.experiment):
                lag[job.source.id] = refusal
                continue
            try:
                self.writer.feed(job)
                self.checked.note_created(job)
            except Exception as error:  # one run's trouble must not stop the others
                reason = self.writer.failed(job, error)
                if isinstance(error, NoParentError):
                    reason = lag.get(error.sweep_id, reason)  # why there is no parent
                if reason is not None:
                    lag[job.source.id] = reason
            progress(number, len(jobs))
        return lag

    def run(self) -> None:
        """Feed while there are clients; then drain, mark what died, and leave."""
        threading.Thread(target=self._watch, daemon=True).start()
        self.report()
        try:  # importing mlflow takes seconds, and so does a server that is silent
            self.writer.connection.check()
        except AwayError as error:
            self.report(str(error))
        pause = PAUSE
        while self.store.root.exists():
            has_clients = not self._clients_left.is_set()
            is_up_to_date = self.once(has_clients=has_clients)
            is_away = self._state["error"] is not None
            if not has_clients and (is_up_to_date or is_away) and self._leave():
                return
            pause = min(2 * pause, LONGEST_PAUSE) if is_up_to_date is None else PAUSE
            if has_clients:
                self._rest(max(pause, 10 * self.checked.seconds))
            elif is_up_to_date is None:
                time.sleep(PAUSE)

    def wake(self) -> None:
        """Look at the store now: somebody waits. A signal handler may call it."""
        self._wake_ups.put(None)

    def _rest(self, seconds: float) -> None:
        """Rest so long, or until somebody wakes the feeder."""
        with suppress(Empty):
            self._wake_ups.get(timeout=seconds)
            while True:
                self._wake_ups.get_nowait()

    def _watch(self) -> None:
        """Notice when the last client goes.

        A feeder that cannot drain in time then leaves as it is: any later one goes on.
        """
        left_at: float | None = None
        while True:
            time.sleep(0.25)
            if records.has_clients(self.store):
                left_at = None
                self._clients_left.clear()
                continue
            left_at = left_at or time.monotonic()
            self._clients_left.set()
            self.wake()
            if time.monotonic() - left_at > GRACE and self._leave():
                os._exit(0)

    def _leave(self) -> bool:
        """Give the feeder's lock back while no client can come; return False if one has come."""
        with records.hold_clients_off(self.store) as is_deserted:
            if is_deserted:
                self._lock.release()
            return is_deserted


def set_priority(process: int, level: int = 10) -> None:
    """Lower a process's priority, so that it never preempts a training thread.

    Threads that train wait for one another, so all wait when one has lost its core. `level` is as
    of nice, but of an autogroup: Linux shares the cores between these first, and a feeder has one
    of its own.
    """
    with suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(level), encoding="utf-8")


def main() -> None:
    """Load MLflow, and feed the store that a line on stdin names, if one comes.

    The line is JSON: `store`, `uri`, `root`. It comes on stdin, because a command line shows in
    `ps`. With the argument `fresh`, an empty database is made meanwhile, too, to be copied to
    where there is none.
    """
    console.start_streams(encoding="utf-8")  # its log
    order = _await_order()
    if not order:
        return
    home, os.environ["SWEEPLAB_ROOT"] = store.Store(order["store"]), order["root"]
    with (home.root / "feeder.log").open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    # The watching thread may give the lock back.
    lock = FileLock(records.lock_file(home), thread_local=False)
    # Read before the lock is taken: whoever finds it taken makes a request, which is answered.
    asked = records.asked(home)
    try:
        lock.acquire(timeout=1)  # a client that looks at the lock holds it for less
    except Timeout:
        return
    feeder = Feeder(home, order["uri"], lock, asked=asked)
    signal.signal(WAKE, lambda *_: feeder.wake())
    feeder.run()


def _await_order() -> dict[str, str]:
    """Load MLflow, and wait for the order what to feed; empty if none comes."""
    library.quieten()
    # MLflow does without pandas, and is loaded a third of a second sooner.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    # This takes a second, in which the process that asks for it loads PyTorch.
    import mlflow.store.tracking.sqlalchemy_store

    del mlflow
    folder = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sweeplab-", dir=folder) as scratch:
        empty = database.make_empty(Path(scratch) / "mlflow.db") if "fresh" in sys.argv else None
        order: dict[str, str] = json.loads(sys.stdin.readline() or "{}")
        if order:
            os.nice(10)  # where there are no autogroups
            set_priority(os.getpid())
        if order and empty:
            with database.alone_at(order["uri"]):
                database.make(order["uri"], empty)
    return order
