"""The feeder: carries the journals of a store into MLflow, in a process of its own beside training."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from filelock import FileLock, Timeout

from sweeplab import console, store
from sweeplab.tracking import address, database, library, records
from sweeplab.tracking.check import check
from sweeplab.tracking.records import Node
from sweeplab.tracking.view import Job, View
from sweeplab.tracking.writer import AwayError, Writer

MEMORY = "/dev/shm"  # noqa: S108  # a private folder in it; a new database is written hundreds of times over, and waits
PAUSE, LONGEST_PAUSE = 1.0, 5.0  # seconds between two looks at the store; with the server away
WAKE = signal.SIGCONT  # which does nothing to a process that does not ask for it
GRACE = 4.0  # seconds to drain in after the last client has gone


class Feeder:
    """Looks at the store again and again, and brings MLflow level."""

    def __init__(self, folder: store.Store, uri: str, lock: FileLock, *, log: bool = True, whole: bool = False) -> None:
        self.store, self.uri, self._lock, self._log = folder, uri, lock, log
        self.view, self.writer = View(folder, uri), Writer(folder, uri)
        self._alone = threading.Event()
        self._woken: SimpleQueue[None] = SimpleQueue()  # no Event: a signal handler that sets one may wait for itself
        self._idle = False
        self._look = 0.0  # seconds that the last look at the store took
        self._state: Node = {}
        self._whole = whole  # whether all that MLflow has is looked at, or of each experiment the latest runs
        self._asked = self._checked = records.asked(folder)

    def report(self, error: str | None = None, lag: Mapping[str, str] | None = None) -> None:
        """Tell the clients, by a file, what stands in the way."""
        state: Node = {"pid": os.getpid(), "uri": address.public(self.uri), "error": error, "lag": dict(lag or {})}
        state["checked"] = self._checked
        if state != self._state:
            file = records.state_file(self.store)
            store.remove_leftovers(file.parent, f".{file.name}.*")
            store.write_json(file, state)
            if self._log:
                print(time.strftime("%F %T"), error or lag or "at work", flush=True)
        self._state = state

    def once(self, *, alone: bool = False, done: Callable[[int, int], None] = lambda *_: None) -> bool | None:
        """One pass over the store; whether nothing was left to do, None if something cannot be done now."""
        try:
            lag = self._pass(alone, done)
        except AwayError as error:
            self.report(str(error))
            return None
        self._checked = self._asked
        self.report(lag=lag)
        return None if lag else self._idle

    def look(self) -> None:
        """Correct the records by what MLflow has, without feeding anything."""
        with suppress(AwayError):
            self._jobs(alone=False)

    def _pass(self, alone: bool, done: Callable[[int, int], None]) -> dict[str, str]:
        """Feed all that is not level; run or sweep id -> what went wrong."""
        jobs = self._jobs(alone)
        self._idle, lag = not jobs, dict(self.view.damaged)
        self.writer.existing.expect(jobs)
        for number, job in enumerate(jobs, start=1):
            try:
                self.writer.feed(job)
                self._seen(job)
            except Exception as error:  # one run's trouble, of whatever kind, must not stop the others
                if (reason := self.writer.failed(job, error)) is not None:
                    lag[job.id] = reason
            done(number, len(jobs))
        return lag

    def _seen(self, job: Job) -> None:
        """Note which experiment the records are of; a new one of the same name makes older records void."""
        if self.view.created.get(job.experiment) != job.entry["created"]:
            self.view.created[job.experiment] = job.entry["created"]
            self.view.unsettle()

    def _jobs(self, alone: bool) -> list[Job]:
        """What the store asks for, its records checked against the server the first time an experiment is seen.

        And whenever somebody asks for it, as `sync` does.
        """
        if self._asked != (asked := records.asked(self.store)):
            self._asked, self._whole = asked, True
            self.view.created.clear()
        began = time.monotonic()
        jobs = self.view.jobs(alone=alone)
        self._look = time.monotonic() - began
        unknown = self.view.experiments - self.view.created.keys()
        for experiment in unknown:
            try:
                self.view.created[experiment] = self.writer.created(experiment)
                check(self.writer.client, self.view, experiment, whole=self._whole)
            except Exception as error:
                self.view.created.pop(experiment, None)  # its records are still to be checked
                self.writer.check()
                raise AwayError(self.writer.told(error)) from error  # it is back already
        if unknown:
            self.view.unsettle()
            jobs = self.view.jobs(alone=alone)
        return jobs

    def run(self) -> None:
        """Feed while there are clients; then drain, mark what died, and leave."""
        threading.Thread(target=self._watch, daemon=True).start()
        self.report()
        try:  # importing mlflow and opening the store takes seconds, as does a server that does not answer
            self.writer.check()
        except AwayError as error:
            self.report(str(error))
        pause = PAUSE
        while self.store.root.exists():
            alone = self._alone.is_set()
            level = self.once(alone=alone)
            away = self._state["error"] is not None
            if alone and (level or away) and self._leave():
                return
            pause = min(2 * pause, LONGEST_PAUSE) if level is None else PAUSE
            if not alone:
                self._rest(max(pause, 10 * self._look))
            elif level is None:
                time.sleep(PAUSE)

    def wake(self) -> None:
        """Look at the store now: somebody waits. A signal handler may call it."""
        self._woken.put(None)

    def _rest(self, seconds: float) -> None:
        """So long, or until somebody wakes it."""
        with suppress(Empty):
            self._woken.get(timeout=seconds)
            while True:
                self._woken.get_nowait()

    def _watch(self) -> None:
        """See the last client go; a feeder that cannot drain in time then leaves as it is: any later one goes on."""
        since: float | None = None
        while True:
            time.sleep(0.25)
            if not records.nobody(self.store):
                since = None
                self._alone.clear()
                continue
            since = since or time.monotonic()
            self._alone.set()
            self.wake()
            if time.monotonic() - since > GRACE and self._leave():
                os._exit(0)

    def _leave(self) -> bool:
        """Give the feeder's lock back while no client can come; False if one has come."""
        return records.nobody(self.store, self._lock.release)


def give_way(process: int, level: int = 10) -> None:
    """Let what trains go before this feeder: its threads wait for one another, so all wait when one has lost its core.

    `level` as of nice, of an autogroup: Linux shares the cores between these first, and a feeder has one of its own.
    """
    with suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(level), encoding="utf-8")


def main() -> None:
    """Loads MLflow, and feeds the store that a line on stdin names, if one comes.

    The line is JSON: `store`, `uri`, `root`. On stdin, because a command line shows in `ps`. With the argument `fresh`,
    an empty database is made meanwhile, too, to be copied to where there is none.
    """
    console.start_streams(encoding="utf-8")  # its log
    library.quieten()
    sys.modules["pandas"] = None  # type: ignore[assignment]  # MLflow does without, and is there a third of a second sooner
    import mlflow.store.tracking.sqlalchemy_store  # takes a second, in which who asks for it loads PyTorch

    del mlflow
    with tempfile.TemporaryDirectory(prefix="sweeplab-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as here:
        made = database.make_empty(Path(here) / "mlflow.db") if "fresh" in sys.argv else None
        order = json.loads(sys.stdin.readline() or "{}")
        if not order:
            return
        os.nice(10)  # where there are no autogroups
        give_way(os.getpid())
        if made:
            with database.alone_at(order["uri"]):
                database.make(order["uri"], made)
    folder, os.environ["SWEEPLAB_ROOT"] = store.Store(order["store"]), order["root"]
    with (folder.root / "feeder.log").open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    lock = FileLock(records.lock_file(folder), thread_local=False)  # the watching thread may give it back
    try:
        lock.acquire(timeout=1)  # longer than a client's look at the lock
    except Timeout:
        return
    feeder = Feeder(folder, order["uri"], lock)
    signal.signal(WAKE, lambda *_: feeder.wake())
    feeder.run()
