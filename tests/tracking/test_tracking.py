"""The feeder and its clients, on hand-made journals and a real SQLite MLflow; nothing is trained."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import ready
from conftest import Command
from feeding import (
    SWEEP,
    add_epoch,
    begin_anew,
    counts,
    feed,
    finish,
    make,
    manifest,
    mlflow_run,
    rows,
    state,
    statuses,
)
from filelock import FileLock

from sweeplab import config, tracking
from sweeplab.errors import UserError
from sweeplab.store import Journal, Run, Store, write_json
from sweeplab.tracking import address, check, feeder, process, records, terms
from sweeplab.tracking.client import FeedingClient
from sweeplab.tracking.view import View

# SQLAlchemy 2.1 tells mlflow's own code of a deprecated call; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

NOBODY = "http://127.0.0.1:1"  # nothing listens there


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root / "runs").open()


def client_of(store: Store, uri: str, *, seconds: float = 60) -> subprocess.Popen[bytes]:
    """A process that holds a client, and says when it does."""
    code = (
        "import sys, time; from sweeplab import config, store, tracking\n"
        "with tracking.feeding(store.Store(sys.argv[1]), config.Tracking(uri=sys.argv[2])):\n"
        "    print('ready', flush=True); time.sleep(float(sys.argv[3]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root), uri, str(seconds)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def until(condition: Callable[[], object], seconds: float = 30) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "took too long"
        time.sleep(0.02)
    return time.monotonic() - began


def at_work(store: Store) -> bool:
    from sweeplab.store import locked

    return records.lock_file(store).exists() and locked(records.lock_file(store))


# ---- where MLflow is ----


def test_the_uri_is_the_configs_then_the_environments_then_sqlite_in_the_root(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.resolve_uri(config.Tracking()) == f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking.resolve_uri(config.Tracking()) == "http://host:5000"
    assert (
        tracking.resolve_uri(config.Tracking(uri="sqlite:///a/b.db")) == f"sqlite:///{root}/a/b.db"
    )
    assert (
        tracking.resolve_uri(config.Tracking(uri="sqlite:////a/b.db?x=1"))
        == "sqlite:////a/b.db?x=1"
    )
    assert (
        tracking.resolve_uri(config.Tracking(uri="postgresql+psycopg://h/d"))
        == "postgresql+psycopg://h/d"
    )
    assert tracking.resolve_uri(config.Tracking(uri="some/folder")) == f"{root}/some/folder"


@pytest.mark.parametrize(("given", "told"), [
    ("databricks", "databricks"), ("databricks://lab", "databricks://lab"), ("databricks-uc", "databricks-uc"),
    ("uc:http://h", "uc:http://h"), ("my-plugin://h/x", "my-plugin://h/x"), ("my.plugin+x:y", "my.plugin+x:y"),
    ("~/mlflow.db", "sqlite:///HOME/mlflow.db"), ("sqlite:///~/x/y.db", "sqlite:///HOME/x/y.db"),
    ("some/runs.sqlite", "sqlite:///ROOT/some/runs.sqlite"), ("~/some/folder", "HOME/some/folder"),
    ("sqlite:///~nobody-here/x.db", "sqlite:///ROOT/~nobody-here/x.db"), ("sqlite:///a%3Fb.db", "sqlite+pysqlite:///ROOT/a%3Fb.db"),
])  # fmt: skip
def test_what_mlflow_knows_is_passed_on_and_a_path_is_made_absolute(
    root: Path, monkeypatch: pytest.MonkeyPatch, given: str, told: str
) -> None:
    monkeypatch.setenv("HOME", str(root / "home"))
    expected = told.replace("HOME", f"{root}/home").replace("ROOT", str(root))
    assert tracking.resolve_uri(config.Tracking(uri=given)) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking.resolve_uri(config.Tracking()) == expected


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("127.0.0.1:5000", r"give tracking\.uri=http://127\.0\.0\.1:5000$"),
        ("localhost:5000", r"give tracking\.uri=http://localhost:5000$"),
        ("lab-7:80/", r"give tracking\.uri=http://lab-7:80/$"),
        ("sqlite://", r"names no file; give sqlite:///mlflow\.db$"),
        ("sqlite:///", r"names no file"),
        ("sqlite:mlflow.db", r"names no file"),
        ("mlruns", r"MLflow keeps its runs in no folder any more; give sqlite:///mlflow\.db$"),
        ("file:///x", r"MLflow keeps its runs in no folder any more"),
    ],
)
def test_an_address_that_lacks_its_scheme_or_its_file_is_refused(uri: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        address.checked(address.resolved(uri))


def test_a_database_that_cannot_be_written_is_refused_before_any_work(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").touch()
    (root / "folder").mkdir()
    (root / "locked").mkdir()
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda place, mode: may(place, mode) and Path(place) != root / "locked"
    )
    places = {
        "file/m.db": f"{root}/file is not a folder",
        "folder": f"{root}/folder is a folder",
        "locked/deep/m.db": f"{root}/locked cannot be written",
    }
    for place, why in places.items():
        done = train("data=digits", f"tracking.uri=sqlite:///{place}", tracking=True)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"tracking.uri=sqlite:///{root}/{place}: {why}; give another")
    assert sorted(path.name for path in root.iterdir()) == ["file", "folder", "locked"]


def test_spaces_around_an_address_are_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " databricks ")
    assert address.resolved(None) == "databricks"


def test_a_scheme_needs_a_plugin_that_brings_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError,
        match=r"^tracking.uri=htp://\*\*\*@h: MLflow has no such kind of store, and no plugin",
    ):
        address.checked("htp://me:pw@h")
    for uri in (
        "databricks",
        "databricks://lab",
        "mysql://h/d",
        "http://h",
        "sqlite:////x.db",
    ):
        assert address.checked(uri) == uri
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group, name: [group] if name == "my-store" else [],
    )
    assert address.checked("my-store://h") == "my-store://h"
    assert [
        address.artifact_location(uri, "x") for uri in ("my-store://h", "databricks", "http://h")
    ] == [None] * 3
    assert address.artifact_location("mysql://h/d", "x") == f"file://{root}/mlruns/x"
    monkeypatch.setenv("DATABRICKS_HOST", "https://lab.databricks.com/")
    with tracking.serve("databricks") as base:
        assert base == "https://lab.databricks.com"


def test_paths_begin_at_home_where_they_say_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root / "home"))
    settings = config.compose(["store.root=~/runs", "data.root='~/data'"])
    assert (settings.store.root, settings.data.root) == (f"{root}/home/runs", f"{root}/home/data")
    monkeypatch.setenv("SWEEPLAB_ROOT", "~/lab")
    assert config.root() == root / "home" / "lab"
    assert config.compose([]).store.root == f"{root}/home/lab/runs"
    folder = root / "home" / "copy"
    folder.mkdir(parents=True)
    Journal(folder / "journal.jsonl").append("start")
    assert Store(root / "runs").find("~/copy").folder == folder


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "name",
    ["what?", "a%20b", "a#b", "a b & c", "내 폴더", "a=b;c", "(x)'y'", "a+b,c@d:e", "[x]{y}"],
)
def test_a_root_of_any_name_holds_all_that_is_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = root / name
    place.mkdir()
    monkeypatch.chdir(place)
    at = tracking.resolve_uri(config.Tracking())
    assert address.file(at) == place / "mlflow.db"
    assert address.public(at) == at
    home = Store(place / "runs").open()
    run = make(home)
    assert tracking.sync(home, config.Tracking(), lambda *_: None) == []
    assert [p.name for p in root.iterdir()] == [name]
    (found,) = tracking.run_places(run, at)
    assert list(place.glob(f"mlruns/*/{found.run_id}/artifacts/journal.jsonl")) != []
    assert "journal.jsonl" in tracking.download(at, found.run_id, place / "copy")
    assert (place / "copy/journal.jsonl").read_bytes() == run.journal.path.read_bytes()
    assert [p.name for p in root.iterdir()] == [name]


@pytest.mark.full
def test_the_ui_serves_a_root_of_any_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, fresh_database: bytes
) -> None:
    place = root / "내 %20 what?#&"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "mlflow.db").write_bytes(fresh_database)
    home = Store(place / "runs").open()
    run = make(home)
    assert tracking.sync(home, config.Tracking(), lambda *_: None) == []
    at = tracking.resolve_uri(config.Tracking())
    (found,) = tracking.run_places(run, at)
    with tracking.serve(at, 5650) as base:
        host, port = base.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", f"/get-artifact?path=journal.jsonl&run_uuid={found.run_id}")
        assert connection.getresponse().read() == run.journal.path.read_bytes()
        connection.close()
    assert [p.name for p in root.iterdir()] == [place.name]


def test_the_experiment_is_the_configs_then_the_environments_then_sweeplab(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.experiment_name(config.Tracking()) == "sweeplab"
    assert tracking.experiment_name(config.Tracking(experiment="mine")) == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert tracking.experiment_name(config.compose([]).tracking) == "theirs"
    assert tracking.experiment_name(config.compose(["tracking.experiment=mine"]).tracking) == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert tracking.experiment_name(config.compose([]).tracking) == "sweeplab"


KEYS = {
    "model.hidden": "model.hidden", "valid/loss": "valid/loss", "a b:c-d_e": "a b:c-d_e", "사과": "사과", "max_x1": "max_x1",
    "a@b": "a_x40_b", "a+b": "a_x2b_b", "a_b": "a_b", "../x": "_x2e_./x", "a//b": "a/_x2f_b", "a/": "a_x2f_", "": "_x0_",
    "a_x40_b": "a_x5f_x40_b", "[0]": "_x5b_0_x5d_",
}  # fmt: skip


def test_a_key_is_legible_and_mlflow_takes_it() -> None:
    assert {name: terms.key(name) for name in KEYS} == KEYS
    long = terms.key("x" * 300)
    assert (len(long), long[:214]) == (250, "x" * 214)


def test_other_names_have_other_keys_and_mlflow_takes_all_of_them() -> None:
    from mlflow.utils import validation

    rng = random.Random(16)
    letters = [
        "a",
        "x",
        "_",
        "_x",
        "4",
        "40",
        "/",
        ".",
        "..",
        "@",
        "+",
        "사과",
        " ",
        "\n",
        ":",
        "-",
        "%",
        "é",
        "\ud800",
        "\0",
        "[0]",
    ]
    names = ["".join(rng.choices(letters, k=rng.randrange(8))) for _ in range(4000)]
    names += [terms.key(name) for name in names]
    names += [
        "y" * rng.randrange(200, 260) + rng.choice(letters) + "z" * rng.randrange(60)
        for _ in range(1000)
    ]
    names += [terms.key(name) for name in names[-1000:]]
    keys = {name: terms.key(name) for name in names}
    assert len(set(keys.values())) == len(keys) > 4000
    for key in keys.values():
        validation._validate_metric(key, 0.5, 0, 0)
        validation._validate_param(key, "")
        validation._validate_tag(key, "")
        assert len(key) <= 250


def test_a_run_whose_names_mlflow_does_not_take_is_level(store: Store, uri: str) -> None:
    run = make(store, end=None)
    start, *rest = run.journal.events()
    start["config"]["model"] = {
        "사과": 0,
        "포도": 1,
        "a@b": 2,
        "a+b": 3,
        "a_b": 4,
        "y" * 260: 5,
        "y" * 261: 6,
    }
    run.journal.path.write_text("".join(json.dumps(event) + "\n" for event in (start, *rest)))
    run.journal.append("epoch", epoch=3, metrics={"valid/p@1": 0.25, "valid/p+1": 0.5}, seconds=0.1)
    finish(run)
    feed(store, uri)
    assert state(store)["lag"] == {}
    data = mlflow_run(run, uri).data
    assert sorted(
        value for name, value in data.params.items() if name.startswith("model.")
    ) == list("0123456")
    assert data.params["model.사과"] == "0"
    assert (data.metrics["valid/p_x40_1"], data.metrics["valid/p_x2b_1"]) == (0.25, 0.5)
    assert statuses(uri) == ["FINISHED"]


def test_importing_the_door_imports_no_mlflow() -> None:
    code = "import sys, sweeplab.tracking; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False\n"


# ---- what a run carries ----


def test_a_finished_run_is_whole_in_mlflow(store: Store, uri: str, root: Path) -> None:
    run = make(store)
    feed(store, uri)
    seen = mlflow_run(run, uri)
    events = run.journal.events()
    assert seen.info.status == "FINISHED"
    assert seen.info.run_name == "run 1"
    assert seen.info.start_time == round(events[0]["time"] * 1000)
    assert seen.info.end_time == round(events[-1]["time"] * 1000)
    assert seen.data.params == {"model.hidden": "[392, 196]", "seed": "0"}
    assert seen.data.metrics == {
        "train/loss": 0.5, "valid/accuracy": 0.5, "test/accuracy": 0.97, "early_stop_epoch": 2.0, "seconds": 1.5,
    }  # fmt: skip
    expected = {
        "fingerprint": f"{run.id:0<64}",
        "question": "q" * 64,
        "store.id": store.id,
        "git.commit": "abc",
        "git.dirty": "true",
        "version.torch": "2.15.0",
        "device": "cpu",
        "threads": "1",
        "stop_reason": "max_epochs",
        "mlflow.runName": "run 1",
        "mlflow.source.name": "train.py",
        "mlflow.source.git.commit": "abc",
    }
    assert {key: seen.data.tags[key] for key in expected} == expected
    assert seen.inputs.dataset_inputs[0].dataset.name == "digits"
    assert json.loads(seen.inputs.dataset_inputs[0].dataset.profile) == {
        "train": 1150,
        "valid": 287,
        "test": 360,
    }
    assert seen.info.artifact_uri.startswith((root / "mlruns" / "demo").as_uri())
    at = rows(uri, "select step, timestamp from metrics where key = 'train/loss' order by step")
    assert at == [(1, round(events[1]["time"] * 1000)), (2, round(events[2]["time"] * 1000))]


def test_its_files_can_be_fetched_again(store: Store, uri: str, tmp_path: Path) -> None:
    run = make(store)
    (run.folder / "profile").mkdir()
    (run.folder / "profile" / "trace.json").write_text("{}")
    feed(store, uri)
    place = tracking.run_places(run, uri)[0]
    names = tracking.download(uri, place.run_id, tmp_path / "copy")
    assert sorted(names) == sorted(
        ["config.yaml", "overrides.yaml", "journal.jsonl", "result.json", "weights.safetensors"]
    )
    assert (tmp_path / "copy" / "weights.safetensors").read_bytes() == b"weights"
    assert Journal(tmp_path / "copy" / "journal.jsonl").events() == run.journal.events()
    assert list(tmp_path.glob(f"mlruns/demo/{place.run_id}/artifacts/profile/trace.json"))


def test_what_is_not_there_cannot_be_fetched(uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    with pytest.raises(UserError, match="cannot be fetched from sqlite"):
        tracking.download(uri, "0" * 32, tmp_path)
    foreign = MlflowClient(uri).create_run("0").info.run_id
    with pytest.raises(UserError, match=r"has no config\.yaml"):
        tracking.download(uri, foreign, tmp_path)


def test_a_repeated_epoch_and_an_interrupted_end_leave_each_metric_once(
    store: Store, uri: str
) -> None:
    run = make(store, end="interrupted")
    feed(store, uri)
    assert mlflow_run(run, uri).info.status == "KILLED"
    assert mlflow_run(run, uri).data.tags["stop_reason"] == "max_epochs"
    with run.claim():
        run.journal.append("resume", epoch=1)
        feed(store, uri)
        assert mlflow_run(run, uri).info.status == "RUNNING"
    add_epoch(run, 2)
    add_epoch(run, 3)
    finish(run)
    feed(store, uri)
    assert rows(uri, "select key, count(*) from metrics group by key order by key") == [
        ("early_stop_epoch", 1), ("seconds", 1), ("test/accuracy", 1), ("train/loss", 3), ("valid/accuracy", 3),
    ]  # fmt: skip
    assert mlflow_run(run, uri).info.status == "FINISHED"
    assert counts(uri)[0] == 1


def test_feeding_twice_changes_nothing_and_a_lost_record_neither(store: Store, uri: str) -> None:
    run = make(store)
    feed(store, uri)
    before = counts(uri)
    assert before == (1, 7)
    feed(store, uri)
    run.mlflow_file.unlink()
    feed(store, uri)
    assert counts(uri) == before


def test_what_is_there_is_read_once_for_many_runs_and_searched_for_one_among_many(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    asked: list[str] = []
    search = MlflowClient.search_runs

    def counted(self: MlflowClient, places: list[str], condition: str, **how: Any) -> Any:
        asked.append(condition.partition("'")[0])
        return search(self, places, condition, **how)

    monkeypatch.setattr(MlflowClient, "search_runs", counted)
    runs = [make(store, number) for number in range(1, 13)]
    feed(store, uri)
    assert (counts(uri), asked) == ((12, 84), []), "there is no such experiment yet"
    for run in runs:
        run.mlflow_file.unlink()
    feed(store, uri)
    assert (counts(uri), asked) == ((12, 84), ["tags.`store.id` = "])
    runs[5].mlflow_file.unlink()
    monkeypatch.setattr(check, "PAGE", 10)
    feed(store, uri)
    assert (counts(uri), asked[1:]) == (
        (12, 84),
        ["tags.`store.id` = "] * 2,
    ), "a page was read, which is not all; so the one is searched for"


def test_numbers_that_are_none_and_names_that_mlflow_refuses(store: Store, uri: str) -> None:
    run = make(store, epochs=0, end=None)
    run.journal.append(
        "epoch", epoch=1, metrics={"train/loss": math.nan, "valid/f1@5": 1.0}, seconds=0.1
    )
    feed(store, uri)
    assert rows(uri, "select key, is_nan from metrics order by key") == [
        ("train/loss", 1),
        ("valid/f1_x40_5", 0),
    ]


def test_many_epochs_params_and_tags_are_fed_in_parts(store: Store, uri: str) -> None:
    run = store.run("a" * 64)
    run.folder.mkdir()
    many = {f"key {n}": "x" * 7000 for n in range(150)}
    versions = {f"p{n}": "1" for n in range(150)}
    run.journal.append(
        "start",
        config={"model": many},
        experiment="demo",
        name="big",
        provenance={"versions": versions},
    )
    for epoch in range(1, 1201):
        run.journal.append("epoch", epoch=epoch, metrics={"train/loss": 1.0}, seconds=0.1)
    feed(store, uri)
    assert counts(uri) == (1, 1200)
    assert rows(uri, "select count(*), max(length(value)) from params") == [(150, 6000)]
    assert rows(uri, "select count(*) from tags where key like 'version.%'") == [(150,)]


# ---- experiments and sweeps ----


def test_a_run_without_tracking_is_fed_only_where_it_is_asked_for(store: Store, uri: str) -> None:
    run = make(store, experiment=None)
    feed(store, uri)
    assert counts(uri)[0] == 0
    run.journal.append("track", experiment="later")
    feed(store, uri)
    assert [place.experiment for place in tracking.run_places(run, uri)] == ["later"]
    assert mlflow_run(run, uri, "later").info.status == "FINISHED"


def test_a_sweep_is_a_parent_with_named_children(store: Store, uri: str) -> None:
    runs = [make(store, n, sweep=SWEEP) for n in (1, 2)]
    manifest(store, runs, status="finished")
    feed(store, uri)
    parent = tracking.sweep_places(store, SWEEP, uri)[0]
    assert statuses(uri) == ["FINISHED"] * 3
    assert rows(
        uri, "select name, start_time, end_time from runs where run_uuid = ?", parent.run_id
    ) == [("a sweep", 1000250, 2000500)]
    assert rows(uri, "select count(*) from tags where key = 'sweep.555555555555'") == [(2,)], (
        "the children alone"
    )
    for number, run in enumerate(runs):
        tags = mlflow_run(run, uri).data.tags
        assert tags["mlflow.parentRunId"] == parent.run_id
        assert tags["mlflow.runName"] == f"hidden={number}"
        assert tags["sweep.555555555555"] == "1"


def test_a_sweep_that_reuses_a_run_of_another_experiment_has_it_too(store: Store, uri: str) -> None:
    run = make(store, experiment="first")
    feed(store, uri)
    manifest(store, [run], status="finished", experiment="second")
    feed(store, uri)
    parent = tracking.sweep_places(store, SWEEP, uri)[0]
    assert mlflow_run(run, uri, "second").data.tags["mlflow.parentRunId"] == parent.run_id
    assert "mlflow.parentRunId" not in mlflow_run(run, uri, "first").data.tags
    assert mlflow_run(run, uri, "first").data.tags["sweep.555555555555"] == "1"
    assert counts(uri) == (3, 14)


def test_a_sweep_issued_again_under_another_experiment_ends_in_both(store: Store, uri: str) -> None:
    run = make(store, experiment="first", sweep=SWEEP)
    manifest(store, [run], experiment="first")
    feed(store, uri, has_clients=True)
    manifest(store, [run], experiment="second")
    manifest(store, [run], status="finished", experiment="second")
    feed(store, uri)
    parents = {place.experiment: place for place in tracking.sweep_places(store, SWEEP, uri)}
    for name in ("first", "second"):
        status = rows(uri, "select status from runs where run_uuid = ?", parents[name].run_id)
        assert status == [("FINISHED",)]
        assert mlflow_run(run, uri, name).data.tags["mlflow.parentRunId"] == parents[name].run_id
    assert counts(uri)[0] == 4
    link = tracking.links(store, store.manifest(SWEEP), uri, "http://x")["configs"]
    assert f"/experiments/{parents['second'].experiment_id}/" in link


def test_a_run_of_its_own_that_a_sweep_reuses_gets_its_tag_and_no_parent(
    store: Store, uri: str
) -> None:
    run = make(store)
    manifest(store, [run], status="finished")
    feed(store, uri)
    assert mlflow_run(run, uri).data.tags["sweep.555555555555"] == "1"
    assert "mlflow.parentRunId" not in mlflow_run(run, uri).data.tags


def test_a_sweep_that_nobody_drives_is_killed_until_it_is_issued_again(
    store: Store, uri: str
) -> None:
    run = make(store, sweep=SWEEP)
    manifest(store, [run])
    feed(store, uri, has_clients=True)
    parent = tracking.sweep_places(store, SWEEP, uri)[0]
    status = ("select status from runs where run_uuid = ?", parent.run_id)
    assert rows(uri, *status) == [("RUNNING",)]
    feed(store, uri)
    assert rows(uri, *status) == [("KILLED",)]
    feed(store, uri, has_clients=True)  # another command's client: not this sweep's
    assert rows(uri, *status) == [("KILLED",)]
    manifest(store, [run])
    feed(store, uri, has_clients=True)
    assert rows(uri, *status) == [("RUNNING",)]
    manifest(store, [run], status="interrupted")
    feed(store, uri)
    assert rows(uri, *status) == [("KILLED",)]
    assert counts(uri)[0] == 2


def test_a_deleted_experiment_is_an_error_that_says_so(store: Store, uri: str) -> None:
    from mlflow import MlflowClient

    first = make(store, 1)
    feed(store, uri)
    client = MlflowClient(uri)
    client.delete_experiment(tracking.run_places(first, uri)[0].experiment_id)
    feed(store, uri)
    assert state(store)["lag"] == {}  # what is level stays so
    run = make(store, 2)
    feed(store, uri)
    assert "experiment 'demo' was deleted" in state(store)["lag"][run.id]


def test_a_run_cleaned_out_of_the_store_makes_room_for_the_next(store: Store, uri: str) -> None:
    run = make(store, end="failed")
    feed(store, uri)
    for file in run.folder.iterdir():
        file.unlink()
    make(store)
    feed(store, uri)
    assert rows(uri, "select lifecycle_stage, status from runs order by start_time") == [
        ("deleted", "FAILED"), ("active", "FINISHED"),
    ]  # fmt: skip


def test_a_copied_store_leaves_the_runs_of_the_other_one_alone(
    store: Store, uri: str, root: Path
) -> None:
    runs = [make(store, number, end="failed", sweep=SWEEP) for number in (1, 2)]
    manifest(store, runs, status="finished")
    feed(store, uri)
    shutil.copytree(store.root, root / "copy")
    copied = Store(root / "copy")
    begin_anew(copied.run(runs[0].id), 1, copied)
    begin_anew(runs[1], 2, store)
    feed(copied, uri)
    feed(store, uri)
    feed(copied, uri)
    query = (
        "select lifecycle_stage, status from runs join tags using (run_uuid) "
        "where key = 'store.id' and value = ? order by lifecycle_stage, status"
    )
    one, two = ("active", "FAILED"), ("active", "FINISHED")
    assert rows(uri, query, store.id) == [one, two, two, ("deleted", "FAILED")]
    assert rows(uri, query, copied.id) == [one, two, two]
    parents = {home: tracking.sweep_places(home, SWEEP, uri)[0].run_id for home in (store, copied)}
    children = (
        "select s.value, count(*) from tags p join tags s using (run_uuid) join runs using (run_uuid) "
        "where p.key = 'mlflow.parentRunId' and p.value = ? and s.key = 'store.id' and lifecycle_stage = 'active' group by 1"
    )
    for home, parent in parents.items():
        assert rows(uri, children, parent) == [(home.id, 1)], (
            "the run that was trained anew is of no sweep"
        )


def test_what_this_folder_did_not_make_is_never_deleted(store: Store, uri: str, root: Path) -> None:
    """Not even where a copy cannot be told: it lies at the other one's place now."""
    run = make(store, end="failed")
    feed(store, uri)
    aside = store.root.rename(root / "aside")
    shutil.copytree(aside, store.root)
    copied = Store(store.root)
    assert copied.id == store.id
    begin_anew(run, 1, copied)
    feed(copied, uri)
    assert rows(uri, "select lifecycle_stage, status from runs order by start_time") == [
        ("active", "FAILED"), ("active", "FINISHED"),
    ]  # fmt: skip


def test_a_database_thrown_away_is_filled_again(
    store: Store, uri: str, root: Path, fresh_database: bytes
) -> None:
    run = make(store)
    manifest(store, [run], status="finished")
    feed(store, uri)
    (root / "other.db").write_bytes(fresh_database)
    time.sleep(0.01)
    other = f"sqlite:///{root / 'other.db'}"
    record = run.mlflow_file.read_text()
    run.mlflow_file.write_text(
        record.replace("mlflow.db", "other.db")
    )  # as if mlflow.db were another file now
    feed(store, other)
    assert counts(other) == (2, 7)
    assert tracking.run_places(run, other)[0].run_id not in record


def test_a_damaged_journal_lags_and_holds_nothing_up(store: Store, uri: str) -> None:
    bad, good = make(store, 1), make(store, 2)
    bad.journal.path.write_bytes(b"\0\0\0\n" + bad.journal.path.read_bytes())
    feed(store, uri)
    assert "cannot be read" in state(store)["lag"][bad.id]
    assert mlflow_run(good, uri).info.status == "FINISHED"
    lag = tracking.sync(store, config.Tracking(uri=uri), lambda *_: None)
    assert len(lag) == 1
    assert lag[0].startswith(f"{bad.id}: its journal cannot be read")


@pytest.mark.parametrize("lost", ["beginning", "end", "all", "file"])
def test_a_journal_that_lost_lines_lags_and_says_so(store: Store, uri: str, lost: str) -> None:
    bad, good = make(store, 1), make(store, 2)
    values = {
        "fingerprint": bad.id,
        "question": "q",
        "status": "finished",
        "stop_reason": None,
        "metrics": {},
    }
    write_json(bad.result_file, values)
    lines = bad.journal.path.read_bytes().splitlines(keepends=True)
    kept = {"beginning": lines[1:], "end": lines[:-1], "all": []}
    bad.journal.path.write_bytes(b"".join(kept.get(lost, [])))
    if lost == "file":
        bad.journal.path.unlink()
    worker = feed(store, uri)
    for _ in range(2):
        assert "journal.jsonl: is damaged: its " in state(store)["lag"][bad.id]
        worker.once()
    assert mlflow_run(good, uri).info.status == "FINISHED"


def test_a_damaged_manifest_lags_and_holds_nothing_up(store: Store, uri: str) -> None:
    run = make(store, 1)
    manifest(store, [run])
    file = store.sweeps / f"{SWEEP[:16]}.json"
    file.write_bytes(file.read_bytes().replace(b"a sweep", b"a swoop"))
    feed(store, uri)
    assert state(store)["lag"] == {
        SWEEP[:16]: f"{file}: is damaged: its content does not fit the digest in it; "
        "issue the sweep's command again, which writes it anew"
    }
    assert mlflow_run(run, uri).info.status == "FINISHED"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"sqlite": 1}', b'{"x": {"demo": 2}}']
)
def test_a_damaged_record_is_made_anew(store: Store, uri: str, content: bytes) -> None:
    run = make(store, 1)
    feed(store, uri)
    before = counts(uri)
    run.mlflow_file.write_bytes(content)
    assert len(records.damaged_records(store)) == (0 if content.startswith(b'{"x') else 1)
    feed(store, uri)
    assert counts(uri) == before
    assert records.damaged_records(store) == []


def test_a_damaged_store_json_is_told(store: Store, uri: str) -> None:
    make(store, 1)
    (store.root / "store.json").write_text("{")
    feed(store, uri)
    (lag,) = state(store)["lag"].values()
    assert lag.startswith(f"{store.root}/store.json: is damaged: ")


# ---- runs that died, and the files that tell ----


def test_a_run_whose_process_died_is_killed_and_a_living_one_is_not(store: Store, uri: str) -> None:
    run = make(store, end=None)
    with run.claim():
        feed(store, uri, has_clients=True)
        assert mlflow_run(run, uri).info.status == "RUNNING"
    feed(store, uri)
    seen = mlflow_run(run, uri)
    assert seen.info.status == "KILLED"
    assert seen.info.end_time == round(run.journal.events()[-1]["time"] * 1000)


def test_a_run_that_ends_just_after_the_look_at_its_claim_is_not_called_dead(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, end=None)

    def ends_now(self: Run) -> bool:
        if not self.result_file.exists():
            finish(self)
        return False

    monkeypatch.setattr(Run, "claimed", property(ends_now))
    view = View(store, uri)
    assert view.jobs()[0].goal["status"] == "FINISHED"


def test_an_idle_run_is_not_read_again(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        make(store, number)
    worker = feed(store, uri)

    def unread(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Path, "open", unread)
    monkeypatch.setattr(Path, "read_bytes", unread)
    monkeypatch.setattr(Path, "read_text", unread)
    assert worker.checked.view.jobs() == []


def test_no_secret_is_written_down(store: Store) -> None:
    make(store)
    uri = "http://me:hunter2@127.0.0.1:1"
    worker = feeder.Feeder(store, uri, FileLock(records.lock_file(store)), log=False)
    assert worker.once() is None
    assert (
        state(store)["error"]
        == "MLflow at http://***@127.0.0.1:1 cannot be reached: Connection refused"
    )
    assert address.public("postgresql://me:hunter2@h/d?password=hunter2") == "postgresql://***@h/d"
    assert "hunter2" not in "".join(p.read_text() for p in store.root.rglob("*.json"))


# ---- processes ----


def test_off_does_nothing(store: Store) -> None:
    with tracking.feeding(store, config.Tracking(enabled=False)) as client:
        client.tend()
        assert client.wait([make(store)], 5) is None
    assert not records.lock_file(store).exists()


def test_a_feeder_killed_anywhere_is_replaced_and_leaves_each_thing_once(
    store: Store, uri: str
) -> None:
    runs = [make(store, n, epochs=3, sweep=SWEEP) for n in range(12)]
    manifest(store, runs, status="finished")
    with tracking.feeding(store, config.Tracking(uri=uri)) as client:

        def tended(condition: Callable[[], bool]) -> bool:
            client.tend()
            return condition()

        for so_far in (0, 30):
            until(lambda so_far=so_far: tended(lambda: counts(uri)[1] > so_far))  # type: ignore[misc]  # a bound default
            until(lambda: tended(lambda: at_work(store)))
            os.kill(state(store)["pid"], signal.SIGKILL)
        assert client.wait(runs, 40) is None
    assert counts(uri) == (13, 12 * 9)
    assert statuses(uri) == ["FINISHED"] * 13
    assert rows(uri, "select count(*) from (select distinct key, step, run_uuid from metrics)") == [
        (12 * 9,)
    ]
    until(lambda: not at_work(store), 8)


@pytest.mark.parametrize("kill", ["create_run", "log_batch", "set_terminated", "log_artifact"])
def test_cut_off_just_after_a_step_is_as_good_as_before_it(
    store: Store, uri: str, kill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    run = make(store)
    whole = getattr(MlflowClient, kill)

    def cut(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, kill, cut)
        with pytest.raises(KeyboardInterrupt):
            feed(store, uri)
    feed(store, uri)
    assert counts(uri) == (1, 7)
    assert mlflow_run(run, uri).info.status == "FINISHED"


def test_an_absent_server_costs_the_caller_nothing_and_is_named(store: Store) -> None:
    ready.run([sys.executable, "-c", "", "sync"])  # so that what feeders are forked from is there
    began = time.monotonic()
    with tracking.feeding(store, config.Tracking(uri=NOBODY)) as client:
        assert time.monotonic() - began < 2
        run = make(store)
        said = client.wait([run], 30)
        assert (
            said
            == f"MLflow lags behind by 1 run: MLflow at {NOBODY} cannot be reached: Connection refused"
        )
        assert time.monotonic() - began < 20
        command_line = Path(f"/proc/{state(store)['pid']}/cmdline").read_text()
        assert "127.0.0.1" not in command_line
        assert os.getsid(state(store)["pid"]) != os.getsid(0)
    assert until(lambda: not at_work(store), 10) < 5


@pytest.mark.full
def test_the_feeder_ends_with_a_client_that_is_killed(store: Store, uri: str) -> None:
    run = make(store, end=None)
    client = client_of(store, uri)
    until(lambda: run.mlflow_file.exists() and counts(uri)[1] == 4)
    pid = state(store)["pid"]
    os.kill(client.pid, signal.SIGINT)  # what Ctrl-C does to the client's group only
    client.wait()
    assert until(lambda: not at_work(store), 10) < 5
    assert statuses(uri) == ["KILLED"]
    until(
        lambda: (
            not Path(f"/proc/{pid}").exists()
            or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
        )
    )


def test_two_stores_race_on_a_fresh_database(root: Path) -> None:
    uri = f"sqlite:///{root}/new.db"
    stores = [Store(root / name).open() for name in ("a", "b")]
    runs = [make(each) for each in stores]
    with (
        tracking.feeding(stores[0], config.Tracking(uri=uri)) as one,
        tracking.feeding(stores[1], config.Tracking(uri=uri)) as two,
    ):
        assert one.wait(runs[:1], 40) is None
        assert two.wait(runs[1:], 40) is None
    assert counts(uri) == (2, 14)
    assert rows(uri, "select name from experiments order by name") == [("Default",), ("demo",)]


def test_a_database_whose_making_is_cut_off_is_made_anew(store: Store, root: Path) -> None:
    uri = f"sqlite:///{root}/a%20new.db"
    make(store)
    client = client_of(store, uri)
    half = root / ".a new.db.new"
    until(lambda: half.exists() and half.stat().st_size > 100_000)
    os.kill(state(store)["pid"], signal.SIGKILL)
    client.kill()
    client.wait()
    until(lambda: not at_work(store))
    assert not (root / "a new.db").exists()
    assert tracking.sync(store, config.Tracking(uri=uri), lambda *_: None) == []
    assert counts(f"sqlite:///{root}/a new.db") == (1, 7)
    assert sorted(p.name for p in root.glob("*new*")) == ["a new.db"]


def test_sync_brings_level_here_and_says_what_cannot_be(store: Store, uri: str) -> None:
    make(store, 1)
    make(store, 2, end=None)
    seen: list[tuple[int, int]] = []
    assert tracking.sync(store, config.Tracking(uri=uri), lambda *at: seen.append(at)) == []
    assert seen == [(1, 2), (2, 2)]
    assert sorted(statuses(uri)) == ["FINISHED", "KILLED"]
    lag = tracking.sync(store, config.Tracking(uri=NOBODY), lambda *_: None)
    assert lag[0].endswith(f": MLflow at {NOBODY} cannot be reached: Connection refused")
    assert len(lag) == 2
    assert (
        tracking.sync(Store(store.root / "none"), config.Tracking(uri=uri), lambda *_: None) == []
    )


def test_sync_beside_a_feeder_waits_for_it(store: Store, uri: str) -> None:
    client = client_of(store, uri)
    until(lambda: at_work(store))
    make(store)
    assert tracking.sync(store, config.Tracking(uri=uri), lambda *_: None) == []
    assert counts(uri) == (1, 7)
    other = tracking.sync(store, config.Tracking(uri=NOBODY), lambda *_: None)
    assert other[0].endswith(f"this store's feeder is at work for {uri}")
    client.kill()
    client.wait()
    until(lambda: not at_work(store), 8)


# ---- links and the UI ----


def test_links_are_those_that_open_in_the_ui() -> None:
    base = "http://127.0.0.1:5000/"
    link = tracking.sweep_link(base, "7", SWEEP)
    assert link == (
        "http://127.0.0.1:5000/#/experiments/7/runs?searchFilter=tags.%60sweep.555555555555%60%20%3D%20%221%22"
        "&compareRunsMode=CHART&orderByKey=metrics.%60valid%2Floss%60&orderByAsc=true&workflowType=machine_learning"
    )
    assert tracking.table_link(base, "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs?orderByKey=metrics.%60valid%2Floss%60&orderByAsc=true"
        "&workflowType=machine_learning"
    )
    assert tracking.compare_link(base, "7", ["a", "b"]) == (
        "http://127.0.0.1:5000/#/compare-runs?runs=[%22a%22,%22b%22]&experiments=[%227%22]&workflowType=machine_learning"
    )
    assert tracking.run_link(base, "7", "a") == (
        "http://127.0.0.1:5000/#/experiments/7/runs/a/model-metrics?workflowType=machine_learning"
    )


def get_health(base: str) -> bytes:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.full
def test_the_ui_is_served_and_ended(uri: str, root: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with tracking.serve(uri, port) as base:
            assert base != f"http://127.0.0.1:{port}"
            assert get_health(base) == b"OK"
    with pytest.raises(OSError, match="refused"):
        get_health(base)
    with tracking.serve("http://me:secret@host:5000/", 1) as base:
        assert base == "http://host:5000"


def test_a_ui_that_does_not_answer_in_time_is_an_error(uri: str) -> None:
    with (
        pytest.raises(UserError, match="did not start; its last words"),
        tracking.serve(uri, seconds=0.2),
    ):
        pass


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_number_that_is_no_port_is_an_error(uri: str, port: int) -> None:
    wrong = f"--port={port}: must be a whole number from 0 to 65535"
    with pytest.raises(UserError, match=wrong), tracking.serve(uri, port):
        pass


def test_no_free_port_is_an_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "bind", Mock(side_effect=OSError))
    with (
        pytest.raises(UserError, match=r"ports 5000 to 5019 of 127\.0\.0\.1 are all taken"),
        tracking.serve(uri, 5000),
    ):
        pass


def test_a_download_makes_no_database(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"neither a run of this store nor of MLflow: there is no .*none\.db"
    ):
        tracking.download(f"sqlite:///{root}/none.db", "0" * 32, root / "copy")
    assert list(root.iterdir()) == []


@pytest.mark.full
def test_a_wrong_uri_is_refused_although_a_feeder_is_started_early(
    command: Command, root: Path
) -> None:
    ended = command("train.py", "data=digits", "tracking.uri=[1]")
    assert (ended.code, ended.err) == (2, "tracking.uri=[1]: must be a text, or null\n")
    assert list(root.iterdir()) == []


def test_a_feeder_that_rests_is_woken_by_the_signal_of_a_command_that_waits(
    store: Store, uri: str
) -> None:
    worker = feeder.Feeder(store, uri, FileLock(records.lock_file(store)), log=False)
    before = signal.signal(feeder.WAKE, lambda *_: worker.wake())
    shots = threading.Thread(
        target=lambda: [os.kill(os.getpid(), feeder.WAKE) for _ in range(2000)]
    )
    began = time.monotonic()
    try:
        shots.start()
        worker._rest(60)
        shots.join()
        worker._rest(0.05)  # what came meanwhile
        assert worker._wake_ups.empty()
    finally:
        signal.signal(feeder.WAKE, before)
    assert time.monotonic() - began < 30


def test_a_feeder_that_still_loads_is_not_started_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: object) -> int:
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1].pid

    monkeypatch.setattr("sweeplab.tracking.process.start", start)
    client = FeedingClient(store, "sqlite:///none.db")

    def look() -> None:
        client._looked_at = -10.0
        client.tend()

    try:
        look()
        look()
        assert len(started) == 1
        started[0].kill()
        until(lambda: not process.is_alive(started[0].pid))
        look()
        assert len(started) == 2
    finally:
        for each in started:
            each.kill()
            each.returncode = 0


@pytest.mark.parametrize(("loads", "patience", "least"), [(1.5, 60, 1.9), (60, 1, 1.4)])
def test_the_seconds_that_a_command_waits_count_from_the_feeders_start(
    store: Store, monkeypatch: pytest.MonkeyPatch, loads: float, patience: float, least: float
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: object) -> int:
        seconds = 60 if started else loads
        started.append(subprocess.Popen(["sleep", str(seconds)]))
        return started[-1].pid

    monkeypatch.setattr("sweeplab.tracking.process.start", start)
    monkeypatch.setattr("sweeplab.tracking.client.START_PATIENCE", patience)
    client = FeedingClient(store, "sqlite:///none.db")
    run = make(store)
    client.tend()
    began = time.monotonic()
    try:
        # One that dies while it loads, or loads for too long, is waited for no longer.
        said = client.wait([run], 0.5)
        assert said == "MLflow lags behind by 1 run: no feeder is at work yet"
        assert least < time.monotonic() - began < 10
        began = time.monotonic()
        assert client.wait([run], 0) == said
        assert time.monotonic() - began < 1
    finally:
        for each in started:
            each.kill()
            each.returncode = 0
