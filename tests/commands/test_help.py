"""`sweeplab help`, and train.py's --help: one screen to begin with, and what each key means."""

from __future__ import annotations

import pytest
from conftest import Command


def test_help_fits_one_screen(train: Command) -> None:
    lines = train("--help").out.splitlines()
    assert 24 <= len(lines) <= 40
    assert max(map(len, lines)) < 80
    assert "  optimizer    adam, adamw, sgd" in lines
    assert "  trainer.epochs=20              passes over the training examples, at most" in lines


def test_the_command_shows_the_same_screen(sweeplab: Command) -> None:
    lines = sweeplab("help").out.splitlines()
    assert lines[0] == "Train a network on a data set; record it in the store and in MLflow."
    assert "  sweeplab why KEY            where its value comes from" in lines


def test_a_key_is_explained_in_the_words_of_its_comment(sweeplab: Command) -> None:
    assert sweeplab("help", "trainer.patience").out.splitlines() == [
        "trainer.patience=5",
        "  epochs without improvement before the run stops early; null: never",
        "  allowed: a whole number >= 1, or null",
        "  example: python train.py 'trainer.patience=10'",
    ]
    said = sweeplab("help", "store.reuse", "trainer.accumulate", "trainer=fast").out
    assert "  allowed: one of exact, any\n  example: python train.py 'store.reuse=any'" in said
    assert "  example: python train.py 'trainer.accumulate=1'" in said


def test_a_group_lists_its_options_and_the_keys_of_the_chosen_one(sweeplab: Command) -> None:
    said = sweeplab("help", "model", "model=cnn").out
    assert said.startswith("model=cnn is chosen; options:\n  model=cnn ")
    assert "  model=linear " in said
    assert "  model.channels=[16,32,64] " in said
    assert sweeplab("help", "model=cnn").out == said
    section = sweeplab("help", "sweep.seeds").out
    assert section.startswith("  sweep.seeds.until=null ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("epochs", "epochs: no such key; did you mean 'trainer.epochs'?"),
        ("trainer.epoch", "trainer.epoch: no such key; did you mean 'trainer.epochs'?"),
        ("Optimiser", "Optimiser: no such key; did you mean 'optimizer'?"),
        ("xyzzy", "xyzzy: no such key; valid: "),
    ],
)
def test_a_wrong_name_gets_the_nearest(sweeplab: Command, name: str, said: str) -> None:
    ended = sweeplab("help", name)
    assert ended.code == 2
    assert ended.err.startswith(said)
