"""A command's config is composed once, and is the one that Hydra composes by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
from conftest import PROJECT
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from sweeplab.speed import compose_once


class Composed(Exception):
    """What a run or a sweep begins with."""


def compose(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What Hydra composes for the words, or how it fails, and how many times it composes."""
    compositions = 0
    compose_config = Hydra.compose_config
    compose = ConfigLoaderImpl._load_configuration_impl

    def count(*given: Any, **named: Any) -> Any:
        nonlocal compositions
        compositions += 1
        return compose(*given, **named)

    def begin(self: Hydra, **named: Any) -> Any:
        composed = compose_config(self, **named)
        if named["with_log_configuration"]:  # no longer for the mode only
            raise Composed(named["run_mode"], OmegaConf.to_yaml(composed))
        return composed

    with monkeypatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", count)
        patch.setattr(Hydra, "compose_config", begin)
        patch.setattr(sys, "argv", ["train.py", *words])
        program = hydra.main(str(PROJECT / "conf"), "config", version_base="1.3")(print)
        with pytest.raises(Exception) as raised, compose_once.allowed(words):  # noqa: PT011
            program()
    return f"{raised.type.__name__}: {raised.value} {raised.value.__cause__}", compositions


@pytest.mark.parametrize(
    ("command", "times"),
    [
        ("", 1),
        ("data=digits optimizer=sgd +model.x=${seed} hydra.job.chdir=false", 1),
        ("hydra.mode=RUN seed=3", 1),
        ("data=digits -m", 1),
        ("seed=1,2 --multirun", 1),
        ("experiment=linear_vs_mlp", 2),  # is a sweep, which only its config tells
        ("experiment=linear_vs_mlp seed=1,2", 3),
        ("seed=1,2", 2),  # lacks -m
        ("model.hiden=3", 2),
        ("model=nope", 2),
        ("seed=[1", 2),
    ],
)
def test_a_config_is_composed_once_and_is_that_of_hydra(
    root: Path, monkeypatch: pytest.MonkeyPatch, command: str, times: int
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    quick, quick_times = compose(command.split(), monkeypatch)
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    plain, plain_times = compose(command.split(), monkeypatch)
    assert quick == plain
    assert (quick_times, plain_times) == (times, 2)
    assert quick.startswith("Composed") == (times != 2 or "experiment" in command)
