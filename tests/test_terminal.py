"""Terminals and locales that know ASCII alone: everything is shown, with replacement, and every file is UTF-8."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import PROJECT, Ended

from sweeplab import console
from sweeplab.store import Store

PLAIN = {"LANG": "", "LC_ALL": "POSIX", "OMP_NUM_THREADS": "1"}
LOCALES: dict[str, dict[str, str]] = {
    "LANG=C": {"LANG": "C", "LC_ALL": ""},
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "strict": {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "1"},
    "no UTF-8": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
CLASSES = """
from torch import nn

class Layer(nn.Linear):
    def __init__(self, in_features: int, out_features: int, label: str) -> None:
        super().__init__(in_features, out_features)
        print("만들었다:", label)
"""


def command(root: Path, environment: Mapping[str, str], name: str, *words: str | bytes) -> Ended:
    """A command in a process of its own, whose output is bytes: as ASCII where it is."""
    program = [str(PROJECT / name)] if name.endswith(".py") else ["-m", "sweeplab.commands.cli"]
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LC_", "LANG", "PYTHON", "HYDRA"))
    }
    done = subprocess.run(
        [sys.executable, *program, *words],
        cwd=root,
        env={**env, **PLAIN, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        timeout=240,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.full
@pytest.mark.parametrize("locale", LOCALES)
def test_a_sweep_where_nothing_but_ascii_can_be_shown(tmp_path: Path, locale: str) -> None:
    root, environment = tmp_path / "실험 ±", LOCALES[locale]
    root.mkdir()
    (root / "fruit.py").write_text(CLASSES, encoding="utf-8")
    sweep = (
        "-m",
        "data=digits",
        "model=linear",
        "model._target_=fruit.Layer",
        "+model.label='사과','배'",
        "seed=0,1",
    )
    how = (
        "trainer.epochs=2",
        "store.root='기록'",
        "tracking.experiment='과일'",
        "sweep.workers=1",
        "tracking.wait=60",
    )
    ended = command(root, environment, "train.py", *sweep, *how)
    assert ended.code == 0, ended.out + ended.err
    assert ended.err == ""
    runs = Store(root / "기록").runs()
    assert sorted(run.config()["model"]["label"] for run in runs) == ["배", "배", "사과", "사과"]
    (manifest,) = Store(root / "기록").manifests()
    page = root / "기록/sweeps" / manifest["id"][:16] / "report.html"
    shown = [
        command(root, environment, "sweeplab", "runs", "store.root='기록'"),
        command(root, environment, "sweeplab", "compare", "store.root='기록'"),
        command(root, environment, "sweeplab", "compare", "--json", "store.root='기록'"),
        command(root, environment, "sweeplab", "compare", "--csv", "store.root='기록'"),
        command(
            root,
            environment,
            "sweeplab",
            "replay",
            runs[0].id,
            "--trust",
            "fruit",
            "store.root='기록'",
        ),
    ]
    for each in shown:
        assert (each.code, each.err) == (0, ""), each.err
    assert "identical: 2 epochs" in shown[-1].out
    if "PYTHONIOENCODING" in environment or locale == "no UTF-8":
        for each in (ended, *shown):
            assert each.out.isascii()
            assert "???" not in each.out
        assert r"\uc0ac\uacfc" in shown[1].out
        assert "+-" in shown[1].out
    else:
        assert "사과" in shown[1].out
    assert {group["values"]["model.label"] for group in json.loads(shown[2].out)["groups"]} == {
        "사과",
        "배",
    }
    for file in (page, page.with_name("groups.csv"), *runs[0].folder.glob("*.*")):
        if file.suffix not in (".safetensors", ".lock"):
            file.read_text(encoding="utf-8")
    assert "사과" in page.read_text(encoding="utf-8")
    for run in runs:
        assert f"만들었다: {run.config()['model']['label']}\n" in run.log_file.read_text(
            encoding="utf-8"
        )


def test_a_single_run_where_nothing_but_ascii_can_be_shown(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    root = tmp_path / "집"
    root.mkdir()
    words = ("data=digits", "model=linear", "trainer.epochs=1", "tracking=off")
    if pytestconfig.getoption("full"):
        ended = command(root, LOCALES["no UTF-8"], "train.py", *words)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.isascii()
    wrong = command(root, LOCALES["no UTF-8"], "train.py", *words, "model=사과")
    assert wrong.code == 2
    assert r"model=\uc0ac\uacfc" in wrong.err
    assert "Traceback" not in wrong.err


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "environment", [*LOCALES.values(), {"PYTHONUTF8": "1"}], ids=[*LOCALES, "UTF-8"]
)
def test_a_path_that_is_no_text_is_shown(tmp_path: Path, environment: dict[str, str]) -> None:
    ended = command(tmp_path, environment, "sweeplab", "runs", b"store.root='not\xff there'")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"store.root={tmp_path}/not\\udcff there: is no text in UTF-8; rename it\n"


@pytest.mark.full
def test_a_folder_whose_name_is_no_text_cannot_hold_records(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/not\xff there"
    os.mkdir(root)  # noqa: PTH102  # of bytes
    ended = command(
        Path(os.fsdecode(root)), {}, "train.py", "data=digits", "model=linear", "tracking=off"
    )
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        f"data.root={tmp_path}/not\\udcff there/data: is no text in UTF-8; rename it",
        f"store.root={tmp_path}/not\\udcff there/runs: is no text in UTF-8; rename it",
    ]
    assert os.listdir(root) == []  # noqa: PTH208  # of bytes
    ended = command(
        tmp_path,
        {},
        "train.py",
        "data=digits",
        b"+loss.names=[a,'\xff']",
        "data.root=d",
        "tracking=off",
    )
    assert (ended.code, ended.err) == (2, "loss.names[1]=\\udcff: is no text in UTF-8; rename it\n")


@pytest.mark.full
def test_a_name_that_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    shutil.copy(PROJECT / "train.py", tmp_path)
    (tmp_path / "experiments/odd.yaml").write_text('metrics: {"\\ud800": {_target_: own.Metric}}')
    words = ("data=digits", "model=linear")
    ended = command(
        tmp_path, {"MLFLOW_EXPERIMENT_NAME": "\udcff"}, str(tmp_path / "train.py"), *words
    )
    assert (ended.code, ended.err) == (
        2,
        "tracking.experiment=\\udcff: is no text in UTF-8; rename it\n",
    )
    ended = command(tmp_path, {}, str(tmp_path / "train.py"), *words, "experiment=odd")
    assert (ended.code, ended.err) == (
        2,
        "metrics.\\ud800=\\ud800: is no text in UTF-8; rename it\n",
    )
    assert not (tmp_path / "runs").exists()


def test_what_a_stream_cannot_show_is_shown_by_something_near_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(
            sys, name, io.TextIOWrapper(out, encoding="ascii", errors="strict", write_through=True)
        )
    console.start_streams()
    print("0.75 ± 0.1 → 3 × 2 … 사과 ⠋ \udcff é")
    print("─│", file=sys.stderr)
    assert out.getvalue() == rb"0.75 +- 0.1 -> 3 x 2 ... \uc0ac\uacfc * \xff \xe9" + b"\n-|\n"


def test_tables_keep_their_columns_where_texts_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii", write_through=True))
    console.start_streams()
    console.table("±", ["이름", "n"], [["사과", "1"], ["b", "20"]])
    lines = out.getvalue().decode().splitlines()
    assert lines[0].strip() == "+-"
    assert {len(line.rstrip("\n")) for line in lines[1:] if line.strip()} == {len(lines[1])}
    (apple,) = [line for line in lines if r"\uc0ac\uacfc" in line]
    (other,) = [line for line in lines if " b " in line]
    assert apple.index("1") + 1 == other.index("20") + 2, "flush right"


def test_a_stream_that_is_none_of_pythons_own_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    console.start_streams()
    print("±")
    assert text.getvalue() == "±\n"
