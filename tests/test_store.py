"""The store: what names a run, what is written down of it, and who may train it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sweeplab import store
from sweeplab.errors import UserError
from sweeplab.store import Journal, Result, Run, Store, fingerprint, locked, write_atomic

CONFIG = {"seed": 0, "model": {"hidden": [392, 196]}}

OWNER = """
import sys, time
from pathlib import Path
from sweeplab.store import Run

with Run(Path(sys.argv[1])).claim():
    print("claimed", flush=True)
    time.sleep(60)
"""


def strict(text: str) -> Any:
    """JSON as other programs read it: NaN and Infinity are none."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {"fingerprint": "f" * 64, "question": "0" * 64, "status": "finished"}
    return Result(**{**values, "stop_reason": "patience", "metrics": {"test/loss": 0.25}, **changes})


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs").open()


def started(home: Store, fingerprint: str, at: float = 0.0) -> Run:
    """A run that has begun at this time."""
    run = home.run(fingerprint)
    run.folder.mkdir()
    run.write_config({"seed": 0}, [])
    run.journal.append("start")
    os.utime(run.journal.path, (at, at))
    return run


# --- What names a run -------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_the_sha256_of_canonical_json() -> None:
    # printf '{"code":"c0de","config":{"model":{"hidden":[392,196]},"seed":0},"data":"da7a","schema":1}' | sha256sum
    # and the same without the code
    assert fingerprint(CONFIG, "da7a", "c0de") == (
        "89e2aabd396c02a532cbf0c50f3c2ee3a7bf46c7bdcad2385834b832b1413004",
        "c8900fa6fb2546a05b7c78a45983e8344c16db428b23200584a51b2aa2c9145d",
    )


def test_the_order_of_keys_does_not_change_a_fingerprint() -> None:
    assert fingerprint(dict(reversed(CONFIG.items())), "da7a", "c0de") == fingerprint(CONFIG, "da7a", "c0de")


def test_other_code_changes_the_fingerprint_and_not_the_question() -> None:
    now, before = fingerprint(CONFIG, "da7a", "c0de"), fingerprint(CONFIG, "da7a", "01d")
    assert now[0] != before[0]
    assert now[1] == before[1]


@pytest.mark.parametrize(("config", "data"), [({**CONFIG, "seed": 1}, "da7a"), (CONFIG, "da7b")])
def test_another_config_or_other_data_is_another_question(config: dict[str, Any], data: str) -> None:
    assert fingerprint(config, data, "c0de")[1] != fingerprint(CONFIG, "da7a", "c0de")[1]


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"first")
    write_atomic(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write_atomic(tmp_path / "file", b"first")

    def full(*_: object) -> NoReturn:
        raise OSError("no space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_others_may_read_a_file_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


# --- The journal ------------------------------------------------------------------------------------------------------


def test_a_journal_line_is_one_json_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000000.5)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("epoch", epoch=1, metrics={"valid/accuracy": 0.5})
    assert journal.path.read_text() == (
        '{"time": 1700000000.5, "event": "epoch", "epoch": 1, "metrics": {"valid/accuracy": 0.5}}\n'
    )


def test_events_come_back_in_their_order_from_any_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.events() == []
    for event in ("start", "epoch", "end"):
        journal.append(event, epoch=1, metrics={})
    assert [e["event"] for e in journal.events()] == ["start", "epoch", "end"]
    assert [e["event"] for e in journal.events(first=2)] == ["end"]
    assert journal.events(first=3) == []


def test_a_torn_last_line_is_not_read_and_is_cut_off_before_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("start")
    whole = journal.path.read_bytes()
    with journal.path.open("ab") as file:
        file.write(b'{"time": 17000000')
    assert [e["event"] for e in journal.events()] == ["start"]
    journal.mend()
    assert journal.path.read_bytes() == whole
    journal.append("end")
    assert [e["event"] for e in journal.events()] == ["start", "end"]


def test_a_journal_torn_in_its_first_line_is_empty_when_mended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_bytes(b'{"time"')
    journal.mend()
    assert journal.path.read_bytes() == b""


def test_mending_changes_neither_a_whole_journal_nor_a_missing_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.mend()
    assert not journal.path.exists()
    journal.append("start")
    whole = journal.path.read_bytes()
    journal.mend()
    assert journal.path.read_bytes() == whole


def test_numbers_that_are_not_finite_are_strict_json_and_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf, "one": 1.0}
    journal.append("epoch", epoch=1, metrics=values, config={"list": [math.inf]})
    line = strict(journal.path.read_text())
    assert line["metrics"] == {"nan": "NaN", "up": "Infinity", "down": "-Infinity", "one": 1.0}
    assert line["config"] == {"list": ["Infinity"]}
    read = journal.epochs()[1]
    assert math.isnan(read.pop("nan"))
    assert read == {"up": math.inf, "down": -math.inf, "one": 1.0}


def test_a_repeated_epoch_keeps_its_first_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for epoch, loss in ((1, 0.5), (2, 0.4), (2, 0.3), (3, 0.2)):
        journal.append("epoch", epoch=epoch, metrics={"valid/loss": loss})
    journal.append("end", metrics={"test/loss": 0.1})
    assert journal.epochs() == {1: {"valid/loss": 0.5}, 2: {"valid/loss": 0.4}, 3: {"valid/loss": 0.2}}


# --- A run ------------------------------------------------------------------------------------------------------------


def test_a_run_without_a_result_is_unfinished(home: Store) -> None:
    run = home.run("0123456789abcdef" + "0" * 48)
    assert run.folder == home.root / "0123456789abcdef"
    assert run.id == "0123456789abcdef"
    assert run.result() is None
    assert run.status == "unfinished"


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_result_comes_back_as_it_was_written(home: Store, status: str) -> None:
    run = started(home, "f" * 64)
    written = result(status=status, metrics={"test/loss": math.inf, "best_epoch": 3.0}, overrides=["seed=0"])
    run.write_result(written)
    assert strict(run.result_file.read_text())["metrics"]["test/loss"] == "Infinity"
    assert run.result() == written
    assert run.status == status


def test_the_config_is_kept_for_people_and_for_hydra(home: Store) -> None:
    run = started(home, "f" * 64)
    run.write_config({"seed": 0, "model": {"hidden": [392], "dropout": None}}, ["model.hidden=392", "name=나"])
    assert run.config() == {"seed": 0, "model": {"hidden": [392], "dropout": None}}
    assert run.config_file.read_text().startswith("seed: 0\nmodel:\n")
    assert run.overrides_file.read_text() == "- model.hidden=392\n- name=나\n"


def test_a_claim_excludes_another_process_until_that_is_killed(home: Store) -> None:
    run = home.run("f" * 64)
    with subprocess.Popen([sys.executable, "-c", OWNER, run.folder], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "claimed\n"
            assert run.claimed
            waited: list[bool] = []

            def waiting() -> None:
                waited.append(run.claimed)
                owner.send_signal(signal.SIGKILL)

            with run.claim(waiting):
                assert waited == [True]
                assert owner.wait(timeout=10) == -signal.SIGKILL
                assert run.claimed
        finally:
            owner.kill()
    assert not run.claimed


def test_a_free_claim_does_not_wait_and_ends_with_its_block(home: Store) -> None:
    run = home.run("f" * 64)
    assert not run.claimed
    waited: list[str] = []
    with run.claim(lambda: waited.append("waited")):
        assert run.claimed
    assert not run.claimed
    assert waited == []


def test_a_claim_ends_with_a_run_that_raises(home: Store) -> None:
    run = home.run("f" * 64)
    with pytest.raises(ZeroDivisionError), run.claim():
        raise ZeroDivisionError
    assert not run.claimed


def test_a_lock_is_held_while_a_claim_is(home: Store) -> None:
    run = home.run("f" * 64)
    with run.claim():
        assert locked(run.lock_file)
    assert not locked(run.lock_file)


# --- The store --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "runs", "runs/of/mine"])
def test_a_root_at_or_below_a_file_is_refused_by_its_key(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError) as refused:
        Store(file / below).open()
    assert str(refused.value) == (
        f"store.root={file / below}: {file} is not a folder; "
        "name a folder that can be made, as in store.root=$HOME/runs"
    )
    assert file.read_text() == ""


def test_a_root_that_may_not_be_written_is_refused_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(
        UserError, match=rf"^store\.root={tmp_path}/a/runs: {tmp_path} cannot be written; name a folder"
    ):
        Store(tmp_path / "a" / "runs").open()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_the_system_refuses_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^store\.root=.*xxx"):
        Store(tmp_path / ("x" * 300)).open()  # no file system takes a name so long


def test_checking_a_root_makes_nothing(tmp_path: Path) -> None:
    home = Store(tmp_path / "a" / "runs")
    assert home.check() is home
    assert list(tmp_path.iterdir()) == []


def test_opening_a_store_makes_it_and_leaves_no_other_file(tmp_path: Path) -> None:
    home = Store(tmp_path / "a" / "runs").open()
    assert [p.name for p in home.root.iterdir()] == ["sweeps"]
    assert home.open() is home


def test_a_store_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").runs() == []
    assert Store(tmp_path / "none").manifests() == []


def test_runs_come_the_one_at_work_last_at_the_end(home: Store) -> None:
    for letter, at in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        started(home, letter * 64, at)
    (home.root / ("d" * 16)).mkdir()  # claimed, not begun
    (home.root / "notes").mkdir()
    assert [run.id for run in home.runs()] == ["b" * 16, "c" * 16, "a" * 16]


def test_a_run_is_found_by_the_beginning_of_its_id_its_fingerprint_or_its_folder(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = started(home, "ab" * 32), started(home, "ac" * 32)
    for name in ("ab", "ab" * 8, "ab" * 32, str(run.folder)):
        assert home.find(name).folder == run.folder
    monkeypatch.chdir(home.root)
    assert home.find(other.id).id == other.id
    assert Store("elsewhere").find(run.id).folder == run.folder  # the folder of that name, from here


@pytest.mark.parametrize("name", ["b", ""])
def test_a_run_that_is_not_there_is_refused(home: Store, name: str) -> None:
    started(home, "a" * 64)
    with pytest.raises(UserError, match=f"^{name}: no such run in .*runs; its folders are the runs' names"):
        home.find(name)


def test_a_beginning_of_several_runs_is_refused_with_their_names(home: Store) -> None:
    started(home, "ab" * 32, 1.0)
    started(home, "ac" * 32, 2.0)
    with pytest.raises(UserError, match=f"^a: several runs begin so: {'ab' * 8}, {'ac' * 8} in "):
        home.find("a")


def test_the_store_s_own_name_is_made_once(home: Store) -> None:
    barrier, found = threading.Barrier(8), list[str]()

    def ask() -> None:
        barrier.wait()
        found.append(Store(home.root).id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {home.id}
    assert len(home.id) == 32
    assert json.loads((home.root / "store.json").read_text()) == {"id": home.id}


def test_two_stores_have_two_names(tmp_path: Path) -> None:
    assert Store(tmp_path / "a").open().id != Store(tmp_path / "b").open().id


def test_manifests_come_the_oldest_first(home: Store) -> None:
    for letter, at in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        home.write_manifest({"id": letter * 64, "time": at, "cells": []})
    (home.sweeps / "notes.json").write_text("{}")
    assert [sweep["time"] for sweep in home.manifests()] == [10.0, 20.0, 30.0]
    assert home.manifest("b" * 64) == {"id": "b" * 64, "time": 10.0, "cells": []}


def test_a_manifest_written_again_takes_the_place_of_the_first(home: Store) -> None:
    for status in ("running", "finished"):
        home.write_manifest({"id": "a" * 64, "time": 1.0, "status": status})
    assert [sweep["status"] for sweep in home.manifests()] == ["finished"]


def test_the_words_for_a_status_are_those_of_the_journal() -> None:
    assert (store.FINISHED, store.FAILED, store.INTERRUPTED) == ("finished", "failed", "interrupted")
    assert (store.START, store.TRACK, store.EPOCH, store.END) == ("start", "track", "epoch", "end")
