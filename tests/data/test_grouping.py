"""`data.group`: examples of one group stay in one part of the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT
from sets import Listed, config
from torch import Tensor

from sweeplab.config import Data, compose
from sweeplab.data import Batches, facts, load
from sweeplab.errors import UserError

SIZES = (1, 5, 2, 3, 1, 4, 2, 6)  # of the groups: 24 examples


class Patients(Listed):
    """Example i has the inputs [i, i + 0.5]; the examples of a patient are scattered."""

    def __init__(self, patients: int = 8) -> None:
        super().__init__(24)
        self.patient = [number * 7 % 24 % patients for number in range(24)]
        self.short = [1, 2]
        self.uneven = torch.repeat_interleave(torch.arange(8), torch.tensor(SIZES))


class WithTest(Patients):
    """A set that brings a test set."""

    def __init__(self, train: bool) -> None:
        super().__init__()


def columns() -> dict[str, Tensor]:
    numbers = torch.arange(24.0)
    return {"x": numbers, "patient": torch.arange(24) % 8}


def made(target: str = "Patients", group: str | None = "patient", node: Any = None, **changes: Any) -> Data:  # fmt: skip
    return config(f"{__name__}.{target}", node, group=group, **changes)


def numbers_in(split: Any) -> list[int]:
    batches = Batches(split, 100, device="cpu").epoch(0)
    firsts = [batch["x"] if isinstance(batch, dict) else batch[0][:, 0] for batch in batches]
    return [int(number) for number in torch.cat(firsts)]


def parts(data: Data) -> list[list[int]]:
    splits = load(data)
    return [numbers_in(part) for part in (splits.train, splits.valid, splits.test)]


@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("split_seed", [0, 1, 2])
def test_no_group_is_in_two_parts(memory: int, split_seed: int) -> None:
    data = made(memory=memory, version="1", split_seed=split_seed)
    drawn = parts(data)
    assert sorted(number for part in drawn for number in part) == list(range(24))
    assert all(part == sorted(part) for part in drawn)
    patients = [{Patients().patient[number] for number in part} for part in drawn]
    assert [len(part) for part in patients] == [6, 1, 1], "of 3 each, where 4 and 1 were wanted"
    assert len(set.union(*patients)) == 8
    assert drawn == parts(data)
    known = facts(data)
    assert (known.train, known.valid, known.test) == (18, 3, 3)


# In the order in which seed 0 draws them, groups have 1, 1, 6, 3, 2, 4, 5 and 2 examples: 1, 2, 8, 11, 13, 17 may be tested
@pytest.mark.parametrize(("wanted", "tested"), [(1, 1), (4, 2), (6, 8), (9, 8), (11, 11), (16, 17), (22, 17)])  # fmt: skip
def test_groups_come_as_near_to_what_is_wanted_as_they_can(wanted: int, tested: int) -> None:
    train, valid, test = parts(made(group="uneven", test=wanted))
    assert (len(test), len(train) + len(valid)) == (tested, 24 - tested)


def test_the_digest_tells_the_groups() -> None:
    digests = {load(made(group=group)).digest for group in (None, "patient", "uneven")}
    assert len(digests) == 3


def test_a_dict_of_arrays_names_them_by_a_key() -> None:
    drawn = parts(made("columns", task="any"))
    assert [len({number % 8 for number in part}) for part in drawn] == [6, 1, 1]


def test_a_test_set_is_left_alone() -> None:
    train, valid, test = parts(made("WithTest"))
    assert (len(train), len(valid), test) == (21, 3, list(range(24)))
    assert not {Patients().patient[n] for n in train} & {Patients().patient[n] for n in valid}


def test_folds_are_of_groups() -> None:
    folds = [parts(made(folds=4, fold=fold)) for fold in range(4)]
    assert sorted(number for _, _, test in folds for number in test) == list(range(24))
    for train, valid, test in folds:
        of_parts = [{Patients().patient[number] for number in part} for part in (train, valid, test)]  # fmt: skip
        assert [len(part) for part in of_parts] == [5, 1, 2]
        assert len(set.union(*of_parts)) == 8


def test_a_column_of_a_table_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPLAB_ROOT", str(tmp_path))
    lines = [f"{number},p{number % 8},{number % 2}" for number in range(24)]
    (tmp_path / "my.csv").write_text("\n".join(["age,patient,ill", *lines]), encoding="utf-8")
    table = ("data=csv", "data.dataset.file=my.csv", "data.dataset.target=ill", "tracking=off")
    settings = compose([*table, "data.group=patient"], PROJECT / "conf")
    assert settings.data.in_features == 1
    patients = [{number % 8 for number in part} for part in parts(settings.data)]
    assert [len(part) for part in patients] == [6, 1, 1]
    assert len(set.union(*patients)) == 8
    with pytest.raises(UserError, match=r"data\.group=patiant: .*my\.csv has no such column; did you mean 'patient'"):  # fmt: skip
        load(compose([*table, "data.group=patiant"], PROJECT / "conf").data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (made(group="nobody"), r"data\.group=nobody: the set is a Patients; it needs an attribute 'nobody' with a label for each example"),
        (made("columns", "nobody", task="any"), r"data\.group=nobody: the set is a dict"),
        (config("torch_pair", group="patient"), r"data\.group=patient: the set is a tuple of 2"),
        (config("sweeplab.data.MNIST", group="patient", in_features=784), r"data\.group=patient: the set is a MNIST"),
        (made(group="short"), r"data\.group=short: the set has 24 examples, and 2 labels"),
        (made(node={"patients": 2}), r"data\.group=patient: the set has 2 groups; train, valid and test need one each"),
        (made(folds=9, fold=0), r"data\.folds=9: the set has 8 groups; give 2 to 8"),
    ],
)  # fmt: skip
def test_what_cannot_be_grouped(data: Data, message: str, mnist_root: Path) -> None:
    data.root = str(mnist_root)
    with pytest.raises(UserError, match=message):
        facts(data)
