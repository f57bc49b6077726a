"""What is recorded of how and with what a run is computed."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from sweeplab.runs import provenance as recording
from sweeplab.runs.provenance import provenance
from sweeplab.train import cpus
from sweeplab.train.device import Runtime

CPU = Runtime(device=torch.device("cpu"), threads=1, precision="fp32")


@pytest.fixture
def git_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is in no git repository, with no git settings of the user's."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_provenance_records_how_a_run_is_computed(git_folder: Path) -> None:
    recorded = provenance(CPU, git_folder)
    assert recorded["device"] == "cpu"
    assert recorded["threads"] == 1
    assert recorded["cores"] == cpus.count() >= 1
    assert recorded["platform"] == platform.platform()
    assert recorded["versions"]["python"] == platform.python_version()
    assert recorded["versions"]["torch"].split("+")[0] == str(torch.__version__).split("+")[0]
    assert recorded["torch"]["cuda"] == torch.version.cuda


def test_a_package_that_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch, git_folder: Path
) -> None:
    monkeypatch.setattr(recording, "PACKAGES", ("torch", "there-is-no-such-package"))
    assert sorted(provenance(CPU, git_folder)["versions"]) == ["python", "torch"]


def test_provenance_of_a_clean_and_of_a_dirty_tree(git_folder: Path) -> None:
    git(git_folder, "init", "--quiet")
    (git_folder / "model.py").write_text("hidden = 392\n")
    git(git_folder, "add", "model.py")
    git(git_folder, "commit", "--quiet", "--message", "first")
    commit = git(git_folder, "rev-parse", "HEAD")
    assert provenance(CPU, git_folder)["git"] == {"commit": commit, "dirty": False}
    (git_folder / "model.py").write_text("hidden = 256\n")
    assert provenance(CPU, git_folder)["git"] == {"commit": commit, "dirty": True}


def test_outside_of_a_repository_there_is_no_commit(git_folder: Path) -> None:
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}


def test_a_repository_without_a_commit_has_none(git_folder: Path) -> None:
    git(git_folder, "init", "--quiet")
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}


def test_without_git_there_is_no_commit(git_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(git_folder))
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}
