"""A command's tie to the feeder: keeps one at work for a store, and waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sweeplab import config, console
from sweeplab.store import Run, Store, locked
from sweeplab.tracking import address, feeder, process, records
from sweeplab.tracking.exports import Exports, exporting_runs
from sweeplab.tracking.records import Node
from sweeplab.tracking.view import View

PATIENCE = 2.0  # seconds that a client waits at least for a server that does not answer
START_PATIENCE = 60.0  # seconds that a feeder may take to load MLflow, however busy the machine is
LOOK_EVERY = 1.5  # seconds between two looks whether a feeder is at work


class Client:
    """A command's tie to the feeder, and to exporters; this one, for `tracking=off`, has no feeder."""

    def __init__(self, exports: Exports | None = None) -> None:
        self._exports = exports or Exports(None)

    def tend(self) -> None:
        """Start a feeder if none is at work; to be called now and then, and quick."""

    def wait(self, runs: Sequence[Run], seconds: float) -> str | None:
        """Wait until MLflow has these runs and their sweeps, and until the exporters have theirs.

        It takes at most `seconds`, which count when the feeder has started. Return None, or what
        lags and why, a line each.
        """
        began = time.monotonic()
        self._exports.finish()
        lag = self._wait_for_mlflow(runs, seconds)
        # At least long enough to hear of the exporters that are done by now.
        left = max(seconds - (time.monotonic() - began), 0.1)
        lags = [lag, self._exports.wait(left)]
        return "\n".join(line for line in lags if line) or None

    def _wait_for_mlflow(self, runs: Sequence[Run], seconds: float) -> str | None:
        del runs, seconds
        return None


class FeedingClient(Client):
    """A command's tie to the feeder of a store."""

    def __init__(self, store: Store, uri: str, exports: Exports | None = None) -> None:
        super().__init__(exports or Exports(None))
        self._store, self._uri = store, uri
        self._looked_at = -LOOK_EVERY
        self._feeder: int | None = None  # process id of the feeder that this client started

    def tend(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY or not self._store.root.is_dir():
            return
        self._looked_at = now
        if locked(records.lock_file(self._store)):
            return
        if self._feeder is None or not process.is_alive(self._feeder):  # else it still loads
            self._feeder = process.start(self._store, self._uri)

    def _wait_for_mlflow(self, runs: Sequence[Run], seconds: float) -> str | None:
        began = time.monotonic()
        ids = {run.id for run in runs}
        loading, latest = self._feeder, began + START_PATIENCE
        if loading is not None:
            feeder.set_priority(loading, level=0)  # training is over

        def give_up(state: Node) -> bool:
            nonlocal began
            self.tend()
            now = time.monotonic()
            if not state and seconds and now < latest and loading and process.is_alive(loading):
                began = now
            waited = now - began
            is_stuck = process.is_stuck(state, self._uri) or process.are_refused(state, ids)
            return waited >= seconds or (waited >= PATIENCE and is_stuck)

        process.wake(self._store)
        try:
            lag = wait_until_fed(self._store, self._uri, ids, give_up)
        except OSError as error:
            return f"MLflow lags behind: {error.filename}: {error.strerror}"
        if not lag:
            return None
        count, reason = console.counted(len(lag), "run"), next(iter(lag.values()))
        return f"MLflow lags behind by {count}: {reason}"


@contextmanager
def feeding(
    store: Store, tracking: config.Tracking, exported: Node | None = None
) -> Iterator[Client]:
    """Keep a feeder at work for this store meanwhile; costs milliseconds.

    `exported` names the runs that the exporters get, as of `exporting.carry`; None: none do.
    """
    exporters = tracking if exported is not None else replace(tracking, exporters={})
    with exporting_runs(store, exporters, exported or {}) as exports:
        if not tracking.enabled:
            yield Client(exports)
            return
        uri = address.checked(address.resolve_uri(tracking))
        client = FeedingClient(store, uri, exports)
        store.sweeps.mkdir(parents=True, exist_ok=True)
        with records.attend(store):
            client.tend()
            yield client


def wait_until_fed(
    store: Store,
    uri: str,
    only: Collection[str] | None,
    give_up: Callable[[Node], bool],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Wait until each of these MLflow runs has been up to date once; None waits for all.

    `give_up` gets the feeder's state. Return what lags then, and why, by the id of the run or
    sweep.
    """
    view = View(store, uri)

    def look() -> tuple[set[str], float]:
        began = time.monotonic()
        return view.behind(only), time.monotonic() - began

    pending, seconds = look()
    total = len(pending)
    while pending:
        progress(total - len(pending), total)
        state = process.state(store)
        if give_up(state):
            reasons = {run_id: process.reason(state, uri, run_id) for run_id in sorted(pending)}
            damaged = view.damaged
            return {run_id: damaged.get(run_id, why) for run_id, why in reasons.items()}
        # A look at thousands of runs must not take the feeder's core.
        time.sleep(min(max(0.1, 4 * seconds), 2))
        still_behind, seconds = look()
        pending &= still_behind
    progress(total, total)
    return {}
