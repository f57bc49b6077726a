"""What MLflow has no more, and what somebody deleted in it: a feeder's start and `sync` ask, and put right what they may."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from feeding import SWEEP, add_epoch, counts, feed, finish, make, manifest, rows, state, statuses
from filelock import FileLock

from sweeplab import config, tracking
from sweeplab.commands.sync import by_cause
from sweeplab.errors import RunFailed, UserError
from sweeplab.store import Run, Store
from sweeplab.tracking import check, feeder, process, records

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning"
)  # mlflow's own code


def sync(home: Store, uri: str) -> list[str]:
    return tracking.sync(home, config.Tracking(uri=uri), lambda *_: None)


def notices(home: Store, uri: str) -> list[str]:
    return tracking.notices(home, config.Tracking(uri=uri))


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def run_id(run: Run, uri: str) -> str:
    (place,) = tracking.run_places(run, uri)
    return place.run_id


def shape(home: Store, uri: str) -> dict[str, Any]:
    """All of MLflow that the store asked for: active runs by status, rows, files, and the parent's children."""
    children = "select count(*) from tags join runs using (run_uuid) where key = 'mlflow.parentRunId' and lifecycle_stage = 'active' and value = ?"  # fmt: skip
    active = " join runs using (run_uuid) where lifecycle_stage = 'active'"
    parents = tracking.sweep_places(home, SWEEP, uri)
    return {
        "runs": rows(uri, "select status, count(*) from runs where lifecycle_stage = 'active' group by 1"),
        "metrics": rows(uri, f"select count(*) from metrics{active}"),
        "params": rows(uri, f"select count(*) from params{active}"),
        "sweeps": rows(uri, f"select count(*) from tags{active} and key like 'sweep.5%'"),
        "children": [rows(uri, children, parent.run_id) for parent in parents],
        "data": rows(uri, "select count(distinct run_uuid) from inputs join runs on destination_id = run_uuid "
                          "where lifecycle_stage = 'active'"),
    }  # fmt: skip


@pytest.fixture
def fed(home: Store, uri: str) -> list[Run]:
    """Three runs of a sweep, and one of its own, all of them in MLflow."""
    runs = [make(home, number, sweep=SWEEP if number < 4 else None) for number in range(1, 5)]
    manifest(home, runs[:3], status="finished")
    home.report_folder(SWEEP).mkdir()
    (home.report_folder(SWEEP) / "report.html").write_text("a report")
    home.write_summary(SWEEP, {"best/test/accuracy": 0.97}, "what came out", 3)
    assert sync(home, uri) == []
    return runs


# ---- gone ----


def test_what_mlflow_gc_took_is_fed_again(home: Store, uri: str, fed: list[Run]) -> None:
    before = shape(home, uri)
    for run in fed[1:3]:
        client(uri).delete_run(run_id(run, uri))
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, "mlruns")
    for run in fed[1:3]:
        store._hard_delete_run(run_id(run, uri))  # as mlflow gc does
    assert sync(home, uri) == []
    assert notices(home, uri) == []
    assert shape(home, uri) == before


def test_a_parent_that_is_gone_is_made_anew_with_its_children(
    home: Store, uri: str, fed: list[Run]
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    before = shape(home, uri)
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    SqlAlchemyStore(uri, "mlruns")._hard_delete_run(parent.run_id)
    assert sync(home, uri) == []
    (other,) = tracking.sweep_places(home, SWEEP, uri)
    assert other.run_id != parent.run_id
    assert shape(home, uri) == before
    assert before["children"] == [[(3,)]]


def restore(root: Path, backup: Path) -> None:
    """As who stops the server and copies the file back."""
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        (root / name).unlink(missing_ok=True)
    shutil.copyfile(backup, root / "mlflow.db")


@pytest.mark.parametrize(
    "when", ["empty", "one", "running", "interrupted", "unfinished sweep", "before the report"]
)
def test_a_restored_backup_is_brought_level(
    home: Store, uri: str, root: Path, when: str, fresh_database: bytes
) -> None:
    backup = root / "backup.db"

    def back_up(now: str) -> None:
        if now == when:
            feed(home, uri)
            shutil.copyfile(root / "mlflow.db", backup)

    client(uri).create_experiment("demo", artifact_location=(root / "mlruns" / "demo").as_uri())
    if when == "empty":
        shutil.copyfile(root / "mlflow.db", backup)
    first = make(home, 1, sweep=SWEEP)
    manifest(home, [first, home.run("2" + "0" * 63)])
    back_up("one")
    second = make(home, 2, end=None, epochs=1, sweep=SWEEP)
    with second.claim():
        back_up("running")
    add_epoch(second, 2)
    second.journal.append("end", status="interrupted", stop_reason="interrupted", metrics={})
    back_up("interrupted")
    with second.claim():
        second.journal.append("resume", epoch=2)
    add_epoch(second, 3)
    second.journal.append("end", status="interrupted", stop_reason="interrupted", metrics={})
    back_up("interrupted again")
    second.journal.append("resume", epoch=3)
    add_epoch(second, 4)
    finish(second)
    back_up("unfinished sweep")
    manifest(home, [first, second], status="finished")
    back_up("before the report")
    home.report_folder(SWEEP).mkdir()
    (home.report_folder(SWEEP) / "report.html").write_text("a report")
    home.write_summary(SWEEP, {"best/test/accuracy": 0.97}, "what came out", 2)
    feed(home, uri)
    before = shape(home, uri)
    restore(root, backup)
    assert sync(home, uri) == []
    assert shape(home, uri) == before
    assert before["runs"] == [("FINISHED", 3)]
    assert rows(
        uri, "select count(*) from (select distinct key, step, run_uuid, timestamp from metrics)"
    ) == rows(uri, "select count(*) from metrics")
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    assert rows(uri, "select value from metrics where run_uuid = ?", parent.run_id) == [(0.97,)]
    assert sync(home, uri) == []
    assert shape(home, uri) == before


@pytest.mark.parametrize("records_too", [True, False])
def test_a_restored_backup_of_the_store_has_each_row_once(
    home: Store, uri: str, records_too: bool
) -> None:
    run = make(home, end="interrupted")
    assert sync(home, uri) == []
    backup = home.root.with_name("backup")
    shutil.copytree(home.root, backup)

    def go_on() -> None:
        run.journal.append("resume", epoch=3)
        for epoch in (3, 4):
            add_epoch(run, epoch)
        finish(run)

    go_on()
    assert sync(home, uri) == []
    record = run.mlflow_file.read_bytes()
    shutil.rmtree(home.root)
    backup.rename(home.root)
    if not records_too:
        run.mlflow_file.write_bytes(record)
    assert sync(home, uri) == []
    assert statuses(uri) == ["KILLED"]
    time.sleep(0.01)  # each row has another time now
    go_on()
    assert sync(home, uri) == []
    assert sync(home, uri) == []
    assert statuses(uri) == ["FINISHED"]
    assert (
        rows(uri, "select key, step, count(*) from metrics group by 1, 2 having count(*) > 1") == []
    )
    steps = rows(
        uri, "select step from metrics where key = 'train_loss' or key = 'train/loss' order by 1"
    )
    assert steps == [(1,), (2,), (3,), (4,)]


def test_a_new_database_at_the_same_address_is_filled(
    home: Store, uri: str, root: Path, fed: list[Run], fresh_database: bytes
) -> None:
    before = shape(home, uri)
    (root / "new.db").write_bytes(fresh_database)
    restore(root, root / "new.db")
    assert sync(home, uri) == []
    assert shape(home, uri) == before


@pytest.mark.full
def test_it_is_not_level_if_nobody_answers(
    home: Store,
    uri: str,
    root: Path,
    fed: list[Run],
    sweeplab: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (root / "mlflow.db").write_bytes(b"no database" * 100)
    told = f"^MLflow at {uri} cannot be reached: file is not a database; so whether it is level cannot be told$"
    with pytest.raises(RunFailed, match=told):
        sync(home, uri)
    ended = sweeplab("sync", f"tracking.uri={uri}")
    assert (ended.code, "is level with" in ended.out) == (1, False)
    monkeypatch.setattr(process, "start", lambda *_: None)
    with (
        FileLock(records.lock_file(home)),
        pytest.raises(RunFailed, match=told),
    ):  # of a feeder that is at work
        sync(home, uri)


def test_it_is_not_level_if_what_is_gone_cannot_be_noted(
    home: Store, uri: str, fed: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    before = shape(home, uri)
    SqlAlchemyStore(uri, "mlruns")._hard_delete_run(run_id(fed[1], uri))

    def refuse(file: Path, *_: Any) -> None:
        raise OSError(27, "File too large", str(file))

    with monkeypatch.context() as full:
        full.setattr(records, "write_entry", refuse)
        with pytest.raises(
            RunFailed, match=r"mlflow.json: File too large; so whether it is level cannot be told"
        ):
            sync(home, uri)
    assert sync(home, uri) == []
    assert shape(home, uri) == before


def test_a_cause_is_said_once_for_all_runs_that_lag_for_it() -> None:
    lag = ["a: away", "b: the disk: is full", "c: away", "d: away"]
    assert by_cause(lag) == ["a and 2 more: away", "b: the disk: is full"]


@pytest.mark.parametrize("what", ["folder", "link", "no folder above"])
def test_what_cannot_be_a_database_is_said_at_once_and_left_alone(
    home: Store, root: Path, fed: list[Run], what: str
) -> None:
    place = root / "elsewhere" / "mlflow.db"
    if what == "no folder above":
        place.parent.write_text("a file")
        why = f"{place.parent}: Not a directory"
    else:
        place.parent.mkdir()
        if what == "folder":
            place.mkdir()
            why = f"{place}: Is a directory"
        else:
            place.symlink_to(root / "an unmounted disk" / "mlflow.db")
            why = f"{place}: is a link that leads nowhere; mend it, or remove it"
    began = time.monotonic()
    lag = sync(home, f"sqlite:///{place}")
    assert time.monotonic() - began < 20, "MLflow tries for minutes"
    assert len(lag) == 5
    assert {line.partition(": ")[2] for line in lag} == {
        f"MLflow at sqlite:///{place} cannot be reached: {why}"
    }
    with (
        pytest.raises(UserError, match=f"^sqlite:///{place} cannot be read: {why}$"),
        tracking.serve(f"sqlite:///{place}"),
    ):
        pass
    assert place.is_symlink() == (what == "link")
    assert (
        tracking.sync(home, config.Tracking(uri=f"sqlite:///{root}/mlflow.db"), lambda *_: None)
        == []
    )


def test_a_feeders_start_puts_right_what_is_gone(
    home: Store, uri: str, root: Path, fed: list[Run]
) -> None:
    before = shape(home, uri)
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("pragma foreign_keys = off")
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            database.execute(f"delete from {table} where run_uuid = ?", (run_id(fed[3], uri),))
    database.close()
    feed(home, uri)
    assert shape(home, uri) == before


def test_files_that_are_gone_are_sent_again(
    home: Store, uri: str, root: Path, fed: list[Run]
) -> None:
    shutil.rmtree(root / "mlruns")
    assert sync(home, uri) == []
    for run in fed:
        assert list(root.glob(f"mlruns/demo/{run_id(run, uri)}/artifacts/journal.jsonl")) != []
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    assert (
        root / f"mlruns/demo/{parent.run_id}/artifacts/comparison/report.html"
    ).read_text() == "a report"


# ---- deleted by somebody ----


def test_a_run_that_somebody_deleted_stays_deleted_and_is_said(
    home: Store, uri: str, fed: list[Run], sweeplab: Command
) -> None:
    gone = run_id(fed[1], uri)
    client(uri).delete_run(gone)
    ended = sweeplab("sync", f"tracking.uri={uri}")
    told = (
        "of the experiment 'demo' 1 run was deleted in MLflow, and so stays; "
        f"mlflow runs restore --run-id {gone} brings it back"
    )
    assert (ended.code, ended.out.splitlines()[-2:]) == (
        0,
        [told, "MLflow is level with the store"],
    )
    assert tracking.run_places(fed[1], uri) == [], "no link leads there"
    fed[1].journal.append("track", experiment="demo")
    assert sync(home, uri) == []
    assert counts(uri)[0] == 5
    assert notices(home, uri) == [told]
    fed[1].mlflow_file.unlink()
    assert sync(home, uri) == []
    assert (counts(uri)[0], notices(home, uri)) == (5, [told]), "not even if the record is lost"


def test_one_that_is_restored_there_is_fed_on(home: Store, uri: str, fed: list[Run]) -> None:
    gone = run_id(fed[1], uri)
    client(uri).delete_run(gone)
    assert sync(home, uri) == []
    add_epoch(fed[1], 9)
    assert sync(home, uri) == []
    client(uri).restore_run(gone)
    assert sync(home, uri) == []
    assert notices(home, uri) == []
    assert rows(uri, "select count(*) from metrics where run_uuid = ? and step = 9", gone) == [(2,)]


def test_one_that_is_deleted_while_it_is_fed_stays_deleted(home: Store, uri: str) -> None:
    run = make(home, end=None)
    with run.claim():
        worker = feed(home, uri, has_clients=True)
        gone = run_id(run, uri)
        client(uri).delete_run(gone)
        add_epoch(run, 3)
        while worker.once(has_clients=True) is False:
            pass
        assert state(home)["lag"] == {}
    finish(run)
    while worker.once(has_clients=False) is False:
        pass
    assert (state(home)["lag"], counts(uri)[0]) == ({}, 1)
    assert notices(home, uri)[0].startswith("of the experiment 'demo' 1 run was deleted in MLflow")


def test_a_deleted_parent_stays_deleted_and_its_children_are_fed(
    home: Store, uri: str, fed: list[Run]
) -> None:
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    client(uri).delete_run(parent.run_id)
    manifest(home, fed[:3], status="failed")
    add_epoch(fed[0], 7)
    assert sync(home, uri) == []
    assert tracking.sweep_places(home, SWEEP, uri) == []
    assert rows(uri, "select count(*) from metrics where step = 7") == [(2,)]
    assert counts(uri)[0] == 5


def test_mlflow_gc_of_a_deletion_that_is_known_brings_nothing_back(
    home: Store, uri: str, fed: list[Run]
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    gone = run_id(fed[1], uri)
    client(uri).delete_run(gone)
    assert sync(home, uri) == []
    SqlAlchemyStore(uri, "mlruns")._hard_delete_run(gone)
    assert sync(home, uri) == []
    assert counts(uri)[0] == 4
    record = fed[1].mlflow_file
    told = "of the experiment 'demo' 1 run was deleted in MLflow for good, and so stays; to have it sent again, remove "
    assert notices(home, uri) == [f"{told}{record}"]
    record.unlink()
    assert sync(home, uri) == []
    assert (counts(uri)[0], notices(home, uri)) == (5, [])


def test_mlflow_gc_of_an_experiment_whose_deletion_is_known_brings_nothing_back(
    home: Store, uri: str, fed: list[Run]
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    place = tracking.run_places(fed[0], uri)[0].experiment_id
    client(uri).delete_experiment(place)
    assert sync(home, uri) == []
    runs = rows(uri, "select run_uuid from runs")
    store = SqlAlchemyStore(uri, "mlruns")
    for (gone,) in runs:
        store._hard_delete_run(gone)
    store._hard_delete_experiment(place)
    assert sync(home, uri) == []
    assert rows(uri, "select name from experiments") == [("Default",)]
    (told,) = notices(home, uri)
    assert told.startswith(
        "of the experiment 'demo' 5 runs were deleted in MLflow for good, and so stay; to have one "
    )
    new = make(home, 9, sweep=SWEEP)
    manifest(home, [*fed[:3], new], status="finished")
    assert sync(home, uri) == []
    assert rows(uri, "select count(*) from runs") == [(1,)], (
        "what is new is there, without what was deleted"
    )
    assert notices(home, uri) == [told]


def test_a_renamed_experiment_goes_on_under_its_name(home: Store, uri: str, fed: list[Run]) -> None:
    place = tracking.run_places(fed[0], uri)[0].experiment_id
    client(uri).rename_experiment(place, "my thesis")
    make(home, 9)
    assert sync(home, uri) == []
    assert rows(uri, "select experiment_id, name from experiments where name != 'Default'") == [
        (int(place), "my thesis")
    ]
    assert counts(uri)[0] == 6
    assert notices(home, uri) == [
        "the experiment 'demo' is called 'my thesis' in MLflow, and goes on there"
    ]
    feed(home, uri)
    assert counts(uri)[0] == 6
    client(uri).rename_experiment(place, "demo")
    assert sync(home, uri) == []
    assert notices(home, uri) == []


def test_a_renamed_experiment_may_be_named_so_from_then_on(
    home: Store, uri: str, fed: list[Run]
) -> None:
    client(uri).rename_experiment(tracking.run_places(fed[0], uri)[0].experiment_id, "my thesis")
    for run in fed:
        run.journal.append("track", experiment="my thesis")
    manifest(home, fed[:3], status="finished", experiment="my thesis")
    assert sync(home, uri) == []
    assert counts(uri)[0] == 5
    assert rows(uri, "select name from experiments order by name") == [("Default",), ("my thesis",)]


def test_a_renamed_experiment_that_is_deleted_stays_so(
    home: Store, uri: str, fed: list[Run]
) -> None:
    place = tracking.run_places(fed[0], uri)[0].experiment_id
    client(uri).rename_experiment(place, "my thesis")
    client(uri).delete_experiment(place)
    assert sync(home, uri) == []
    assert counts(uri)[0] == 5
    assert any(
        "the experiment 'my thesis' was deleted in MLflow, and stays so, with 5 runs" in told
        for told in notices(home, uri)
    )


def test_a_new_experiment_of_the_old_name_is_the_one_that_is_meant(
    home: Store, uri: str, fed: list[Run]
) -> None:
    client(uri).rename_experiment(tracking.run_places(fed[0], uri)[0].experiment_id, "aside")
    client(uri).create_experiment("demo")
    make(home, 9)
    assert sync(home, uri) == []
    told = "select e.name, count(*) from experiments e join runs using (experiment_id) group by 1 order by 1"
    assert rows(uri, told) == [("aside", 5), ("demo", 6)]


def test_a_deleted_experiment_stays_deleted_and_is_said(
    home: Store, uri: str, fed: list[Run]
) -> None:
    place = tracking.run_places(fed[0], uri)[0].experiment_id
    client(uri).delete_experiment(place)
    assert sync(home, uri) == []
    told = "the experiment 'demo' was deleted in MLflow, and stays so, with 5 runs; mlflow experiments restore brings it back"
    assert notices(home, uri) == [told]
    assert tracking.run_places(fed[0], uri) == []
    new = make(home, 9)
    (lag,) = sync(home, uri)
    assert lag.startswith(
        f"{new.id}: MLflow experiment 'demo' was deleted: restore it (mlflow experiments restore -x"
    )
    client(uri).restore_experiment(place)
    assert sync(home, uri) == []
    assert notices(home, uri) == []
    assert statuses(uri) == ["FINISHED"] * 6


def test_a_run_that_was_cleaned_and_trained_again_is_no_deletion(home: Store, uri: str) -> None:
    run = make(home, end="failed")
    feed(home, uri)
    shutil.rmtree(run.folder)
    make(home)
    feed(home, uri)
    assert sync(home, uri) == []
    assert notices(home, uri) == []
    assert rows(uri, "select lifecycle_stage from runs order by start_time") == [
        ("deleted",),
        ("active",),
    ]


# ---- what it costs ----


def test_a_feeders_start_asks_once_an_experiment_and_sync_in_pages(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    for number in range(1, 8):
        make(home, number, experiment="demo" if number < 6 else "other")
    feed(home, uri)
    asked: list[int] = []
    search = MlflowClient.search_runs

    def counted(self: MlflowClient, *given: Any, **how: Any) -> Any:
        asked.append(how["max_results"])
        return search(self, *given, **how)

    monkeypatch.setattr(MlflowClient, "search_runs", counted)
    monkeypatch.setattr(check, "PAGE", 2)
    feed(home, uri)
    assert asked == [2, 2]
    assert sync(home, uri) == []
    assert len(asked) - 2 == 3 + 1
    assert counts(uri)[0] == 7


def test_the_latest_page_tells_nothing_of_older_runs(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        make(home, number)
        time.sleep(0.002)
    feed(home, uri)
    monkeypatch.setattr(check, "PAGE", 2)
    feed(home, uri)
    assert counts(uri) == (5, 35)


@pytest.mark.usefixtures("fed")
def test_what_is_asked_while_a_feeder_starts_is_answered_after_a_check(
    home: Store, uri: str
) -> None:
    before, asked = records.asked(home), records.ask(home)
    lock = FileLock(records.lock_file(home))
    worker = feeder.Feeder(home, uri, lock, log=False, asked=before)
    worker.report()
    assert state(home)["checked"] == before != asked
    worker.once()
    assert state(home)["checked"] == asked


def test_sync_beside_a_feeder_has_it_look_again(
    home: Store, uri: str, fed: list[Run], root: Path
) -> None:
    with tracking.feeding(home, config.Tracking(uri=uri)) as tie:
        assert tie.wait([fed[0]], 60) is None
        end = time.monotonic() + 30
        while not state(home).get("pid") and time.monotonic() < end:
            time.sleep(0.1)
        before = shape(home, uri)
        with sqlite3.connect(root / "mlflow.db", timeout=20) as database:
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                database.execute(f"delete from {table} where run_uuid = ?", (run_id(fed[3], uri),))
        database.close()
        assert sync(home, uri) == []
        assert shape(home, uri) == before


def test_no_link_leads_to_what_was_deleted(home: Store, uri: str, fed: list[Run]) -> None:
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    ids = [run_id(run, uri) for run in fed[:3]]

    def links() -> dict[str, str]:
        assert sync(home, uri) == []
        return tracking.links(home, home.manifest(SWEEP), uri, "http://x")

    def compared(*runs: str) -> str:
        return tracking.compare_link("http://x", parent.experiment_id, runs)

    assert links()["side by side"] == compared(*ids)
    client(uri).delete_run(parent.run_id)
    assert links()["side by side"] == compared(*ids), "the children are there"
    assert "curves" in links()
    client(uri).delete_run(ids[1])
    assert links()["side by side"] == compared(ids[0], ids[2])
    for gone in (ids[0], ids[2]):
        client(uri).delete_run(gone)
    assert links() == {}
    client(uri).restore_run(parent.run_id)
    assert links() == {}, "a page without runs is none"
    client(uri).restore_run(ids[2])
    assert links()["side by side"] == compared(ids[2])


def test_a_sweep_says_that_its_parent_was_deleted(home: Store, uri: str, fed: list[Run]) -> None:
    (parent,) = tracking.sweep_places(home, SWEEP, uri)
    client(uri).delete_run(parent.run_id)
    assert sync(home, uri) == []
    only = {run.id for run in fed[:3]}
    assert tracking.notices(home, config.Tracking(uri=uri), only) == []
    (told,) = tracking.notices(home, config.Tracking(uri=uri), only, SWEEP)
    assert told.endswith(f"mlflow runs restore --run-id {parent.run_id} brings it back")


def test_the_ui_links_to_what_is_there(
    home: Store, uri: str, fed: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = fed[3]
    client(uri).delete_run(run_id(newest, uri))
    tracking.refresh(home, config.Tracking(uri=uri))
    assert tracking.run_places(newest, uri) == []
    assert len(tracking.run_places(fed[0], uri)) == 1
    assert counts(uri)[0] == 5
