"""Runs and sweeps from Python: the way, the bits and the messages of the shell."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT, Command
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from stored import facts, only
from walk import our_frames

import sweeplab
from sweeplab.config import conf_dir
from sweeplab.store import Store
from sweeplab.train import loop

QUICK = ("data=digits", "model.hidden=8", "trainer.epochs=2", "tracking=off")
SWEPT = ("data=digits", "model.hidden=8,[8,4]", "seed=0,1", "trainer.epochs=2", "tracking=off")
HERE = ("hydra/launcher=basic", "sweep.report=false")  # in this process, without figures


def test_a_run_is_that_of_the_shell_and_is_not_trained_twice(root: Path, train: Command) -> None:
    run = sweeplab.run(*QUICK)
    assert (run.status, run.folder) == ("finished", root / "runs" / run.id)
    assert run.fingerprint.startswith(run.id)
    before = (run.folder / "journal.jsonl").read_bytes()
    said = train(*QUICK[:-1])
    assert said.code == 0
    assert f"run {run.id} is finished already" in said.out
    assert (run.folder / "journal.jsonl").read_bytes() == before
    assert train(*QUICK[:-1], "store.root=shell").code == 0
    assert facts(only(root)) == facts(only(root, "shell"))
    again = sweeplab.run(*QUICK, "store.root=shell")
    assert (again.id, again.metrics["best_epoch"]) == (run.id, 2)


@pytest.mark.full
def test_a_sweep_is_that_of_the_shell_and_is_not_trained_twice(root: Path, train: Command) -> None:
    sweep = sweeplab.sweep(*SWEPT, *HERE)
    before = {run.id: (run.folder / "journal.jsonl").read_bytes() for run in sweep.runs}
    assert len(before) == 4
    said = train("-m", *SWEPT[:-1])
    assert said.code == 0
    assert "4 jobs: 4 reused" in said.out
    assert train("-m", *SWEPT[:-1], "seed=2,3").code == 0
    after = sweeplab.sweep(*SWEPT, "seed=2,3", *HERE)
    assert after.id == sweeplab.results("latest").id != sweep.id
    assert {run.id: (run.folder / "journal.jsonl").read_bytes() for run in sweep.runs} == before


SHELL = [
    ("train.py", "main"),
    ("src/sweeplab/commands/train.py", "train"),
    ("src/sweeplab/runs/run.py", "train"),
]
PYTHON = [
    ("src/sweeplab/commands/python.py", "run"),
    ("src/sweeplab/commands/python.py", "_call"),
    ("src/sweeplab/config/hydra_calls.py", "call"),
    ("src/sweeplab/config/hydra_calls.py", "noted"),
    *SHELL[1:],
]


@pytest.mark.full
def test_four_functions_lead_from_python_to_that_of_train_py(
    root: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[list[tuple[str, str]]] = []
    train_epoch = loop.train_epoch

    def noted(*given: Any, **options: Any) -> Any:
        walks.append(our_frames())
        return train_epoch(*given, **options)

    monkeypatch.setattr(loop, "train_epoch", noted)
    sweeplab.run(*QUICK)
    assert train(*QUICK[:-1], "store.root=shell").code == 0
    python, shell = walks[0], walks[-1]
    assert python[: len(PYTHON)] == PYTHON
    assert shell[shell.index(SHELL[0]) :][: len(SHELL)] == SHELL
    assert python[len(PYTHON) :] == shell[shell.index(SHELL[-1]) + 1 :]


BAD = [
    ["model.hiden=3"],
    ["data=nowhere"],
    ["trainer.epochs=0"],
    ["x"],
    ["sweep.zip=[a,b]"],
    ["loss=mse", "trainer.monitor=valid/f1"],
]


def test_several_values_for_a_run_are_a_sweep(root: Path) -> None:
    with pytest.raises(sweeplab.UserError, match=r"^model\.hidden=8,9: several values are a sweep"):
        sweeplab.run("data=digits", "model.hidden=8,9", "tracking=off")
    assert not (root / "runs").exists()


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_raises_the_message_of_the_shell(
    words: list[str], root: Path, train: Command
) -> None:
    said = train("data=digits", *words)
    assert said.code == 2
    with pytest.raises(sweeplab.UserError) as raised:
        sweeplab.run("data=digits", *words, "tracking=off")
    in_python = said.err.replace("-m 'data=digits,x'", "sweeplab.sweep('data=digits,x')")
    assert str(raised.value) == in_python.strip()
    assert raised.value.__cause__ is None
    assert list(root.iterdir()) == []


def test_bad_input_of_a_sweep_raises_the_message_of_the_shell(root: Path, train: Command) -> None:
    words = ["data=digits", "model.hidden=8,-1", "trainer.epochs=0"]
    said = train("-m", *words)
    with pytest.raises(sweeplab.UserError) as raised:
        sweeplab.sweep(*words, "tracking=off", *HERE)
    assert str(raised.value) == said.err.strip()
    assert list(root.iterdir()) == []


ONLY_IN_PYTHON = [
    ((3,), "3: give texts, as in"),
    ((["model.hidden=3"],), "['model.hidden=3']: give texts"),
    (("-m",), "-m: no option of the shell is taken; sweeplab.sweep is -m"),
    (("model._target_=__main__.Net",), "model._target_=__main__.Net: is defined in this notebook"),
    (("experiment=width",), "experiment=width: is a sweep: sweeplab.sweep takes it"),
]


@pytest.mark.parametrize(("words", "message"), ONLY_IN_PYTHON)
def test_what_only_python_can_get_wrong_is_told(words: Any, message: str, root: Path) -> None:
    with pytest.raises(sweeplab.UserError) as raised:
        sweeplab.run(*words)
    assert str(raised.value).startswith(message)


def test_a_secret_is_hidden_in_what_is_raised(root: Path) -> None:
    with pytest.raises(sweeplab.UserError) as raised:
        sweeplab.run("tracking.uri=http://me:hunter2hunter2@[", "trainer.epoch=3")
    assert "hunter2" not in str(raised.value)


@pytest.mark.full
def test_hydra_is_left_as_the_program_had_it(root: Path) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.2"):
        mine = GlobalHydra.instance().hydra
        sweeplab.run(*QUICK)
        with pytest.raises(sweeplab.UserError):
            sweeplab.run("model.hiden=3")
        assert GlobalHydra.instance().hydra is mine
        assert hydra_compose("config", ["seed=7"]).seed == 7
    assert not GlobalHydra.instance().is_initialized()


def _process_state() -> dict[str, Any]:
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "arguments": list(sys.argv),
        "filters": list(warnings.filters),
        "shown by": warnings.showwarning,
        "folder": Path.cwd(),
        "path": list(sys.path),
        "threads": torch.get_num_threads(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "precision": torch.get_float32_matmul_precision(),
        "type": torch.get_default_dtype(),
        "denormal": (torch.tensor(1e-40) * 1).item(),
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": np.random.get_state(legacy=True)[1].tolist(),
        "python threads": [thread.name for thread in threading.enumerate()],
    }


@pytest.mark.parametrize("more", [(), ("trainer.epochs=0",)])
def test_the_process_is_left_as_it_was_and_does_not_change_the_bits(
    more: tuple[str, ...], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeplab.run(*QUICK, "store.root=before")
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        state = _process_state()
        with torch.inference_mode():
            if more:
                with pytest.raises(sweeplab.UserError):
                    sweeplab.run(*QUICK, *more)
            else:
                sweeplab.run(*QUICK)
        assert _process_state() == state
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(1)
    if not more:
        assert facts(only(root)) == facts(only(root, "before"))


def test_only_one_call_at_a_time_is_at_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[BaseException] = []

    def second() -> None:
        try:
            sweeplab.run(*QUICK)
        except sweeplab.UserError as error:
            raised.append(error)

    train_epoch = loop.train_epoch

    def meanwhile(*given: Any, **options: Any) -> Any:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        return train_epoch(*given, **options)

    monkeypatch.setattr(loop, "train_epoch", meanwhile)
    assert sweeplab.run(*QUICK).status == "finished"
    assert len(raised) == 2
    assert "at work on another call of sweeplab already" in str(raised[0])


def test_a_module_that_calls_sweeplab_when_it_is_imported_is_told(root: Path, write: Any) -> None:
    program = "import sweeplab\nfrom torch import nn\nsweeplab.run()\nclass Net(nn.Linear): ...\n"
    write({"calling.py": program})
    with pytest.raises(sweeplab.UserError, match="from within another call of sweeplab, by a modu"):
        sweeplab.run("data=digits", "model=calling.Net", "tracking=off")
    assert not (root / "runs").exists()


@pytest.mark.full
def test_a_run_in_a_thread_has_the_same_bits(root: Path) -> None:
    sweeplab.run(*QUICK)
    thread = threading.Thread(target=sweeplab.run, args=(*QUICK, "store.root=thread"))
    thread.start()
    thread.join()
    assert facts(only(root)) == facts(only(root, "thread"))


def test_an_interrupted_run_goes_on_to_the_same_bits(
    root: Path, die_at: Callable[[int], None]
) -> None:
    words = [*QUICK, "trainer.epochs=4"]
    sweeplab.run(*words, "store.root=whole")
    die_at(3)
    with pytest.raises(KeyboardInterrupt, match="what was finished is kept; issue the same") as end:
        sweeplab.run(*words)
    assert type(end.value) is KeyboardInterrupt, "by which Python ends a script as Ctrl-C does"
    shown: Any = end.value
    assert shown._render_traceback_() == [f"KeyboardInterrupt: {end.value}"]
    assert only(root).status == "interrupted"
    assert sweeplab.run(*words).status == "finished"
    assert facts(only(root)) == facts(only(root, "whole"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.hidden=1,2", "which sweeplab.sweep takes; a list is given as 'model.hidden=[1,2]'; did you mean sweeplab.sweep('model.hidden=1,2')?"),
        ("trainer.epochs=1..5", "did you mean sweeplab.sweep('trainer.epochs=range(1,6)')?"),
        ("optimizer.lr=0,001", "did you mean 'optimizer.lr=0.001'?"),
        ("optimizer.momentum=0", "did you mean 'optimizer=sgd', 'optimizer.momentum=0'?"),
    ],
)  # fmt: skip
def test_a_slip_is_told_what_python_takes(root: Path, word: str, said: str) -> None:
    with pytest.raises(sweeplab.UserError) as error:
        sweeplab.run(word)
    assert str(error.value).endswith(said)
    assert "-m" not in str(error.value)


def test_a_run_that_raises_is_told_with_its_log(root: Path, write: Any) -> None:
    write({"bad.py": "def step(model, loss, batch):\n    raise RuntimeError('no')\n"})
    with pytest.raises((sweeplab.RunFailed, sweeplab.UserError), match="no"):
        sweeplab.run(*QUICK, "step._target_=bad.step")


def test_a_module_beside_the_program_is_found(root: Path, write: Any) -> None:
    write({
        "conf/model/mine.yaml": "_target_: mynet.Net\nwidth: 4\n"
        "in_features: ${data.in_features}\nout_features: ${data.out_features}\n",
        "mynet.py": "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, in_features: int, out_features: int, width: int) -> None:\n"
        "        super().__init__(nn.Linear(in_features, width), nn.Linear(width, out_features))\n",
    })  # fmt: skip
    (root / "conf/config.yaml").write_text((conf_dir() / "config.yaml").read_text())
    run = sweeplab.run(
        "data=digits", "model=mine", "trainer.epochs=1", "tracking=off", config_dir="conf"
    )
    assert run.config["model"]["width"] == 4
    assert type(run.load_model()).__name__ == "Net"


NET = """from torch import nn

WIDTH = 4


class Net(nn.Sequential):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(nn.Linear(in_features, WIDTH), nn.Linear(WIDTH, out_features))
"""
MODEL = "model._target_=mynet.Net"
MINE = ("data=digits", "trainer.epochs=1", "tracking=off", "model=linear", MODEL)


@pytest.fixture
def _bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python keep bytecode, as it does by default."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.mark.usefixtures("_bytecode")
def test_a_module_that_was_edited_after_its_import_is_refused(root: Path, write: Any) -> None:
    write({"mynet.py": NET})
    mynet = importlib.import_module("mynet")
    write({"mynet.py": NET.replace("WIDTH = 4", "WIDTH = 12")})  # before the first call
    with pytest.raises(sweeplab.UserError, match=r"mynet\.py: changed after this process had"):
        sweeplab.run(*MINE)
    assert list(root.glob("runs")) == []
    importlib.reload(mynet)
    first = sweeplab.run(*MINE)
    assert first.load_model()[0].weight.shape[0] == 12  # type: ignore[operator, index]
    write({"mynet.py": NET.replace("WIDTH = 4", "WIDTH = 100")})  # between two calls
    for call in (sweeplab.run, partial(sweeplab.sweep, "seed=0,1", *HERE)):
        with pytest.raises(
            sweeplab.UserError, match=r"importlib\.reload it, or restart the kernel"
        ):
            call(*MINE)
    assert len(list(Store(root / "runs").runs())) == 1
    importlib.reload(mynet)
    assert sweeplab.run(*MINE).id != first.id
    write({"mynet.py": "# a comment\n" + NET.replace("WIDTH = 4", "WIDTH = 100")})
    assert sweeplab.run(*MINE).status == "finished"


def test_without_config_dir_that_of_the_train_py_in_the_folder_is_taken(
    root: Path, write: Any
) -> None:
    main = (conf_dir() / "config.yaml").read_text().replace("seed: 0", "seed: 5")
    write({
        "settings/main.yaml": main,
        "train.py": "import hydra\nfrom sweeplab.commands.train import train\n\n"
        "@hydra.main(version_base='1.3', config_path='settings', config_name='main')\n"
        "def main(config):\n    train(config)\n",
    })  # fmt: skip
    assert sweeplab.run(*QUICK).config["seed"] == 5


def test_a_folder_of_configs_that_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(sweeplab.UserError, match="nowhere: there is no such folder of configs"):
        sweeplab.run(config_dir="nowhere")


def test_a_config_with_hydras_own_sweeper_is_no_sweep(root: Path, write: Any) -> None:
    write({"mine/main.yaml": "defaults: [config, override hydra/sweeper: basic, _self_]\n"})
    said = r"^main: its sweeper hydra\..*BasicSweeper plans nothing; name ours in the defaults list"
    with pytest.raises(sweeplab.UserError, match=said):
        sweeplab.sweep("seed=0,1", config_dir="mine", config_name="main")
    assert not (root / "runs").exists()


def test_an_experiment_of_another_project_is_forgotten(root: Path, write: Any) -> None:
    for name in ("one", "two"):
        write({
            f"{name}/conf/config.yaml": (conf_dir() / "config.yaml").read_text(),
            f"{name}/experiments/{name}.yaml": "seed: 5\n",
        })  # fmt: skip
    run = sweeplab.run(*QUICK, "experiment=one", config_dir="one/conf")
    assert run.config["seed"] == 5
    with pytest.raises(sweeplab.UserError, match="experiment=one: no such option"):
        sweeplab.run(*QUICK, "experiment=one", config_dir="two/conf")


def test_a_frame_has_typed_keys_and_what_came_out(root: Path) -> None:
    sweep = sweeplab.sweep(*SWEPT, *HERE)
    frame = sweep.frame()
    assert frame["model.hidden"].tolist() == [8, 8, (8, 4), (8, 4)]
    assert frame["seed"].tolist() == [0, 1, 0, 1]
    assert frame["epochs"].tolist() == [2, 2, 2, 2]
    assert set(frame["status"]) == {"finished"}
    assert frame["valid/accuracy"].between(0, 1).all()
    assert [run.id for run in sweep.runs] == frame["run"].tolist()
    assert [run.fingerprint for run in sweep.runs] == frame["fingerprint"].tolist()
    curves = sweep.curves()
    assert len(curves) == 8
    assert curves["epoch"].tolist() == [1, 2] * 4
    best = frame.sort_values("valid/accuracy").iloc[-1]
    table = sweep.table()
    assert table["n"].tolist() == ["2", "2"]
    assert sweep.best().metrics["test/loss"] in set(frame["test/loss"])
    assert best["valid/accuracy"] >= frame["valid/accuracy"].mean()
    assert sweep.load_model().predict(torch.zeros(2, 8, 8)) is not None


def test_a_planned_sweep_is_a_frame_of_what_is_missing(root: Path) -> None:
    sweep = sweeplab.sweep(*SWEPT, "sweep.plan=true")
    assert sweep.frame()["status"].tolist() == ["missing"] * 4
    assert sweep.curves()["epoch"].tolist() == []
    with pytest.raises(sweeplab.UserError, match="no run has a value of valid/accuracy yet"):
        sweep.best()
    assert not (root / "runs").exists()


@pytest.mark.full
def test_a_comparison_is_frames_of_its_own_numbers(root: Path, sweeplab: Command) -> None:
    import sweeplab as python

    python.sweep(*SWEPT, *HERE, "sweep.baseline=model.hidden=8".replace("=model", '="model') + '"')
    found = python.compare(baseline="model.hidden=8", margin=0.5)
    groups, differences = found.groups, found.differences
    assert sorted(map(str, groups["model.hidden"])) == ["(8, 4)", "8"]
    assert (groups["valid/accuracy low"] <= groups["valid/accuracy"]).all()
    assert groups["valid/accuracy n"].tolist() == [2, 2]
    assert differences["pairs"].tolist() == [2, 2]
    assert differences["metric"].tolist() == ["valid/accuracy", "test/accuracy"]
    assert all(differences["verdict"])
    csv = sweeplab("compare", "latest", "--csv").out.splitlines()
    assert csv == sweeplab("compare", "--csv").out.splitlines()
    assert csv[0].split(",") == list(groups.columns)
    assert "<table>" in found._repr_html_()


@pytest.mark.full
def test_results_are_found_by_the_names_of_the_shell(root: Path) -> None:
    with pytest.raises(sweeplab.UserError, match=r"no sweep in .*runs .* yet; as in"):
        sweeplab.results()
    sweep = sweeplab.sweep(*SWEPT, *HERE)
    one, other = sweep.runs[0], sweep.runs[2]
    assert sweeplab.results(sweep.id[:8]).id == sweep.id
    pair = sweeplab.results([one.id, other.id[:10]])
    assert pair.frame()["model.hidden"].tolist() == [8, (8, 4)]
    assert len(sweeplab.compare(one, other).groups) == 2
    assert "2 runs, named one by one" in pair.report().page
    with pytest.raises(sweeplab.UserError, match="nosuch: no sweep in"):
        sweeplab.results("nosuch")


def test_a_name_of_html_is_only_text(root: Path, home: Store) -> None:
    sweep = sweeplab.sweep(*SWEPT, "sweep.plan=true")
    sweep._sweeps[0]["name"] = "<script>alert(1)</script>"
    assert "<script>" not in sweep._repr_html_()


@pytest.mark.full
def test_a_sweep_runs_beside_the_loop_of_a_notebook_and_in_a_plain_script(
    root: Path, command: Command
) -> None:
    (root / "plain.py").write_text(
        "import asyncio, sweeplab\n"
        "print('begun', flush=True)\n"
        f"words = {[*SWEPT, 'sweep.report=false']}\n"
        "async def cell():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    sweep = sweeplab.sweep(*words)\n"
        "    assert asyncio.get_running_loop() is loop\n"
        "    await asyncio.sleep(0)\n"
        "    return sweep\n"
        "print(asyncio.run(cell()))\n"
        "print(sweeplab.sweep(*words).frame()['status'].tolist())\n"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "plain.py"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
    assert "4 jobs: 4 reused" in done.stdout
    assert "['finished', 'finished', 'finished', 'finished']" in done.stdout


def test_a_loop_that_runs_already_is_left_alone() -> None:
    from sweeplab.sweep.dispatch import _run_apart

    seen: list[object] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop())

    async def outer() -> None:
        _run_apart(inner())
        seen.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    asyncio.run(outer())
    assert len(seen) == 2
    assert seen[0] is not seen[1]


def test_a_lag_of_mlflow_is_said_and_not_raised(
    root: Path, home: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    away = ("tracking.uri=http://127.0.0.1:1", "tracking.wait=0")
    run = sweeplab.run(*QUICK[:3], *away)
    sweep = sweeplab.sweep(*QUICK[:3], "seed=0,1", *HERE, *away)
    assert run.status == "finished"
    assert sweep.frame()["status"].tolist() == ["finished", "finished"]
    assert capfd.readouterr().err.count("nothing is lost; bring it level with: sweeplab sync") == 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (None, "None: give a name"),
        (3, "3: give a name"),
        ([], "names no sweep"),
        (" ", "'': an empty name"),
        ([""], "'': an empty name"),
        ({"x": "y" * 99}, r"{'x': 'y+\.\.\.: give a name"),
    ],
)
def test_what_is_no_name_is_told(root: Path, names: Any, said: str) -> None:
    for call in (sweeplab.results, sweeplab.compare):
        with pytest.raises(sweeplab.UserError, match=said):
            call(names)


@pytest.mark.parametrize("path", ["", " ", 3, False])
def test_what_is_no_path_is_told(root: Path, path: Any) -> None:
    said = re.escape(f"{path!r}: must be the path of a file or a folder")
    calls: list[Callable[[], object]] = [
        lambda: sweeplab.run(config_dir=path),
        lambda: sweeplab.results(root=path),
        lambda: sweeplab.compare(root=path),
        lambda: sweeplab.load_model("1a", root=path),
    ]
    for call in calls:
        with pytest.raises(sweeplab.UserError, match=said):
            call()
    assert list(root.iterdir()) == []


def test_what_lies_in_two_stores_is_not_compared_as_one(root: Path, home: Store) -> None:
    from compared import widths

    here = sweeplab.results(widths(home)[:12])
    there = sweeplab.results(widths(Store(root / "there").open())[:12], root="there")
    with pytest.raises(sweeplab.UserError, match=r"is of the store .*there, and not of .*runs$"):
        sweeplab.compare(here, there)
    with pytest.raises(sweeplab.UserError, match=r"is of the store .*runs, and not of there$"):
        sweeplab.compare(here, root="there")
    assert len(sweeplab.compare(there, "latest").groups) == 2
    assert len(sweeplab.compare(list(here)[:2], here.runs[2]).comparison.replicas) == 3
    assert len(sweeplab.compare([here.id, "latest"]).groups) == 2


def test_a_folder_that_was_removed_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = root / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = "the current folder was removed; cd to one that is there"
    for call in (sweeplab.run, sweeplab.results):
        with pytest.raises(sweeplab.UserError, match=said):
            call()
    for program in (["-m", "sweeplab.commands.cli", "runs"], [str(PROJECT / "train.py")]):
        done = subprocess.run(
            [sys.executable, *program], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{said}\n")


def test_what_is_no_number_is_told(root: Path, home: Store) -> None:
    from compared import widths

    found = sweeplab.results(widths(home)[:12])
    with pytest.raises(sweeplab.UserError, match="target='x': must be a number, or None"):
        found.compare(target="x")  # type: ignore[arg-type]
    with pytest.raises(sweeplab.UserError, match="where=3: give a text"):
        found.compare(where=3)  # type: ignore[arg-type]
    with pytest.raises(sweeplab.UserError, match="baseline=3: give a text"):
        found.compare(baseline=3)  # type: ignore[arg-type]
    assert len(found.compare(target=np.float32(0.5)).groups) == 2  # type: ignore[arg-type]
