"""`trainer.keep_every`: the weights after single epochs, kept beside the best ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from stored import facts, only

from sweeplab import load_model
from sweeplab.commands import cli
from sweeplab.errors import UserError
from sweeplab.runs import checkpoint
from sweeplab.store import Run, Store
from sweeplab.tracking.goals import run_files

RUN = (
    "data=digits",
    "trainer.threads=1",
    "trainer.patience=null",
    "trainer.epochs=5",
    "model.hidden=16",
)


def kept(run: Run) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(run.kept.iterdir())}


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_they_are_those_of_the_checkpoint_of_that_epoch(
    train: Command, root: Path, ema: str
) -> None:
    how = (*RUN, f"trainer.ema={ema}")
    ended = train(*how, "trainer.keep_every=2")
    assert re.search("weights after epochs +2, 4", ended.out)
    assert list(kept(only(root))) == ["2.safetensors", "4.safetensors"]
    train(*how, "trainer.epochs=2", "store.root=short", "store.keep=last")
    short = only(root, "short")
    fingerprint = short.start()["fingerprint"]
    saved = checkpoint.latest(short.checkpoints, fingerprint, pytest.fail)
    assert saved is not None
    expected = saved.model
    if saved.averaged is not None:
        expected = {name.removeprefix("module."): v for name, v in saved.averaged.items()}
    network = load_model(only(root).id, epoch=2)
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_run_has_the_same_name_and_bits_with_them_and_is_killed_and_resumed_with_the_same_ones(
    train: Command, root: Path, die_at: Callable[[int], None]
) -> None:
    train(*RUN)
    train(*RUN, "trainer.keep_every=1", "store.root=whole")
    die_at(3)
    assert train(*RUN, "trainer.keep_every=1", "store.root=killed").code == 130
    half = only(root, "killed")
    assert load_model(half.folder, epoch=2).state_dict().keys()
    assert train(*RUN, "trainer.keep_every=1", "store.root=killed").code == 0
    assert facts(only(root)) == facts(only(root, "whole")) == facts(half)
    assert only(root).id == half.id
    assert kept(half) == kept(only(root, "whole"))
    assert len(kept(half)) == 5


@pytest.mark.full
def test_runs_that_are_trained_as_one_keep_what_each_keeps_alone(
    train: Command, root: Path
) -> None:
    sweep = ("-m", *RUN, "optimizer.lr=0.001,0.002", "trainer.keep_every=4")
    train(*sweep)
    train(*sweep, "sweep.fuse=false", "store.root=single")
    fused = {run.id: kept(run) for run in Store(root / "runs").runs()}
    assert fused == {run.id: kept(run) for run in Store(root / "single").runs()}
    assert [list(names) for names in fused.values()] == [["4.safetensors"]] * 2


@pytest.mark.full
def test_a_finished_run_gets_them_by_a_replay_and_loses_them_with_its_weights(
    train: Command, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(*RUN)
    run = only(root)
    advice = f"sweeplab replay {run.id} trainer.keep_every=2 keeps them"
    again = train(*RUN, "trainer.keep_every=2")
    assert f"it was trained without trainer.keep_every=2; {advice}" in again.out
    with pytest.raises(UserError, match=r"epoch 2 were not kept \(those after: none\); " + advice):
        load_model(run.id, epoch=2)
    with pytest.raises(UserError, match="has no epoch 6; its epochs are 1 to 5"):
        load_model(run.id, epoch=6)
    for odd in (True, 2.0, "2"):
        with pytest.raises(UserError, match=f"epoch={odd!r}: must be a whole number, or None"):
            load_model(run.id, epoch=odd)  # type: ignore[arg-type]
    cli.main(["replay", run.id, "trainer.keep_every=2"])
    before = kept(run)
    assert {"weights.safetensors"} == {name for name in run_files(run.folder) if "weights" in name}
    assert list(before) == ["2.safetensors", "4.safetensors"]
    assert not torch.equal(*[load_model(run.id, epoch=n).state_dict()["0.weight"] for n in (2, 4)])
    capfd.readouterr()
    cli.main(["runs", "--json"])
    assert json.loads(capfd.readouterr().out)["runs"][0]["kept"] == [2, 4]
    (run.kept / "2.safetensors").write_bytes(before["4.safetensors"])
    with pytest.raises(UserError, match="not the weights that the run had after epoch 2; remove"):
        load_model(run.id, epoch=2)
    cli.main(["runs", "--clean", "--weights", "--yes"])
    assert not run.kept.exists()
    cli.main(["replay", run.id, "trainer.keep_every=2"])
    assert kept(run) == before
    assert run.weights_file.exists()


def test_a_longer_run_takes_those_of_the_shorter_one_over(train: Command, root: Path) -> None:
    how = (*RUN, "store.keep=last", "trainer.keep_every=2")
    train(*how)
    train(*how, "trainer.epochs=6")
    train(*how, "trainer.epochs=6", "store.root=whole")
    longer = max(Store(root / "runs").runs(), key=lambda run: len(run.epochs()))
    assert kept(longer) == kept(only(root, "whole"))
    assert len(kept(longer)) == 3
    assert load_model(longer.id, epoch=4).state_dict().keys()


def test_what_keeps_nothing_is_said_and_what_is_no_number_of_epochs_is_refused(
    train: Command, root: Path
) -> None:
    assert (
        "trainer.keep_every=9: keeps nothing: the run has at most 5"
        in train(*RUN, "trainer.keep_every=9").out
    )
    assert not only(root).kept.exists()
    refused = train(*RUN, "trainer.keep_every=0")
    assert refused.code == 2
    assert "trainer.keep_every=0: must be a whole number >= 1 (epochs), or null" in refused.err
