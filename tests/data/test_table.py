"""Tables in CSV files: columns by name, texts as ones, sizes that are counted, what a student gets wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT

from sweeplab.config import Config, compose
from sweeplab.data import CSV, Batches, InMemorySplit, facts, load
from sweeplab.errors import UserError
from sweeplab.runs import job

ROWS = """\
age, sex, city, income, bought
30, m, Rome, 1000.5, yes
40, f, Oslo, 2000, no
20, f, Rome, 1500, no
50, m, Bern, 1000, maybe
35, f, Bern, 1800, yes
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a table of five rows."""
    monkeypatch.setenv("SWEEPLAB_ROOT", str(tmp_path))
    (tmp_path / "my.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def composed(*overrides: str, file: str = "my.csv") -> Config:
    words = ["data=csv", f"data.dataset.file={file}", "tracking=off", *overrides]
    return compose(words, PROJECT / "conf")


def whole(settings: Config) -> list[tuple[list[float], Any]]:
    """All examples as a network gets them, sorted."""
    splits = load(settings.data)
    rows = []
    for part in (splits.train, splits.valid, splits.test):
        for inputs, targets in Batches(part, 1, device="cpu").epoch(0):
            rows.append((inputs[0].tolist(), targets[0].tolist()))
    return sorted(rows)


def test_texts_become_ones_and_classes_in_sorted_order(folder: Path) -> None:
    settings = composed("data.dataset.target=bought")
    assert (settings.data.in_features, settings.data.out_features) == (7, 3)
    assert settings.model["in_features"] == 7
    assert whole(settings) == [  # age, f, m, Bern, Oslo, Rome, income; maybe 0, no 1, yes 2
        ([20, 1, 0, 0, 0, 1, 1500], 1),
        ([30, 0, 1, 0, 0, 1, 1000.5], 2),
        ([35, 1, 0, 1, 0, 0, 1800], 2),
        ([40, 1, 0, 0, 1, 0, 2000], 1),
        ([50, 0, 1, 1, 0, 0, 1000], 0),
    ]
    assert CSV("my.csv", "bought").classes == ["maybe", "no", "yes"]
    assert isinstance(load(settings.data).train, InMemorySplit)
    assert str(folder) not in str(facts(settings.data).digest)


def test_columns_are_chosen_by_name_and_numbers_are_regressed(folder: Path) -> None:
    chosen = ["data.task=regression", "data.dataset.columns=[city,age]"]
    one = composed("data.dataset.target=income", *chosen)
    assert (one.data.in_features, one.data.out_features) == (4, 1)
    assert whole(one)[0] == ([0.0, 0.0, 1.0, 20.0], [1500.0])
    two = composed("data.dataset.target=[income,age]", "data.task=regression")
    assert (two.data.in_features, two.data.out_features) == (8, 2)
    assert composed("data.dataset.target=income", "data.dataset.columns=age").data.in_features == 1


def test_a_number_that_is_given_counts(folder: Path) -> None:
    settings = composed("data.dataset.target=bought", "data.in_features=5")
    with pytest.raises(UserError, match=r"data\.in_features=5: the set's examples have 7 numbers"):
        load(settings.data)


def test_sizes_are_counted_again_when_the_file_changes(folder: Path) -> None:
    assert composed("data.dataset.target=age").data.out_features == 51
    (folder / "my.csv").write_text(ROWS + "60, m, Paris, 1000, no\n", encoding="utf-8")
    changed = composed("data.dataset.target=bought")
    assert changed.data.in_features == 8
    assert len(whole(changed)) == 6


def test_other_separators_decimals_and_columns_without_a_name(folder: Path) -> None:
    text = ";x;label\n0;1,5;1\n1;2,5;0\n2;3,5;1,0\n"
    (folder / "german.csv").write_text(text, encoding="utf-8")
    settings = composed(
        "data.dataset.target=label",
        'data.dataset.separator=";"',
        'data.dataset.decimal=","',
        file="german.csv",
    )
    assert (settings.data.in_features, settings.data.out_features) == (1, 2)
    assert whole(settings) == [([1.5], 1), ([2.5], 0), ([3.5], 1)]


def test_a_table_is_planned_and_fits_the_default_network(folder: Path) -> None:
    rows = [f"{i},{i * 2 % 7},{'ab'[i % 2]}" for i in range(40)]
    (folder / "my.csv").write_text("x,y,label\n" + "\n".join(rows), encoding="utf-8")
    settings = composed("data.dataset.target=label", "trainer.batch_size=8")
    planned = job.prepare(settings, [])
    assert (planned.facts.train, planned.facts.test) == (30, 8)
    typed = composed(
        "data.dataset.target=label",
        "trainer.batch_size=8",
        "data.in_features=2",
        "data.out_features=2",
    )
    assert job.prepare(typed, []).fingerprint == planned.fingerprint


def test_sizes_are_counted_without_torch(folder: Path) -> None:
    script = (
        "import sys; from sweeplab.config import compose;"
        "data = compose(['data=csv', 'data.dataset.file=my.csv', 'data.dataset.target=age']).data;"
        "print(data.in_features, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "9 False\n"


# --- What a student may get wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "data.dataset.target=null: name the column that is to be predicted, as in data.dataset.target=price"),
        (["data.dataset.target=bougth"],
         "data.dataset.target=bougth: {}/my.csv has no such column; did you mean 'bought'?"),
        (["data.dataset.target=bought", "data.dataset.columns=[age,town]"],
         "data.dataset.columns=town: {}/my.csv has no such column; valid: age, bought, city, income, sex"),
        (["data.dataset.target=bought", "data.dataset.columns=[age,bought]"],
         "data.dataset.columns: 'bought' is the target; an input must not tell it"),
        (["data.dataset.target=bought", "data.dataset.columns=[]"],
         "data.dataset.columns=[]: name a column, or give null for all but the target"),
        (["data.dataset.target=bought", "data.task=regression"],
         "data.task=regression: the target 'bought' has texts (maybe, no, yes); give data.task=classification, or another target"),
        (["data.dataset.target=[age,city]", "data.task=regression"],
         "data.dataset.target=[age, city]: several targets must be numbers, not texts"),
        (["data.dataset.target=income"],
         "data.task=classification: a target must be one whole number, not torch.float64 of shape []; or data.task=regression"),
        (["data.dataset.target=bought", "data.dataset.file=other.csv"],
         "data.dataset.file={}/other.csv: No such file or directory"),
        (["data.dataset.target=bought", "data.dataset.file=null"],
         "data.dataset.file=null: name the table, as in data.dataset.file=my.csv"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_line(folder: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        facts(composed(*overrides).data)
    assert str(error.value) == message.format(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,label\n30,yes\n,no\n,no\n40,no",
         "row 2 has nothing in column 'age', and 1 more of this column; fill it, drop such rows, or leave"),
        ("age,label\n30,yes\n40,\n", "row 2 has nothing in column 'label'; fill it"),
        ("age;label\n30;yes\n40;no\n", "has one column only, 'age;label'; if its columns are separated otherwise, give 'data.dataset.separator=\";\"'"),
        ("label\nyes\nno\n", "has one column only, 'label'; it needs a column of inputs beside the target"),
        ("age,label\n", "has a line of names, and no rows below it"),
        ("5.1,3.5,1\n4.9,3.0,0\n", r"its first line \(5.1, 3.5, 1, ...\) is of numbers; it must name the columns"),
        ("", "cannot be read: No columns to parse from file; it must be a table of comma-separated values"),
        ("age,label\n1,2\n1,2,3,4\n", "cannot be read: .*Expected 2 fields.*comma-separated values in UTF-8"),
        ('x,label\n"1,5",a\n"2,5",b\n', "column 'x' has numbers like 1,5; give 'data.dataset.decimal=\",\"'"),
        ("name,age,label\n" + "".join(f"person {i},{i},{i % 2}\n" for i in range(30)),
         r"data.dataset.columns: 'name' has 30 different texts in 30 rows, which tell nothing; leave it out: data.dataset.columns=\[age\]"),
        ("age\tlabel\n30\tyes\n", r"give 'data.dataset.separator=\"\\t\"'"),
        ("age,label\n30,1\n40,1\n", "data.dataset.target=label: is the same in all rows: nothing can be learned"),
        ("age,label\n" + "".join(f"1,{i}\n" for i in range(30)),
         "data.dataset.target=label: has 30 different numbers in 30 rows, which are no classes; a regression is data.task=regression loss=mse"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_line(folder: Path, text: str, message: str) -> None:
    (folder / "my.csv").write_text(text, encoding="utf-8")
    with pytest.raises(
        UserError, match=f"^data\\.dataset\\.(file={re.escape(str(folder))}/my|columns|target)"
    ) as error:
        facts(composed("data.dataset.target=label").data)
    assert re.search(message, str(error.value)), error.value
    assert "\n" not in str(error.value)


def test_a_file_or_a_column_that_there_is_not_is_told_the_nearest(folder: Path) -> None:
    (folder / "my.csv").write_text("a,label\n1,0\n2,1\n")
    with pytest.raises(
        UserError, match=r"/mi\.csv: No such file or directory; did you mean 'my\.csv'"
    ):
        composed("data.dataset.target=label", file="mi.csv")
    with pytest.raises(
        UserError, match=r"data\.dataset\.target=3: .* has no such column; valid: a, "
    ):
        composed("data.dataset.target=3")


def test_a_table_may_be_separated_by_tabs(folder: Path) -> None:
    (folder / "my.csv").write_text("a\tb\tlabel\n1\t2\t0\n2\t3\t1\n")
    assert composed("data.dataset.target=label", "data.dataset.separator=tab").data.in_features == 2


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "my.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(
        UserError, match=r"my\.xlsx: cannot be read: .*comma-separated values in UTF"
    ):
        composed("data.dataset.target=label", file="my.xlsx")


def test_a_table_of_any_form(folder: Path) -> None:
    settings = composed("data.dataset.target=bought", "data.task=any")
    inputs, targets = next(Batches(load(settings.data).train, 2, device="cpu").epoch(0))
    assert (inputs.dtype, inputs.shape, targets.dtype) == (torch.float64, (2, 7), torch.int64)
