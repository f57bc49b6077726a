"""What MLflow holds on a real PostgreSQL: each column that is filled, with texts as long as it holds and longer."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Postgres, Server, missing

from sweeplab import config, tracking
from sweeplab.store import Run, Store
from sweeplab.tracking import address, causes, records, sender, terms

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own code
]


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.fresh("limits")


def make(home: Store, number: int, **given: Any) -> Run:
    """A finished run; `given` are fields of its start, and `metrics`."""
    fingerprint = f"{number:064x}"[::-1]
    run = home.run(fingerprint)
    run.folder.mkdir()
    values = given.pop("metrics", {"valid/loss": 0.5})
    start = {
        "config": {"seed": 0},
        "fingerprint": fingerprint,
        "experiment": "demo",
        "name": "a run",
    } | given
    run.journal.append("start", **start)
    run.journal.append("epoch", epoch=1, metrics=values)
    run.journal.append("end", status="finished", stop_reason="max_epochs", metrics={})
    return run


def sync(home: Store, uri: str) -> list[str]:
    return tracking.sync(home, config.Tracking(uri=uri), lambda *_: None)


def column(
    postgres: Postgres, table: str, name: str, where: str = "true", database: str = "limits"
) -> list[str]:
    return [
        value
        for (value,) in postgres.query(
            database, f"select {name} from {table} where {where} order by 1"
        )
    ]


def data(name: str) -> dict[str, Any]:
    return {"data": {"name": name, "digest": "d" * 64, "train": 1, "valid": 1, "test": 1}}


PROVENANCE = "provenance"
COLUMNS: dict[str, tuple[int, Callable[[str], dict[str, Any]], tuple[str, str, str]]] = {
    "run name": (250, lambda text: {"name": text}, ("runs", "name", "name like 'x%'")),
    "experiment": (256, lambda text: {"experiment": text}, ("experiments", "name", "name like 'x%'")),
    "param": (6000, lambda text: {"config": {"model": text}}, ("params", "value", "key = 'model'")),
    "param key": (250, lambda text: {"config": {text: 1}}, ("params", "key", "key like 'x%'")),
    "tag": (8000, lambda text: {"question": text}, ("tags", "value", "key = 'question'")),
    "tag key": (250, lambda text: {PROVENANCE: {"versions": {text: "1"}}}, ("tags", "key", "key like 'version.x%'")),
    "git commit": (8000, lambda text: {PROVENANCE: {"git": {"commit": text}}},
                   ("tags", "value", "key = 'mlflow.source.git.commit'")),
    "metric": (250, lambda text: {"metrics": {text: 1.5}}, ("metrics", "key", "key like 'x%'")),
    "latest metric": (250, lambda text: {"metrics": {text: 1.5}}, ("latest_metrics", "key", "key like 'x%'")),
    "data set": (500, data, ("datasets", "name", "name like 'x%'")),
}  # fmt: skip


@pytest.mark.parametrize("what", COLUMNS)
def test_a_text_as_long_as_its_column_stays_and_longer_ones_stay_different(
    home: Store, database: str, postgres: Postgres, what: str
) -> None:
    most, fields, (table, name, where) = COLUMNS[what]
    before = "version." if what == "tag key" else ""
    letter = chr(ord("a") + list(COLUMNS).index(what))
    where = where.replace("x%", f"{letter}%")
    first = letter * (most - len(before) - 1) + "0"  # as long as there is room for
    texts = [first, first + "1", first + "2", letter * 20000]
    for number, text in enumerate(texts):
        make(home, number, **fields(text))
    assert sync(home, database) == []
    kept = column(postgres, table, name, f"{where} and char_length({name}) >= {most}")
    assert len(kept) == len(set(kept)) == len(texts)
    assert {len(text) for text in kept} == {most}
    assert before + first in kept
    runs = "tags where key = 'store.id'"
    assert postgres.query("limits", f"select count(*) from {runs} and value = '{home.id}'") == [
        (len(texts),)
    ]


def test_users_and_descriptions_have_their_limits_too(
    home: Store, database: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = ["u" * 255 + "0", "u" * 256 + "1", "u" * 256 + "2"]
    for number, user in enumerate(users):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        make(home, number)
        assert sync(home, database) == []
    kept = column(postgres, "runs", "user_id", "user_id like 'u%'")
    assert (len(set(kept)), {len(user) for user in kept}, users[0] in kept) == (3, {256}, True)
    for number, note in enumerate(["n" * 8000, "n" * 8001, "n" * 8000 + "m"]):
        sweep = f"{number}" * 64
        home.write_manifest({"id": sweep, "time": 1.0, "experiment": "demo", "name": "s" * 251, "overrides": [],
                             "cells": [], "status": "finished", "ended": 2.0})  # fmt: skip
        home.report_folder(sweep).mkdir()
        (home.report_folder(sweep) / "report.html").write_text("")
        home.write_summary(sweep, {"best/" + "y" * 300: 0.5}, note, 1)
    assert sync(home, database) == []
    notes = column(postgres, "tags", "value", "key = 'mlflow.note.content' and value like 'n%'")
    assert (len(set(notes)), {len(note) for note in notes}, "n" * 8000 in notes) == (
        3,
        {8000},
        True,
    )
    assert {len(name) for name in column(postgres, "runs", "name", "name like 'ss%'")} == {250}
    assert (
        column(postgres, "latest_metrics", "char_length(key)", "key like 'best/yy%'") == [250] * 3
    )


ODD = ["a\0b", "a\ud800b", "\U0001f34e" * 250, "사" * 251, "a\nb\t\x1b", ""]


def test_no_text_is_refused(home: Store, database: str) -> None:
    for number, text in enumerate(ODD):
        for place, (_, fields, _) in enumerate(COLUMNS.values()):
            make(home, 100 * (number + 1) + place, **fields(text))
    assert sync(home, database) == []


def test_the_database_is_said_to_be_the_cause_and_not_sqlalchemys_workings(
    postgres: Postgres, home: Store
) -> None:
    uri = postgres.fresh("caused")
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    place = client.create_experiment("demo", artifact_location="file:///tmp/x")
    with pytest.raises(Exception, match="autoflush") as error:
        client.create_run(place, tags={"mlflow.runName": "x" * 251})
    assert (
        causes.in_short(error.value, uri)
        == "value too long for type character varying(250) (table runs)"
    )
    assert causes.is_too_long(error.value)
    postgres.query("caused", "alter table tags alter value type varchar(40)")
    run = make(home, 1)
    assert sync(home, uri) == [
        f"{run.id}: value too long for type character varying(40) (table tags)"
    ]


# ---- where the files lie, which cannot be cut ----


def deep(root: Path, characters: int) -> Path:
    """A folder below, so that the place of the files of an experiment `demo` in it has so many characters."""
    missing = characters - len(f"file://{root}/mlruns/demo")
    while missing > 100:
        root, missing = root / ("d" * 59), missing - 60
    root = root / ("d" * (missing - 1))
    root.mkdir(parents=True)
    return root


@pytest.mark.parametrize("more", [0, 1])
def test_a_root_that_is_too_deep_for_the_database_is_said_with_the_way_out(
    home: Store, postgres: Postgres, root: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    uri = postgres.fresh(f"deep{more}")
    there = deep(root, 157 + len("demo") - 16 + more)  # with the experiment as a digest of 16
    monkeypatch.setenv("SWEEPLAB_ROOT", str(there))
    name = "an experiment of a long name"
    run = make(home, 1, experiment=name)
    lag = sync(home, uri)
    if not more:
        assert lag == []
        (place,) = tracking.run_places(run, uri)
        (artifacts,) = column(postgres, "runs", "artifact_uri", database="deep0")
        assert len(artifacts) == 200
        assert list((there / "mlruns").glob(f"*/{place.run_id}/artifacts/journal.jsonl")) != []
        return
    assert len(lag) == 1
    assert (
        "too long for MLflow's database, which holds 157 characters: make the experiment at a shorter place"
        in lag[0]
    )
    from mlflow import MlflowClient

    MlflowClient(uri).create_experiment(
        name, artifact_location=(root / "short").as_uri()
    )  # as it says
    assert sync(home, uri) == []
    assert list((root / "short").glob("*/artifacts/journal.jsonl")) != []


def test_letters_of_any_script_take_one_character_each(
    home: Store, postgres: Postgres, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres.fresh("letters")
    there = root / "실험 %20 기록" / ("가" * 20)
    there.mkdir(parents=True)
    monkeypatch.setenv("SWEEPLAB_ROOT", str(there))
    run = make(home, 1, experiment="비교")
    assert sync(home, uri) == []
    (place,) = tracking.run_places(run, uri)
    assert (there / "mlruns/비교" / place.run_id / "artifacts/journal.jsonl").exists()
    folder = root / "fetched"
    run.write_config({}, [])
    run.mlflow_file.unlink()
    assert sync(home, uri) == []
    assert "journal.jsonl" in tracking.download(uri, place.run_id, folder)


def test_a_servers_own_place_that_is_too_long_is_said(home: Store, server: Server) -> None:
    from mlflow import MlflowClient

    place = "file:///" + "p" * 150
    client = MlflowClient(server.uri())
    client.create_experiment("long place", artifact_location=place)
    run = make(home, 1, experiment="long place")
    (lag,) = sync(home, server.uri())
    assert lag.startswith(
        f"{run.id}: where its files lie is too long for MLflow's database, which holds 157"
    )
    assert lag.endswith(place)


def test_the_server_takes_all_of_it_too(home: Store, server: Server) -> None:
    """A request of 100 params and 100 tags of any letters is larger than MLflow takes in one."""
    given = {f"key{n}": "사" * 7000 for n in range(150)}
    run = make(home, 1, name="사" * 300, experiment="사" * 300, config={"model": given},
               provenance={"versions": {f"p{n}": "사" * 9000 for n in range(120)}}, **data("사" * 600))  # fmt: skip
    assert sync(home, server.uri()) == []
    from mlflow import MlflowClient

    (place,) = tracking.run_places(run, server.uri())
    found = MlflowClient(server.uri()).get_run(place.run_id)
    assert len([name for name in found.data.params if name.startswith("model.")]) == 150
    assert {len(value) for value in found.data.params.values()} == {6000}
    assert len([name for name in found.data.tags if name.startswith("version.p")]) == 120


@pytest.mark.full
def test_a_moved_project_of_a_shared_database_is_said_and_a_link_mends_it(
    postgres: Postgres, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, first, second = postgres.fresh("moved"), root / "first", root / "second"
    first.mkdir()
    monkeypatch.chdir(first)
    make(Store(first / "runs").open(), 1)
    assert sync(Store(first / "runs"), uri) == []
    first.rename(second)
    monkeypatch.chdir(second)
    home = Store(second / "runs")
    assert len(home.runs()) == 1
    run = make(home, 2)
    told = f"the files of MLflow's experiment 'demo' lie at {first}/mlruns/demo, and {first} is no more; if it was moved, leave"
    for _ in range(2):
        lag = sync(home, uri)
        assert len(lag) == 2
        assert all(told in line for line in lag)
    assert not first.exists()
    first.symlink_to(second)
    assert sync(home, uri) == []
    (place,) = tracking.run_places(run, uri)
    assert (second / "mlruns/demo" / place.run_id / "artifacts/journal.jsonl").exists()


def test_names_of_experiments_are_no_paths(home: Store, root: Path) -> None:
    uri = f"sqlite:///{root}/mlflow.db"
    for number, name in enumerate(("..", ".", "...", "a/../../b", "실" * 256)):
        run = make(home, number, experiment=name)
        assert sync(home, uri) == []
        (place,) = tracking.run_places(run, uri)
        assert len(list(root.glob(f"mlruns/*/{place.run_id}/artifacts/journal.jsonl"))) == 1
    assert records.damaged_records(home) == []
    assert address.artifact_location(uri, "demo") == (root / "mlruns" / "demo").as_uri()


def test_parts_are_as_large_as_one_call_takes() -> None:
    from mlflow.entities import Param, RunTag

    params = [Param(f"k{n}", "x" * 100) for n in range(250)]
    assert [len(part) for part in sender.batched(params)] == [100, 100, 50]
    tags = [RunTag(f"k{n}", "사" * 8000) for n in range(40)]
    assert [len(part) for part in sender.batched(tags)] == [18, 18, 4]
    assert (
        max(len(json.dumps([t.value for t in part])) for part in sender.batched(tags)) < 1_000_000
    )
    assert list(sender.batched([])) == []


def test_a_cut_text_ends_in_its_digest() -> None:
    assert terms.cut("x" * 250, 250) == "x" * 250
    assert terms.cut("x" * 251, 250) == "x" * 221 + "... (sha256 90d738c31c5ee124)"
