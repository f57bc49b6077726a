"""A command's tie to the feeder: keeps one at work for a store, and waits for it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from sweeplab import config
from sweeplab.errors import RunFailed
from sweeplab.store import Run, Store, locked
from sweeplab.tracking import address, feeder, records
from sweeplab.tracking.view import View

PATIENCE = 2.0  # seconds that a client waits at least for a server that does not answer
PROGRAM = "from sweeplab.tracking.feeder import main; main()"  # not -m: the package has imported it by then
ATTEMPTS = 3  # passes of `sync` without progress before it gives up


class Client:
    """A command's tie to the feeder; this one, for `tracking=off`, does nothing."""

    def tend(self) -> None:
        """Start a feeder if none is at work; to be called now and then, and quick."""

    def wait(self, runs: Sequence[Run], seconds: float) -> str | None:
        """Until MLflow has these runs and their sweeps, at most `seconds`; None, or one line on what lags and why."""
        del runs, seconds
        return None


class _Feeding(Client):
    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._uri = store, uri
        self._looked = -10.0
        self._started: int | None = None  # a feeder, by its process id

    def tend(self) -> None:
        if time.monotonic() - self._looked < 1.5 or not self._store.root.is_dir():
            return
        self._looked = time.monotonic()
        if not locked(records.lock_file(self._store)) and not _alive(self._started):  # or it still loads
            self._started = _start(self._store, self._uri)

    def wait(self, runs: Sequence[Run], seconds: float) -> str | None:
        began = time.monotonic()
        if self._started is not None:
            feeder.give_way(self._started, level=0)  # nor does anything else go before it now

        def give_up(state: Mapping[str, object]) -> bool:
            self.tend()
            waited = time.monotonic() - began
            return waited >= seconds or (waited >= PATIENCE and _hopeless(state, self._uri))

        _wake(self._store)
        try:
            lag = _until_level(self._store, self._uri, {run.id for run in runs}, give_up)
        except OSError as error:
            return f"MLflow lags behind: {error.filename}: {error.strerror}"
        count = len(lag)
        return f"MLflow lags behind by {count} run{'s'[: count > 1]}: {next(iter(lag.values()))}" if lag else None


@contextmanager
def feeding(store: Store, tracking: config.Tracking) -> Iterator[Client]:
    """Keep a feeder at work for this store meanwhile; costs milliseconds."""
    if not tracking.enabled:
        yield Client()
        return
    client = _Feeding(store, address.checked(address.resolve_uri(tracking)))
    store.sweeps.mkdir(parents=True, exist_ok=True)
    with records.clients_file(store).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # until the end of this process, however it ends
        client.tend()
        yield client


_early: list[subprocess.Popen[bytes]] = []  # a feeder that is not told yet what to feed


@contextmanager
def early(raw: DictConfig) -> Iterator[None]:
    """Have a feeder load MLflow while this process loads PyTorch, for a config that nobody has checked yet.

    It makes nothing before it is told what to feed, and ends with this if nobody tells it.
    """
    held = records.lock_file(Store(config.absolute(str(OmegaConf.select(raw, "store.root")))))
    wanted = OmegaConf.select(raw, "tracking.enabled") is True and OmegaConf.select(raw, "sweep.id") is None
    if wanted and not (held.exists() and locked(held)):
        uri = OmegaConf.select(raw, "tracking.uri")
        file = address.file(address.resolved(uri if isinstance(uri, str) else None))
        _early.append(_load(*(["fresh"] if file is not None and not file.exists() else [])))
    try:
        yield
    finally:
        while _early:
            _tell(_early.pop(), {})


def _load(*arguments: str) -> subprocess.Popen[bytes]:
    """A feeder in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], order: Mapping[str, str]) -> bool:
    """Say once what to feed; False if there is nobody any more."""
    process.returncode = 0  # it outlives its client on purpose, which Popen would warn of
    assert process.stdin is not None
    try:
        with process.stdin:
            process.stdin.write(json.dumps(order).encode())
    except BrokenPipeError:
        return False
    return True


def _start(store: Store, uri: str) -> int:
    """The process id of a feeder for this store."""
    order = {"store": str(store.root.resolve()), "uri": uri, "root": str(config.root())}
    if _early:
        loading = _early.pop()
        if _tell(loading, order):
            return loading.pid
    started = _load()
    _tell(started, order)
    return started.pid


def _alive(child: int | None) -> bool:
    try:
        return child is not None and os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _state(store: Store) -> dict[str, object]:
    """What the living feeder of this store, which may be a copy, says of itself; nothing if there is none."""
    if not locked(records.lock_file(store)):
        return {}
    try:
        state = records.read_json(records.state_file(store))
        os.kill(state["pid"], 0)
    except (KeyError, TypeError, OverflowError, ProcessLookupError):
        return {}
    except PermissionError:  # alive, and another user's
        pass
    return state


def _wake(store: Store) -> None:
    """Have the feeder look at the store without a pause."""
    pid = _state(store).get("pid")
    if isinstance(pid, int) and locked(records.lock_file(store)):
        with suppress(PermissionError, ProcessLookupError):
            os.kill(pid, feeder.WAKE)


def _hopeless(state: Mapping[str, object], uri: str) -> bool:
    return bool(state) and (state["error"] is not None or state["uri"] != address.public(uri))


def _why(state: Mapping[str, object], uri: str, run_id: str) -> str:
    if not state:
        return "no feeder is at work yet"
    if state["uri"] != address.public(uri):
        return f"this store's feeder is at work for {state['uri']}"
    lag = state["lag"]
    assert isinstance(lag, dict)
    return str(state["error"] or lag.get(run_id) or "the feeder is still at work")


def _until_level(
    store: Store,
    uri: str,
    only: Collection[str] | None,
    give_up: Callable[[Mapping[str, object]], bool],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Wait until each MLflow run of these has been level once; what lags when giving up -> why."""
    view = View(store, uri)

    def look() -> tuple[set[str], float]:
        began = time.monotonic()
        return view.lagging(only), time.monotonic() - began

    pending, took = look()
    total = len(pending)
    while pending:
        progress(total - len(pending), total)
        state = _state(store)
        if give_up(state):
            return {run_id: view.damaged.get(run_id) or _why(state, uri, run_id) for run_id in sorted(pending)}
        time.sleep(min(max(0.1, 4 * took), 2))  # looking at thousands of runs must not take the feeder's core
        now, took = look()
        pending &= now
    progress(total, total)
    return {}


def lagging(store: Store, tracking: config.Tracking, runs: Collection[str]) -> bool:
    """Whether MLflow is not level with one of these runs (ids) or their sweeps, by the feeder's records."""
    return bool(View(store, address.resolve_uri(tracking)).lagging(runs))


def sync(store: Store, tracking: config.Tracking, progress: Callable[[int, int], None]) -> list[str]:
    """Bring MLflow level with the store, here or by the feeder that is at work; what still lags, one line each.

    `progress(done, total)` counts MLflow runs. Raises RunFailed if nothing is known to lag, and MLflow does not answer.
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
        lag, error = _by_the_feeder(store, uri, progress)
    else:
        try:
            lag, error = _here(store, uri, lock, progress)
        finally:
            lock.release()
        if not records.nobody(store):
            _Feeding(store, uri).tend()  # clients came meanwhile, and found the lock taken
    if error is not None and not lag:
        raise RunFailed(f"{error}; so whether it is level cannot be told")
    return [f"{run_id}: {why}" for run_id, why in lag.items()]


def _here(
    store: Store, uri: str, lock: FileLock, progress: Callable[[int, int], None]
) -> tuple[dict[str, str], object]:
    """What lags and why, and why MLflow could not be asked, if so."""
    worker = feeder.Feeder(store, uri, lock, log=False, whole=True)
    for _ in range(ATTEMPTS):
        while (level := worker.once(alone=records.nobody(store), done=progress)) is False:
            pass
        if level:
            return {}, None
        time.sleep(feeder.PAUSE)
    state = _state(store)
    lag = View(store, uri).lagging(None)
    return {run_id: _why(state, uri, run_id) for run_id in sorted(lag)}, state.get("error")


def _by_the_feeder(store: Store, uri: str, progress: Callable[[int, int], None]) -> tuple[dict[str, str], object]:
    """As `_here`; a feeder that is at work for another address asks nobody."""
    began = time.monotonic()
    client = _Feeding(store, uri)

    def give_up(state: Mapping[str, object]) -> bool:
        client.tend()
        return time.monotonic() - began > PATIENCE and (_hopeless(state, uri) or bool(state.get("lag")))

    with records.clients_file(store).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # or the feeder would leave with what it has
        records.ask_file(store).touch()
        asked = records.asked(store)
        _wake(store)
        while (state := _state(store)).get("checked") != asked and not give_up(state):
            time.sleep(0.1)  # until the feeder has looked at what MLflow has
        lag = _until_level(store, uri, None, give_up, progress)
        return lag, None if state.get("checked") == asked else _why(state, uri, "")


def refresh(store: Store, tracking: config.Tracking) -> None:
    """Correct the records by what MLflow has, and feed nothing; a feeder that is at work has done so itself."""
    if not store.sweeps.is_dir() or not store.writable:
        return
    lock = FileLock(records.lock_file(store), timeout=0)
    with suppress(Timeout), lock:
        feeder.Feeder(store, address.checked(address.resolve_uri(tracking)), lock, log=False).look()
