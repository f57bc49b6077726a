"""Transforms by `_target_`: for all examples, and for training only with streams of their own."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image
from sets import config
from torch import Tensor
from torch.utils.data import Dataset

from sweeplab.config import Data, compose
from sweeplab.data import (
    Batches,
    InMemorySplit,
    StreamingSplit,
    TreeSplit,
    can_be_shared,
    facts,
    load,
    trees,
)
from sweeplab.errors import UserError
from sweeplab.runs import identity, parts

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
V2 = "torchvision.transforms.v2"
TO_FLOAT = [
    {"_target_": f"{V2}.ToImage"},
    {"_target_": f"{V2}.ToDtype", "dtype": {"_target_": f"{__name__}.float32"}, "scale": True},
]


def float32() -> torch.dtype:
    return torch.float32


class Pictures(Dataset[Any]):
    """PIL images of 6 x 4, all pixels i, and the class i % 3; or dictionaries of these."""

    def __init__(self, as_dict: bool = False) -> None:
        self.as_dict = as_dict

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        picture = Image.new("L", (6, 4), index)
        return {"picture": picture, "y": index % 3} if self.as_dict else (picture, index % 3)


class Counted(Pictures):
    """Pictures that count how often one is read."""

    reads: ClassVar[int] = 0

    def __getitem__(self, index: int) -> Any:
        Counted.reads += 1
        return super().__getitem__(index)


class PicturesWithTest(Pictures):
    """A set that brings a test set."""

    def __init__(self, train: bool) -> None:
        super().__init__()
        self.train = train


def tensors() -> tuple[Tensor, Tensor]:
    return torch.arange(48.0).reshape(24, 2), torch.arange(24) % 3


def add(inputs: Tensor, amount: float = 1.0) -> Tensor:
    return inputs + amount


def add_in_place(inputs: Tensor) -> Tensor:
    return inputs.add_(1)


def noise(inputs: Tensor) -> Tensor:
    drawn = torch.rand(()) + random.random() + float(np.random.rand())
    return torch.as_tensor(inputs) + drawn


def noisy_rows(example: dict[str, Any]) -> dict[str, Any]:
    return {**example, "x": example["x"] + torch.rand(2)}


def rows() -> list[dict[str, Any]]:
    return [{"x": torch.full((2,), float(i)), "y": i} for i in range(24)]


OWN = torch.Generator()


def with_own_generator(inputs: Tensor) -> Tensor:
    return inputs + torch.rand((), generator=OWN)


def failing(inputs: Tensor) -> Tensor:
    return inputs.no_such_method()  # type: ignore[no-any-return, operator]


def returns_nothing(inputs: Tensor) -> None:
    inputs.add_(1)


def cropped(inputs: Tensor) -> Tensor:
    return inputs[: int(torch.randint(1, 3, ()))]


def node(transform: Any) -> Any:
    if isinstance(transform, str):
        return {"_target_": f"{__name__}.{transform}"}
    if isinstance(transform, list):
        return {"_target_": f"{V2}.Compose", "transforms": transform}
    return transform


def made(target: str = "tensors", transform: Any = None, train: Any = None, **changes: Any) -> Data:
    return config(
        f"{__name__}.{target}", transform=node(transform), train_transform=node(train), **changes
    )


def inputs_of(split: Any, epoch: int = 1, seed: int | None = 0) -> dict[int, list[float]]:
    """The inputs of an epoch by the place at which they stand in it, which seed and epoch fix."""
    batches = Batches(split, 4, device="cpu", seed=seed).epoch(epoch)
    return dict(enumerate(torch.cat([batch[0] for batch in batches]).flatten(1).tolist()))


def sets(split: Any, epoch: int = 1, seed: int | None = 0) -> set[tuple[float, ...]]:
    return {tuple(row) for row in inputs_of(split, epoch, seed).values()}


# --- For all examples -----------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [2048, 0])
def test_a_transform_changes_the_inputs_of_all_splits(memory: int) -> None:
    plain = load(made(memory=memory, version="1"))
    five = {"_target_": f"{__name__}.add", "amount": 5}
    changed = load(made(transform=five, memory=memory, version="1"))
    for part in ("train", "valid", "test"):
        ours, theirs = inputs_of(getattr(plain, part)), inputs_of(getattr(changed, part))
        assert {i: [x + 5 for x in row] for i, row in ours.items()} == theirs
    assert isinstance(changed.train, InMemorySplit if memory else StreamingSplit)
    if memory:
        assert changed.digest != plain.digest
        assert can_be_shared(changed)


def test_pictures_become_tensors_by_torchvision() -> None:
    resized = [{"_target_": f"{V2}.Resize", "size": [2, 2]}, *TO_FLOAT]
    splits = load(made("Pictures", resized, in_features=4, shape=[1, 2, 2], mean=0.5, std=0.5))
    assert isinstance(splits.train, InMemorySplit)
    values = sorted(row[0] for row in sets(splits.train) | sets(splits.valid) | sets(splits.test))
    assert values == pytest.approx([(i / 255 - 0.5) / 0.5 for i in range(24)])


def test_a_transform_leaves_the_set_alone() -> None:
    twice = load(made(transform="add_in_place"))
    assert sets(load(made(transform="add_in_place")).train) == sets(twice.train)
    assert sets(twice.train) == sets(load(made(transform="add")).train)


def test_a_transform_that_draws_is_read_anew_for_all() -> None:
    splits = load(made(transform="noise"))
    assert isinstance(splits.train, StreamingSplit)
    assert inputs_of(splits.train) != inputs_of(splits.train, 2)
    assert inputs_of(splits.test, 1, None) == inputs_of(splits.test, 2, None)


def test_a_built_in_set_is_transformed() -> None:
    digits = config("sweeplab.data.Digits", in_features=64, out_features=10)
    changed = config("sweeplab.data.Digits", in_features=64, out_features=10, transform=node("add"))
    assert load(changed).digest != load(digits).digest
    first, second = (
        next(Batches(load(d).test, 2, device="cpu").epoch(0))[0] for d in (digits, changed)
    )
    assert torch.equal(first + 1, second)


# --- For training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["tensors", "Pictures"])
@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("task", ["classification", "any"])
def test_training_examples_are_changed_anew_in_each_epoch(
    target: str, memory: int, task: str
) -> None:
    transforms: dict[str, Any] = {"train": "noise"}
    if target == "Pictures":
        transforms["transform"] = [{"_target_": f"{V2}.ToImage"}]
        transforms["train"] = [
            {"_target_": f"{V2}.RandomCrop", "size": [2, 2], "padding": 4},
            {"_target_": f"{V2}.Resize", "size": [4, 6]},
        ]
    if task == "any":
        transforms["train"] = {
            "_target_": f"{__name__}.on_first",
            "noise": transforms["train"] == "noise",
        }
        if target == "Pictures":
            pytest.skip("the same")
    size = {"tensors": 2, "Pictures": 24}[target]
    options = {"memory": memory, "version": "1", "in_features": size, "task": task}
    splits = load(made(target, **transforms, **options))
    assert isinstance(splits.train, StreamingSplit)
    assert isinstance(splits.test, StreamingSplit) == (memory == 0)
    first = inputs_of(splits.train)
    assert inputs_of(splits.train) == first
    assert inputs_of(splits.train, 2) != first
    assert inputs_of(splits.train, 1, seed=1) != first
    torch.rand(3), random.random(), np.random.rand()
    for workers in (0, 2):
        again = load(made(target, **transforms, **options, workers=workers))
        assert inputs_of(again.train) == first, "resumed, or with other workers"
    plain = load(made(target, transforms.get("transform"), **options))
    for part in ("valid", "test"):
        assert sets(getattr(splits, part)) == sets(getattr(plain, part)), "unchanged"
    assert splits.digest == plain.digest
    assert facts(made(target, **transforms, **options)).held is (memory > 0)


def on_first(example: Any, noise: bool) -> Any:
    inputs, target = example
    return inputs + torch.rand(()) * noise, target


def test_each_example_has_a_stream_of_its_own() -> None:
    splits = load(made(train="noise", transform="add"))
    drawn = set()
    for first, second in sets(splits.train):
        assert second - first == pytest.approx(1, abs=1e-5)
        drawn.add(round(first % 1, 4))
    assert len(drawn) == 19
    assert min(first for first, _ in sets(splits.train)) >= 1, "transform follows"


def test_examples_of_any_form_are_transformed_as_a_whole() -> None:
    splits = load(made("rows", train="noisy_rows", task="any"))
    assert isinstance(splits.valid, TreeSplit)
    batch, again, other = (
        next(Batches(splits.train, 4, device="cpu", seed=0).epoch(number)) for number in (1, 1, 2)
    )
    assert trees.digest(batch) == trees.digest(again) != trees.digest(other)
    assert set(batch) == {"x", "y"}
    flipped = {"_target_": f"{V2}.Compose", "transforms": TO_FLOAT}
    pictures = config(f"{__name__}.Pictures", {"as_dict": True}, task="any", transform=flipped)
    batch = next(Batches(load(pictures).train, 4, device="cpu").epoch(0))
    assert (batch["picture"].shape, batch["picture"].dtype) == ((4, 1, 4, 6), torch.float32)


def test_what_is_read_from_files_is_kept_in_memory() -> None:
    crop = [{"_target_": f"{V2}.RandomCrop", "size": [4, 6], "padding": 1}]
    to_image = [{"_target_": f"{V2}.ToImage"}]
    for memory, kept in ((2048, True), (0, False)):
        splits = load(made("Counted", to_image, crop, in_features=24, memory=memory, version="1"))
        before = Counted.reads
        inputs_of(splits.train)
        assert (Counted.reads == before) is kept


def test_only_the_training_part_of_a_set_with_a_test_set_is_changed() -> None:
    to_image = [{"_target_": f"{V2}.ToImage"}]
    invert = [{"_target_": f"{V2}.RandomInvert", "p": 1.0}]
    splits = load(made("PicturesWithTest", to_image, invert, in_features=24))
    assert min(row[0] for row in sets(splits.train)) > 0.8
    assert max(row[0] for row in sets(splits.test)) < 0.2


# --- What a student may get wrong -----------------------------------------------------------------


@pytest.mark.parametrize("key", ["transform", "train"])
@pytest.mark.parametrize("task", ["classification", "any"])
@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("failing", r"=.*\.failing: fails on a (tensor of shape \[2\]|tuple).*: AttributeError: .*\(test_transforms"),
        ("returns_nothing", r"=.*\.returns_nothing: (returns nothing; it must return what|fails on a tuple)"),
        ("with_own_generator", r"^data\.dataset: example 0 is another one each time|fails on a tuple"),
        ("no_such_name", r"\._target_=.*no_such_name: .*"),
        ({"_target_": f"{V2}.Resize"}, r"=?.*size"),
        ([{"_target_": f"{V2}.Resize", "size": "big"}], r"transforms.*size=big"),
    ],
)  # fmt: skip
def test_transforms_that_are_refused(key: str, task: str, transform: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(made(**{key: transform}, task=task))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("data.")


@pytest.mark.parametrize(
    ("transform", "train", "message"),
    [
        (None, None, r"^data\.dataset: a Image cannot be made a tensor|in_features"),
        ([{"_target_": f"{V2}.ToImage"}], [{"_target_": f"{V2}.CenterCrop", "size": 2}],
         r"^data\.in_features=24: the set's examples have 4 numbers, shape \[1, 2, 2\]"),
        (None, [{"_target_": f"{V2}.ToImage"}, {"_target_": f"{__name__}.Crop"}],
         r"^data\.dataset: the examples differ in shape: "),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_found_before_any_work(
    transform: Any, train: Any, message: str
) -> None:
    size = 4 if transform is None and train is None else 24
    with pytest.raises(UserError, match=message):
        load(made("Pictures", transform, train, in_features=size))


class Crop:
    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs[:, : int(torch.randint(1, 5, ()))]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.transform._target_=torchvision.transforms.v2.Resize", "+data.transform.sise=[8,8]"],
         r"data\.transform\.sise=.*has no argument 'sise'; did you mean 'size'\?"),
        (["data.train_transform._target_=torchvision.transforms.v2.RandomFlip"],
         r"data\.train_transform\._target_=torchvision\.transforms\.v2\.RandomFlip: .*"),
        (["data.train_transform._target_=test_transforms.add", "+data.train_transform.amount=much"],
         r"data\.train_transform\.amount=much: must be a number"),
        (["data.train_transform._target_=test_transforms.add", "+data.train_transform.inputs=1"],
         r"data\.train_transform\.inputs=1: sweeplab itself gives"),
        (["data.transform._target_=torchvision.transforms.v2.Compose",
          "+data.transform.transforms=[{_target_: torchvision.transforms.v2.Resize, sizes: 8}]"],
         r"data\.transform\.transforms\[0\]\.sizes=8: .*did you mean 'size'"),
    ],
)  # fmt: skip
def test_a_bad_argument_dies_before_any_work(overrides: list[str], message: str) -> None:
    found = parts.problems(compose(["data=digits", *overrides], PROJECT / "conf"))
    assert any(re.search(message, problem) for problem in found), found


def test_transforms_are_part_of_what_is_asked_and_of_the_code(tmp_path: Path) -> None:
    del tmp_path
    plain = compose(["data=digits"], PROJECT / "conf")
    known = facts(plain.data)
    before = identity.asked(plain, known)["data"]
    assert not {"collate", "transform", "train_transform", "batch_transform"} & set(before)
    for key in ("transform", "train_transform", "batch_transform"):
        changed = compose(
            ["data=digits", f"+data.{key}._target_=test_transforms.add"], PROJECT / "conf"
        )
        asked = identity.asked(changed, known)["data"]
        assert asked == {**before, key: {"_target_": "test_transforms.add"}}
        assert "test_transforms.add" in parts.class_paths(changed)
