"""Inputs that are far from unit scale are named before training, with the settings that mend it."""

from __future__ import annotations

import re
import shlex

import pytest
import torch
from conftest import Command, Write

from sweeplab import config, data
from sweeplab.data.scaling import scale_note

PIXELS = "a,b,y\n" + "".join(f"{row % 256},{255 - row % 256},{row % 2}\n" for row in range(300))
TABLE = ("data=csv", "data.dataset.file=t.csv", "data.dataset.target=y", "debug=smoke")


def section(**given: object) -> config.Data:
    return config.read_section(config.Data, {"name": "mine", "in_features": 2, **given}, "data")


def test_a_column_is_told_its_mean_and_deviation() -> None:
    inputs = torch.tensor([[0.0, 1000.0], [2.0, 3000.0]])
    assert scale_note(section(), inputs) == (
        "data: the inputs are far from unit scale (mean 1e+03, standard deviation 1.41e+03), which "
        "trains badly; add 'data.mean=[1,2000]' 'data.std=[1.41,1.41e+03]'"
    )


def test_pictures_have_one_for_all() -> None:
    inputs = torch.tensor([0.0, 255.0]).repeat(2, 20)
    said = scale_note(section(in_features=40), inputs)
    assert said is not None
    assert said.endswith("; add 'data.mean=128' 'data.std=128'")


TWO_COLUMNS = torch.tensor([[0.0, 1000.0], [2.0, 3000.0]])


@pytest.mark.parametrize(
    "given", [{"mean": 1000.0, "std": 1000.0}, {"mean": [1.0, 2000.0], "std": [1.4, 1400.0]}]
)
def test_who_has_scaled_them_is_not_told(given: dict[str, object]) -> None:
    assert scale_note(section(**given), TWO_COLUMNS) is None


@pytest.mark.parametrize("given", [{"mean": 0.5, "std": 0.3}, {"std": 50.0}, {"mean": 1500.0}])
def test_who_has_scaled_them_by_far_is_told(given: dict[str, object]) -> None:
    said = scale_note(section(**given), TWO_COLUMNS)
    assert said is not None
    assert said.endswith("; add 'data.mean=[1,2000]' 'data.std=[1.41,1.41e+03]'")


def test_a_mean_has_the_digits_that_its_deviation_needs() -> None:
    said = scale_note(section(in_features=1), torch.tensor([[12344.6], [12346.6]]))
    assert said is not None
    assert said.endswith("; add 'data.mean=12345.6' 'data.std=1.41'")


def test_where_no_scale_fits_all_columns_none_is_named() -> None:
    inputs = torch.tensor([0.0, 1.0]).repeat(30, 20)
    inputs[::2] += 1.0
    inputs[1, 7] = 1e9
    said = scale_note(section(in_features=40), inputs)
    assert said is not None
    assert "1 of 40 columns vary far more than the others" in said
    assert "data.mean" not in said


@pytest.mark.parametrize("inputs", [torch.randn(50, 2), torch.rand(50, 2), torch.zeros(50, 2)])
def test_unit_scale_is_left_alone(inputs: torch.Tensor) -> None:
    assert scale_note(section(), inputs) is None
    assert scale_note(section(), (255 * torch.rand(50, 2)).to(torch.uint8)) is None


def test_the_sets_that_ship_are_left_alone() -> None:
    for name in ("digits", "diabetes"):
        assert data.load(config.compose([f"data={name}"]).data).notes == ()


def test_the_line_works_when_copied(train: Command, write: Write) -> None:
    write({"t.csv": PIXELS})
    told = train(*TABLE)
    assert told.code == 0
    cure = re.search(r"; add (.*)\n", told.err)
    assert cure is not None, told.err
    mended = train(*TABLE, *shlex.split(cure[1]))
    assert (mended.code, mended.err) == (0, "")


@pytest.mark.parametrize(
    ("inputs", "cure"),
    [
        (torch.full((30, 2), 500.0), "'data.mean=[500,500]' 'data.std=[1,1]'"),
        (torch.full((30, 40), 500.0), "'data.mean=500' 'data.std=1'"),
        (torch.tensor([[1e30, 0.0], [1e30, 1.0]]), None),
    ],
)
def test_what_does_not_vary_is_only_shifted(inputs: torch.Tensor, cure: str | None) -> None:
    said = scale_note(section(in_features=inputs.shape[1]), inputs)
    assert said is not None
    assert cure is None or said.endswith(f"; add {cure}")


def test_what_is_no_number_is_left_to_those_who_refuse_it() -> None:
    for value in (float("inf"), float("nan")):
        assert scale_note(section(), torch.tensor([[value, 1.0], [2.0, 3.0]])) is None


def test_examples_of_one_number_each_are_one_column() -> None:
    said = scale_note(section(in_features=1), torch.tensor([0.0, 1000.0]))
    assert said is not None
    assert said.endswith("add 'data.mean=500' 'data.std=707'")
