"""The reference of keys and options, which `sweeplab help` and the documentation are made from."""

from __future__ import annotations

import pytest

from sweeplab.config import conf_dir, reference
from sweeplab.config.layers import Layers
from sweeplab.config.reference import ConfigKey


@pytest.fixture(scope="module")
def keys() -> dict[str, ConfigKey]:
    layers = Layers.of([], conf_dir(), "config")
    return {each.key: each for each in reference.config_keys(layers)}


def test_every_key_has_a_meaning(keys: dict[str, ConfigKey]) -> None:
    assert [key for key, each in keys.items() if not each.meaning] == []
    assert len(keys) > 90


def test_a_key_has_its_default_and_what_it_takes(keys: dict[str, ConfigKey]) -> None:
    assert keys["trainer.epochs"] == ConfigKey(
        key="trainer.epochs",
        allowed="a whole number >= 1",
        default=20,
        meaning="passes over the training examples, at most",
    )
    assert keys["store.reuse"].choices == ("exact", "any")
    assert keys["sweep.from"].allowed == "a text, or null"
    assert keys["model.in_features"].default == "${data.in_features}"
    assert keys["seed"].allowed == "a whole number >= 0"


def test_a_meaning_goes_on_in_the_lines_below_its_key(keys: dict[str, ConfigKey]) -> None:
    meaning = keys["data.memory"].meaning
    assert meaning.startswith("MiB: a set up to this size")
    assert meaning.endswith("draws random numbers at each reading, is streamed")


def test_each_option_says_what_it_is() -> None:
    options = reference.group_options()
    assert set(options) >= {"data", "model", "loss", "optimizer", "scheduler", "trainer"}
    assert options["model"]["linear"] == "One linear layer, the smallest classifier: 784 -> 10."
    del options["experiment"]  # to which other tests have added theirs
    empty = [name for names in options.values() for name, text in names.items() if not text]
    assert empty == []
