"""What metrics of a user's own compute: numbers become metrics, all else files; what fails is refused before work."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from stored import only
from torch import Tensor

from sweeplab.runs import attachments
from sweeplab.store import Store
from sweeplab.tracking.goals import run_files
from sweeplab.train import metric_values

HERE = __name__
DIGITS = ("data=digits", "model.hidden=16", "trainer.threads=1", "trainer.epochs=2")


class Base:
    """Predictions of an epoch counted by true and predicted class."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.counts = torch.zeros(10, 10)

    def update(self, output: Tensor, target: Tensor) -> None:
        self.counts.index_put_((target, output.argmax(1)), torch.ones(len(target)), accumulate=True)


class Recalls(Base):
    """A dict: numbers of several kinds, nested, and a vector."""

    def compute(self) -> dict[str, Any]:
        of_class = self.counts.diag() / self.counts.sum(1)
        inner = {"low": float(of_class.min()), "one": of_class[:1]}
        return {
            "mean": of_class.mean(),
            "worst": np.float32(of_class.min()),
            "all": of_class,
            "inner": inner,
        }


class KnowsHigher(Base):
    """It says which way it is better, as torchmetrics' do."""

    higher_is_better = True

    def compute(self) -> Tensor:
        return self.counts.diag().sum() / self.counts.sum()


class Undefined(Base):
    def compute(self) -> float:
        return math.nan


class Matrix(Base):
    def compute(self) -> Tensor:
        return self.counts

    def plot(self) -> Any:
        from matplotlib.figure import Figure

        figure = Figure()
        panel = figure.subplots()
        panel.imshow(self.counts.numpy())
        return figure, panel


class Unplottable(Base):
    def compute(self) -> str:
        return "as text"

    def plot(self) -> None:
        raise ValueError("no")


class Failing(Base):
    def compute(self) -> float:
        raise ValueError("preds and target\nmust have the same shape")


class Dividing(Base):
    """It cannot be computed of what the trial shows it; of a real set it can."""

    def compute(self) -> float:
        return 1 / int(self.counts.sum() > 20)


class Needing(Base):
    """A metric whose state must be moved to the device, as torchmetrics' are."""

    def to(self, device: torch.device) -> Needing:
        self.device = device
        return self

    def reset(self) -> None:
        self.counts = torch.zeros(10, 10, device=getattr(self, "device", "meta"))

    def update(self, output: Tensor, target: Tensor) -> None:
        ones = torch.ones(len(target), device=self.counts.device)
        self.counts += torch.zeros_like(self.counts).index_put(
            (target, output.argmax(1)), ones, accumulate=True
        )

    def compute(self) -> Tensor:
        return self.counts.diag().sum() / self.counts.sum()


class Drawing(Base):
    """A metric that draws from the global random streams."""

    def compute(self) -> Tensor:
        return (
            self.counts.diag().sum() / self.counts.sum()
            + 0.01 * torch.rand(())
            + 0.01 * float(np.random.rand())
        )


def metric(name: str, cls: str) -> str:
    return f"+metrics.{name}._target_={HERE}.{cls}"


@pytest.mark.parametrize(
    ("value", "numbers", "rest"),
    [
        (0.5, {"m": 0.5}, False),
        (True, {"m": 1.0}, False),
        (Decimal("0.5"), {"m": 0.5}, False),
        (np.float32(0.5), {"m": 0.5}, False),
        (np.array(2), {"m": 2.0}, False),
        (torch.tensor(0.5), {"m": 0.5}, False),
        (torch.tensor([[0.5]], dtype=torch.bfloat16), {"m": 0.5}, False),
        ({"a": 1, 2: torch.tensor(3)}, {"m_a": 1.0, "m_2": 3.0}, False),
        ({"a": {"b": 1}, "c": torch.ones(2)}, {"m_a_b": 1.0}, True),
        ({}, {}, False),
        (torch.ones(2), {}, True),
        (np.ones((2, 2)), {}, True),
        (torch.tensor(1j), {}, True),
        ((torch.tensor(1.0), 2.0), {}, True),
        ("0.5", {}, True),
        (None, {}, True),
    ],
)
def test_numbers_are_told_from_all_else(value: Any, numbers: dict[str, float], rest: bool) -> None:
    found, other = metric_values.split_numbers("m", value)
    assert dict(found) == numbers
    assert (other is not None) == rest


def test_a_dict_gives_metrics_and_its_vector_a_file(train: Command, root: Path) -> None:
    ended = train(
        *DIGITS,
        metric("recall", "Recalls"),
        "trainer.monitor=valid/recall_mean",
        "trainer.mode=max",
    )
    assert ended.code == 0, ended.err
    run = only(root)
    result, epochs = run.result(), run.epochs()
    assert result is not None
    names = {f"recall_{name}" for name in ("mean", "worst", "inner_low", "inner_one")}
    assert all({f"valid/{name}" for name in names} <= set(values) for values in epochs.values())
    assert {f"test/{name}" for name in names} <= set(result.metrics)
    best = int(result.metrics["best_epoch"])
    kept = json.loads((run.folder / "metrics" / "valid_recall.json").read_text())
    assert sum(kept["all"]) / 10 == pytest.approx(epochs[best]["valid/recall_mean"], rel=1e-6)
    tested = json.loads((run.folder / "metrics" / "test_recall.json").read_text())
    assert sum(tested["all"]) / 10 == pytest.approx(result.metrics["test/recall_mean"], rel=1e-6)


def test_a_matrix_and_a_text_are_kept_as_files_and_go_to_mlflow(train: Command, root: Path) -> None:
    ended = train(*DIGITS, metric("confusion", "Matrix"), metric("words", "Unplottable"))
    assert ended.code == 0, ended.err
    run = only(root)
    matrix = json.loads((run.folder / "metrics" / "valid_confusion.json").read_text())
    assert (len(matrix), len(matrix[0]), sum(map(sum, matrix))) == (10, 10, 119)
    assert (run.folder / "metrics" / "test_words.txt").read_text() == "as text\n"
    assert (run.folder / "metrics" / "test_confusion.png").read_bytes().startswith(b"\x89PNG")
    assert "metrics.words: cannot be plotted: no" in run.log_file.read_text()
    files = [
        f"metrics/{split}_confusion.{kind}"
        for split in ("test", "valid")
        for kind in ("json", "png")
    ]
    assert set(files) <= set(run_files(run.folder))
    assert not [name for name in run.epochs()[1] if "confusion" in name or "words" in name]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([metric("loss", "Drawing")], "metrics.loss: every run has a metric of this name; give it another"),
        ([metric("accuracy", "Drawing")], "metrics.accuracy: every run has a metric of this name; give it another"),
        ([metric("f1", "Failing")], f"metrics.f1._target_={HERE}.Failing: fails on outputs [20, 10] and targets [20] (torch.int64): preds and target must have the same shape"),
        (["+metrics.f1._target_=torch.nn.Identity"], "metrics.f1._target_=torch.nn.Identity: a metric has update, compute, reset, as torchmetrics' have; this has no update"),
        ([metric("r", "Recalls"), metric("r_mean", "Drawing")], "metrics.r_mean: gives 'r_mean', and so does metrics.r; rename one of them"),
        ([metric("cm", "Matrix"), "trainer.monitor=valid/cm", "trainer.mode=max"], "trainer.monitor=valid/cm: metrics.cm gives a tensor of shape [10, 10], which no epoch can be chosen by"),
        ([metric("r", "Recalls"), "trainer.monitor=valid/r_maen", "trainer.mode=max"], "trainer.monitor=valid/r_maen: no such metric; did you mean 'valid/r_mean'?"),
        ([metric("r", "Recalls"), "trainer.monitor=valid/r_mean"], "trainer.mode=auto: nothing says which way valid/r_mean is better; give max or min"),
        ([metric("k", "KnowsHigher"), "trainer.monitor=valid/k", "trainer.mode=min"], "trainer.mode=min: metrics.k says of itself that it is better the larger it is; give max"),
        ([metric("r", "Recalls"), "trainer.monitor=train/r_mean", "trainer.mode=max"], "trainer.monitor=train/r_mean: no such metric"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line_before_any_work(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    ended = train(*DIGITS, *overrides)
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert len(ended.err.splitlines()) == 1
    assert not (root / "runs").exists()


def test_what_divides_by_nothing_on_trial_is_not_refused(train: Command, root: Path) -> None:
    chosen = ("trainer.monitor=valid/div", "trainer.mode=max")
    assert train(*DIGITS, metric("div", "Dividing"), *chosen).code == 0
    assert only(root).epochs()[1]["valid/div"] == 1.0


def test_the_trial_draws_nothing_from_the_streams_of_the_run(train: Command, root: Path) -> None:
    plain = (*DIGITS, "model.dropout=0.3")
    train(*plain, "store.root=without")
    train(*plain, metric("r", "Recalls"), "store.root=with")
    with_metric, without = (Store(root / name).runs()[0].result() for name in ("with", "without"))
    assert with_metric is not None
    assert without is not None
    assert with_metric.weights_sha256 == without.weights_sha256


def test_a_metric_is_moved_to_the_device_of_the_run(train: Command, root: Path) -> None:
    assert train(*DIGITS, metric("m", "Needing")).code == 0
    assert all(values["valid/m"] == pytest.approx(values["valid/accuracy"]) for values in only(root).epochs().values())  # fmt: skip


@pytest.mark.gpu
def test_a_metric_is_moved_to_a_gpu(train: Command, root: Path) -> None:
    ended = train(*DIGITS, "trainer.device=cuda", metric("m", "Needing"))
    assert ended.code == 0, ended.err
    assert all(values["valid/m"] == pytest.approx(values["valid/accuracy"]) for values in only(root).epochs().values())  # fmt: skip


def test_files_have_safe_names_and_any_value(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "../up": torch.ones(2),
        "사과" * 100: [float("nan"), float("-inf"), 1j, Decimal(1), {1: np.bool_(True)}],
        "large": torch.zeros(2**20 + 1),
        "sparse": torch.eye(2).to_sparse(),
    }
    attachments.keep(tmp_path, "valid", values, dict.fromkeys(values, Base()))  # type: ignore[arg-type]
    files = sorted((tmp_path / "metrics").iterdir())
    assert len(files) == 4
    assert max(len(file.name) for file in files) < 150
    assert json.loads((tmp_path / "metrics" / "valid_..%2Fup.json").read_text()) == [1.0, 1.0]
    assert json.loads((tmp_path / "metrics" / "valid_sparse.json").read_text()) == [
        [1.0, 0.0],
        [0.0, 1.0],
    ]
    assert torch.load(tmp_path / "metrics" / "valid_large.pt", weights_only=True).shape == (
        2**20 + 1,
    )
    (odd,) = [file for file in files if "%EC" in file.name]
    assert json.loads(odd.read_text()) == ["NaN", "-Infinity", [0.0, 1.0], "1", {"1": True}]


def test_numbers_of_one_name_are_told_apart() -> None:
    class Given:
        def __init__(self, value: Any) -> None:
            self.value = value

        def compute(self) -> Any:
            return self.value

    numbers, others = metric_values.compute(
        {"a": Given({"b": 1}), "a_b": Given(2), "c": Given(None)}
    )  # type: ignore[dict-item]
    assert numbers == {"a_b": 1.0, "a_b_2": 2.0}
    assert list(others) == ["c"]


def test_a_number_that_is_missing_in_an_epoch_is_nan(train: Command, root: Path) -> None:
    fading = (metric("f", "Fading"), "trainer.monitor=valid/f_kept", "trainer.mode=max")
    assert train(*DIGITS, *fading).code == 0
    epochs = only(root).epochs()
    assert (epochs[1]["valid/f_kept"], str(epochs[2]["valid/f_kept"])) == (1.0, "nan")


UNDEFINED = (metric("u", "Undefined"), "trainer.monitor=valid/u", "trainer.mode=max")


def test_a_monitored_metric_that_is_never_a_number_is_told(train: Command, root: Path) -> None:
    ended = train(*DIGITS, *UNDEFINED)
    (run,) = Store(root / "runs").runs()
    said = "no epoch is the best, no weights are kept and nothing was tested: valid/u was nan in each of its epochs (2)"
    assert ended.code == 0
    assert ended.err.splitlines() == [
        f"run {run.id}: valid/u is nan, by which no epoch can be chosen",
        f"run {run.id}: {said}",
    ]
    assert not run.weights_file.exists()
    assert train(*DIGITS, *UNDEFINED).err.splitlines() == [f"run {run.id}: {said}"], (
        "and again, when it is reused"
    )
    sweep = train("-m", *DIGITS, *UNDEFINED, "seed=0,1")
    assert f"2/2 seed=1: {said}" in sweep.out


def test_a_metric_that_knows_which_way_it_is_better_is_monitored_so(
    train: Command, root: Path
) -> None:
    known = (metric("k", "KnowsHigher"), "trainer.monitor=valid/k", "trainer.mode=max")
    assert train(*DIGITS, *known).err == ""


class Fading(Base):
    """A dict that has its number in the first evaluation alone."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0

    def compute(self) -> dict[str, float]:
        self.computed += 1
        return {"kept": 1.0} if self.computed == 1 else {}


def test_a_run_with_a_metric_that_draws_is_the_same_each_time(train: Command, root: Path) -> None:
    for name in ("one", "two"):
        assert train(*DIGITS, metric("d", "Drawing"), f"store.root={name}").code == 0
    assert only(root, "one").epochs() == only(root, "two").epochs()
