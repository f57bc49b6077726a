"""A project that is moved or copied, with its SQLite database or without: MLflow keeps absolute places in it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from feeding import add_epoch, begin_anew, finish, make, manifest, rows

from sweeplab import config, tracking
from sweeplab.errors import UserError
from sweeplab.store import Run, Store
from sweeplab.tracking import address, places, relocation

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning"
)  # mlflow's own code


class Project:
    """A folder with a store, a database and `mlruns`, at work in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        folder.mkdir(parents=True, exist_ok=True)
        self._monkeypatch = monkeypatch

    @property
    def home(self) -> Store:
        self._monkeypatch.chdir(self.folder)
        return Store(self.folder / "runs").open()

    def sync(self, uri: str | None = None) -> list[str]:
        from mlflow.tracking._tracking_service import utils

        utils._artifact_repos_cache.clear()  # of a process that is at work in one project, not in two of the same runs
        return tracking.sync(self.home, config.Tracking(uri=uri), lambda *_: None)

    def place(self, run: Run, uri: str | None = None) -> str:
        (found,) = tracking.run_places(
            self.home.run(run.id), uri or tracking.resolve_uri(config.Tracking())
        )
        return found.run_id

    def files(self) -> dict[str, tuple[int, int]]:
        return {
            str(f): (f.stat().st_ino, f.stat().st_mtime_ns)
            for f in self.folder.rglob("*")
            if f.is_file()
        }

    def at(self, folder: Path) -> Project:
        return Project(folder, self._monkeypatch)

    def locations(self) -> list[str]:
        path = self.folder / "mlflow.db"
        found = [
            "select artifact_location from experiments where name != 'Default'",
            "select artifact_uri from runs",
        ]
        with sqlite3.connect(path) as database:
            values = [value for query in found for (value,) in database.execute(query)]
        database.close()
        return values


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch, fresh_database: bytes) -> Project:
    """Two finished runs and one that was interrupted, in MLflow."""
    made = Project(root / "first", monkeypatch)
    (made.folder / "mlflow.db").write_bytes(fresh_database)
    runs = [make(made.home, 1), make(made.home, 2), make(made.home, 3, end="interrupted")]
    manifest(made.home, runs[:2], status="finished")
    assert made.sync() == []
    return made


def go_on(home: Store, number: int = 3) -> Run:
    """Resume the interrupted run to its end."""
    run = home.run(f"{number:064x}"[::-1])
    run.journal.append("resume", epoch=2)
    add_epoch(run, 3)
    finish(run)
    return run


@pytest.mark.parametrize("name", ["second", "두 번째 %20 project", "a/b/c"])
def test_a_moved_project_takes_its_files_along(project: Project, root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    project.folder.rename(root / name)
    moved = project.at(root / name)
    run = go_on(moved.home)
    assert moved.sync() == []
    assert not project.folder.exists()
    now = address.file_uri(moved.folder / "mlruns" / "demo")
    assert {location[: len(now)] for location in moved.locations()} == {now}
    assert (
        moved.folder / "mlruns/demo" / moved.place(run) / "artifacts/weights.safetensors"
    ).exists()
    assert len(moved.locations()) == 1 + 4
    assert (
        "journal.jsonl"
        in tracking.download(moved.uri.replace("%", "%25"), moved.place(run), root / "fetched")
        or "%" in name
    )


def test_a_moved_project_whose_old_place_is_taken_leaves_that_alone(
    project: Project, root: Path
) -> None:
    project.folder.rename(root / "second")
    for old in ("file", "folder"):
        if old == "file":
            project.folder.write_text("another thing")
        else:
            project.folder.unlink()
            project.folder.mkdir()
        moved = project.at(root / "second")
        make(moved.home, 10 + len(old))
        assert moved.sync() == []
    assert list(project.folder.iterdir()) == []


def test_a_copied_project_writes_nothing_to_the_other_one(project: Project, root: Path) -> None:
    (before_id,), before = {project.home.id}, project.files()
    shutil.copytree(project.folder, root / "second")
    copied = project.at(root / "second")
    run = go_on(copied.home)
    begin_anew(copied.home.run(make_id(2)), 2, copied.home)
    assert copied.sync() == []
    assert copied.home.id != before_id
    assert project.files() == before
    assert rows(copied.uri, "select lifecycle_stage, status from runs order by 1, 2") == [
        *[("active", "FINISHED")] * 4, ("deleted", "FINISHED"),
    ], "all taken over; one that was trained anew replaces what it was"  # fmt: skip
    assert {
        value for (value,) in rows(copied.uri, "select value from tags where key = 'store.id'")
    } == {copied.home.id}
    assert (
        copied.folder / "mlruns/demo" / copied.place(run) / "artifacts/weights.safetensors"
    ).exists()
    assert project.sync() == []
    assert {
        value for (value,) in rows(project.uri, "select value from tags where key = 'store.id'")
    } == {before_id}


def make_id(number: int) -> str:
    return f"{number:064x}"[::-1]


def test_a_copied_store_at_the_same_database_takes_nothing_over(
    project: Project, root: Path
) -> None:
    shutil.copytree(project.folder / "runs", root / "second" / "runs")
    copied = project.at(root / "second")
    assert copied.sync(project.uri) == []
    owners = dict(
        rows(project.uri, "select value, count(*) from tags where key = 'store.id' group by 1")
    )
    assert owners == {project.home.id: 4, copied.home.id: 4}
    assert not (copied.folder / "mlruns").exists()
    assert copied.sync(project.uri) == [], "nor later, when its records tell of its own runs"
    assert project.sync() == []
    again = rows(project.uri, "select value, count(*) from tags where key = 'store.id' group by 1")
    assert dict(again) == owners


def test_a_copy_without_the_files_writes_nothing_to_those_of_the_other_one(
    project: Project, root: Path
) -> None:
    shutil.copytree(project.folder / "runs", root / "second" / "runs")
    shutil.copyfile(project.folder / "mlflow.db", root / "second" / "mlflow.db")
    before = project.files()
    copied = project.at(root / "second")
    run = go_on(copied.home)
    assert copied.sync() == []
    assert project.files() == before
    now = address.file_uri(copied.folder / "mlruns" / "demo")
    assert {location[: len(now)] for location in copied.locations()} == {now}
    for number in (1, 2, 3):
        files = (
            copied.folder
            / "mlruns/demo"
            / copied.place(copied.home.run(make_id(number)))
            / "artifacts"
        )
        assert (files / "journal.jsonl").read_bytes() == copied.home.run(
            make_id(number)
        ).journal.path.read_bytes()
    assert run.id == make_id(3)[:16]


def test_a_copy_that_is_copied_back_has_each_run_once(project: Project, root: Path) -> None:
    shutil.copytree(project.folder, root / "second")
    copied = project.at(root / "second")
    go_on(copied.home)
    assert copied.sync() == []
    shutil.copytree(copied.folder, project.folder, dirs_exist_ok=True)
    assert project.sync() == []
    owners = "select value, count(*) from tags where key = 'store.id' group by 1"
    assert rows(project.uri, owners) == [(project.home.id, 4)]
    assert project.home.id != copied.home.id
    project.folder.rename(root / "third")
    moved = project.at(root / "third")
    assert moved.sync() == []
    assert rows(moved.uri, owners) == [(moved.home.id, 4)]


def test_a_link_to_the_same_database_takes_nothing_over(project: Project, root: Path) -> None:
    shutil.copytree(project.folder / "runs", root / "second" / "runs")
    copied = project.at(root / "second")
    (copied.folder / "mlflow.db").symlink_to(project.folder / "mlflow.db")
    assert copied.sync() == []
    owners = dict(
        rows(project.uri, "select value, count(*) from tags where key = 'store.id' group by 1")
    )
    assert owners == {project.home.id: 4, copied.home.id: 4}


def test_a_database_that_was_moved_alone_leaves_the_files_where_they_are(
    project: Project, root: Path
) -> None:
    before = project.locations()
    (root / "lab").mkdir()
    (project.folder / "mlflow.db").rename(root / "lab" / "mlflow.db")
    uri = f"sqlite:///{root}/lab/mlflow.db"
    run = go_on(project.home)
    assert project.sync(uri) == []
    assert project.at(root / "lab").locations() == before
    assert (
        project.folder / "mlruns/demo" / project.place(run, uri) / "artifacts/weights.safetensors"
    ).exists()


@pytest.mark.parametrize(
    "how", ["own place", "beside another database", "not made yet", "a bucket"]
)
def test_a_place_of_the_users_own_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, fresh_database: bytes, how: str
) -> None:
    from mlflow import MlflowClient

    project = Project(root / "first", monkeypatch)
    (project.folder / "mlflow.db").write_bytes(fresh_database)
    data = root / "data" / "mlruns" / "demo"
    data.parent.parent.mkdir()
    if how != "not made yet":
        data.mkdir(parents=True)
    if how == "beside another database":
        (root / "data" / "mlflow.db").write_bytes(fresh_database)
    location = "s3://bucket/mlruns/demo" if how == "a bucket" else data.as_uri()
    MlflowClient(project.uri).create_experiment("demo", artifact_location=location)
    run = make(project.home, 1, end=None)
    with run.claim():
        tracking.sync(project.home, config.Tracking(), lambda *_: None)
    assert project.locations()[0] == location
    if how != "a bucket":
        finish(run)
        assert project.sync() == []
        assert (data / project.place(run) / "artifacts/weights.safetensors").exists()


def test_a_folder_that_is_no_more_is_said_with_the_way_out(root: Path) -> None:
    old, new = root / "old", root / "new"
    (new / "mlruns" / "demo").mkdir(parents=True)
    location = (old / "mlruns" / "demo").as_uri()
    told = rf"^the files of MLflow's experiment 'demo' lie at {old}/mlruns/demo, and {old} is no more; if it was moved, leave a link"
    with pytest.raises(UserError, match=told):
        relocation.ensure_there("demo", location)
    old.write_text("a file")
    with pytest.raises(UserError, match=told):
        relocation.ensure_there("demo", location)
    old.unlink()
    old.symlink_to(new)
    relocation.ensure_there("demo", location)
    (new / "mlruns" / "demo").rmdir()
    (new / "mlruns" / "demo").write_text("a file")
    with pytest.raises(
        UserError,
        match=rf"lie at {old}/mlruns/demo, and {old}/mlruns/demo is no folder; mend it, or",
    ):
        relocation.ensure_there("demo", location)
    shutil.rmtree(new / "mlruns")
    (new / "mlruns").symlink_to(root / "an unmounted disk")
    with pytest.raises(
        UserError, match=rf"and {old}/mlruns is a link that leads nowhere; mend it, or remove it$"
    ):
        relocation.ensure_there("demo", location)
    for fine in (
        "s3://b/x",
        "mlflow-artifacts:/1",
        "/etc/x",
        (root / "a" / "b").as_uri(),
        "dbfs:/x",
    ):
        relocation.ensure_there("demo", fine)


@pytest.mark.parametrize(("location", "path"), [
    ("file:///a/b%20c", "/a/b c"), ("file:/a/b", "/a/b"), ("/a/b%20c", "/a/b%20c"), ("file://localhost/a", "/a"),
    ("file:///가/나", "/가/나"), ("s3://b/x", None), ("mlflow-artifacts:/1", None), ("relative/x", None), ("", None),
    ("file://host/share", None), ("file:///a%3Fb#c", "/a?b#c"),
])  # fmt: skip
def test_places_of_this_machine_are_told_from_others(location: str, path: str | None) -> None:
    assert places.local(location) == (None if path is None else Path(path))


def test_a_database_of_another_kind_is_left_alone(root: Path, home: Store) -> None:
    (root / "mlflow.db").write_bytes(b"")
    relocation.bring_along(f"sqlite:///{root}/mlflow.db", home)
    assert (root / "mlflow.db").read_bytes() == b""
    for uri in (f"sqlite:///{root}/none.db", "http://127.0.0.1:1", "postgresql://h/d"):
        relocation.bring_along(uri, home)
    assert not (root / "none.db").exists()
