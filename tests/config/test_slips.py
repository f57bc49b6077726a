"""Slips of the keyboard and of other programs' habits: each has one answer with the line that works."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from pathlib import Path

import pytest
from conftest import Command, Write
from stored import only

from sweeplab import config
from sweeplab.errors import UserError

SLIPS = {
    # several slips at once
    "epochs=5 lr=0.1": "'trainer.epochs=5' 'optimizer.lr=0.1'",
    "model = cnn epochs=5": "'model=cnn' 'trainer.epochs=5'",
    "optimizer=Adam lr=0.01": "'optimizer=adam' 'optimizer.lr=0.01'",
    "--epochs 5 seed=1 --lr 0.1": "'trainer.epochs=5' 'optimizer.lr=0.1'",
    "epochs = 5 seed=1 lr = 1": "'trainer.epochs=5' 'optimizer.lr=1'",
    "-m epochs=5,10 lr=0.1": "-m 'trainer.epochs=5,10' 'optimizer.lr=0.1'",
    "epochs=5,10": "-m 'trainer.epochs=5,10'",
    # what only another option has
    "optimizer=adam momentum=0.9": "'optimizer=sgd' 'optimizer.momentum=0.9'",
    "model.channels=8": "'model=cnn' 'model.channels=8'",
    "data=csv target=y": "'data.dataset.target=y'",
    "target=y": "'data=csv' 'data.dataset.target=y'",
    "nesterov=true optimizer=sgd": "'+optimizer.nesterov=true'",
    "-b 64 -e 5": "'trainer.batch_size=64' 'trainer.epochs=5'",
    "~tracking": "'tracking=off'",
    "epochs=5, lr=0.1": "'trainer.epochs=5' 'optimizer.lr=0.1'",
    "model.name=cnn": "'model=cnn'",
    "optimizer=RMSprop": "'optimizer=torch.optim.RMSprop'",
    "experiment=experiments/width": "'experiment=width'",
    "loss=mae": "'loss=torch.nn.L1Loss'",
    # a plus for what is there already, and a class beside its arguments
    "+model.hidden=3": "'model.hidden=3'",
    "+trainer.epochs=3": "'trainer.epochs=3'",
    "optimizer={_target_:torch.optim.SGD,lr:0.1}": "'optimizer=torch.optim.SGD' 'optimizer.lr=0.1'",
    "optimizer={D:{_target_:torch.optim.Adam}}": "'~optimizer' '+optimizer={D:{_target_:torch.optim.Adam}}'",
    # a class or a function where a section is
    "data.collate=mine.pad": "'data.collate._target_=mine.pad'",
    "data.dataset=mine.Set": "'data.dataset._target_=mine.Set'",
    "metrics.f1=mine.F1": "'+metrics.f1._target_=mine.F1'",
    "metrics=mine.F1": "'+metrics.NAME._target_=mine.F1'",
    # dashes, as other programs have them
    "--epochs 5": "'trainer.epochs=5'",
    "--epochs=5": "'trainer.epochs=5'",
    "--batch-size 64": "'trainer.batch_size=64'",
    "-lr 0.1": "'optimizer.lr=0.1'",
    "--hidden 392 196": "'model.hidden=[392,196]'",
    "--model cnn": "'model=cnn'",
    "--cuda": "'trainer.device=cuda'",
    "--no-progress": "'trainer.progress=false'",
    "--seed=3 data=digits": "'seed=3'",
    "help": "--help",
    # a key without its section, or with another one
    "epochs=5": "'trainer.epochs=5'",
    "lr=0.1": "'optimizer.lr=0.1'",
    "hidden=64": "'model.hidden=64'",
    "batch_size=64": "'trainer.batch_size=64'",
    "device=cuda": "'trainer.device=cuda'",
    "dropout=0.5": "'model.dropout=0.5'",
    "epoch=5": "'trainer.epochs=5'",
    "batchsize=64": "'trainer.batch_size=64'",
    "trainer.lr=0.1": "'optimizer.lr=0.1'",
    "model.hiden=3": "'model.hidden=3'",
    "Trainer.Epochs=3": "'trainer.epochs=3'",
    "modle=cnn": "'model=cnn'",
    # what other programs call it
    "learning_rate=0.1": "'optimizer.lr=0.1'",
    "early_stopping=3": "'trainer.patience=3'",
    "cuda=true": "'trainer.device=cuda'",
    "gpu=0": "'trainer.device=cuda'",
    "conf=mine": "--config-name 'mine'",
    "random_seed=3": "'seed=3'",
    "seeds=1,2,3": "-m 'seed=1,2,3'",
    "criterion=mse": "'loss=mse'",
    "opt=adam": "'optimizer=adam'",
    "bn=true": "'model.batch_norm=true'",
    "lerning_rate=0.1": "'optimizer.lr=0.1'",
    "+epochs=5": "'trainer.epochs=5'",
    "+model=cnn": "'model=cnn'",
    "--epochs": "'trainer.epochs=20'",
    # blanks and signs
    "dataset=digits": "'data=digits'",
    "num_workers=2": "'data.workers=2'",
    "--tracking.uri sqlite:///x.db": "'tracking.uri=sqlite:///x.db'",
    "model.hidden=[392,196": "'model.hidden=[392,196]'",
    "model.hidden=(392,196)": "'model.hidden=[392,196]'",
    "model = cnn": "'model=cnn'",
    "epochs = 5": "'trainer.epochs=5'",
    "model= cnn": "'model=cnn'",
    "model.hidden=[392, 196]": "'model.hidden=[392,196]'",
    "model.hidden=392 196": "'model.hidden=[392,196]'",
    "trainer.epochs 5": "'trainer.epochs=5'",
    "trainer.epochs:5": "'trainer.epochs=5'",
    "trainer.epochs==5": "'trainer.epochs=5'",
    "model.hidden=[392 196]": "'model.hidden=[392,196]'",
    "seed=1, 2, 3": "-m 'seed=1,2,3'",
    "--hidden 392,196": "-m 'model.hidden=392,196'",
    "model=mlp cnn": "-m 'model=mlp,cnn'",
    "trainer.epochs=1,000": "'trainer.epochs=1000'",
    # options of groups
    "model=mine:Net": "'model=mine.Net'",
    "loss=nn.L1Loss": "'torch.nn.L1Loss'",
    "model=MLP": "'model=mlp'",
    "model=mlp.py": "'model=mlp'",
    "optimizer=Adam": "'optimizer=adam'",
    "data=MNIST": "'data=mnist'",
    "data=my.csv": "'data=csv' 'data.dataset.file=my.csv' 'data.dataset.target=NAME'",
    "model={_target_: torch.nn.Linear}": "'model=torch.nn.Linear'",
    "model={_target_:torch.nn.Linear,bias:false}": "'model=torch.nn.Linear' '+model.bias=False'",
    "loss=torch.nn.L1Loss loss.reduction=sum": "'+loss.reduction=sum'",
    # several values without -m, and options in the middle
    "seed=range(5)": "-m 'seed=range(5)'",
    "model.hidden=392,256": "-m 'model.hidden=392,256'",
    "model.batch_norm=True,False": "-m 'model.batch_norm=True,False'",
    "optimizer.lr=0,001": "'optimizer.lr=0.001'",
    "seed=1 -m model.hidden=3,4": "-m 'seed=1' 'model.hidden=3,4'",
    "data=digits seed=range(5)": "-m 'data=digits' 'seed=range(5)'",
    # several values, ranges and words where others are meant
    "seed=1..5": "-m 'seed=range(1,6)'",
    "seed=[0,1,2]": "-m 'seed=0,1,2'",
    "seed=1;2;3": "-m 'seed=1,2,3'",
    "seed=range(5": "-m 'seed=range(5)'",
    "epochs=5 seed=1..5": "-m 'trainer.epochs=5' 'seed=range(1,6)'",
    "patience=off": "'trainer.patience=null'",
    "trainer.compile=yes": "'trainer.compile=true'",
    "verbose=0": "'trainer.progress=false'",
    "lr=1e-3;": "'optimizer.lr=1e-3'",
    "lr=1e−3": "'optimizer.lr=1e-3'",
    "hidden_layer_sizes=(100,)": "'model.hidden=[100]'",
    "trainer .epochs=5": "'trainer.epochs=5'",
    "trainer:epochs=5": "'trainer.epochs=5'",
    # what Python makes of values in a text
    "optimizer={'lr':0.01}": "'optimizer={lr:0.01}'",
    "optimizer.lr=np.float64(0.01)": "'optimizer.lr=0.01'",
    "model.hidden=[np.int64(8),np.int64(4)]": "'model.hidden=[8,4]'",
    # habits of Lightning, Keras, scikit-learn and the Trainer of transformers
    "--config mine": "--config-name 'mine'",
    "–epochs 5": "--epochs",
    "trainer.accelerator=gpu": "'trainer.device=cuda'",
    "trainer.gradient_clip_val=0.5": "'trainer.clip_norm=0.5'",
    "monitor=val_acc": "'trainer.monitor=valid/accuracy'",
    "--num_train_epochs 3": "'trainer.epochs=3'",
    "max_iter=200 solver=sgd": "'trainer.epochs=200' 'optimizer=sgd'",
    "--dry-run": "'debug=smoke'",
    # a class that is called, a value without quotes, a folder
    "loss=nn.MSELoss()": "'torch.nn.MSELoss'",
    "optimizer=AdamW(lr=0.1)": "'optimizer=adamw' 'optimizer.lr=0.1'",
    "model=mlp(hidden=64)": "'model=mlp' 'model.hidden=64'",
    "sweep.where=seed<3": "'sweep.where=\"seed<3\"'",
    "data=pictures/": "'data=image_folder' 'data.dataset.folder=pictures/'",
}
"""What is typed, in the shell's words without quotes, and what the answer says was meant."""

WITHOUT_CURE = {
    "resume=true": "resume=true: no such key; leave it out: the same command again goes on where the run was interrupted",
    "--resume": "--resume: no such option of train.py; settings are given as key=value, without dashes; leave it out: ",
    "scheduler=none": "scheduler=none: no such option; scheduler=constant keeps the learning rate",
    "run_name=x": "run_name=x: no such key; leave it out: a run is named by what was typed; ",
    "trainer.devices=2": "trainer.devices=2: no such key; leave it out: each run of a sweep has a GPU of its own",
    "run": "run: train.py does nothing else than train",
    "tracking=false": "tracking=false: there is no such option; tracking=off sends nothing to MLflow",
    "model=Net": "model=Net: no such option; a class is named after its file: model=FILE.Net",
    "epochs=1.5": "epochs=1.5: no such key; trainer.epochs=1.5: must be a whole number >= 1",
    "epochs=5 model = cnn": "model = cnn: cannot be read; epochs=5: no such key; did you mean ",
    "--cfg": "--cfg: argument --cfg/-c: expected one argument; python train.py --help says more",
    "trainer={epoch:3}": "trainer={epoch:3}: there is no key trainer.epoch; did you mean 'epochs'?",
    "store.root=": "store.root=: must be the path of a folder",
    "model=mine.py": "model=mine.py: is a file; name a class in it, as in model=mine.Net",
}


@pytest.fixture(autouse=True)
def mine(write: Write) -> None:
    write(
        {
            "mine.py": "class Net:\n    pass\n",
            "pictures/a/0.pgm": "P2 1 1 9 0",
            "pictures/b/0.pgm": "P2 1 1 9 9",
            "my.csv": "x,NAME\n1,0\n2,1\n",
        }
    )


@lru_cache
def answer(*words: str) -> str:
    """What a command line is told before any work; '' if nothing is wrong with it."""
    try:
        with config.mending(words, config.conf_dir(), "config"):
            config.ensure_options(words)
            config.compose(single(list(words)) if "-m" in words else words)
    except UserError as error:
        return str(error)
    except Exception as error:
        return config.explain(error, words) or repr(error)
    return ""


def single(words: list[str]) -> list[str]:
    """The overrides of the first job of a command line, its options left out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = []
    for override in OverridesParser.create().parse_overrides([w for w in words if w != "-m"]):
        first = override.value()
        if override.is_sweep_override():
            first = next(override.sweep_string_iterator())
            found.append(f"{override.key_or_group}={first}")
        else:
            found.append(str(override.input_line))
    return found


@pytest.mark.few(41)
@pytest.mark.parametrize(("typed", "cure"), SLIPS.items())
def test_a_slip_is_told_what_was_meant(typed: str, cure: str) -> None:
    said = answer(*typed.split())
    assert "\n" not in said
    meant = re.search(r"; did you mean (.+?)\?(?:$|;)", said)
    assert meant is not None, said
    assert meant[1] == cure


LINES = {cure for cure in SLIPS.values() if not cure.startswith("--")}
LINES -= {"'torch.nn.L1Loss'", "'torch.nn.MSELoss'", "'data.dataset.target=y'"}  # half a line each


@pytest.mark.full
@pytest.mark.parametrize("cure", sorted(LINES))
def test_the_line_that_was_meant_works(cure: str) -> None:
    loss = ["loss=torch.nn.L1Loss"] if "loss." in cure else []
    assert answer(*loss, *single(shlex.split(cure))) == ""


@pytest.mark.parametrize(("typed", "said"), WITHOUT_CURE.items())
def test_what_needs_no_setting_is_said(typed: str, said: str) -> None:
    assert answer(*typed.split()).startswith(said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("name=foo", "no such key; valid: data, loss, "),
        (
            "optimizer={foo:1}",
            "optimizer={foo:1}: there is no key optimizer.foo; valid: _target_, fused, ",
        ),
        (
            "data.collate=pad",
            "or null; a class or a function is named after its module, as in data.collate._target_=my_module.pad",
        ),
        ("hydra.launcher.workers=2", "; the launcher that is chosen has none"),
        ("model.layers=3", "no such key; valid: _target_, activation, "),
    ],
)
def test_no_other_key_is_offered_for_what_is_like_none(typed: str, said: str) -> None:
    assert said in answer(typed)
    assert "did you mean" not in answer(typed)


def test_several_settings_in_one_pair_of_quotes_are_taken_apart() -> None:
    assert answer("model=cnn data=digits").endswith("; did you mean 'model=cnn' 'data=digits'?")


def test_a_condition_without_quotes_of_its_own_is_no_list_of_settings() -> None:
    meant = 'sweep.where="seed==0 or model.hidden==8"'
    assert answer("sweep.where=seed==0 or model.hidden==8").endswith(f"; did you mean '{meant}'?")


@pytest.mark.parametrize("typed", ["trainer.epochs=1e2", "model=torch.nn.Linear", "seed=1"])
def test_what_looks_like_a_slip_and_is_none(typed: str) -> None:
    assert answer(*typed.split()) == ""


NOTES = {
    # what bash makes of seed={1..3}
    "seed=1 seed=2 seed=3": ["-m 'seed=1,2,3'"],
    "-m model.hidden=64 model.hidden=128 seed=1 seed=2": ["-m 'model.hidden=64,128'", "-m 'seed=1,2'"],
    "model=cnn model=linear": ["-m 'model=cnn,linear'"],
    "model.hidden=[64,10] model.hidden=[32,10]": ["-m 'model.hidden=[64,10],[32,10]'"],
    "+x=1 x=2": ["-m '+x=1,2'"],
    "seed=1 seed=1": [],
    "seed=1 trainer.epochs=2 seed=2": [],
    "optimizer={lr:0.1} optimizer={weight_decay:0}": [],
    "model=mlp model={hidden:8}": [],
}  # fmt: skip


@pytest.mark.parametrize("typed", NOTES)
def test_values_in_a_row_are_noted_with_the_line_that_sweeps(typed: str) -> None:
    found = config.overruled(typed.split())
    assert [note.partition("; did you mean ")[2].rstrip("?") for note in found] == NOTES[typed]
    assert all("the last counts" in note for note in found)


def test_of_values_in_a_row_the_last_counts(train: Command, root: Path) -> None:
    ended = train("data=digits", "trainer.epochs=1", "seed=1", "seed=2")
    assert ended.code == 0, ended.err
    assert "seed=1 seed=2: of several values of one key the last counts" in ended.out
    assert only(root).journal.events()[0]["config"]["seed"] == 2
    secret = config.overruled(["data.api_token=abc", "data.api_token=xyz"])
    assert "abc" not in str(secret)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.device=gpu", "trainer.device=gpu: no such device; did you mean 'cuda'?"),
        ("model.activation=Relu", "got Relu; did you mean 'relu'?"),
    ],
)
def test_a_value_is_told_the_nearest_one(train: Command, typed: str, said: str) -> None:
    ended = train("data=digits", typed)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    "command", ["echo a; echo b", "for i in 1 2; do echo $i; done", "a && (b", "A=1 b, c;"]
)
def test_a_shell_command_is_taken_as_it_is_typed(command: str) -> None:
    words = ["-m", "seed=0,1", f"sweep.then={command}"]
    config.ensure_readable(words)
    assert config.quote_words(words)[-1] == f"sweep.then='{command}'"
