"""Inputs normalised by a mean and std for each channel of pictures, or each column of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import PROJECT
from sets import config
from torch import Tensor

from sweeplab.config import Data, compose
from sweeplab.data import Batches, Shift, blank_pixel, load, problems
from sweeplab.errors import UserError
from sweeplab.runs import parts

MEAN, STD = [0.2, 0.4, 0.6], [0.5, 0.25, 2.0]


def pictures(floats: bool = False) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(24 * 3 * 4).reshape(24, 3, 2, 2) % 256
    raw = numbers.float() / 255 if floats else numbers.to(torch.uint8)
    return raw, torch.arange(24) % 3


def table() -> tuple[Tensor, Tensor]:
    rows = torch.arange(24, dtype=torch.float64)
    return torch.stack([rows, 1000 * rows, 1 / (1 + rows)], 1), torch.arange(24) % 3


def made(target: str = "pictures", **changes: Any) -> Data:
    node = {"floats": changes.pop("floats")} if "floats" in changes else None
    size = {"in_features": 12, "shape": [3, 2, 2]} if target == "pictures" else {"in_features": 3}
    return config(f"{__name__}.{target}", node, **{**size, "mean": MEAN, "std": STD, **changes})


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("memory", [2048, 0])
def test_each_channel_has_a_mean_and_a_std(floats: bool, flatten: bool, memory: int) -> None:
    data = made(floats=floats, flatten=flatten, memory=memory, version="1", valid=4, test=4)
    (inputs, _), *_ = Batches(load(data).train, 16, device="cpu").epoch(0)
    plain = replace(data, mean=None, std=None, flatten=False)
    (raw, _), *_ = Batches(load(plain).train, 16, device="cpu").epoch(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = (raw - mean) / std
    assert inputs.shape == ((16, 12) if flatten else (16, 3, 2, 2))
    torch.testing.assert_close(inputs.reshape(expected.shape), expected)


def test_a_list_of_equal_numbers_is_as_one_number() -> None:
    for floats in (False, True):
        one = load(made(floats=floats, mean=0.3, std=0.5)).train
        same = load(made(floats=floats, mean=[0.3] * 3, std=0.5)).train
        ours, theirs = (next(Batches(split, 8, device="cpu").epoch(0))[0] for split in (one, same))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_each_column_of_a_table_has_its_own() -> None:
    data = made("table", mean=[12.0, 12000.0, 0.2], std=[7.0, 7000.0, 0.2])
    inputs = torch.cat([x for x, _ in Batches(load(data).train, 8, device="cpu").epoch(0)])
    torch.testing.assert_close(inputs[:, 0], inputs[:, 1])
    assert inputs.abs().max() < 5


def test_mean_or_std_alone() -> None:
    only_mean = next(Batches(load(made(std=None)).train, 8, device="cpu").epoch(0))[0]
    only_std = next(Batches(load(made(mean=None)).train, 8, device="cpu").epoch(0))[0]
    raw = next(Batches(load(made(mean=None, std=None)).train, 8, device="cpu").epoch(0))[0]
    raw = raw.reshape(8, 3, 4)
    torch.testing.assert_close(only_mean.reshape(8, 3, 4), raw - torch.tensor(MEAN)[:, None])
    torch.testing.assert_close(only_std.reshape(8, 3, 4), raw / torch.tensor(STD)[:, None])


def test_shifted_pictures_have_the_blank_of_each_channel() -> None:
    blank = blank_pixel(made())
    assert blank == pytest.approx([-0.4, -1.6, -0.3])
    assert blank_pixel(made(mean=0.5, std=0.25)) == -2.0
    shift = Shift((3, 2, 2), 1, blank=blank)
    inputs = torch.arange(24.0).reshape(2, 12)
    offsets = torch.tensor([0, 5])  # one down and to the right; not at all
    moved = shift.moved(inputs, offsets).reshape(2, 3, 2, 2)
    assert torch.equal(moved[1], inputs[1].reshape(3, 2, 2))
    for channel, value in enumerate(blank):  # type: ignore[arg-type]
        picture = [[value, value], [value, 4.0 * channel]]
        torch.testing.assert_close(moved[0, channel], torch.tensor(picture))
    same = Shift((3, 2, 2), 1, blank=[-1.0] * 3).moved(inputs, offsets)
    assert torch.equal(same, Shift((3, 2, 2), 1, blank=-1.0).moved(inputs, offsets))


# --- What a student may get wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": [0.1, 0.2]}, "data.mean=[0.1, 0.2]: has 2 numbers, for data.shape=[3, 2, 2] with its 3 channels; give 3, or one number"),
        ({"std": [1.0] * 12}, "data.std=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]: has 12 numbers, for data.shape=[3, 2, 2] with its 3 channels; give 3, or one number"),
        ({"shape": None}, "data.mean=[0.2, 0.4, 0.6]: has 3 numbers, for data.in_features=12; give 12, or one number"),
    ],
)  # fmt: skip
def test_lists_of_another_length_are_refused(changes: dict[str, Any], message: str) -> None:
    assert problems(made(**changes))[0] == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mean=[0.5,high]", r"data\.mean=\[0\.5, 'high'\]: must be a number, or a list with one for each channel, or null"),
        ("data.std=[0.5,0]", r"data\.std=\[0\.5, 0\]: must be a number > 0, or a list with one for each channel, or null"),
        ("data.std=0", r"data\.std=0: must be a number > 0, or a list with one for each channel, or null"),
        ("data.std=[]", r"data\.std=\[\]: must be a number > 0"),
        ("data.mean=.inf", r"data\.mean=(\.?inf): must be"),
        ("data.mean='0,5'", r"data\.mean=.*0,5.*: must be a number"),
        ("data.target_mean=[1,2]", r"data\.target_mean=\[1, 2\]: must be a number, or null"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(["data=digits", override], PROJECT / "conf")


def test_a_list_is_asked_for_and_checked_before_any_work() -> None:
    settings = compose(["data=digits", "data.mean=[1,2]"], PROJECT / "conf")
    assert settings.data.mean == [1.0, 2.0]
    assert any("has 2 numbers, for data.shape=[1, 8, 8]" in p for p in parts.problems(settings))
