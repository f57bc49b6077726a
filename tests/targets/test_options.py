"""A class where an option of a group is expected: a network pasted beside the shell, `model=mine.Net`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, Command, Write

from sweeplab import config, targets
from sweeplab.targets import options

PASTED = """
from torch import nn



class MNIST_CLASSIFIER(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, x):
        return self.net(x)


class Sized(nn.Module):
    def __init__(self, in_features, width=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(in_features, width), nn.Linear(width, 10))

    def forward(self, x):
        return self.net(x)


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 2, 3), nn.Linear(72, 10)

    def forward(self, x):
        return self.last(self.conv(x).flatten(1))
"""
FEW = ("data=digits", "debug=smoke")
SHOWN = " data=digits debug=smoke"


@pytest.fixture(autouse=True)
def mine(write: Write) -> None:
    write({"mine.py": PASTED})


def node(*overrides: str) -> config.Node:
    return config.canonical(config.compose([*FEW, *overrides]))


def test_a_class_is_what_the_long_way_makes_of_it() -> None:
    short = node("model=mine.MNIST_CLASSIFIER")
    assert short["model"] == {"_target_": "mine.MNIST_CLASSIFIER"}
    assert short == node("model=own", "model._target_=mine.MNIST_CLASSIFIER")
    sized = node("model=mine.Sized", "+model.width=3")
    assert sized["model"] == {"_target_": "mine.Sized", "in_features": 64, "width": 3}


def test_classes_of_torch_are_options_too() -> None:
    rate = node("optimizer=torch.optim.RMSprop", "optimizer.lr=0.02")["optimizer"]
    assert rate == {"_target_": "torch.optim.RMSprop", "lr": 0.02}
    loss = node("loss=torch.nn.MultiMarginLoss")["loss"]
    assert loss == {"_target_": "torch.nn.MultiMarginLoss"}
    data = config.compose(["data=torch.utils.data.TensorDataset"]).data
    assert (data.name, data.dataset["_target_"]) == (
        "TensorDataset",
        "torch.utils.data.TensorDataset",
    )


def test_an_experiment_may_choose_a_class(train: Command, root: Path) -> None:
    (root / "experiments").mkdir()
    (root / "conf").mkdir()
    (root / "train.py").write_text((PROJECT / "train.py").read_text())
    (root / "experiments" / "own.yaml").write_text(
        "defaults: [{override /model: mine.MNIST_CLASSIFIER}]\n"
    )
    ended = train("experiment=own", *FEW, script=root / "train.py")
    assert (ended.code, ended.err) == (0, "")


PICTURES = (
    "model=mine.Pictures: does not take inputs of shape [B, 64] (data=digits, data.flatten=true), "
    "but of [B, 1, 8, 8]: add data.flatten=false"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=mine.Size"], "model=mine.Size: 'mine' has no 'Size'; did you mean 'mine.Sized'?"),
        (["model=nine.Net"], "model=nine.Net: no module 'nine'; did you mean 'mine.Net'?"),
        (["model=mine.Pictures"], PICTURES),
    ],
)
def test_what_is_refused_names_the_line_that_works(
    train: Command, words: list[str], said: str
) -> None:
    ended = train(*FEW, *words)
    assert (ended.code, ended.err) == (2, f"{said}\n")


def test_the_named_line_works(train: Command) -> None:
    assert train(*FEW, "model=mine.Pictures", "data.flatten=false").code == 0


@pytest.mark.full
def test_a_sweep_over_classes_names_its_runs_by_them(command: Command, root: Path) -> None:
    ended = command(
        "train.py", "-m", "model=mine.MNIST_CLASSIFIER,mine.Sized,linear", *FEW, "tracking=off"
    )
    assert ended.code == 0, ended.err
    models = ["linear", "mine.MNIST_CLASSIFIER", "mine.Sized"]
    started = [file.read_text().splitlines()[0] for file in root.glob("runs/*/journal.jsonl")]
    assert sorted(json.loads(line)["name"] for line in started) == [
        f"model={model}{SHOWN}" for model in models
    ]
    assert "mine.MNIST_CLASSIFIER " in ended.out
    again = command("train.py", "model=mine.MNIST_CLASSIFIER", *FEW, "tracking=off")
    assert again.code == 0
    assert len(list(root.glob("runs/*/journal.jsonl"))) == 3, "the same run"


def test_a_function_is_a_loss() -> None:
    loss = node("loss=torch.nn.functional.cross_entropy")["loss"]
    assert loss["_target_"] == "sweeplab.models.FunctionLoss"
    assert loss["function"]["_target_"] == "torch.nn.functional.cross_entropy"
    built = targets.build(loss, "loss")
    assert float(built(torch.zeros(2, 4), torch.tensor([0, 3]))) == pytest.approx(math.log(4))


def test_a_file_that_does_more_than_define_things_is_told_the_cure(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "SECONDS", 0.1)
    body = "class Net:\n    pass\n"
    write(
        {
            "loop.py": f"import time\nprint(1)\ntime.sleep(0.5)\n{body}",
            "talks.py": f"print(2)\n{body}",
        }
    )
    for name, does in (("loop", "runs for more than 0.1 s"), ("talks", "prints")):
        targets.option_of("model", f"{name}.Net")
        said = capsys.readouterr()
        cure = "put what it runs below if __name__ == '__main__':"
        assert said.err == f"model={name}.Net: its file {does} when it is imported; {cure}\n"
    assert said.out == "2\n"


def test_a_package_that_takes_long_to_import_is_none_of_the_users_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "SECONDS", 0.0)
    assert targets.option_of("model", "torchvision.models.vgg11") == {
        "_target_": "torchvision.models.vgg11"
    }
    assert capsys.readouterr().err == ""
