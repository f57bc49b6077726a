"""`sync` and its kin: bring MLflow up to date with the store now, and say what lags."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress

from filelock import FileLock, Timeout

from sweeplab import config
from sweeplab.errors import RunFailed
from sweeplab.store import Store
from sweeplab.tracking import address, exporting, feeder, process, records
from sweeplab.tracking.client import PATIENCE, FeedingClient, wait_until_fed
from sweeplab.tracking.connection import AwayError
from sweeplab.tracking.exports import described
from sweeplab.tracking.records import Node
from sweeplab.tracking.view import View

ATTEMPTS = 3  # passes of `sync` without progress before it gives up


def is_behind(store: Store, tracking: config.Tracking, runs: Collection[str]) -> bool:
    """Tell by the records whether MLflow is behind with one of these run ids or its sweeps."""
    return bool(View(store, address.resolve_uri(tracking)).behind(runs))


def refresh(store: Store, tracking: config.Tracking) -> str | None:
    """Correct the records by what MLflow has, and feed nothing; return why it did not answer, if so.

    A feeder that is at work has done so itself.
    """
    if not store.sweeps.is_dir() or not store.writable:
        return None
    uri = address.checked(address.resolve_uri(tracking))
    lock = FileLock(records.lock_file(store), timeout=0)
    try:
        with suppress(Timeout), lock:
            feeder.Feeder(store, uri, lock, log=False).checked.jobs(has_clients=True)
    except AwayError as error:
        return str(error)
    return None


def sync(
    store: Store,
    tracking: config.Tracking,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Bring MLflow up to date, here or by the feeder at work; return what still lags, a line each.

    `progress(done, total)` counts MLflow runs. Raises RunFailed if nothing is known to lag, and
    MLflow does not answer.
    """
    if not store.root.is_dir():
        return []
    store.check()  # what MLflow was fed is noted in it
    store.sweeps.mkdir(exist_ok=True)
    uri = address.checked(address.resolve_uri(tracking))
    lock = FileLock(records.lock_file(store), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        lag, error = _wait_for_feeder(store, uri, progress)
    else:
        try:
            lag, error = _feed(store, uri, lock, progress)
        finally:
            lock.release()
        if records.has_clients(store):
            FeedingClient(store, uri).tend()  # they came meanwhile, and found the lock taken
    if error is not None and not lag:
        raise RunFailed(f"{error}; so whether it is level cannot be told")
    return [f"{run_id}: {why}" for run_id, why in lag.items()]


def export(store: Store, tracking: config.Tracking) -> str | None:
    """Carry all runs of the store to the exporters of the config; return what lags, a line each."""
    return described(exporting.carry(store, tracking.exporters, {}, lambda: True))


def _feed(
    store: Store, uri: str, lock: FileLock, progress: Callable[[int, int], None]
) -> tuple[dict[str, str], object]:
    """Feed here; return what lags and why, and why MLflow could not be asked, if so."""
    worker = feeder.Feeder(store, uri, lock, log=False, whole=True)
    for _ in range(ATTEMPTS):
        is_up_to_date: bool | None = False
        while is_up_to_date is False:
            has_clients = records.has_clients(store)
            is_up_to_date = worker.once(has_clients=has_clients, progress=progress)
        if is_up_to_date:
            return {}, None
        time.sleep(feeder.PAUSE)
    state = process.state(store)
    ids = sorted(View(store, uri).behind(None))
    return {run_id: process.reason(state, uri, run_id) for run_id in ids}, state.get("error")


def _wait_for_feeder(
    store: Store,
    uri: str,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, str], object]:
    """Have the feeder check what MLflow has, and wait until it has fed the rest; return as `_feed`.

    A feeder that is at work for another address checks nothing.
    """
    began = time.monotonic()
    client = FeedingClient(store, uri)

    def give_up(state: Node) -> bool:
        client.tend()
        lags = state.get("checked") == asked and bool(state.get("lag"))  # not as it was before
        is_hopeless = process.is_stuck(state, uri) or lags
        return time.monotonic() - began > PATIENCE and is_hopeless

    with records.attend(store):  # or the feeder would leave with what it has
        asked = records.ask(store)
        process.wake(store)
        state = process.state(store)
        while state.get("checked") != asked and not give_up(state):
            time.sleep(0.1)
            state = process.state(store)
        lag = wait_until_fed(store, uri, None, give_up, progress)
        is_checked = state.get("checked") == asked
        return lag, None if is_checked else process.reason(state, uri, "")
