"""The feeder's process as a command sees it: started, told what to feed, woken, and its state."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sweeplab import config
from sweeplab.store import Store, locked
from sweeplab.tracking import address, causes, feeder, records
from sweeplab.tracking.records import Node

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Not `-m`, which warns that the package has imported the module already.
PROGRAM = "from sweeplab.tracking.feeder import main; main()"

_early: list[subprocess.Popen[bytes]] = []  # a feeder that was not yet told what to feed


@contextmanager
def early(raw: DictConfig) -> Iterator[None]:
    """Have a feeder load MLflow while this process loads PyTorch.

    `raw` is a config that is not checked yet.
    The feeder makes nothing before it is told what to feed, and ends with this if nobody tells it.
    """
    from omegaconf import OmegaConf

    root = config.absolute(str(OmegaConf.select(raw, "store.root")))
    lock = records.lock_file(Store(root))
    is_wanted = OmegaConf.select(raw, "tracking.enabled") is True
    is_job = OmegaConf.select(raw, "sweep.id") is not None
    if is_wanted and not is_job and not (lock.exists() and locked(lock)):
        uri = OmegaConf.select(raw, "tracking.uri")
        database = address.file(address.resolved(uri if isinstance(uri, str) else None))
        is_fresh = database is not None and not database.exists()
        _early.append(_load("fresh") if is_fresh else _load())
    try:
        yield
    finally:
        while _early:
            _tell(_early.pop(), {})


def start(store: Store, uri: str) -> int:
    """Start a feeder for this store, or use the one that `early` started; return its process id."""
    order = {"store": str(store.root.resolve()), "uri": uri, "root": str(config.root())}
    if _early:
        process = _early.pop()
        if _tell(process, order):
            return process.pid
    process = _load()
    _tell(process, order)
    return process.pid


def _load(*arguments: str) -> subprocess.Popen[bytes]:
    """Start a feeder in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], order: Mapping[str, str]) -> bool:
    """Tell a feeder once what to feed; return False if it is not there any more."""
    process.returncode = 0  # it outlives its client on purpose, which Popen would warn of
    assert process.stdin is not None
    try:
        with process.stdin:
            process.stdin.write(json.dumps(order).encode())
    except BrokenPipeError:
        return False
    return True


def is_alive(child: int) -> bool:
    """Tell whether a child process still runs."""
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def state(store: Store) -> Node:
    """Return what the living feeder of this store says of itself; empty if there is none.

    The store may be a copy, with the file of another one's feeder. Of a feeder on another host that
    shares the store the lock alone tells whether it lives: its process id means nothing here.
    """
    if not locked(records.lock_file(store)):
        return {}
    values = records.read_json(records.state_file(store))
    if other_host(values):
        return values
    try:
        os.kill(values["pid"], 0)
    except (KeyError, TypeError, OverflowError, ProcessLookupError):
        return {}
    except PermissionError:  # it lives, and is another user's
        pass
    return values


def other_host(values: Node) -> str | None:
    """Return the host of the feeder that said this of itself; None if it is this one."""
    host = values.get("host", platform.node())  # not told by an earlier version
    return None if host == platform.node() else str(host)


def wake(store: Store) -> None:
    """Have the feeder look at the store without a pause; one on another host looks by itself."""
    values = state(store)
    pid = None if other_host(values) else values.get("pid")
    if isinstance(pid, int) and locked(records.lock_file(store)):
        with suppress(PermissionError, ProcessLookupError):
            os.kill(pid, feeder.WAKE)


def is_stuck(values: Node, uri: str) -> bool:
    """Tell by the feeder's state whether it cannot feed this URI now."""
    return bool(values) and (values["error"] is not None or values["uri"] != address.public(uri))


def are_refused(values: Node, ids: Collection[str]) -> bool:
    """Tell by the feeder's state whether the user may write none of these runs."""
    reasons = [values.get("lag", {}).get(run_id, "") for run_id in ids]
    return bool(ids) and all(text.endswith(causes.NOT_ALLOWED) for text in reasons)


def reason(values: Node, uri: str, run_id: str) -> str:
    """Tell by the feeder's state why MLflow is behind with a run or a sweep."""
    if not values:
        return "no feeder is at work yet"
    if values["uri"] != address.public(uri):
        return f"this store's feeder{_where(values)} is at work for {values['uri']}"
    working = f"the feeder{_where(values)} is still at work"
    return str(values["error"] or values["lag"].get(run_id) or working)


def _where(values: Node) -> str:
    host = other_host(values)
    return f" on host {host}" if host else ""
