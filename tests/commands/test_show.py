"""`sweeplab show` and `sweeplab predict`: a trained network's answers to the test set, and to files of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, Ended, Write
from PIL import Image
from stored import only

from sweeplab import load_model
from sweeplab.commands import cli

SHORT = ("trainer.epochs=3", "trainer.threads=1")


@pytest.fixture
def asked(root: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """`sweeplab ...` in this process, after `train`, with the same capture."""
    from conftest import ended

    def run(*arguments: str) -> Ended:
        return ended(lambda: cli.main(arguments), capfd)

    return run


def test_the_answers_are_those_that_the_run_was_tested_by(
    train: Command, asked: Command, root: Path
) -> None:
    train("data=digits", *SHORT)
    run = only(root)
    accuracy = run.result().metrics["test/accuracy"]  # type: ignore[union-attr]
    shown = asked("show", run.id)
    assert shown.code == 0
    right = round(accuracy * 359)
    assert f"test accuracy {accuracy:.4f} ({right} of 359)" in shown.out
    by_class = re.findall(
        r"^ +\d +(\d+) +(\d+) +[01]\.\d{4} +[01]\.\d{4} ", shown.out, re.MULTILINE
    )
    assert len(by_class) == 10
    assert sum(int(examples) for examples, _ in by_class) == 359
    assert sum(int(each) for _, each in by_class) == right
    with Image.open(run.folder / "test.png") as figure:
        assert figure.size == (1600, 832)
    assert "the most confident mistakes" in shown.out


def test_a_network_in_a_file_of_the_project_is_found(
    command: Command, write: Write, root: Path
) -> None:
    write({"shown.py": "from torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n"})
    words = ("data=digits", "model=shown.Net", "trainer.epochs=1", "tracking=off")
    assert command("train.py", *words, loaded=True).code == 0
    shown = command("sweeplab", "show", only(root).id, PYTHONSAFEPATH="1")  # as the script
    assert shown.code == 0, shown.err
    assert shown.out.startswith(f"run {only(root).id}: shown.Net on data=digits\n")


def test_a_regression_shows_its_errors(train: Command, asked: Command, root: Path) -> None:
    train("data=diabetes", "loss=mse", *SHORT, "trainer.batch_size=32")
    mae = only(root).result().metrics["test/mae"]  # type: ignore[union-attr]
    shown = asked("show", only(root).id[:6])
    assert f"test mae {mae:.4g}" in shown.out
    assert "the largest errors" in shown.out


def test_rows_of_numbers_are_answered_as_the_network_does(
    train: Command, asked: Command, root: Path
) -> None:
    train("data=digits", *SHORT)
    rows = np.arange(128, dtype=np.float64).reshape(2, 64) % 17
    np.save(root / "rows.npy", rows)
    np.savetxt(root / "rows.csv", rows, delimiter=",")
    said = load_model(only(root).folder)(torch.from_numpy(rows / 16).float()).softmax(1).max(1)
    shown = asked("predict", only(root).id, "rows.npy")
    for number in (0, 1):
        expected = f"rows.npy, row {number + 1} +{int(said.indices[number])} \\({said.values[number]:.3f}\\)"
        assert re.search(expected, shown.out)
    again = asked("predict", only(root).id, "rows.csv", "store.root=runs")
    assert again.out.replace("csv", "npy") == shown.out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["no.png"], "no.png: no such file"),
        (
            ["picture.png"],
            "picture.png: is a picture, and how data=digits makes numbers of pictures, only its class knows",
        ),
        (["short.csv"], "short.csv: has 3 numbers, and an example has 64 numbers"),
        (["text.txt"], "text.txt: cannot be read: "),
        (["object.npy"], "object.npy: cannot be read: Object arrays cannot be loaded"),
        (["empty.csv"], "empty.csv: holds nothing"),
        (["turned.csv"], "turned.csv: has 64 rows of 2 numbers, and an example has 64 numbers"),
        (["nan.csv"], "nan.csv: has numbers that are NaN or infinite"),
        (["words.NPY"], "words.NPY: holds <U1, and real numbers are needed"),
        (["store.root=elsewhere", "short.csv"], "no such run in "),
    ],
)
def test_files_that_cannot_be_answered_are_refused(
    train: Command, asked: Command, root: Path, files: list[str], message: str
) -> None:
    train("data=digits", *SHORT, "trainer.epochs=1")
    Image.new("L", (8, 8)).save(root / "picture.png")
    (root / "short.csv").write_text("1,2,3\n")
    (root / "text.txt").write_text("a,b\n")
    np.save(root / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    (root / "empty.csv").write_text("")
    (root / "turned.csv").write_text("1,2\n" * 64)
    (root / "nan.csv").write_text(",".join(["nan"] * 64))
    with (root / "words.NPY").open("wb") as file:
        np.save(file, np.array(["a"] * 64))
    refused = asked("predict", only(root).id, *files)
    assert refused.code == 2
    assert message in refused.err


@pytest.mark.mnist
def test_a_picture_is_prepared_as_the_training_set_was(
    train: Command, asked: Command, root: Path, mnist_root: Path
) -> None:
    train(
        f"data.root={mnist_root}",
        *SHORT,
        "trainer.epochs=1",
        "model.hidden=32",
        "trainer.limit_batches=150",
    )
    picture = Image.new("L", (280, 280), 255)
    picture.paste(0, (125, 50, 155, 230))  # a stroke
    picture.save(root / "one.png")
    shown = asked("predict", only(root).id, "one.png", "--invert")
    assert re.search(r"one.png +1 \(0\.\d+\)", shown.out)
    dark = asked("predict", only(root).id, "one.png")
    assert dark.out != shown.out


def test_a_picture_goes_through_the_transform_of_the_set_and_is_cut_as_its_own(
    train: Command, asked: Command, root: Path
) -> None:
    """Left half red, right half blue, in a strip: its middle is what counts."""
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (root / "mine" / name).mkdir(parents=True)
        for number in range(12):
            shade = tuple(max(0, value - 9 * number) for value in colour)
            Image.new("RGB", (8, 8), shade).save(root / "mine" / name / f"{number}.png")
    how = (
        "data=image_folder",
        "data.dataset.folder=mine",
        "data.dataset.size=4",
        "trainer.batch_size=4",
        "model=linear",
    )
    assert (
        train(*how, *SHORT, "trainer.epochs=20", "trainer.patience=null", "optimizer.lr=0.05").code
        == 0
    )
    strip = Image.new("RGB", (60, 12), (0, 0, 255))
    strip.paste((255, 0, 0), (24, 0, 36, 12))
    strip.save(root / "strip.png")
    shown = asked("predict", only(root).id, "strip.png")
    assert re.search(r"strip.png +red \([01]\.\d+\)", shown.out), shown
    swapped = "+data.transform={_target_: steps.swapped}"
    assert (
        train(
            *how,
            *SHORT,
            "trainer.epochs=20",
            "trainer.patience=null",
            "optimizer.lr=0.05",
            swapped,
            "store.root=other",
        ).code
        == 0
    )
    again = asked("predict", only(root, "other").id, "strip.png", "store.root=other")
    assert re.search(r"strip.png +red \([01]\.\d+\)", again.out), again


def test_several_files_are_answered_by_one_loaded_network(
    train: Command, asked: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("data=digits", *SHORT, "trainer.epochs=1", "trainer.precision=bf16")
    from sweeplab.runs import loading

    loaded = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda run, *how: loaded.append(run) or load(run, *how))
    for name in "abc":
        np.save(root / f"{name}.npy", np.full(64, 5.0))
    shown = asked("predict", only(root).id, "a.npy", "b.npy", "c.npy")
    assert shown.code == 0
    assert len(loaded) == 1
    result = only(root).result()
    assert result is not None
    assert (
        f"test accuracy {result.metrics['test/accuracy']:.4f}" in asked("show", only(root).id).out
    )


@pytest.mark.mnist
def test_the_data_are_where_they_are_today(
    train: Command, asked: Command, root: Path, mnist_root: Path
) -> None:
    """The record names another folder, from which the set has gone."""
    place = root / "then"
    place.symlink_to(mnist_root)
    train(
        f"data.root={place}",
        *SHORT,
        "trainer.epochs=1",
        "model.hidden=8",
        "trainer.limit_batches=5",
    )
    place.unlink()
    assert asked("show", only(root).id, f"data.root={mnist_root}").code == 0
    assert not place.exists()


def test_a_run_whose_task_only_its_step_knows_is_refused(
    train: Command, asked: Command, root: Path
) -> None:
    words = ("data=digits", "data.task=any", "data.mean=null", "data.std=null", "data.shape=null")
    own = (
        "data.dataset._target_=steps.Words",
        "data.collate._target_=steps.padded",
        "step._target_=steps.classified",
    )
    model = (
        "model=linear",
        "model._target_=steps.LSTM",
        "~model.in_features",
        "~model.out_features",
    )
    assert train(*words, *own, *model, *SHORT).code == 0
    refused = asked("show", only(root).id)
    assert refused.code == 2
    assert "data.task=any: what its network takes and returns, only its step knows" in refused.err


TABLE = "age,city,rent\n" + "\n".join(
    f"{20 + i},{'Rome' if i % 2 else 'Oslo'},{i * 10}" for i in range(60)
)


def test_rows_of_a_table_are_read_by_the_names_of_its_columns(
    train: Command, asked: Command, root: Path
) -> None:
    (root / "my.csv").write_text(TABLE)
    how = (
        "data=csv",
        "data.dataset.file=my.csv",
        "data.dataset.target=rent",
        "data.task=regression",
        "loss=mse",
    )
    assert train(*how, *SHORT, "trainer.batch_size=8").code == 0
    (root / "new.csv").write_text("city,age\nRome,31\nOslo,44\n")
    shown = asked("predict", only(root).id, "new.csv")
    expected = load_model(only(root).folder)(torch.tensor([[31.0, 0, 1], [44, 1, 0]]))
    for number, value in enumerate(expected.flatten().tolist(), 1):
        assert re.search(f"new.csv, row {number} +{value:.5g}", shown.out)
    for text, message in (
        ("age\n31\n", "new.csv: has no column city, which the network needs"),
        (
            "city,age\nRom,31\n",
            "new.csv: column 'city' has 'Rom', which the table never has; did you mean 'Rome'?",
        ),
        ("city,age\nRome,old\n", "new.csv: column 'age' must be numbers, not old"),
        ("city,age\nRome,\n", "row 1 has nothing in column 'age'"),
    ):
        (root / "new.csv").write_text(text)
        refused = asked("predict", only(root).id, "new.csv")
        assert refused.code == 2
        assert message in refused.err


def test_a_network_that_takes_something_else_is_refused(
    train: Command, asked: Command, root: Path
) -> None:
    train("data=digits", *SHORT, "trainer.epochs=1", "model=linear", "model._target_=steps.GAN",
          "~model.in_features", "~model.out_features", "step._target_=steps.of_noise")  # fmt: skip
    refused = asked("show", only(root).id)
    assert refused.code == 2
    assert "the network fails on inputs [" in refused.err
