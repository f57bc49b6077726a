"""Wrong input: one readable message before any work, exit code 2, nothing left; and the `sweeplab` command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import PROJECT, Command, ended

from sweeplab.commands import cli
from sweeplab.config.explanation import (
    ASCII_KEYS,
    EQUALS,
    LOGGERS,
    NAMES,
    OVERRIDE,
    QUOTES,
    _raised_by_hydra,
)

WRONG = {
    "model.hiden=3": "model.hiden=3: no such key; did you mean 'model.hidden=3'?",
    "model.hidden=0": "model.hidden=0: hidden must be a whole number >= 1 or a list of them, got 0 (sweeplab.models.MLP)",
    "model.hidden=abc": "model.hidden=abc: must be a whole number or a list of whole numbers",
    "model.hidden=[]": "model.hidden=[]: hidden must be a whole number >= 1 or a list of them, got [] (sweeplab.models.MLP)",
    "model=mlpp": "model=mlpp: no such option; did you mean 'model=mlp'?",
    "optimizer.lr=-1": "optimizer.lr=-1: Invalid learning rate: -1 (torch.optim.Adam)",
    "optimizer.lrr=1": "optimizer.lrr=1: no such key; did you mean 'optimizer.lr=1'?",
    "+optimizer.nonsense=1": "optimizer.nonsense=1: torch.optim.Adam has no argument 'nonsense'; valid: amsgrad, betas, capturable, decoupled_weight_decay, differentiable, eps, foreach, fused, lr, maximize, weight_decay",
    "+trainer.zz=1": "trainer.zz=1: no such key; valid: accumulate, batch_size, checkpoint_every, clip_norm, compile, deterministic, device, ema, epochs, eval_batch_size, freeze, init_from, ... (27 in all)",
    "optimizer._target_=torch.optim.Adamm": "optimizer._target_=torch.optim.Adamm: 'torch.optim' has no 'Adamm'; did you mean 'torch.optim.Adam'?",
    "trainer.epochs=0": "trainer.epochs=0: must be a whole number >= 1",
    "trainer.batch_size=0": "trainer.batch_size=0: must be a whole number >= 1",
    "trainer.batch_size=70000": "trainer.batch_size=70000: the training split has 55,000 examples; give at most that",
    "trainer.precision=fp12": "trainer.precision=fp12: must be one of fp32, bf16, fp16; did you mean 'fp32'?",
    "loss=mse model.out_features=3": "model.out_features=3: the network's output has the shape [B, 3], but data=mnist needs [B, 10] (classes)",
    "loss=cross_entropy data=diabetes": "loss=torch.nn.CrossEntropyLoss: is for classes, but data=diabetes is a regression; use loss=mse",
    "trainer.shift=1 data=diabetes loss=mse model=linear": "trainer.shift=1: is for pictures, but data.shape=None",
    "tracking.urii=https://me:p@w@host/db?password=pw": "tracking.urii=https://***@host/db?password=***",
    "model=null": "model=null: there is no such option; model=own is a network of yours, as in "
    "model=own model._target_=my_package.Net",
    "model=own": "model._target_=null: must be the dotted name of a class, such as torch.nn.Linear",
    "loss=null": "loss=null: there is no such option; only a step that computes its loss by itself does without: ~loss step._target_=my_package.step",
    "~loss": "loss: missing; only a step that computes its loss by itself does without: ~loss step._target_=my_package.step",
    "step=null": "step=null: there is no such option; leave it out, and step._target_=null switches an experiment's step off",
    "scheduler=null": "scheduler=null: there is no such option; scheduler=constant keeps the learning rate",
    "optimizer=null": "optimizer=null: there is no such option; ~optimizer leaves it out, for optimizers of parts of the "
    "network: +optimizer.PART._target_=torch.optim.Adam",
    "seed=choice(range(2))": "seed=choice(range(2)): cannot be read: choice takes values, as in seed=choice(1,2); a range "
    "stands alone: seed=range(2)",
    "+model.tags=[]": "model.tags=[]: sweeplab.models.MLP has no argument 'tags'; valid: ",
    "experiment=null": f"experiment=null: {NAMES}",
    "experiment=nope": "experiment=nope: no such option; valid: ",
    "seed=": "seed=: must be a whole number >= 0",
    "seed=-1": "seed=-1: must be a whole number >= 0",
    "seed=18446744073709551616": "seed=18446744073709551616: must be at most 9223372036854775807",
    "~seed": "seed: missing",
    "~sweep": "sweep: missing",
    "~store": "store: missing",
    "~data": "data.name: missing; give the data set a name, as in name: mine",
    "trainer.threads=1e308": "trainer.threads=1e+308: must be at most 1024, or null",
    "trainer.time_limit=inf": "trainer.time_limit=inf: must be finite, or null",
    "sweep=3": "sweep=3: a section of keys is expected",
    "sweep.id=.nan": "sweep.id=.nan: is set by the sweep that a run belongs to; leave it out",
    "sweep.id=abc": "sweep.id=abc: is set by the sweep that a run belongs to; leave it out",
    "hydra.verbose=1.5": f"hydra.verbose=1.5: {LOGGERS}",
    "hydra.verbose=[1]": f"hydra.verbose=[1]: {LOGGERS}",
    "hydra.verbose=null": f"hydra.verbose=null: {LOGGERS}",
    "data=[null]": f"data=[null]: {NAMES}",
    "data=3": f"data=3: {NAMES}",
    "model=[mlp,1.5]": f"model=[mlp,1.5]: {NAMES}",
    "hydra/sweeper=[0]": f"hydra/sweeper=[0]: {NAMES}",
    "hydra/launcher=[null]": f"hydra/launcher=[null]: {NAMES}",
    "-m data=[null],digits": f"data=[null]: {NAMES}",
    "-m model=mlp,3": f"model=3: {NAMES}",
    "-m model=[0],[1]": f"model=[0]: {NAMES}",
    "hydra.job.env_copy=[1]": "hydra.job.env_copy=[1]: Hydra cannot take it: KeyError: '1'",
    "data.batch_transform=[1]": "data.batch_transform=[1]: must be a section of keys, not a list",
    "--cfg job -m": "--cfg job -m tracking=off hydra/launcher=basic sweep.report=false: ValueError: Only one of ",
    "-m hydra.sweeper.params=3": "hydra.sweeper.params=3: must be a section of keys, each with the values to sweep over",
    "seed=1 -m model.hidden=3,4": "model.hidden=3,4: settings stand together; give -m and other options before or "
    "after all of them; did you mean -m 'seed=1' 'model.hidden=3,4' ",
    "+model.라벨=3": f"+model.라벨=3: cannot be read: {ASCII_KEYS}",
    "model=한글": f"model=한글: cannot be read: {QUOTES}",
    "model": f"model: cannot be read: {OVERRIDE}",
    "model.hidden[0]=3": f"model.hidden[0]=3: cannot be read: 'model.hidden[0]' is no key; {OVERRIDE}",
    "model=../x": "model=../x: no such option; valid: cnn, linear, mlp, own",
    "optimizer.lr=0,001": "optimizer.lr=0,001: several values are a sweep, which takes -m; a point is "
    "a dot; did you mean 'optimizer.lr=0.001'?",
    "seed=range(5)": "seed=range(5): several values are a sweep, which takes -m",
    "model.hidden=8,16": "model.hidden=8,16: several values are a sweep, which takes -m; a list is given as "
    "'model.hidden=[8,16]'; did you mean -m 'model.hidden=8,16'?",
    "seed=[range(2)]": "seed=[range(2)]: no range, choice, interval or glob inside a list; give it alone, as in "
    "seed=range(3)",
    "hydra/launcher=slurm": "hydra/launcher=slurm: is about the runs of a sweep; add -m, for one run, too",
    "hydra/sweeper=optuna hydra.sweeper.n_trials=3": "hydra/sweeper=optuna: is about the runs of a sweep; add -m, for ",
    "-m hydra.launcher=slurm": "hydra.launcher=slurm: options of a group are chosen with a slash; did you mean "
    "'hydra/launcher=slurm'?",
    "-m hydra/launcher=slurm hydra.launcher.wrokers=3": "hydra.launcher.wrokers=3: no such key; did you mean "
    "'hydra.launcher.workers'?",
    "-m hydra/launcher=slurm hydra.launcher.timeout_min=3": "hydra.launcher.timeout_min=3: no such key; did you mean "
    "'hydra.launcher.time'?",
    "-m hydra.launcher.workers=3": "hydra.launcher.workers=3: no such key; the launcher that is chosen has none; "
    "another may: ",
    "-m hydra/launcher=slurm hydra.launcher.partition=gpu,long": "hydra.launcher.partition=gpu,long: takes one value, "
    "as all keys of Hydra; did you mean 'hydra.launcher.partition=\"gpu,long\"'?",
    "-m hydra/launcher=slurm hydra.launcher.setup=ls,date": "hydra.launcher.setup=ls,date: takes one value, "
    "as all keys of Hydra; did you mean 'hydra.launcher.setup=[\"ls\",\"date\"]'?",
    "-m hydra/launcher=slurm hydra.launcher.workers=2,4": "hydra.launcher.workers=2,4: takes one value, as all keys "
    "of Hydra",
    "-m hydra/launcher=slurm hydra.launcher.options=[--a=b,-c]": f"hydra.launcher.options=[--a=b,-c]: cannot be read: {EQUALS}"
    "; did you mean 'hydra.launcher.options=[\"--a=b\",\"-c\"]'?",
    "sweep.baseline=seed=1": f"sweep.baseline=seed=1: cannot be read: {EQUALS}",
    "seed=1,": "seed=1,: cannot be read; did you mean 'seed=1'?",
    "seed=,1": "seed=,1: cannot be read: ',' is not expected there",
    "experiment=../../x": "experiment=../../x: no such option; valid: ",
    "--config-name=x": "x: no such config in ",
    "--config-path=nowhere": f"{PROJECT}/nowhere: there is no such folder; make it (it may stay empty): ",
    "trainer=slow": "trainer=slow: no such option; valid: ",
    "~model": "model: missing; model=own is a network of yours, as in model=own model._target_=my_package.Net",
    "hydra/sweeper=optunaa": "hydra/sweeper=optunaa: no such option; did you mean 'hydra/sweeper=optuna'?",
    "store.root=/dev/null/x": "store.root=/dev/null/x: /dev/null is not a folder; name a folder that can be made",
    "model.activation=[x]": 'model.activation=["x"]: must be a text',
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_one_message_and_nothing_is_left(
    train: Command, root: Path, wrong: str
) -> None:
    ended = train(*wrong.split(" "))
    assert ended.code == 2, ended.out
    assert ended.err.startswith(WRONG[wrong])
    said = [line for line in ended.err.splitlines() if line != "nothing was trained"]
    assert len(said) == (2 if wrong == "-m model=[0],[1]" else 1), ended.err
    assert ended.out == ""
    assert list(root.iterdir()) == []


def test_a_program_without_a_conf_folder_is_told_to_make_one(train: Command, root: Path) -> None:
    (root / "train.py").write_text((PROJECT / "train.py").read_text())
    ended = train("data=digits", "debug=smoke", script=root / "train.py")
    assert ended.code == 2
    assert ended.err == (
        f"{root}/conf: there is no such folder; make it (it may stay empty): options of your own go there, beside those "
        "that ship with sweeplab\n"
    )
    (root / "conf").mkdir()
    assert train("data=digits", "debug=smoke", script=root / "train.py").code == 0


def test_a_data_root_below_a_file_is_refused(train: Command, root: Path) -> None:
    (root / "file").touch()
    ended = train("data.root=file/data", "debug=smoke")
    assert ended.code == 2
    assert ended.err.startswith(f"data.root={root}/file/data: Not a directory")
    assert [p.name for p in root.iterdir()] == ["file"]


@pytest.mark.skipif(
    "__import__('torch').cuda.is_available()", reason="there is a GPU: trainer.device=cuda is right"
)
def test_a_gpu_that_is_not_there_is_refused(train: Command, root: Path) -> None:
    ended = train("trainer.device=cuda")
    assert (ended.code, list(root.iterdir())) == (2, [])
    assert (
        ended.err
        == "trainer.device=cuda: there is none on this machine; trainer.device=auto takes what there is\n"
    )


def project_with(root: Path, experiment: str) -> Path:
    """A project of a user's own in `root`: a copy of train.py, the conf of sweeplab, one experiment."""
    (root / "project" / "experiments").mkdir(parents=True)
    (root / "project" / "conf").symlink_to(PROJECT / "conf")
    (root / "project" / "train.py").write_text((PROJECT / "train.py").read_text())
    (root / "project" / "experiments" / "mine.yaml").write_text(experiment)
    return root / "project" / "train.py"


def test_a_typo_inside_an_experiment_is_found(train: Command, root: Path) -> None:
    script = project_with(root, "model: {hiden: 3}\n")
    ended = train("experiment=mine", script=script)
    assert ended.code == 2
    assert (
        ended.err
        == "model.hiden=3: sweeplab.models.MLP has no argument 'hiden'; did you mean 'hidden'?\n"
    )
    assert sorted(p.name for p in root.iterdir()) == ["project"]


LATIN = "is no text in UTF-8: byte 0xe9 in line 2; save it as UTF-8\n"


def test_a_yaml_file_that_cannot_be_read_is_named(train: Command, root: Path) -> None:
    script = project_with(root, "seed: 1\n")
    conf = root / "project" / "conf"
    conf.unlink()
    shutil.copytree(PROJECT / "conf", conf)
    files = {
        "latin": (b"# 1\n# caf\xe9\n", LATIN),
        "wide": (
            "hidden: 3".encode("utf-16"),
            "is no text in UTF-8: byte 0xff in line 1; save it as UTF-8\n",
        ),
        "torn": (b"hidden: [1\n", "cannot be read: while parsing a flow sequence in "),
        "twice": (b"hidden: 1\nhidden: 2\n", "cannot be read: while constructing a mapping in "),
    }
    for name, (content, says) in files.items():
        (conf / "model" / f"{name}.yaml").write_bytes(content)
        for words in ([], ["-m", "seed=1,2"]):
            ended = train(*words, f"model={name}", "data=digits", script=script)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err.startswith(f"{conf}/model/{name}.yaml: {says.strip()}")
    for name, content in (("bom", b"\xef\xbb\xbf"), ("named", "# 사과\n".encode())):
        (conf / "model" / f"{name}.yaml").write_bytes(
            content + (conf / "model/linear.yaml").read_bytes()
        )
        assert train(f"model={name}", "data=digits", "trainer.epochs=1", script=script).code == 0


def test_an_experiment_in_another_encoding_is_named(train: Command, root: Path) -> None:
    script = project_with(root, "")
    (root / "project/experiments/mine.yaml").write_bytes(b"# 1\n# caf\xe9\n")
    ended = train("data=digits", script=script)
    assert (ended.code, ended.err) == (2, f"{root}/project/experiments/mine.yaml: {LATIN}")


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1\n", "mine.yaml: cannot be read: "), ("- 1\n", "mine.yaml: must be a mapping")],
)
def test_an_experiment_that_is_no_yaml_mapping_is_named(
    train: Command, root: Path, content: str, message: str
) -> None:
    ended = train("experiment=mine", script=project_with(root, content))
    assert ended.code == 2
    assert message in ended.err


def test_an_experiment_of_a_users_own_names_its_mlflow_experiment(
    train: Command, root: Path
) -> None:
    script = project_with(root, "trainer: {epochs: 2}\nmodel: {hidden: 8}\n")
    assert train("experiment=mine", "data=digits", script=script).code == 0
    (config,) = root.glob("runs/*/config.yaml")
    assert "experiment: mine" in config.read_text()


def test_a_project_of_ones_own_needs_one_yaml_and_a_copy_of_train_py(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "project" / "conf" / "data").mkdir(parents=True)
    (root / "project" / "train.py").write_text((PROJECT / "train.py").read_text())
    (root / "project" / "my_sets.py").write_text(
        "import numpy as np\n"
        "def blobs():\n"
        "    classes = np.arange(300) % 3\n"
        "    return np.eye(3, 20)[classes] + 0.1 * np.random.default_rng(0).normal(size=(300, 20)), classes\n"
    )
    (root / "project" / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\ntask: classification\nin_features: 20\nout_features: 3\ndataset: {_target_: my_sets.blobs}\n"
    )
    monkeypatch.syspath_prepend(root / "project")
    script = root / "project" / "train.py"
    ended = train(
        "data=mine",
        "trainer.threads=1",
        "trainer.batch_size=32",
        "trainer.epochs=8",
        "optimizer.lr=0.03",
        script=script,
    )
    assert ended.code == 0, ended.err
    (result,) = root.glob("runs/*/result.json")
    assert json.loads(result.read_text())["metrics"]["test/accuracy"] > 0.9
    few = ("data=mine", "trainer.threads=1", "trainer.batch_size=32", "debug=smoke")
    for keys in (
        ["data.valid=100"],
        ["-m", "data.valid=50,100", "data.memory=100"],
    ):  # which mine.yaml lacks
        assert train(*keys, *few, script=script).code == 0
    sizes = [
        text
        for file in root.glob("runs/*/config.yaml")
        if "valid: null" not in (text := file.read_text())
    ]
    assert len(sizes) == 2, "100 was trained already"
    ended = train(*few, "data.vald=100", script=script)
    assert (ended.code, ended.err) == (
        2,
        "data.vald=100: no such key; did you mean 'data.valid=100'?\n",
    )
    assert (
        train("data=mines", script=script).err
        == "data=mines: no such option; did you mean 'data=mine'?\n"
    )


def test_tracebacks_are_shown_when_asked_for(command: Command) -> None:
    ended = command(
        "train.py", "trainer.epochs=0", "tracking=off", loaded=True, HYDRA_FULL_ERROR="1"
    )
    assert ended.code == 2
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.endswith("trainer.epochs=0: must be a whole number >= 1\n")


def test_help_and_cfg_answer_without_torch_and_mlflow(command: Command, root: Path) -> None:
    (root / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'mlflow'): raise RuntimeError(f'{name} was imported')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    for arguments in (
        ["--help", "model"],
        ["--cfg", "job"],
        ["--cfg", "job", "experiment=linear_vs_mlp"],
    ):
        ended = command("train.py", *arguments, PYTHONPATH=str(root))
        assert ended.code == 0, ended.err
        assert "sweeplab.models.MLP" in ended.out
    assert "linear_vs_mlp" in command("train.py", "--help", PYTHONPATH=str(root)).out


def test_shell_completion_offers_options_and_keys(command: Command) -> None:
    ended = command(
        "train.py", "-sc", "query=bash", COMP_LINE="python train.py model=", COMP_POINT="22"
    )
    assert ended.out.split() == ["model=cnn", "model=linear", "model=mlp", "model=own"]


def test_the_sweeplab_command_explains_itself(command: Command) -> None:
    ended = command("sweeplab", "--help")
    assert ended.code == 0
    assert all(name in ended.out for name in ("ui", "sync", "store.root=elsewhere"))
    assert command("sweeplab", "nonsense").code == 2


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("why", "KEY"),
        ("ui", "SWEEP | RUN"),
        ("watch", "SWEEP"),
        ("compare", "SWEEP"),
        ("runs", "RUN"),
    ],
)
def test_the_help_of_a_command_lists_the_words_it_takes(
    command: Command, name: str, word: str
) -> None:
    listed = command("sweeplab", name, "--help").out.partition("positional arguments:")[2]
    assert f"\n  {word} " in listed.partition("options:")[0]


def test_each_program_tells_sweeplabs_own_version(command: Command) -> None:
    said = f"sweeplab {version('sweeplab')}\n"
    assert command("sweeplab", "--version").out == said
    assert command("train.py", "--version").out == said


def test_sweeplab_takes_overrides_and_refuses_wrong_ones(command: Command) -> None:
    ended = command("sweeplab", "sync", "store.rot=x")
    assert ended.code == 2
    assert ended.err == "store.rot=x: no such key; did you mean 'store.root=x'?\n"


def test_a_decimal_comma_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    for text, said in (
        ("0,98", "=0,98: must be a number; if 0.98 is meant, its point is a dot"),
        ("much", "=much: must be a number"),
    ):
        refused = ended(partial(cli.main, ["compare", "--target", text]), capfd)
        assert refused.code == 2
        assert refused.err.startswith(f"sweeplab compare --target{said}; ")


def test_train_py_is_short_and_decides_nothing() -> None:
    assert len((PROJECT / "train.py").read_text().splitlines()) <= 30
    assert os.access(PROJECT / "train.py", os.R_OK)


@pytest.mark.full
def test_a_root_of_an_odd_name_below_home_holds_a_whole_run(command: Command, root: Path) -> None:
    (root / "what? 100%20 #1").mkdir()
    here = {
        "HOME": str(root / "what? 100%20 #1"),
        "SWEEPLAB_ROOT": "~/lab",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
    }
    words = (
        "data=digits",
        "model=linear",
        "trainer.epochs=1",
        "trainer.threads=1",
        "tracking.wait=60",
    )
    ended = command("train.py", *words, "store.root=~/runs", **here)
    assert (ended.code, ended.err) == (0, "")
    assert (
        command("sweeplab", "sync", "store.root=~/runs", loaded=True, **here).out
        == "MLflow is level with the store\n"
    )
    home = root / "what? 100%20 #1"
    assert [p.name for p in root.iterdir()] == [home.name]
    assert sorted(p.name for p in home.iterdir()) == ["lab", "runs"]
    assert sorted(p.name for p in (home / "lab").iterdir()) == ["mlflow.db", "mlruns"]
    assert list((home / "lab/mlruns/theirs").glob("*/artifacts/weights.safetensors")) != []


@pytest.mark.parametrize(
    ("module", "by_hydra"), [("hydra.core.x", True), ("omegaconf.x", True), ("mine", False)]
)
def test_whose_error_it_is_does_not_depend_on_the_folder_of_the_project(
    module: str, by_hydra: bool
) -> None:
    """A clone in a folder `sweeplab` has Hydra below it, in its environment."""
    code = compile("raise TypeError('no')", "/home/me/sweeplab/.venv/hydra/core/x.py", "exec")
    with pytest.raises(TypeError) as raised:
        exec(code, {"__name__": module})  # noqa: S102
    assert _raised_by_hydra(raised.value) is by_hydra


@pytest.mark.parametrize("words", [("runs",), ("runs", "--yes")])
def test_a_command_that_has_ended_handles_no_signal_any_more(
    sweeplab: Command, words: tuple[str, ...]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert sweeplab(*words).code in (0, 2)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("compar", "sweeplab compar: no such command; did you mean 'sweeplab compare'?"),
        ("ls", "sweeplab ls: no such command; did you mean 'sweeplab runs'?"),
        ("xyz", "sweeplab xyz: no such command; sweeplab --help lists all"),
        ("runs --failed", "runs --failed: no such option; did you mean '--status failed'?"),
        ("compare --basline=seed=1", "no such option; did you mean '--baseline=seed=1'?"),
        ("runs --xyz", "runs --xyz: no such option; "),
    ],
)
def test_a_command_or_an_option_that_there_is_not_is_told_the_nearest(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(typed.split())
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stop", "sweeplab stop: lacks RUN|SWEEP; sweeplab stop --help says more"),
        ("", "sweeplab: lacks COMMAND; sweeplab --help says more"),
        ("verify x --sample half", "sweeplab verify --sample=half: must be a whole number;"),
        ("verify x --sample 1 --sample=2", "sweeplab verify --sample: is given twice;"),
        ("runs --sweep=", "sweeplab runs --sweep: needs a value;"),
        ("verify x --sample --seed 1", "sweeplab verify --sample: needs a value;"),
        ("verify x --samp 1", "sweeplab verify --samp: no such option; did you mean '--sample'?"),
        ("ui --no-browser=1", "sweeplab ui --no-browser=1: takes no value;"),
        ("runs --json=", "sweeplab runs --json=: takes no value;"),
        ("runs -h=1", "sweeplab runs --help=1: takes no value;"),
        ("--version=1", "sweeplab --version=1: takes no value;"),
        ("compare --json --csv", "sweeplab compare --csv: cannot be given with --json;"),
        ("--json runs", "sweeplab runs --json: comes after the command;"),
        ("-- runs", "sweeplab --: no such command;"),
        (
            "runs --store.root=x",
            "sweeplab runs --store.root=x: no such option; did you mean 'store.root=x'?",
        ),
    ],
)
def test_what_a_command_cannot_read_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words.split())
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--version"], ["why", "model", "--json"]])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(root: Path, words: list[str]) -> None:
    pipe, written = os.pipe()
    os.close(pipe)
    done = subprocess.run(
        [sys.executable, "-m", "sweeplab.commands.cli", *words],
        cwd=root,
        stdout=written,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_behind_stdout_is_told_in_a_line(root: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sweeplab.commands.cli", "why", "seed", "--json"],
            cwd=root,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    said = b"No space left on device; when that is mended, issue the same command again\n"
    assert (done.returncode, done.stderr) == (1, said)
