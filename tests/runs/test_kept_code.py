"""`store.code=diff`: what a project differs in from its commit is kept once, and never a secret of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, ended

from sweeplab.commands import cli
from sweeplab.store import DamagedError, Store, code

SMALL = ("data=digits", "model=linear", "trainer.threads=1", "trainer.epochs=1", "store.code=diff")
TOKEN = "ghp_" + "a1B2c3D4e5" * 4


@pytest.fixture
def sweeplab(root: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """`sweeplab ...` in this process, beside `train`."""
    return lambda *arguments: ended(lambda: cli.main(arguments), capfd)


def git(folder: Path, *words: str) -> None:
    told = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *told, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(root: Path) -> Path:
    """A repository with two files, one of which is edited since."""
    git(root, "init")
    (root / "net.py").write_text("width = 1\n")
    (root / "old.py").write_text("old = 1\n")
    (root / ".gitignore").write_text("ignored.py\n")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    (root / "net.py").write_text("width = 2\n")
    (root / "old.py").unlink()
    (root / "ignored.py").write_text("ignored = 1\n")
    return root


def kept(root: Path, number: int = -1) -> dict[str, Any]:
    """What a run of the store began with, by default the latest one."""
    home = Store(root / "runs")
    found = code.read(home.root, home.runs()[number].history()[1])
    assert found is not None
    return found


def test_the_difference_to_the_commit_and_new_files_are_kept(project: Path, train: Command) -> None:
    (project / "lib").mkdir()
    (project / "lib/new.py").write_text("new = 1\n")
    done = train(*SMALL)
    assert done.code == 0, done.err
    assert "store.code=diff: 3 changed files kept in " in done.out
    found = kept(project)
    assert list(found) == ["commit", "diff", "untracked", "left_out"]
    assert len(found["commit"]) == 40
    assert found["diff"]["net.py"].endswith("@@ -1 +1 @@\n-width = 1\n+width = 2\n")
    assert "deleted file" in found["diff"]["old.py"]
    assert found["untracked"] == {"lib/new.py": "new = 1\n"}
    assert found["left_out"] == {}


def test_a_sweep_keeps_it_once_and_no_fingerprint_changes(project: Path, train: Command) -> None:
    assert train("-m", *SMALL, "seed=0,1").code == 0
    assert len(list((project / "runs/code").iterdir())) == 1
    assert len(Store(project / "runs").runs()) == 2
    again = train("-m", *SMALL[:-1], "seed=0,1", "sweep.plan=true")
    assert "2 jobs: 2 reuse" in again.out
    file = next((project / "runs/code").iterdir())
    file.write_text(file.read_text().replace("width = 2", "width = 3"))
    with pytest.raises(DamagedError):
        kept(project)
    file.write_text(json.dumps({"diff": {}}))
    with pytest.raises(DamagedError, match="it is not what was kept"):
        kept(project)


def test_what_cannot_be_kept_is_named(project: Path, train: Command) -> None:
    (project / "net.py").write_text(f'token = "{TOKEN}"\n')
    (project / "secret.py").write_text('password = "correct-horse-battery"\n')
    (project / "huge.txt").write_bytes(b"x" * 1_000_001)
    (project / "large.txt").write_bytes(b"x\n" * 400_000)
    (project / "larger.txt").write_bytes(b"x\n" * 400_000)
    (project / "binary.bin").write_bytes(b"\0\1")
    (project / "link.py").symlink_to("/etc/passwd")
    os.mkfifo(project / "pipe")
    git(project, "init", "nested")
    (project / "two\nlines.py").write_text("x = 1\n")
    Path(os.fsdecode(os.fsencode(project) + b"/\xff.py")).write_bytes(b"y = '\xff'\n")
    done = train(*SMALL)
    assert done.code == 0, done.err
    found = kept(project)
    assert found["left_out"] == {
        "net.py": "it seems to hold a secret",
        "secret.py": "it seems to hold a secret",
        "huge.txt": "it has more than 1 MB",
        "larger.txt": "more than 1 MB or 200 files in all",
        "binary.bin": "it is no text",
        "link.py": "it is no plain file",
        "nested/": "it is no plain file",
    }
    assert set(found["untracked"]) == {"large.txt", "two\nlines.py", "\udcff.py"}
    assert found["untracked"]["\udcff.py"] == "y = '\udcff'\n"
    assert "left out: net.py: it seems to hold a secret\n" in done.out
    for file in (project / "runs").rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes(), file
            assert b"correct-horse" not in file.read_bytes(), file


@pytest.mark.full
def test_what_differs_in_a_submodule_is_kept_too(
    project: Path, tmp_path_factory: pytest.TempPathFactory, train: Command
) -> None:
    library = tmp_path_factory.mktemp("library")
    git(library, "init")
    (library / "net.py").write_text("depth = 1\n")
    git(library, "add", ".")
    git(library, "commit", "-m", "first")
    local = ("-c", "protocol.file.allow=always")
    git(project, *local, "submodule", "add", str(library), "lib/own")
    git(project, *local, "submodule", "add", str(library), "lib/other")
    git(project, "commit", "-am", "with libraries")
    assert train(*SMALL).code == 0
    assert kept(project)["diff"] == {}
    assert kept(project)["untracked"] == {}
    (project / "lib/own/net.py").write_text("depth = 2\n")
    (project / "lib/own/new.py").write_text(f'token = "{TOKEN}"\n')
    (project / "lib/own/newer.py").write_text("x = 1\n")
    (project / "lib/other/net.py").write_text("depth = 3\n")
    git(project / "lib/other", "commit", "-am", "second")
    done = train(*SMALL, "seed=1")
    assert "store.code=diff: 3 changed files kept in " in done.out
    found = kept(project)
    assert list(found["diff"]) == ["lib/other", "lib/own/net.py"]
    assert "-Subproject commit " in found["diff"]["lib/other"]
    assert "--- a/lib/own/net.py\n+++ b/lib/own/net.py\n" in found["diff"]["lib/own/net.py"]
    assert found["untracked"] == {"lib/own/newer.py": "x = 1\n"}
    assert found["left_out"] == {"lib/own/new.py": "it seems to hold a secret"}
    (project / "lib/own/.git").write_text("gitdir: nowhere\n")
    assert train(*SMALL, "seed=2").code == 0
    assert kept(project)["left_out"] == {"lib/own": "git cannot read this submodule"}


def test_a_repository_without_a_commit_and_none_at_all(root: Path, train: Command) -> None:
    done = train(*SMALL)
    assert (done.code, done.err) == (0, "")
    assert "store.code=diff: no code is kept; git: not a git repository" in done.out
    assert "diff" not in Store(root / "runs").runs()[0].history()[1].provenance["git"]
    git(root, "init")
    (root / "staged.py").write_text("x = 1\n")
    git(root, "add", "staged.py")
    (root / "new.py").write_text("y = 1\n")
    assert train(*SMALL, "seed=1").code == 0
    found = kept(root)
    assert found["commit"] is None
    assert found["diff"]["staged.py"].endswith("+x = 1\n")
    assert found["untracked"] == {"new.py": "y = 1\n"}, "the store itself is none of it"


def test_why_git_gives_nothing_is_told(
    project: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    said = "store.code=diff: no code is kept; git: detected dubious ownership in repository at"
    assert said in train(*SMALL).out
    monkeypatch.setenv("PATH", str(project))
    said = "store.code=diff: no code is kept; git: [Errno 2] No such file or directory: 'git'"
    assert said in train(*SMALL, "seed=1").out


def test_two_runs_are_compared_in_their_code(
    project: Path, train: Command, sweeplab: Command
) -> None:
    assert train(*SMALL).code == 0
    (project / "net.py").write_text("width = 2\ncolour = '\x1b[31m'\n")
    (project / "new.py").write_text("new = 1\n")
    assert train(*SMALL, "seed=1").code == 0
    first, second = (run.id for run in Store(project / "runs").runs())
    done = sweeplab("compare", first, second)
    assert done.code == 0, done.err
    assert "git.diff" in done.out
    assert f"--- {first[:8]}: net.py\n+++ {second[:8]}: net.py\n" in done.out
    assert "\n++colour = '\\x1b[31m'\n" in done.out, "escaped"
    assert "\n+new = 1\n" in done.out
    files = json.loads(sweeplab("compare", first, second, "--json").out)["files"]
    assert files["new.py"] == [None, "new = 1\n"]
    assert train(*SMALL[:-1], "seed=2").code == 0
    third = Store(project / "runs").runs()[-1].id
    done = sweeplab("compare", first, third)
    assert "net.py" not in done.out, "one of both has kept nothing"
    assert "no difference in: " in done.out


def test_code_that_was_the_commits_is_compared_too(
    project: Path, train: Command, sweeplab: Command
) -> None:
    git(project, "commit", "-a", "-m", "second")
    assert train(*SMALL).code == 0
    (project / "net.py").write_text("width = 3\n")
    assert train(*SMALL, "seed=1").code == 0
    git(project, "commit", "-a", "-m", "third")
    assert train(*SMALL, "seed=2").code == 0
    clean, changed, later = (run.id for run in Store(project / "runs").runs())
    said = sweeplab("compare", clean, changed).out
    assert "files that store.code=diff has kept; of a changed one the git diff\n" in said
    assert "\n++width = 3\n" in said
    said = sweeplab("compare", changed, later).out
    assert "of a changed one the git diff, each from its own commit\n" in said
    assert "\n-+width = 3\n" in said
    assert "no difference in: code, data, files" in sweeplab("compare", clean, later).out


@pytest.mark.full
def test_what_is_kept_stays_here_and_replay_does_not_mind(
    project: Path, train: Command, sweeplab: Command
) -> None:
    assert train("-m", *SMALL, "seed=0,1").code == 0
    done = sweeplab("pack", "latest", "--output", "x.tgz")
    assert done.code == 0, done.err
    assert "left out: what store.code=diff has kept: it stays in this store\n" in done.out
    run = Store(project / "runs").runs()[0]
    done = sweeplab("replay", run.id)
    assert (done.code, done.err) == (0, "")
    assert "store.code" not in done.out


def test_code_goes_with_the_last_run_that_began_with_it(
    project: Path, train: Command, sweeplab: Command
) -> None:
    assert train(*SMALL, "seed=0").code == 0
    assert train(*SMALL, "seed=1").code == 0
    file = next((project / "runs/code").iterdir())
    one, other = Store(project / "runs").runs()
    os.utime(file, (0, 0))
    assert sweeplab("runs", "rm", one.id, "--yes").code == 0
    assert file.exists()
    assert sweeplab("runs", "rm", other.id, "--yes").code == 0
    assert not file.exists()


def test_code_that_a_run_is_about_to_begin_with_stays(root: Path) -> None:
    home = Store(root / "runs").open()
    digest = code.write(home.root, {"diff": {}})
    file = home.root / code.CODE / f"{digest}.json"
    code.remove_unused(home.root, [])
    assert file.exists()
    os.utime(file, (0, 0))
    code.write(home.root, {"diff": {}})
    code.remove_unused(home.root, [])
    assert file.exists()


def test_damaged_code_leaves_the_comparison_and_is_kept_anew(
    project: Path, train: Command, sweeplab: Command
) -> None:
    for seed in (0, 1):
        assert train(*SMALL, f"seed={seed}").code == 0
    first, second = (run.id for run in Store(project / "runs").runs())
    (file,) = (project / "runs/code").iterdir()
    content = file.read_text()
    file.write_text("{}")
    done = sweeplab("compare", first, second)
    assert done.code == 0
    assert "seed   0" in done.out
    assert f"the kept code of run {first} cannot be read: " in done.err
    assert f"the kept code of run {second} cannot be read: " in done.err
    assert "files" not in json.loads(sweeplab("compare", first, second, "--json").out)
    assert train(*SMALL, "seed=2").code == 0
    assert file.read_text() == content
