"""`sweeplab init`: a project of one's own is written, all of it or nothing, from the one example."""

from __future__ import annotations

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
from conftest import PROJECT, Command

from sweeplab.commands import cli
from sweeplab.commands.init import ENTRIES, TAKEN

EXAMPLE = PROJECT / "examples" / "own_project"


def files(folder: Path) -> list[str]:
    """The files of a project, those that running it makes left out."""
    found = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    made = re.compile(
        r"(.*/)?__pycache__/|runs/|mlruns/|mlflow\.db|\.venv/|\.pytest_cache/|uv\.lock"
    )
    return sorted(name for name in found if not made.match(name))


def test_a_project_is_the_example_under_its_own_name_and_trains(
    root: Path,
    train: Command,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = conftest.ended(lambda: cli.main(["init", "mine-of-init"]), capfd)
    assert (ended.code, ended.err) == (0, "")
    project = root / "mine-of-init"
    lines = ended.out.splitlines()
    count = len(files(EXAMPLE))
    assert lines[0] == f"written: {project} ({count} files), with the package mine_of_init"
    assert lines[-3:-1] == [
        "  cd mine-of-init",
        "  pip install uv && uv run train.py   # trains, and logs to MLflow",
    ]
    named = [name.replace("own_project/", "mine_of_init/") for name in files(EXAMPLE)]
    assert files(project) == sorted(named)
    texts = "".join((project / name).read_text() for name in files(project))
    assert "own_project" not in texts
    assert [file.name for file in root.iterdir()] == ["mine-of-init"]

    monkeypatch.syspath_prepend(project)
    monkeypatch.chdir(project)
    trained = train("trainer.epochs=2", "step=noisy", script=project / "train.py")
    assert trained.code == 0, trained.err
    ignored = re.findall(r"^/(\w+)/$", (project / ".gitignore").read_text(), re.MULTILINE)
    assert sorted(ignored) == ["data", "mlartifacts", "mlruns", "runs"]
    assert set(ignored) < set(TAKEN)
    (config,) = project.glob("runs/*/config.yaml")
    assert "_target_: mine_of_init.model.Residual" in config.read_text()


SOURCES = {
    '{"url": "file:///src/sweeplab", "dir_info": {"editable": true}}': {
        "path": "/src/sweeplab",
        "editable": True,
    },
    '{"url": "file:///a%20b/sweeplab.whl", "archive_info": {}}': {"path": "/a b/sweeplab.whl"},
    '{"url": "https://host/sweeplab.whl", "archive_info": {}}': {
        "url": "https://host/sweeplab.whl"
    },
    '{"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "s"}': {
        "git": "https://host/x.git",
        "rev": "abc",
        "subdirectory": "s",
    },
    "": None,
}


@pytest.mark.parametrize("told", SOURCES)
def test_the_project_depends_on_sweeplab_from_where_this_one_is_from(
    root: Path, sweeplab: Command, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    def read_text(name: str) -> str | None:
        assert name == "direct_url.json"
        return told or None

    installed = SimpleNamespace(read_text=read_text)
    monkeypatch.setattr(metadata, "distribution", lambda _: installed)
    monkeypatch.setattr(metadata, "version", lambda _: "0.9")
    assert sweeplab("init", "mine").code == 0
    project = tomllib.loads((root / "mine" / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == ["sweeplab>=0.9"]
    assert project["tool"]["uv"].get("sources", {}).get("sweeplab") == SOURCES[told]


def test_an_existing_folder_keeps_what_is_in_it(root: Path, sweeplab: Command) -> None:
    (root / "notes").write_text("mine")
    (root / "conf").mkdir()
    ended = sweeplab("init", "--package", "mine")
    assert ended.code == 0, ended.err
    assert "  cd " not in ended.out
    assert (root / "notes").read_text() == "mine"
    assert (root / "conf" / "project.yaml").exists()
    before = {name: (root / name).read_text() for name in files(root)}
    again = sweeplab("init", "--package", "mine")
    assert (again.code, again.out) == (2, "")
    assert (
        again.err
        == f"{root}: has .gitignore and {len(before) - 2} more already; name another folder\n"
    )
    assert {name: (root / name).read_text() for name in files(root)} == before


def test_a_project_is_written_whole_or_not_at_all(
    root: Path, sweeplab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, moved = Path.rename, []

    def full_disk(self: Path, target: Path) -> Path:
        if target.name == "train.py":
            raise OSError(28, "No space left on device", str(target))
        moved.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full_disk)
    (root / "here").mkdir()
    ended = sweeplab("init", "here")
    assert (ended.code, ended.err) == (
        2,
        f"{root}/here: cannot be written: No space left on device\n",
    )
    assert len(moved) > 5
    assert [entry.name for entry in root.iterdir()] == ["here"]
    assert list((root / "here").iterdir()) == []


WRONG = {
    "init torch": "torch: would hide the installed module torch; name another: --package my_project",
    "init mine store.root=x": "store.root=x: init takes one folder, and no settings",
    "init mine other": "other: init takes one folder, and no settings",
    "init json": "json: would hide the installed module json; name another: --package my_project",
    "init 3d": "3d: is no name of a Python package: letters, digits and _, no digit first; name another: --package",
    "init __init__": "__init__: is of Python's own names; name another: --package my_project",
    "init data": "data: is a file or folder of every project; name another: --package my_project",
    "init mine --package a-b": "--package=a-b: is no name of a Python package",
    "init no/mine": "{root}/no/mine: name a new folder in one that is there, or an empty one",
    "init file": "{root}/file: name a new folder in one that is there, or an empty one",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_a_project_is_refused(root: Path, sweeplab: Command, words: str) -> None:
    (root / "file").touch()
    ended = sweeplab(*words.split(" "))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(WRONG[words].format(root=root))
    assert [file.name for file in root.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(root: Path, sweeplab: Command) -> None:
    (root / "shut").mkdir(mode=0o500)
    ended = sweeplab("init", "shut/mine")
    assert (ended.code, ended.err) == (
        2,
        f"{root}/shut/mine: cannot be written: Permission denied\n",
    )


def test_the_wheel_ships_all_of_the_example_by_name() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    named = {f"examples/own_project/{name}": f"sweeplab/own_project/{name}" for name in ENTRIES}
    assert named == {name: to for name, to in shipped.items() if name.startswith("examples/")}
    assert {name.partition("/")[0] for name in files(EXAMPLE)} == set(ENTRIES)
