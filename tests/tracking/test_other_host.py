"""A feeder on another host that shares the store: its process id means nothing here."""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path

import pytest
from feeding import make
from filelock import FileLock

from sweeplab.store import Store, write_json
from sweeplab.tracking import feeder, process, records
from sweeplab.tracking.view import View

URI = "http://127.0.0.1:5000"


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What processes are sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def test_it_is_never_signalled_and_is_named_where_one_waits_for_it(
    root: Path, signalled: list[tuple[int, int]]
) -> None:
    home = Store("runs").open()
    values = {"pid": 4242, "host": "elsewhere", "uri": URI, "error": None, "lag": {}, "checked": 0}
    write_json(records.state_file(home), values)
    assert process.state(home) == {}, "nobody holds the feeder's lock"
    with FileLock(records.lock_file(home)):
        assert process.state(home) == values
        process.wake(home)
        assert signalled == []
        state = process.state(home)
        assert process.reason(state, URI, "1") == "the feeder on host elsewhere is still at work"
        assert process.reason(state, "sqlite:///a.db", "1") == (
            f"this store's feeder on host elsewhere is at work for {URI}"
        )
        write_json(records.state_file(home), values | {"host": platform.node()})
        process.wake(home)
        assert signalled == [(4242, 0), (4242, feeder.WAKE)]
        assert process.reason(process.state(home), URI, "1") == "the feeder is still at work"


def test_a_client_opens_the_shared_lock_so_that_nfs_takes_it(root: Path) -> None:
    """There, a shared lock is refused to who cannot read the file, an exclusive one to who cannot write it."""
    home = Store("runs").open()
    with records.attend(home):
        files = {
            int(link.name): link.readlink()
            for link in Path("/proc/self/fd").iterdir()
            if link.exists()
        }
        (held,) = [number for number, file in files.items() if file.name == records.CLIENTS]
        assert fcntl.fcntl(held, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def test_who_waits_for_some_runs_does_not_list_a_large_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Store("runs").open()
    run, other = make(home, 1), make(home, 2)
    view = View(home, "sqlite:///a.db")
    assert view.behind(None) == {run.id, other.id}

    scandir = os.scandir

    def listed(folder: Path) -> object:
        assert Path(folder) != home.root, "the store was listed"
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listed)
    assert view.behind({run.id, "3" * 16}) == {run.id}, "the third has not begun"


def test_the_feeder_waits_for_no_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It notes each run in every second; what a power cut takes of that is found out again."""
    home = Store("runs").open()
    run = make(home)
    assert home.id
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it waited for the disk"))
    records.write_entry(run.mlflow_file, URI, "demo", {"run": "5", "fed": {"lines": 2}})
    assert records.entries(run.mlflow_file, URI) == {"demo": {"run": "5", "fed": {"lines": 2}}}
