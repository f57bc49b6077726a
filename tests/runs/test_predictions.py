"""`load_model(run).predict`: a user's own inputs from Python, prepared as the training set was."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command, ended
from PIL import Image, ImageOps
from stored import only
from torch import Tensor, nn

from sweeplab import data, load_model, load_predictor
from sweeplab.commands import cli
from sweeplab.config import compose
from sweeplab.errors import UserError
from sweeplab.models import MLP

SHORT = ("trainer.threads=1", "trainer.epochs=2")


def test_rows_arrays_and_tensors_are_answered_as_the_command_does(
    train: Command, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train("data=digits", *SHORT)
    predict = load_predictor(only(root).id)
    rows = np.arange(128).reshape(2, 64) % 17
    np.save(root / "rows.npy", rows)
    answers = predict("rows.npy")
    expected = load_model(only(root).id)(torch.from_numpy(rows / 16).float()).softmax(1)
    assert torch.equal(answers, expected)
    said = ended(lambda: cli.main(["predict", only(root).id, "rows.npy"]), capfd).out
    for number, answer in enumerate(answers, 1):
        best = int(answer.argmax())
        shown = rf"row {number} +{predict.classes[best]} \({answer[best]:.3f}\)"
        assert re.search(shown, said), said
    pictures = torch.from_numpy(rows).reshape(2, 1, 8, 8)
    same = (rows, rows.tolist(), rows.astype(np.uint8), pictures, [*pictures.double()], list(rows))
    for inputs in (*same, pictures.bfloat16(), root / "rows.npy"):
        assert torch.equal(predict(inputs), answers)
    for one in (rows[0], rows[0].tolist(), pictures[0], pictures[0, 0], rows[:1]):
        assert torch.allclose(predict(one), answers[:1], atol=1e-6)
        assert predict(one).shape == (1, 10)
    for wrong, message in (
        (rows[0, :3], "the input: has 3 numbers, and an example has 64 numbers"),
        (rows[:, :3], "the input: has 2 rows of 3 numbers, and an example has 64 numbers"),
        ([[1.0, 2.0], [3.0]], "the input: is no array of numbers"),
        ([[float("nan")] * 64], "the input: has numbers that are NaN or infinite"),
        ([], "the input: holds nothing"),
        (None, "the input: holds object, and real numbers are needed"),
        ({"age": 3}, "the input: has named columns, and data=digits is no table; give numbers"),
        (["no.png"], "no.png: no such file"),
        (Image.new("L", (8, 8)), "the input: is a picture, and how data=digits makes numbers"),
        (pictures.reshape(2, 16, 4), "data.shape=[1, 8, 8]: the set's examples have the shape"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            predict(wrong)


def test_the_network_is_its_class_and_nothing_else(train: Command, root: Path) -> None:
    train("data=digits", *SHORT, "model.hidden=8")
    model = load_model(only(root).folder)
    assert type(model) is MLP
    assert [*model.state_dict()] == [*MLP(64, 10, hidden=8).state_dict()]
    assert not any("predict" in name for name, _ in model.named_modules())
    inputs = torch.arange(64.0) % 17
    before: Tensor = model.predict(inputs)  # type: ignore[operator]  # typed by load_predictor
    torch.save(model, root / "whole.pt")
    again = torch.load(root / "whole.pt", weights_only=False)
    assert torch.equal(again.predict(inputs), before)
    copied = copy.deepcopy(model)
    model.train()
    normalised = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    normalised.eval()  # as who fine-tunes does
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.rand(4, 64)).square().sum().backward()
    optimizer.step()
    now: Tensor = model.predict(inputs)  # type: ignore[operator]
    assert not torch.equal(now, before), "it is the network as it is now"
    assert model.training
    assert not normalised.training
    assert torch.equal(copied.predict(inputs), before), "a copy has its own"


def test_a_class_with_a_method_of_this_name_keeps_it(train: Command, root: Path) -> None:
    ended_ = train("data=digits", *SHORT, "model=linear", "model._target_=own.Predicting")
    assert ended_.code == 0
    assert load_model(only(root).id).predict() == "mine"  # type: ignore[operator]
    assert load_predictor(only(root).id)(torch.zeros(64)).shape == (1, 10)


def test_a_row_of_a_table_is_a_mapping_or_a_frame(train: Command, root: Path) -> None:
    rows = "".join(f"{20 + i},{'Rome' if i % 2 else 'Oslo'},{i * 10}\n" for i in range(60))
    (root / "my.csv").write_text("age,city,rent\n" + rows)
    table = ("data=csv", "data.dataset.file=my.csv", "data.dataset.target=rent")
    scaled = ("data.task=regression", "loss=mse", "data.target_mean=300", "data.target_std=100")
    train(*table, *scaled, *SHORT, "trainer.batch_size=8")
    predict = load_predictor(only(root).id)
    (root / "new.csv").write_text("city,age\nRome,31\nOslo,44\n")
    answers = predict("new.csv")
    raw = torch.tensor([[31.0, 0, 1], [44, 1, 0]])
    assert torch.equal(answers, predict.model(raw) * 100 + 300)
    frame = pd.DataFrame({"age": [31, 44], "city": ["Rome", "Oslo"], "rent": [0, 0]})
    assert torch.equal(predict(frame), answers)
    assert torch.equal(predict(raw), answers)
    np.save(root / "new.npy", raw.numpy())
    assert torch.equal(predict("new.npy"), answers)
    mappings = [{"age": 31, "city": "Rome"}, {"city": "Oslo", "age": 44}]
    assert torch.equal(predict(mappings), answers)
    assert torch.allclose(predict(mappings[0]), answers[:1])
    assert predict.classes == []
    for wrong, message in (
        ({"age": 31}, "the input: has no column city, which the network needs"),
        ({"age": 31, "city": "Rom"}, "which the table never has; did you mean 'Rome'?"),
        ({"age": None, "city": "Rome"}, "the input: row 1 has nothing in column 'age'"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            predict(wrong)


def test_a_picture_is_cut_as_those_of_the_set(train: Command, root: Path) -> None:
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (root / "mine" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), colour).save(root / "mine" / name / f"{number}.png")
    folder = ("data=image_folder", "data.dataset.folder=mine", "data.dataset.size=4")
    train(*folder, "trainer.batch_size=4", "model=linear", *SHORT)
    predict = load_predictor(only(root).id)
    strip = Image.new("RGB", (60, 12), (0, 0, 255))
    strip.paste((200, 30, 0), (24, 0, 36, 12))  # its middle is what counts
    strip.save(root / "strip.png")
    answer = predict("strip.png")
    assert predict.classes == ["blue", "red"]
    assert torch.equal(predict(strip), answer)
    cut = ImageOps.fit(strip, (4, 4), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1)
    assert torch.equal(predict(pixels), answer)
    assert torch.allclose(predict(pixels / 255), answer)
    assert torch.equal(predict(["strip.png", strip]), answer.repeat(2, 1))
    assert torch.allclose(predict(strip, invert=True), predict(255 - pixels))
    with pytest.raises(UserError, match="channels come last there, and networks take them first"):
        predict(pixels.permute(1, 2, 0))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (torch.tensor([0, 1, 255]), torch.uint8),
        (torch.tensor([0.0, 254.0]), torch.uint8),  # as rows of text have them
        (torch.tensor([0.0, 0.5, 1.0]), torch.float32),
        (torch.tensor([0.5, 254.0]), None),
        (torch.tensor([-1, 3]), None),
        (torch.tensor([-0.5, 0.5]), None),
    ],
)
def test_whole_numbers_are_the_bytes_of_a_set_of_bytes(
    root: Path, numbers: Tensor, expected: torch.dtype | None
) -> None:
    mnist = compose(["data=mnist"]).data
    if expected is not None:
        assert data.as_delivered(mnist, numbers, "it").dtype == expected
        return
    with pytest.raises(UserError, match=r"^it: has numbers from .*, and pixels are whole"):
        data.as_delivered(mnist, numbers, "it")
