"""Which config the `sweeplab` commands compose: that of the project whose folder they are in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import PROJECT, Command

from sweeplab import config
from sweeplab.errors import UserError

PROGRAM = "import hydra\nfrom sweeplab.commands.cli import train\n{}\ndef main(config): raise SystemExit(9)\n"
OWN = config.conf_dir()


@pytest.mark.parametrize(
    ("decorator", "folder", "name"),
    [
        ('@hydra.main(config_path="conf", config_name="mine", version_base="1.3")', "conf", "mine"),
        ('@hydra.main("settings/a", "mine.yaml")', "settings/a", "mine"),
        ('@guarded\n@hydra.main(config_path="../b")', "../b", "config"),
        ('@hydra.main(config_name="mine")', OWN, "mine"),
        ("", OWN, "config"),
    ],
)
def test_what_train_py_gives_to_hydra_is_read_without_running_it(
    root: Path, decorator: str, folder: str, name: str
) -> None:
    (root / "train.py").write_text(PROGRAM.format(decorator))
    found = config.entry()
    assert (found.folder, found.name, found.problem) == ((root / folder).resolve(), name, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PROGRAM.format('@hydra.main(config_path=FOLDER, config_name="x")'), "what it gives to "),
        (PROGRAM.format("@hydra.main(config_name=f'{x}')"), "what it gives to hydra.main cannot "),
        (PROGRAM.format('@hydra.main(config_path="pkg://mine.conf")'), "what it gives to hydra"),
        ("def x(:", "cannot be read (invalid syntax (train.py, line 1)); name its folder with "),
        ("\0", "cannot be read ("),
    ],
)
def test_one_that_cannot_be_read_is_said(
    sweeplab: Command, root: Path, text: str, said: str
) -> None:
    (root / "train.py").write_text(text)
    assert config.entry().folder == OWN
    ended = sweeplab("runs")
    assert (ended.code, ended.out) == (0, f"no runs in {root}/runs\n")
    assert ended.err.startswith(f"{root}/train.py: {said}")
    assert ended.err.endswith("--config-dir, and its file with --config-name\n")


def test_another_program_of_hydras_is_left_alone(root: Path) -> None:
    (root / "train.py").write_text(
        'import hydra\n@hydra.main(config_path="conf", config_name="x")\ndef main(c): pass\n'
    )
    assert config.entry() == config.Entry(folder=OWN)


@pytest.fixture
def project(root: Path) -> Path:
    example = PROJECT / "examples/own_project"
    left = shutil.ignore_patterns("runs", "mlruns", "mlflow.db*", "__pycache__")
    shutil.copytree(example, root / "project", ignore=left)
    file = root / "project/conf/project.yaml"
    file.write_text(f"{file.read_text()}\nstore:\n  root: elsewhere\n")
    return root / "project"


def test_a_projects_own_store_need_not_be_named(
    sweeplab: Command, project: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = ("--config-dir", str(project / "conf"))
    assert sweeplab("runs", *conf).out == f"no runs in {root}/elsewhere\n"
    assert sweeplab("runs", *conf, "store.root=here").out == f"no runs in {root}/here\n"
    assert sweeplab("runs", *conf, "--config-name=config").out == f"no runs in {root}/runs\n"
    assert sweeplab("runs").out == f"no runs in {root}/runs\n"
    refused = sweeplab("runs", "--config-dir=nowhere")
    assert (refused.code, refused.err) == (2, "nowhere: there is no such folder of configs\n")
    refused = sweeplab("runs", *conf, "--config-name=other")
    assert refused.code == 2
    assert refused.err.startswith("other: no such config in ")
    monkeypatch.chdir(project)
    assert sweeplab("runs").out == f"no runs in {project}/elsewhere\n"


def test_a_folder_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder of configs"):
        config.entry("nowhere")
