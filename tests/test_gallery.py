"""The gallery: each program trains, as a bare loop does, resumes, replays, and is as its README says."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from bare import PROGRAMS, bare_curve, difference
from conftest import PROJECT, Command, Ended
from hydra.core.config_store import ConfigStore
from stored import facts, only

from benchmarks.lines import lines
from hydra_plugins.hydra_sweeplab.search_path import register_experiments
from sweeplab.config import compose
from sweeplab.runs.weights import load_weights

GALLERY = PROJECT / "examples" / "gallery"
NAMES = sorted(file.stem for file in (GALLERY / "experiments").glob("*.yaml"))
FEW = ("trainer.threads=1", "trainer.limit_batches=4")
FIRST = ("characters", "gan")
LONG = (
    "entailment",
    "gat",
    "graph",
    "resnet",
    "segmentation",
    "sequences",
    "siamese",
    "style",
    "superresolution",
    "timeseries",
    "translation",
    "words",
)
ELSEWHERE = (*FIRST, "distillation", "finetuning", "mixup")  # trained by default in other tests
TRUSTED = {
    "cnn": (),
    "gat": ("gat", "gcn"),
    "words": ("words", "characters"),
}  # code that a config names


def in_full(names: Iterable[str], but: Sequence[str] = FIRST) -> list[Any]:
    """Mark all names but the first programs' as for --full."""
    later = [name for name in names if name not in but]
    return [
        *(name for name in names if name in but),
        *(pytest.param(name, marks=pytest.mark.full) for name in later),
    ]


@pytest.fixture(autouse=True)
def _gallery(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Find the gallery's modules, and let no other test find its experiments."""
    monkeypatch.syspath_prepend(GALLERY)
    yield
    for name in NAMES:
        sys.modules.pop(name, None)
        ConfigStore.instance().repo.get("experiment", {}).pop(f"{name}.yaml", None)


def words(name: str) -> tuple[str, ...]:
    """What asks for a program; cnn is sweeplab's own."""
    return ("data=digits", "model=cnn") if name == "cnn" else (f"experiment={name}",)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python resnet.py` draws, as far as the experiment needs it."""
    folder = tmp_path_factory.mktemp("pictures")
    sys.path.insert(0, str(GALLERY))
    resnet = importlib.import_module("resnet")
    sys.path.remove(str(GALLERY))
    resnet.draw(folder / "stars", resnet.STARS, 140, stars=True)
    return folder


@pytest.fixture
def prepare(root: Path, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have in the root what a program needs there."""

    def put(name: str) -> None:
        if name == "resnet" and not (root / "pictures").exists():
            (root / "pictures").symlink_to(request.getfixturevalue("pictures"))

    return put


@pytest.fixture
def start(train: Command, prepare: Callable[[str], None]) -> Callable[..., Ended]:
    """`python train.py experiment=NAME ...` in the gallery, in this process."""

    def run(name: str, *overrides: str) -> Ended:
        prepare(name)
        asked = ("--run", *words(name), "hydra.mode=RUN", *FEW, *overrides)
        return train(*asked, script=GALLERY / "train.py")

    return run


MEASURED = {
    "characters": {"valid/loss", "valid/perplexity", "test/perplexity"},
    "distillation": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "entailment": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "finetuning": {"valid/accuracy", "test/accuracy"},
    "forward_forward": {"train/loss", "valid/accuracy", "test/accuracy"},
    "gan": {"train/loss_netD", "valid/loss_netG", "valid/distance", "test/distance"},
    "gat": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "gcn": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "graph": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "kfold": {"train/loss", "valid/accuracy", "test/accuracy"},
    "mixup": {"train/loss", "valid/accuracy", "test/accuracy"},
    "multilabel": {"valid/f1", "test/f1"},
    "regression": {"valid/mae", "valid/error_peak", "test/error_distance", "test/error_time"},
    "resnet": {"train/loss", "valid/accuracy", "test/accuracy"},
    "rows": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "segmentation": {"valid/loss", "valid/iou", "test/iou"},
    "sequences": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "siamese": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "style": {"train/style", "valid/content", "test/style"},
    "superresolution": {"valid/psnr", "test/psnr", "test/psnr_smooth"},
    "timeseries": {"valid/mae", "test/mae"},
    "transformer": {"train/lr_0", "valid/accuracy", "test/accuracy"},
    "translation": {"valid/loss", "valid/translated", "test/translated"},
    "vae": {"train/kl", "valid/loss", "valid/kl", "test/kl"},
    "words": {"train/loss", "valid/perplexity", "test/perplexity"},
}


@pytest.mark.parametrize(
    "name", in_full(NAMES, but=[name for name in NAMES if name not in (*LONG, *ELSEWHERE)])
)
def test_a_program_trains_and_measures(start: Command, root: Path, name: str) -> None:
    ended = start(name, "trainer.epochs=1")
    assert ended.code == 0, ended.err
    run = only(root)
    result = run.result()
    assert result is not None
    assert set(run.epochs()[1]) | set(result.metrics) >= MEASURED[name]


def test_steps_leave_files_of_what_they_return_at_evaluation(start: Command, root: Path) -> None:
    start("characters", "trainer.epochs=1")
    written = only(root).folder / "metrics" / "test_written.txt"
    assert len(written.read_text().removesuffix("\n")) == 8 + 80


def test_a_teacher_changes_what_a_student_learns(start: Command, root: Path) -> None:
    start("mixup", "trainer.epochs=1", "store.root=teachers")
    start("distillation", "trainer.epochs=1", "store.root=alone")
    start("distillation", "trainer.epochs=1", f"step.teacher={only(root, 'teachers').folder}")
    taught, alone = only(root).epochs()[1], only(root, "alone").epochs()[1]
    assert taught["train/loss"] != alone["train/loss"]


def test_fine_tuning_begins_with_the_weights_of_a_run(start: Command, root: Path) -> None:
    start("finetuning", "trainer.epochs=3", "data.dataset.first=0", "store.root=known")
    frozen = ("trainer.freeze=[0.*,1.*,3.*,4.*]", "optimizer.groups=null")
    begin = f"trainer.init_from={only(root, 'known').folder}"
    assert start("finetuning", "trainer.epochs=1", begin, *frozen).code == 0
    before = load_weights(only(root, "known").weights_file)
    after = load_weights(only(root).weights_file)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["6.weight"], after["6.weight"])


@pytest.mark.full
def test_a_cross_validation_compares_paired_by_fold(train: Command) -> None:
    asked = ("experiment=kfold", "data.fold=range(3)", "trainer.epochs=2", *FEW)
    ended = train(*asked, script=GALLERY / "train.py")
    assert ended.code == 0, ended.err
    assert "6 runs of 2 configs: 6 finished" in ended.out
    assert "test/accuracy minus that of model.hidden=0, paired by seed and data.fold" in ended.out
    assert "n counts folds" in ended.out


# --- Beside a bare loop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", in_full(PROGRAMS))
def test_a_program_has_the_curve_of_a_bare_loop(start: Command, root: Path, name: str) -> None:
    how = ["trainer.epochs=3", *PROGRAMS[name].overrides]
    assert start(name, *how).code == 0
    register_experiments(GALLERY / "experiments")
    bare = bare_curve(compose([*words(name), *how]), PROGRAMS[name])
    curve = {which: [epoch[which] for epoch in only(root).epochs().values()] for which in bare}
    print(f"{name}: the curves differ by {difference(curve, bare):.1e}")
    assert difference(curve, bare) <= 1e-6


# --- Kept promises ------------------------------------------------------------------------------------------------


PLACE = {"resnet": ["+data.dataset.folder=pictures/stars"]}  # which no record is trusted to say


@pytest.mark.parametrize("name", in_full([*NAMES, "cnn"], but=("gan",)))
def test_a_killed_program_resumes_to_the_same_bits_and_replays(
    start: Command, replay: Command, root: Path, die_at: Callable[[int], None], name: str
) -> None:
    how = ("trainer.epochs=3", "trainer.patience=null")
    assert start(name, *how, "store.root=whole").code == 0
    die_at(2)
    assert start(name, *how).code == 130
    assert "goes on after epoch 1" in start(name, *how).out
    assert facts(only(root)) == facts(only(root, "whole"))
    trust = [word for module in TRUSTED.get(name, (name,)) for word in ("--trust", module)]
    again = replay(only(root).id, *trust, *PLACE.get(name, ()))
    assert (again.code, "identical: " in again.out) == (0, True), again.err


SWEPT = [name for name in [*NAMES, "cnn"] if name != "kfold"]  # which is a sweep by itself


@pytest.mark.parametrize("name", in_full(SWEPT, but=()))
def test_a_sweep_of_a_program_ends_with_its_comparison(
    command: Command, sweeplab: Command, prepare: Callable[[str], None], name: str
) -> None:
    prepare(name)
    how = (*FEW, "trainer.epochs=2", "tracking=off", "sweep.report=false")
    ended = command("examples/gallery/train.py", "-m", *words(name), "seed=0,1", *how)
    compared = "2 runs of 1 config: 2 finished"
    assert (ended.code, compared in ended.out) == (0, True), ended.err
    assert compared in sweeplab("compare").out


# --- Its page -----------------------------------------------------------------------------------------------------

ROW = re.compile(
    r"^\| \[(\w+)\]\((\w+)\.py\) \|.*\| (\d+) \+ (\d+) \| `(.+?)` \| .+ \|$", re.MULTILINE
)


def test_the_page_has_a_row_for_each_program_with_its_lines_and_its_command() -> None:
    rows = {row[0]: row[1:] for row in ROW.findall((GALLERY / "README.md").read_text())}
    assert rows == {
        name: (
            name,
            str(lines(GALLERY / f"{name}.py")),
            str(lines(GALLERY / "experiments" / f"{name}.yaml")),
            f"python train.py experiment={name}",
        )
        for name in NAMES
    }


BESIDE = re.compile(
    r"^\| \S+.* \| \[(\w+)\]\(\1\.py\) \| (\d+) \+ (\d+) \| \d+ \| (\S+) \|(?: yes \|){4}$",
    re.MULTILINE,
)


def test_the_page_has_the_same_lines_beside_pytorch_examples_and_equal_curves() -> None:
    page = (GALLERY / "README.md").read_text()
    of_all = {row[0]: (row[2], row[3]) for row in ROW.findall(page)}
    beside = BESIDE.findall(page)
    assert len(beside) == page.count(" yes | yes | yes | yes |") - 1, "all rows but that of cnn"
    assert {name: (python, yaml) for name, python, yaml, _ in beside}.items() <= of_all.items()
    assert {name for name, *_, curve in beside if float(curve) > 1e-6} == set()


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_opens_with_its_command_and_says_what_it_shows(name: str) -> None:
    first, second, third, *_ = (GALLERY / f"experiments/{name}.yaml").read_text().splitlines()
    assert (first, second) == (f"# python train.py experiment={name}", "#")
    assert re.match(r"# [A-Z].{40}", third)
