"""The gallery: each program trains, as a bare loop does, resumes, replays, and is as its README says."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, Command, Ended
from hydra.core.config_store import ConfigStore
from stored import facts, only
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hydra_plugins.hydra_sweeplab.search_path import register_experiments
from sweeplab import data
from sweeplab.config import Config, compose
from sweeplab.data.batches import Batches
from sweeplab.runs.weights import load_weights
from sweeplab.targets import instantiate
from sweeplab.train.random_state import seed_stream

GALLERY = PROJECT / "examples" / "gallery"
NAMES = sorted(file.stem for file in (GALLERY / "experiments").glob("*.yaml"))
FEW = ("trainer.threads=1", "trainer.limit_batches=4")
FIRST = ("characters", "gan", "segmentation", "sequences", "vae")
Loss = Callable[[nn.Module, Any], Tensor]


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
def start(train: Command, root: Path, request: pytest.FixtureRequest) -> Callable[..., Ended]:
    """`python train.py experiment=NAME ...` in the gallery, in this process."""

    def run(name: str, *overrides: str) -> Ended:
        if name == "resnet" and not (root / "pictures").exists():
            (root / "pictures").symlink_to(request.getfixturevalue("pictures"))
        words = ("--run", f"experiment={name}", "hydra.mode=RUN", *FEW, *overrides)
        return train(*words, script=GALLERY / "train.py")

    return run


MEASURED = {
    "characters": {"valid/loss", "valid/perplexity", "test/perplexity"},
    "distillation": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "finetuning": {"valid/accuracy", "test/accuracy"},
    "gan": {"train/loss_netD", "valid/loss_netG", "valid/distance", "test/distance"},
    "graph": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "kfold": {"train/loss", "valid/accuracy", "test/accuracy"},
    "mixup": {"train/loss", "valid/accuracy", "test/accuracy"},
    "multilabel": {"valid/f1", "test/f1"},
    "regression": {"valid/mae", "valid/error_peak", "test/error_distance", "test/error_time"},
    "resnet": {"train/loss", "valid/accuracy", "test/accuracy"},
    "segmentation": {"valid/loss", "valid/iou", "test/iou"},
    "sequences": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "siamese": {"train/accuracy", "valid/accuracy", "test/accuracy"},
    "superresolution": {"valid/psnr", "test/psnr", "test/psnr_smooth"},
    "timeseries": {"valid/mae", "test/mae"},
    "transformer": {"train/lr_0", "valid/accuracy", "test/accuracy"},
    "vae": {"train/kl", "valid/loss", "valid/kl", "test/kl"},
}


@pytest.mark.parametrize("name", NAMES)
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
    words = ("experiment=kfold", "data.fold=range(3)", "trainer.epochs=2", *FEW)
    ended = train(*words, script=GALLERY / "train.py")
    assert ended.code == 0, ended.err
    assert "6 runs of 2 configs: 6 finished" in ended.out
    assert "test/accuracy minus that of model.hidden=0, paired by seed and data.fold" in ended.out
    assert "n counts folds" in ended.out


# --- Beside a bare loop -------------------------------------------------------------------------------------------


@dataclass
class Program:
    """A program as it is without sweeplab: what a batch is, and the loss of it."""

    loss: Loss
    clip_norm: float | None = None
    override: str = "seed=0"


def loss_of_symbols(model: nn.Module, batch: Any) -> Tensor:
    text, following = batch
    return cross_entropy(model(text).flatten(0, 1), following.flatten())


def loss_of_pair(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return cross_entropy(model(inputs), targets)


def loss_of_sequences(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["text"], batch["length"]), batch["balanced"])


def loss_of_vae(model: nn.Module, batch: Any) -> Tensor:
    pictures, _ = batch
    decoded, mean, log_variance = model(pictures)
    error = nn.functional.binary_cross_entropy_with_logits(decoded, pictures, reduction="none")
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
    return error.sum(1).mean() + kl.sum(1).mean()


def loss_of_labels(model: nn.Module, batch: Any) -> Tensor:
    inputs, labels = batch
    return nn.functional.binary_cross_entropy_with_logits(model(inputs), labels)


def squared_error(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def loss_of_graphs(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["edges"], batch["graph"]), batch["kind"])


def contrastive_loss(model: nn.Module, batch: Any) -> Tensor:
    distance = (model(batch["first"]) - model(batch["second"])).norm(dim=1)
    apart = nn.functional.relu(1 - distance)
    return torch.where(batch["same"].bool(), distance.square(), apart.square()).mean()


def loss_of_mixed(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    if not model.training:
        return cross_entropy(model(inputs), targets)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    other = torch.randperm(len(inputs))
    output = model(share * inputs + (1 - share) * inputs[other])
    return share * cross_entropy(output, targets) + (1 - share) * cross_entropy(
        output, targets[other]
    )


# The gradient of a bias before BatchNorm is 0 but for rounding, which Adam makes as large a change as any: it does nothing in
# training, but shifts the running mean. So the last bits of a layer (oneDNN's, here) are seen in valid/loss at 1e-5.
NO_BATCH_NORM = "model.batch_norm=false"
PROGRAMS = {
    "characters": Program(loss_of_symbols),
    "distillation": Program(loss_of_pair),
    "graph": Program(loss_of_graphs),
    "kfold": Program(loss_of_pair),
    "mixup": Program(loss_of_mixed, override=NO_BATCH_NORM),
    "multilabel": Program(loss_of_labels, override=NO_BATCH_NORM),
    "regression": Program(squared_error),
    "resnet": Program(loss_of_pair),
    "segmentation": Program(loss_of_pair),
    "sequences": Program(loss_of_sequences, clip_norm=1.0),
    "siamese": Program(contrastive_loss),
    "superresolution": Program(squared_error),
    "timeseries": Program(squared_error, clip_norm=1.0),
    "vae": Program(loss_of_vae),
}


def bare_batches(config: Config) -> tuple[Batches, Batches]:
    splits = data.load(config.data)
    batch_size = config.trainer.batch_size
    train = Batches(splits.train, batch_size, device="cpu", seed=0, drop_last=True, limit=4)
    return train, Batches(splits.valid, config.trainer.eval_batch_size, device="cpu", limit=4)


def bare_curve(config: Config, program: Program) -> dict[str, list[float]]:
    """Train in a plain loop, with the same random streams; the losses of each epoch."""
    torch.set_num_threads(1)
    train, valid = bare_batches(config)
    seed_stream(0, "initialisation")
    model = instantiate(config.model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.optimizer["lr"], fused=True)
    seed_stream(0, "dropout")
    curve: dict[str, list[float]] = {"train/loss": [], "valid/loss": []}
    for epoch in range(1, config.trainer.epochs + 1):
        model.train()
        losses = []
        for batch in train.epoch(epoch):
            optimizer.zero_grad()
            loss = program.loss(model, batch)
            loss.backward()
            if program.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), program.clip_norm)
            optimizer.step()
            losses.append(loss.item())
        curve["train/loss"].append(sum(losses) / len(losses))
        model.eval()
        with torch.no_grad():
            (whole,) = valid.epoch(0)
            curve["valid/loss"].append(program.loss(model, whole).item())
    return curve


def curve_of(root: Path, names: list[str]) -> dict[str, list[float]]:
    epochs = only(root).epochs().values()
    return {name: [metrics[name] for metrics in epochs] for name in names}


@pytest.mark.parametrize("name", in_full(PROGRAMS))
def test_a_program_has_the_curve_of_a_bare_loop(start: Command, root: Path, name: str) -> None:
    how = ["trainer.epochs=3", "scheduler=constant", PROGRAMS[name].override]
    assert start(name, *how).code == 0
    register_experiments(GALLERY / "experiments")
    bare = bare_curve(compose([f"experiment={name}", *how]), PROGRAMS[name])
    assert curve_of(root, list(bare)) == {
        which: pytest.approx(losses, rel=1e-6) for which, losses in bare.items()
    }


def test_the_gan_has_the_curve_of_a_bare_loop(start: Command, root: Path) -> None:
    assert start("gan", "trainer.epochs=3").code == 0
    register_experiments(GALLERY / "experiments")
    torch.set_num_threads(1)
    train, valid = bare_batches(compose(["experiment=gan"]))
    seed_stream(0, "initialisation")
    model = importlib.import_module("gan").GAN(latent=16)
    update_d = torch.optim.Adam(model.netD.parameters(), lr=0.0005, betas=(0.5, 0.999))
    update_g = torch.optim.Adam(model.netG.parameters(), lr=0.001, betas=(0.5, 0.999))
    loss = nn.BCEWithLogitsLoss()
    seed_stream(0, "dropout")
    bare: dict[str, list[float]] = {"train/loss_netD": [], "train/loss_netG": [], "valid/loss": []}
    for epoch in (1, 2, 3):
        losses_d, losses_g = [], []
        model.train()
        for real, _ in train.epoch(epoch):
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            fake = model.netG(torch.randn(len(real), 16, 1, 1))
            update_d.zero_grad()
            loss_d = loss(model.netD(real), ones) + loss(model.netD(fake.detach()), zeros)
            loss_d.backward()
            update_d.step()
            update_g.zero_grad()
            loss_g = loss(model.netD(fake), ones)
            loss_g.backward()
            update_g.step()
            losses_d.append(loss_d.item())
            losses_g.append(loss_g.item())
        model.eval()
        with torch.no_grad():
            ((real, _),) = valid.epoch(0)
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            fake = model.netG(torch.randn(len(real), 16, 1, 1))
            of_d = loss(model.netD(real), ones) + loss(model.netD(fake), zeros)
            bare["valid/loss"].append(float(of_d + loss(model.netD(fake), ones)))
        bare["train/loss_netD"].append(sum(losses_d) / len(losses_d))
        bare["train/loss_netG"].append(sum(losses_g) / len(losses_g))
    assert curve_of(root, list(bare)) == {
        which: pytest.approx(losses, rel=1e-6) for which, losses in bare.items()
    }


# --- Kept promises ------------------------------------------------------------------------------------------------


PLACE = {"resnet": ["+data.dataset.folder=pictures/stars"]}  # which no record is trusted to say


@pytest.mark.parametrize("name", in_full(NAMES, but=("gan", "sequences")))
def test_a_killed_program_resumes_to_the_same_bits_and_replays(
    start: Command, replay: Command, root: Path, die_at: Callable[[int], None], name: str
) -> None:
    how = ("trainer.epochs=3", "trainer.patience=null")
    assert start(name, *how, "store.root=whole").code == 0
    die_at(2)
    assert start(name, *how).code == 130
    assert "goes on after epoch 1" in start(name, *how).out
    assert facts(only(root)) == facts(only(root, "whole"))
    again = replay(only(root).id, "--trust", name, *PLACE.get(name, ()))
    assert (again.code, "identical: " in again.out) == (0, True), again.err


# --- Its page -----------------------------------------------------------------------------------------------------

ROW = re.compile(
    r"^\| \[(\w+)\]\((\w+)\.py\) \|.*\| (\d+) \+ (\d+) \| `(.+?)` \| .+ \|$", re.MULTILINE
)


def python_lines(file: Path) -> int:
    """Count the lines that are neither blank nor comments nor docstrings."""
    text = file.read_text()
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            docstring = node.body[0]
            documented |= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    kept = [line for n, line in enumerate(text.splitlines(), 1) if n not in documented]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in kept)


def yaml_lines(file: Path) -> int:
    lines = [line.strip() for line in file.read_text().splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_the_page_has_a_row_for_each_program_with_its_lines_and_its_command() -> None:
    rows = {row[0]: row[1:] for row in ROW.findall((GALLERY / "README.md").read_text())}
    assert rows == {
        name: (
            name,
            str(python_lines(GALLERY / f"{name}.py")),
            str(yaml_lines(GALLERY / "experiments" / f"{name}.yaml")),
            f"python train.py experiment={name}",
        )
        for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_opens_with_its_command_and_says_what_it_shows(name: str) -> None:
    first, second, third, *_ = (GALLERY / f"experiments/{name}.yaml").read_text().splitlines()
    assert (first, second) == (f"# python train.py experiment={name}", "#")
    assert re.match(r"# [A-Z].{40}", third)
