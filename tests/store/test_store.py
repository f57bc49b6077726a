"""The store: what names a run, what is written down of it, and who may train it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sweeplab import store
from sweeplab.errors import UserError
from sweeplab.store import (
    DamagedError,
    History,
    Journal,
    Result,
    Run,
    Store,
    fingerprint,
    locked,
    read_json,
    repair,
    write_atomic,
)

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
    return Result(
        **{**values, "stop_reason": "patience", "metrics": {"test/loss": 0.25}, **changes}
    )


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
    assert fingerprint(dict(reversed(CONFIG.items())), "da7a", "c0de") == fingerprint(
        CONFIG, "da7a", "c0de"
    )


def test_other_code_changes_the_fingerprint_and_not_the_question() -> None:
    now, before = fingerprint(CONFIG, "da7a", "c0de"), fingerprint(CONFIG, "da7a", "01d")
    assert now[0] != before[0]
    assert now[1] == before[1]


@pytest.mark.parametrize(("config", "data"), [({**CONFIG, "seed": 1}, "da7a"), (CONFIG, "da7b")])
def test_another_config_or_other_data_is_another_question(
    config: dict[str, Any], data: str
) -> None:
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
        # python -c 'import zlib; print(f"{zlib.crc32(LINE):08x}")', LINE being all before the comma
        '{"time": 1700000000.5, "event": "epoch", "epoch": 1, "metrics": {"valid/accuracy": 0.5}, "crc": "da71edec"}\n'
    )


def test_events_come_back_in_their_order_from_any_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.events() == []
    for event in ("start", "epoch", "end"):
        journal.append(event, epoch=1, metrics={})
    assert [e["event"] for e in journal.events()] == ["start", "epoch", "end"]
    assert [e["event"] for e in journal.events()[2:]] == ["end"]
    assert journal.events()[3:] == []


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
    read = History.of(journal).epochs[1]
    assert math.isnan(read.pop("nan"))
    assert read == {"up": math.inf, "down": -math.inf, "one": 1.0}


def test_a_repeated_epoch_keeps_its_first_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for epoch, loss in ((1, 0.5), (2, 0.4), (2, 0.3), (3, 0.2)):
        journal.append("epoch", epoch=epoch, metrics={"valid/loss": loss})
    journal.append("end", status="finished", metrics={"test/loss": 0.1})
    assert History.of(journal).epochs == {
        1: {"valid/loss": 0.5},
        2: {"valid/loss": 0.4},
        3: {"valid/loss": 0.2},
    }


def test_a_digit_that_was_changed_is_found_by_the_line_s_checksum(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("epoch", epoch=1, metrics={"valid/accuracy": 0.5})
    journal.append("epoch", epoch=2, metrics={"valid/accuracy": 0.6})
    journal.path.write_bytes(journal.path.read_bytes().replace(b": 0.6}", b": 0.7}"))
    with pytest.raises(DamagedError) as refused:
        journal.events()
    assert (
        str(refused.value)
        == f"{journal.path}: is damaged: line 2: its content does not fit its checksum"
    )


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"1\n", b"{}\n", b'{"event": 1}\n', b'{"event": "epoch"}\n', b"[" * 9999 + b"\n", b'{"event": "end", "metrics": {"a": "b"}}\n', b'{"event": "start", "config": 1}\n'])  # fmt: skip
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: bytes) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_bytes(line)
    with pytest.raises(DamagedError, match=r"journal\.jsonl: is damaged: line 1: "):
        journal.events()


def test_a_journal_without_checksums_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text(
        '{"time": 1.0, "event": "epoch", "epoch": 1, "metrics": {"valid/loss": 0.5}}\n'
    )
    assert History.of(journal).epochs == {1: {"valid/loss": 0.5}}


def test_a_journal_that_was_taken_away_is_not_begun_in_its_middle(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("start")
    journal.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"journal\.jsonl"):
        journal.append("epoch", epoch=1, metrics={})
    assert not journal.path.exists()


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    for write in (
        Journal(Path("/dev/full")).append,
        lambda _: write_atomic(tmp_path / "none" / "file", b""),
    ):
        with pytest.raises(OSError, match=r"/dev/full|none/file") as full:
            write("start")
        assert full.value.filename in ("/dev/full", str(tmp_path / "none" / "file"))


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
    written = result(
        status=status, metrics={"test/loss": math.inf, "best_epoch": 3.0}, overrides=["seed=0"]
    )
    run.write_result(written)
    assert strict(run.result_file.read_text())["metrics"]["test/loss"] == "Infinity"
    assert run.result() == written
    assert run.status == status


def test_the_config_is_kept_for_people_and_for_hydra(home: Store) -> None:
    run = started(home, "f" * 64)
    run.write_config(
        {"seed": 0, "model": {"hidden": [392], "dropout": None}}, ["model.hidden=392", "name=나"]
    )
    assert run.config() == {"seed": 0, "model": {"hidden": [392], "dropout": None}}
    assert run.config_file.read_text().startswith("seed: 0\nmodel:\n")
    assert run.overrides_file.read_text() == "- model.hidden=392\n- name=나\n"


def test_a_claim_excludes_another_process_until_that_is_killed(home: Store) -> None:
    run = home.run("f" * 64)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, run.folder], stdout=subprocess.PIPE, text=True
    ) as owner:
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


def finished(home: Store, digit: str = "f") -> Run:
    """A run that has finished, as training writes it."""
    run = home.run(digit * 64)
    run.folder.mkdir()
    run.journal.append("start", fingerprint=digit * 64, question="0" * 64, overrides=["seed=0"])
    run.journal.append("epoch", epoch=1, metrics={"valid/loss": 0.5})
    run.journal.append("end", status="finished", stop_reason="patience", metrics={"test/loss": 0.25}, weights_sha256="1" * 64)  # fmt: skip
    run.write_result(result(fingerprint=digit * 64, overrides=["seed=0"], weights_sha256="1" * 64))
    return run


@pytest.mark.parametrize("damage", [lambda c: c.replace(b"0.25", b"0.26"), lambda c: c[:-9], lambda _: b"", lambda _: b"[]", lambda _: b"\xff", lambda c: c + b"x"])  # fmt: skip
def test_the_journal_makes_up_for_a_damaged_result(
    home: Store, damage: Callable[[bytes], bytes]
) -> None:
    run = finished(home)
    before = run.result()
    run.result_file.write_bytes(damage(run.result_file.read_bytes()))
    assert run.result() == before
    assert (repair.mend_result(run) or "").startswith(f"{run.result_file}: is damaged: ")
    assert read_json(run.result_file)["metrics"] == {"test/loss": 0.25}
    assert repair.mend_result(run) is None


def test_a_damaged_result_beside_a_damaged_journal_is_none(home: Store) -> None:
    run = finished(home)
    for file in (run.result_file, run.journal.path):
        file.write_bytes(file.read_bytes().replace(b"0.25", b"0.26"))
    assert run.result() is None
    assert run.status == "unfinished"


def test_what_is_another_run_s_is_not_taken_for_this_one_s(home: Store) -> None:
    one, other = (home.run(digit * 64) for digit in "ab")
    for run, digit, loss in ((one, "a", 0.25), (other, "b", 0.5)):
        run.folder.mkdir()
        run.journal.append("start", fingerprint=digit * 64, question="0" * 64)
        run.journal.append(
            "end", status="finished", stop_reason="patience", metrics={"test/loss": loss}
        )
        run.write_result(result(fingerprint=digit * 64, metrics={"test/loss": loss}))
    shutil.copy(other.result_file, one.result_file)
    found = one.result()
    assert found is not None
    assert (found.fingerprint, found.metrics) == ("a" * 64, {"test/loss": 0.25})
    assert repair.mend_result(one) == f"{one.result_file}: is damaged: it is that of another run"
    shutil.copy(other.journal.path, one.journal.path)
    with pytest.raises(
        DamagedError, match=f"{one.journal.path}: is damaged: it is that of another run"
    ):
        one.history()
    shutil.copy(other.result_file, one.result_file)
    assert one.result() is None
    copied = Run(shutil.copytree(other.folder, home.root / "a copy"))
    assert copied.result() == other.result(), "by any other name"


def test_a_result_without_a_digest_is_read(home: Store) -> None:
    run = finished(home)
    values = read_json(run.result_file)
    run.result_file.write_text(json.dumps(values))
    assert run.result() == Result(**values)


@pytest.mark.parametrize(("kept", "missing"), [(0, "end"), (2, "end"), (-2, "beginning")])
def test_a_finished_run_whose_journal_has_lost_lines_is_damaged(
    home: Store, kept: int, missing: str
) -> None:
    run = finished(home)
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    run.journal.path.write_bytes(b"".join(lines[kept:] if kept < 0 else lines[:kept]))
    with pytest.raises(
        DamagedError, match=f"{run.journal.path}: is damaged: its {missing} is missing"
    ):
        run.history()
    assert [each.id for each in home.runs()] == [run.id]


def test_a_run_whose_journal_is_gone_is_still_listed(home: Store) -> None:
    run = finished(home)
    run.journal.path.unlink()
    assert [each.id for each in home.runs()] == [run.id]
    assert home.find(run.id[:4]).id == run.id


def test_an_unfinished_journal_that_lacks_an_epoch_of_a_checkpoint_is_set_aside(
    home: Store,
) -> None:
    run = home.run("f" * 64)
    run.checkpoints.mkdir(parents=True)
    run.journal.append("start")
    run.journal.append("epoch", epoch=1, metrics={})
    (run.checkpoints / "1.pt").touch()
    assert repair.damage(run) is None
    (run.checkpoints / "2.pt").touch()
    assert repair.damage(run) == f"{run.journal.path}: is damaged: epoch 2 is missing"
    repair.set_aside(run)
    assert sorted(p.name for p in run.folder.iterdir()) == ["damaged"]
    assert sorted(p.name for p in (run.folder / "damaged").iterdir()) == [
        "checkpoints",
        "journal.jsonl",
    ]


def test_a_claim_removes_what_a_killed_writer_left_but_not_what_the_feeder_writes(
    home: Store,
) -> None:
    run = started(home, "f" * 64)
    run.checkpoints.mkdir()
    left = [
        ".config.yaml.x7ab",
        ".weights.safetensors.q1",
        ".result.json.zz",
        "checkpoints/.3.pt.ab",
    ]
    for name in (*left, ".mlflow.json.k3"):
        (run.folder / name).touch()
    (run.folder / ".model-abc").mkdir()
    with run.claim():
        assert [p.name for p in run.folder.glob("**/.*")] == [".mlflow.json.k3"]
    assert run.config_file.exists()


def test_opening_a_store_removes_what_is_certainly_dead(home: Store) -> None:
    old, new = home.sweeps / ".0123456789abcdef.json.x7", home.root / ".feeder.json.y8"
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    home.open()
    assert not old.exists()
    assert new.exists(), "somebody may be writing it"


def test_a_look_at_a_lock_writes_nothing(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, opened = started(home, "f" * 64), os.open

    def reading(path: Any, flags: int, *more: Any, **named: Any) -> int:
        assert flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) == 0, path
        return opened(path, flags, *more, **named)

    assert not run.claimed
    with run.claim():
        monkeypatch.setattr(os, "open", reading)
        assert run.claimed
        monkeypatch.undo()
    monkeypatch.setattr(os, "open", reading)
    assert not run.claimed


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
        UserError,
        match=rf"^store\.root={tmp_path}/a/runs: {tmp_path} cannot be written; name a folder",
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
    assert (
        Store("elsewhere").find(run.id).folder == run.folder
    )  # the folder of that name, from here


@pytest.mark.parametrize("name", ["b", ""])
def test_a_run_that_is_not_there_is_refused(home: Store, name: str) -> None:
    started(home, "a" * 64)
    with pytest.raises(
        UserError, match=f"^{name}: no such run in .*runs; its folders are the runs' names"
    ):
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
    assert read_json(home.root / "store.json")["id"] == home.id


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
        home.write_manifest({"id": "a" * 64, "time": 1.0, "cells": [], "status": status})
    assert [sweep["status"] for sweep in home.manifests()] == ["finished"]


@pytest.mark.parametrize("damage", [lambda c: c.replace(b"1.0", b"2.0"), lambda c: c[: len(c) // 2], lambda _: b"", lambda _: b"[1]", lambda _: b'{"id": 1}'])  # fmt: skip
def test_a_damaged_manifest_is_told_and_the_others_are_read(
    home: Store, damage: Callable[[bytes], bytes]
) -> None:
    for letter, at in (("a", 1.0), ("b", 3.0)):
        home.write_manifest({"id": letter * 64, "time": at, "cells": []})
    file = home.sweeps / f"{'a' * 16}.json"
    file.write_bytes(damage(file.read_bytes()))
    told: list[str] = []
    assert home.manifests()[0]["time"] == 3.0  # which tells nobody
    assert [sweep["time"] for sweep in home.manifests(told.append)] == [3.0]
    assert home.named("b", told.append) == home.manifests(told.append)
    assert len(told) == 1
    assert told[0].startswith(f"{file}: is damaged: ")
    assert told[0].endswith("; issue the sweep's command again, which writes it anew")
    with pytest.raises(UserError, match="is damaged"):
        home.manifest("a" * 64)


def test_a_store_that_cannot_be_written_can_be_read(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != home.root)
    assert not home.writable
    assert home.check(to_write=False) is home
    with pytest.raises(UserError, match="cannot be written"):
        home.check()


def test_the_words_for_a_status_are_those_of_the_journal() -> None:
    assert (store.Status.FINISHED, store.Status.FAILED, store.Status.INTERRUPTED) == (
        "finished",
        "failed",
        "interrupted",
    )
    assert (store.Event.START, store.Event.TRACK, store.Event.EPOCH, store.Event.END) == (
        "start",
        "track",
        "epoch",
        "end",
    )
