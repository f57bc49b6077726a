"""Pictures: folders of a user's own, and sets of torchvision by name."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image
from torchvision import datasets

from sweeplab.config import Config, compose
from sweeplab.data import Batches, InMemorySplit, StreamingSplit, TorchVision, facts, load, pictures
from sweeplab.errors import UserError
from sweeplab.runs import job

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def fill(folder: Path, count: int = 12) -> None:
    """A folder for each colour, with pictures of different sizes."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.new("RGB", (8 + number, 12), colour)
            picture.save(folder / name / f"{number:02}.png")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPLAB_ROOT", str(tmp_path))
    return tmp_path


def composed(*overrides: str) -> Config:
    return compose(["data=image_folder", "tracking=off", *overrides], PROJECT / "conf")


def examples(settings: Config, part: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    split = getattr(load(settings.data), part)
    return next(Batches(split, len(split), device="cpu").epoch(0))  # type: ignore[no-any-return]


# --- A folder for each class ----------------------------------------------------------------------


def test_a_folder_for_each_class_is_split_and_its_sizes_are_counted(root: Path) -> None:
    fill(root / "mine")
    (root / "mine" / ".ipynb_checkpoints").mkdir()
    (root / "mine" / "red" / "notes.txt").write_text("no picture", encoding="utf-8")
    settings = composed("data.dataset.folder=mine", "data.dataset.size=[4,6]")
    assert settings.data.shape == [3, 4, 6]
    assert (settings.data.in_features, settings.data.out_features) == (72, 2)
    assert settings.model["in_features"] == 72
    splits = load(settings.data)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [19, 1, 4]
    inputs, targets = examples(settings)
    assert isinstance(splits.train, InMemorySplit)
    assert splits.train.inputs.dtype == torch.uint8
    for row, target in zip(inputs.reshape(-1, 3, 24), targets.tolist(), strict=True):
        expected = [-2.0, -2.0, 2.0] if target == 0 else [2.0, -2.0, -2.0]  # (x - 0.5) / 0.25
        assert row.mean(1).tolist() == pytest.approx(expected)
    assert composed("data.dataset.folder=mine", "data.dataset.size=8").data.shape == [3, 8, 8]
    grey = composed("data.dataset.folder=mine", "data.dataset.channels=1")
    assert grey.data.shape == [1, 64, 64]


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders_are_taken_as_they_are(root: Path, test: str) -> None:
    fill(root / "mine" / "train")
    fill(root / "mine" / test, 3)
    settings = composed("data.dataset.folder=mine", "data.dataset.size=4")
    known = facts(settings.data)
    assert (known.train, known.valid, known.test) == (22, 2, 6)
    assert sorted(examples(settings, "test")[1].tolist()) == [0, 0, 0, 1, 1, 1]
    assert settings.data.out_features == 2


def test_the_digest_is_of_the_pictures_and_not_of_their_place(root: Path) -> None:
    fill(root / "mine")
    fill(root / "other")
    digests = [
        facts(composed(f"data.dataset.folder={name}", "data.dataset.size=4").data).digest
        for name in ("mine", "other", str(root / "mine"))
    ]
    assert len(set(digests)) == 1


def test_pictures_are_planned_with_a_cnn_and_transformed_in_training(root: Path) -> None:
    fill(root / "mine")
    settings = composed(
        "data.dataset.folder=mine",
        "data.dataset.size=8",
        "model=cnn",
        "model.channels=[4]",
        "trainer.batch_size=4",
        "data.train_transform._target_=torchvision.transforms.v2.RandomHorizontalFlip",
    )
    assert job.prepare(settings, []).facts.train == 19
    assert isinstance(load(settings.data).train, StreamingSplit)


def test_pictures_of_any_size_go_through_a_transform(root: Path) -> None:
    fill(root / "mine")
    v2 = "torchvision.transforms.v2"
    transform = f"{{_target_: {v2}.Compose, transforms: [{{_target_: {v2}.Resize, size: [4, 4]}}, {{_target_: {v2}.ToImage}}]}}"
    settings = composed(
        "data.dataset.folder=mine",
        "data.dataset.size=null",
        "data.shape=[3,4,4]",
        "data.in_features=48",
        f"+data.transform={transform}",
    )
    assert examples(settings)[0].shape == (19, 48)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"^data\.dataset\.folder=null: name the folder, as in data\.dataset\.folder=pictures$"),
        (["data.dataset.folder=other"], r"^data\.dataset\.folder={}/other: No such file or directory$"),
        (["data.dataset.folder=flat"],
         r"^data\.dataset\.folder={}/flat: has no folders; it must have a folder of pictures for each class, or train"),
        (["data.dataset.folder=one"], r"^data\.dataset\.folder={}/one: has one folder only, 'red'; it must have"),
        (["data.dataset.folder=empty"], r"^data\.dataset\.folder={}/empty/b: has no pictures \(\.jpg, "),
        (["data.dataset.folder=broken"], r"^data\.dataset: example \d+ cannot be read: UnidentifiedImageError: .*a/1\.png"),
        (["data.dataset.folder=differ"], r"^data\.dataset\.folder={}/differ/test: its classes are others .*: green$"),
        (["data.dataset.folder=mine", "data.dataset.size=[4]"],
         r"^data\.dataset\.size=\[4\]: must be \[height, width\] in pixels, one number for both, or null"),
        (["data.dataset.folder=mine", "data.dataset.size=big"], r"data\.dataset\.size=big: must be"),
        (["data.dataset.folder=mine", "data.dataset.channels=2"], r"^data\.dataset\.channels=2: must be 3 \(colours\) or 1"),
        (["data.dataset.folder=mine", "data.dataset.size=null"],
         r"^data\.in_features=1: the set's examples have|^data\.dataset: the examples differ in shape"),
    ],
)  # fmt: skip
def test_bad_folders_are_one_line(root: Path, overrides: list[str], message: str) -> None:
    fill(root / "mine", 3)
    (root / "flat").mkdir()
    Image.new("L", (4, 4)).save(root / "flat" / "1.png")
    (root / "one" / "red").mkdir(parents=True)
    for name in ("a", "b"):
        (root / "empty" / name).mkdir(parents=True)
        (root / "broken" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (4, 4)).save(root / "broken" / name / f"{number}.png")
    Image.new("L", (4, 4)).save(root / "empty" / "a" / "1.png")
    (root / "broken" / "a" / "1.png").write_bytes(b"no picture")
    fill(root / "differ" / "train", 3)
    fill(root / "differ" / "test", 3)
    (root / "differ" / "test" / "red").rename(root / "differ" / "test" / "green")
    with pytest.raises(UserError) as error:
        facts(composed("trainer.batch_size=2", *overrides).data)
    assert re.search(message.format(re.escape(str(root))), str(error.value)), error.value
    assert "\n" not in str(error.value)


# --- Sets of torchvision --------------------------------------------------------------------------


def by_name(*overrides: str) -> Config:
    return compose(["data=torchvision", "tracking=off", *overrides], PROJECT / "conf")


def test_a_set_of_torchvision_is_taken_by_name(root: Path) -> None:
    settings = by_name(
        "data.dataset.name=FakeData",
        "+data.dataset.size=40",
        "+data.dataset.image_size=[3,6,6]",
        "+data.dataset.num_classes=4",
        "data.dataset.resize=4",
        "data.out_features=4",
    )
    assert settings.data.shape == [3, 4, 4]
    assert settings.data.name == "FakeData"
    inputs, targets = examples(settings)
    assert (inputs.shape, len(targets)) == ((30, 48), 30)
    assert facts(settings.data).digest == facts(settings.data).digest


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("KMNIST", [1, 28, 28], 10), ("CIFAR100", [3, 32, 32], 100), ("SVHN", [3, 32, 32], 10)],
)
def test_sizes_of_usual_sets_are_known(name: str, shape: list[int], classes: int) -> None:
    data = by_name(f"data.dataset.name={name}").data
    assert (data.shape, data.out_features) == (shape, classes)
    resized = by_name("data.dataset.name=Flowers102", "data.dataset.resize=[32,48]").data
    assert (resized.shape, resized.out_features, resized.in_features) == ([3, 32, 48], 102, 4608)


def test_how_training_and_test_set_are_called() -> None:
    names = ("KMNIST", "EMNIST", "QMNIST", "SVHN", "Flowers102", "EuroSAT", "FakeData")
    halves = {name: pictures._half(getattr(datasets, name), train=False) for name in names}
    assert halves["KMNIST"] == halves["EMNIST"] == halves["QMNIST"] == {"train": False}
    assert halves["SVHN"] == halves["Flowers102"] == {"split": "test"}
    assert pictures._half(datasets.OxfordIIITPet, train=True) == {"split": "trainval"}
    assert halves["EuroSAT"] == halves["FakeData"] == {}
    assert TorchVision.brings_test_set({"name": "KMNIST"})
    assert not TorchVision.brings_test_set({"name": "FakeData"})
    assert not TorchVision.brings_test_set({"name": "SVHN", "split": "extra"})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.dataset.name=KMIST"], r"data\.dataset\.name=KMIST: torchvision has no such set; did you mean 'KMNIST'\?"),
        (["data.dataset.name=FakeData", "+data.dataset.sise=3"],
         r"data\.dataset\.sise=3: FakeData has no such argument; did you mean 'size'\?"),
        (["data.dataset.name=FakeData", "+data.dataset.size=30"],
         r"data\.in_features=1: the set's examples have 150,528 numbers"),
        (["data.dataset.name=KMNIST"],
         r"data\.root=.*: torchvision's KMNIST is not complete there and could not be fetched: .*; put its files there"),
        (["data=cifar10"], r"data\.root=.*: torchvision's CIFAR10 is not complete there and could not be fetched: "),
    ],
)  # fmt: skip
def test_bad_names_are_one_line(
    root: Path, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(UserError, match=message) as error:
        facts(by_name(*overrides).data)
    assert "\n" not in str(error.value)


class SmallCIFAR10(datasets.CIFAR10):
    """torchvision's class on two small files of its format, with the digests of these."""


def batch(count: int, first: int) -> bytes:
    rows = np.arange(first, first + count)[:, None].repeat(3072, 1).astype(np.uint8)
    return pickle.dumps({"data": rows, "labels": [i % 10 for i in range(count)]})


def test_cifar10_is_read_from_a_folder_that_is_given(root: Path, monkeypatch: Any) -> None:
    folder = root / "given" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    contents = {
        "data_batch_1": batch(30, 0),
        "test_batch": batch(10, 100),
        "batches.meta": pickle.dumps({"label_names": list("abcdefghij")}),
    }
    digests = {}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        digests[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    SmallCIFAR10.train_list = [["data_batch_1", digests["data_batch_1"]]]
    SmallCIFAR10.test_list = [["test_batch", digests["test_batch"]]]
    SmallCIFAR10.meta = {**datasets.CIFAR10.meta, "md5": digests["batches.meta"]}
    monkeypatch.setattr(datasets, "CIFAR10", SmallCIFAR10)
    settings = compose(["data=cifar10", "data.root=given"], PROJECT / "conf")
    known = facts(settings.data)
    assert (known.train, known.valid, known.test) == (28, 2, 10)
    inputs, targets = examples(settings, "test")
    assert targets.tolist() == list(range(10))
    expected = [
        (100 / 255 - m) / s for m, s in ((0.4914, 0.247), (0.4822, 0.2435), (0.4465, 0.2616))
    ]
    assert inputs[0].reshape(3, 1024).mean(1).tolist() == pytest.approx(expected, abs=1e-5)
