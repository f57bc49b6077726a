"""`sweeplab why`: what gives a key its value, and what it would be without that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import PROJECT, Command, Write

EXAMPLE = PROJECT / "examples" / "own_project"
DEFAULT = "  else 20  the schema's default"


def line(file: str, text: str) -> int:
    """The number of the line of a file in conf/ that begins so."""
    lines = (PROJECT / file).read_text().splitlines()
    return next(number for number, each in enumerate(lines, 1) if each.strip().startswith(text))


EPOCHS = f"sweeplab's conf/trainer/default.yaml:{line('conf/trainer/default.yaml', 'epochs:')}"
FAST = f"sweeplab's conf/trainer/fast.yaml:{line('conf/trainer/fast.yaml', 'epochs:')}"
MODEL = f"sweeplab's conf/config.yaml:{line('conf/config.yaml', '- model:')}"
SIZE = f"sweeplab's conf/model/mlp.yaml:{line('conf/model/mlp.yaml', 'in_features:')}"
MNIST = f"sweeplab's conf/data/mnist.yaml:{line('conf/data/mnist.yaml', 'in_features:')}"
MOMENTUM = f"sweeplab's conf/optimizer/sgd.yaml:{line('conf/optimizer/sgd.yaml', 'momentum:')}"
NAME = f"sweeplab's conf/data/mnist.yaml:{line('conf/data/mnist.yaml', 'name:')}"
HIDDEN = f"sweeplab's conf/model/mlp.yaml:{line('conf/model/mlp.yaml', 'hidden:')}"

ANSWERS = {
    "trainer.epochs": [f"trainer.epochs = 20  from {EPOCHS}", DEFAULT],
    "trainer.epochs trainer.epochs=5": [
        "trainer.epochs = 5  from the command line (trainer.epochs=5)",
        f"  else 20  from {EPOCHS}",
        DEFAULT,
    ],
    "trainer.epochs ++trainer.epochs=5 trainer.epochs=6": [
        "trainer.epochs = 6  from the command line (trainer.epochs=6)",
        "  else 5  from the command line (++trainer.epochs=5)",
        f"  else 20  from {EPOCHS}",
        DEFAULT,
    ],
    "trainer.epochs trainer=fast": [
        f"trainer.epochs = 3  from {FAST} (trainer=fast)",
        f"  else 20  from {EPOCHS}",
        DEFAULT,
    ],
    "model.in_features": [
        f"model.in_features = 784  from {SIZE}: ${{data.in_features}}",
        f"  data.in_features = 784  from {MNIST}",
        "    else 1  the schema's default",
    ],
    "model.hidden[1]": [f"model.hidden = [392,196]  from {HIDDEN}"],
    "model.hidden model=mlp model.hidden=3": [
        "model.hidden = 3  from the command line (model.hidden=3)",
        f"  else [392,196]  from {HIDDEN} (model=mlp)",
    ],
    "model.hidden 'model={hidden:8}'": [
        "model.hidden = 8  from the command line (model={hidden:8})",
        f"  else [392,196]  from {HIDDEN}",
    ],
    "optimizer.fused ~optimizer.fused": [
        "optimizer.fused is not there, taken out on the command line (~optimizer.fused)",
        "  else true  from sweeplab's conf/optimizer/adam.yaml:5",
    ],
    "metrics.f1.of +metrics.f1.of=2": [
        "metrics.f1.of = 2  from the command line (+metrics.f1.of=2)"
    ],
    "hydra/launcher hydra/launcher=basic": [
        "hydra/launcher = basic  from the command line (hydra/launcher=basic)",
        f"  else sweeplab  from sweeplab's conf/config.yaml:{line('conf/config.yaml', '- override hydra/launcher')}",
        "hydra.launcher._target_ = hydra._internal.core_plugins.basic_launcher.BasicLauncher  Hydra's default",
    ],
    "hydra.run.dir": [
        f"hydra.run.dir = .  from sweeplab's conf/config.yaml:{line('conf/config.yaml', 'dir: .')}",
        "  else outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}  Hydra's default",
    ],
    "data.in_features data=csv": [
        "data.in_features = 1  from sweeplab's conf/data/csv.yaml:4 (data=csv): ${from_set:in_features}",
        "  else 1  the schema's default",
        f"  without data=csv: 784  from {MNIST}",
    ],
    "optimizer.head.momentum +optimizer@optimizer.head=sgd": [
        f"optimizer.head.momentum = 0.9  from {MOMENTUM} (+optimizer@optimizer.head=sgd)",
        "  without +optimizer@optimizer.head=sgd: no such key",
    ],
    "optimizer.fused +optimizer@optimizer.head=sgd": [
        "optimizer.fused = true  from sweeplab's conf/optimizer/adam.yaml:5"
    ],
    "model.hidden 'model.hidden=[3,${data.in_features}]'": [
        'model.hidden = [3,784]  from the command line (model.hidden=[3,${data.in_features}]): [3,"${data.in_features}"]',
        f"  data.in_features = 784  from {MNIST}",
        "    else 1  the schema's default",
        f"  else [392,196]  from {HIDDEN}",
    ],
    "data.root 'data.root=${oc.env:NOT_SET,here}'": [
        "data.root = here  from the command line (data.root=${oc.env:NOT_SET,here}): ${oc.env:NOT_SET,here}",
        "  NOT_SET is not set in the environment",
        f"  else data  from sweeplab's conf/data/mnist.yaml:{line('conf/data/mnist.yaml', 'root:')}",
        "  else data  the schema's default",
    ],
    "optimizer.amsgrad": [
        "optimizer.amsgrad = false  the default of torch.optim.Adam, which no config sets"
    ],
}


@pytest.mark.few(12)
@pytest.mark.parametrize("words", ANSWERS)
def test_a_value_is_explained_by_what_gives_it(root: Path, sweeplab: Command, words: str) -> None:
    ended = sweeplab("why", *words.replace("'", "").split(" "))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == ANSWERS[words]


def test_a_section_is_explained_key_by_key_after_the_choice(sweeplab: Command) -> None:
    lines = sweeplab("why", "model", "model=linear", "model.in_features=8").out.splitlines()
    assert lines[:2] == [
        "model = linear  from the command line (model=linear)",
        f"  else mlp  from {MODEL}",
    ]
    assert (
        "model.in_features = 8  from the command line (model.in_features=8); else ${data.in_features}"
        in lines
    )
    assert sweeplab("why", "experiment").out.startswith(
        f"experiment = null  from sweeplab's conf/config.yaml:{line('conf/config.yaml', '- experiment:')}\n"
        "  no option of experiment is chosen; there are: batchnorm, "
    )


def test_a_group_of_which_nothing_is_chosen_tells_what_it_may_be(
    write: Write, sweeplab: Command
) -> None:
    file = f"sweeplab's conf/config.yaml:{line('conf/config.yaml', '- step:')}"
    assert sweeplab("why", "step").out.splitlines()[:2] == [
        f"step = null  from {file}",
        "  no option of step is chosen; there are: supervised",
    ]
    ended = sweeplab("why", "debug", "~debug")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("debug: no option of this group is chosen, as by debug=")
    write({"conf/extra/one.yaml": "a: 1\n", "conf/extra/two.yaml": "a: 2\n"})
    assert sweeplab("why", "extra", "--config-dir", "conf").err == (
        "extra: no option of this group is chosen, as by +extra=one; valid: one, two\n"
    )


def test_a_value_that_is_still_to_be_given_is_told(write: Write, sweeplab: Command) -> None:
    ended = sweeplab("why", "data.name", "data.name=???")
    assert ended.code == 2
    assert ended.out.splitlines()[:2] == [
        "data.name is still to be given: ??? from the command line (data.name=???)",
        f"  else mnist  from {NAME}",
    ]
    assert ended.err == "data.name=???: must be given\n"
    write({"conf/optimizer/mine.yaml": "_target_: torch.optim.SGD\nlr: ???\n"})
    ended = sweeplab("why", "optimizer.lr", "--config-dir", "conf", "optimizer=mine")
    place = "conf/optimizer/mine.yaml:2 (optimizer=mine)"
    assert ended.out.startswith(f"optimizer.lr is still to be given: ??? from {place}\n")


@pytest.fixture
def own(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of a project of one's own, in the current folder."""
    shutil.copytree(EXAMPLE, root / "own")
    monkeypatch.chdir(root / "own")
    return root / "own"


def test_a_projects_files_come_before_those_that_they_hide(own: Path, sweeplab: Command) -> None:
    (own / "conf" / "trainer").mkdir()
    (own / "conf" / "trainer" / "default.yaml").write_text("patience: 3\nepochs: 7\n")
    assert sweeplab("why", "trainer.epochs").out.splitlines() == [
        "trainer.epochs = 7  from conf/trainer/default.yaml:2",
        f"  else 20  from {EPOCHS}",
        DEFAULT,
    ]
    assert sweeplab("why", "model.hidden", "model=mlp").out.splitlines() == [
        f"model.hidden = [392,196]  from {HIDDEN} (model=mlp)",
        "  without model=mlp: no such key",
    ]
    assert sweeplab("why", "data.name", "data=digits").out.splitlines() == [
        "data.name = digits  from sweeplab's conf/data/digits.yaml:2 (data=digits)",
        "  else null  the schema's default",
        "  without data=digits: tumours  from conf/data/tumours.yaml:2",
    ]


def test_a_sweep_gives_its_values_in_turn_and_an_experiment_chooses(
    own: Path, sweeplab: Command
) -> None:
    assert sweeplab("why", "model.depth", "experiment=skip").out.splitlines() == [
        "model.depth = 2,16  from the sweep of experiments/skip.yaml:10, one after the other",
        "  else 4  from conf/model/residual.yaml:6",
    ]
    (own / "experiments" / "wide.yaml").write_text(
        "defaults:\n  - override /optimizer: sgd\n  - override /model: mlp\nmodel:\n  width: 8\n"
    )
    assert sweeplab("why", "optimizer", "experiment=wide").out.splitlines()[:3] == [
        "optimizer = sgd  from experiments/wide.yaml:2",
        f"  else adam  from sweeplab's conf/config.yaml:{line('conf/config.yaml', '- optimizer:')}",
        "optimizer._target_ = torch.optim.SGD  from sweeplab's conf/optimizer/sgd.yaml:2",
    ]
    (own / "experiments" / "both.yaml").write_text(
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      optimizer: adam,sgd\n"
    )
    assert sweeplab("why", "optimizer", "experiment=both").out.splitlines()[0] == (
        "optimizer = adam,sgd  from the sweep of experiments/both.yaml:5, one after the other"
    )
    lines = sweeplab("why", "model", "experiment=wide").out.splitlines()
    assert lines[:3] == [  # as Hydra has it: the primary config's override comes first
        "model = residual  from conf/project.yaml:5",
        "  else mlp  from experiments/wide.yaml:3",
        f"  else mlp  from {MODEL}",
    ]
    assert "model.width = 8  from experiments/wide.yaml:5 (experiment=wide); else 16" in lines
    assert sweeplab("why", "tracking.experiment", "experiment=wide").out.startswith(
        "tracking.experiment = wide  from experiments/wide.yaml (experiment=wide)\n"
    )


def test_a_variable_of_the_environment_is_named_and_its_secret_hidden(
    write: Write, sweeplab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pass-w0rd@host:5000")
    monkeypatch.setenv("DATA_PASSWORD", "h1dden-w0rd")
    monkeypatch.setenv("PLACE", "here")
    said = sweeplab("why", "tracking.uri").out
    assert "from MLFLOW_TRACKING_URI in the environment\n  else null  from sweeplab's" in said
    assert "pass-w0rd" not in said
    words = "+data.dataset.at=${oc.env:PLACE}", "+data.dataset.opened=${oc.env:DATA_PASSWORD}"
    keys = "data.dataset.at", "data.dataset.opened"
    for form in ([], ["--json"]):
        said = sweeplab("why", *form, *keys, *words).out
        assert "here" in said
        assert "h1dden-w0rd" not in said
    assert (
        "  oc.env:PLACE = here  from PLACE in the environment\n"
        in sweeplab("why", *keys, *words).out
    )


def test_json_has_what_the_lines_say(sweeplab: Command, root: Path) -> None:
    told = json.loads(sweeplab("why", "--json", "trainer.epochs", "trainer.epochs=5").out)
    assert told["schema"] == "sweeplab.why/1"
    (key,) = told["keys"]
    assert (key["key"], key["value"], key["is_choice"], key["references"]) == (
        "trainer.epochs",
        5,
        False,
        [],
    )
    typed, file, default = key["origins"]
    assert typed == {
        "kind": "override",
        "value": 5,
        "is_removal": False,
        "file": None,
        "line": None,
        "text": "trainer.epochs=5",
        "chosen_by": "",
    }
    assert (file["kind"], file["line"], Path(file["file"])) == (
        "file",
        line("conf/trainer/default.yaml", "epochs:"),
        PROJECT / "conf/trainer/default.yaml",
    )
    assert (default["kind"], default["value"]) == ("default", 20)
    assert list(root.iterdir()) == []


WRONG = {
    "trainer.epoch": "trainer.epoch: no such key; did you mean 'trainer.epochs'?",
    "epochs": "epochs: no such key; did you mean 'trainer.epochs'?",
    "modle": "modle: no such key; did you mean 'model'?",
    "model..hidden": "model..hidden: no such key",
    "model.hidden.x": "model.hidden.x: no such key; did you mean 'model.hidden'?",
    "model.hidden=3": "name a key, as in: sweeplab why model.hidden model.hidden=3",
    "seed sed=3": "sed=3: no such key; did you mean 'seed=3'?",
    "seed -m seed=1,2": "sweeplab why -m: no such option; ",
}


@pytest.mark.few(4)
@pytest.mark.parametrize("words", WRONG)
def test_a_key_that_there_is_not_is_refused(root: Path, sweeplab: Command, words: str) -> None:
    ended = sweeplab("why", *words.split(" "))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(WRONG[words])


def test_a_value_that_is_refused_is_explained_all_the_same(root: Path, sweeplab: Command) -> None:
    ended = sweeplab("why", "seed", "seed=-1")
    assert ended.code == 2
    assert ended.out.startswith("seed = -1  from the command line (seed=-1)\n  else 0  from ")
    assert ended.err == "seed=-1: must be a whole number >= 0\n"


def test_an_option_in_a_package_of_its_own_is_no_choice_of_the_group(
    write: Write, sweeplab: Command
) -> None:
    text = "defaults:\n  - mlp\n  - /optimizer@head: sgd\n  - /optimizer@_global_.tail: adamw\n"
    write({"conf/model/two.yaml": text})
    said = sweeplab("why", "optimizer", "--config-dir", "conf", "model=two").out.splitlines()
    assert said[0].startswith("optimizer = adam  from sweeplab's conf/config.yaml:")
    assert said[1].startswith("optimizer._target_ = torch.optim.Adam")
    for package, option, number in (("model.head", "sgd", 3), ("tail", "adamw", 4)):
        said = sweeplab("why", f"optimizer@{package}", "--config-dir", "conf", "model=two").out
        assert said.startswith(f"optimizer@{package} = {option}  from conf/model/two.yaml:{number}")
