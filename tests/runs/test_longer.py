"""More epochs after a finished run: it goes on from its end, with the bits of one run of that length."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from stored import facts

from sweeplab.store import Event, Run, Store

RUN = (
    "data=digits",
    "trainer.threads=1",
    "trainer.patience=null",
    "model.dropout=0.2",
    "store.keep=last",
)


def longest(root: Path, folder: str = "runs") -> Run:
    return max(Store(root / folder).runs(), key=lambda run: len(run.epochs()))


def of(run: Run, event: Event) -> list[dict[str, object]]:
    return [line for line in run.journal.events() if line["event"] == event]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "further", [(), ("optimizer=sgd", "trainer.ema=0.9"), ("trainer.patience=1",)]
)
def test_a_longer_run_goes_on_from_a_finished_one(
    train: Command, root: Path, further: tuple[str, ...]
) -> None:
    assert train(*RUN, *further, "trainer.epochs=2").code == 0
    again = train(*RUN, *further, "trainer.epochs=5")
    assert again.code == 0
    assert "begins with the epochs of run" in again.out
    assert train(*RUN, *further, "trainer.epochs=5", "store.root=whole").code == 0
    run = longest(root)
    assert facts(run) == facts(longest(root, "whole"))
    assert [line["epoch"] for line in of(run, Event.EPOCH)] == [*run.epochs()]
    assert [line["epoch"] for line in of(run, Event.RESUME)] == [2]
    assert not of(run, Event.DIFFERS)


@pytest.mark.full
def test_a_run_of_four_is_reached_in_three_steps(train: Command, root: Path) -> None:
    for epochs in (1, 2, 4):
        assert train(*RUN, f"trainer.epochs={epochs}").code == 0
    train(*RUN, "trainer.epochs=4", "store.root=whole")
    assert facts(longest(root)) == facts(longest(root, "whole"))
    assert [line["epoch"] for line in of(longest(root), Event.RESUME)] == [2]
    assert len(list(longest(root).checkpoints.iterdir())) == 1


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "otherwise",
    [
        ("store.keep=none",),
        ("scheduler=one_cycle",),
        ("scheduler=cosine",),
        ("scheduler=warmup_cosine",),
        ("scheduler=cosine", "trainer.scheduler_interval=step"),
    ],
)
def test_without_a_checkpoint_or_with_a_schedule_of_the_whole_run_it_starts_anew(
    train: Command, root: Path, otherwise: tuple[str, ...]
) -> None:
    assert train(*RUN, *otherwise, "trainer.epochs=4").code == 0
    again = train(*RUN, *otherwise, "trainer.epochs=5")
    assert again.code == 0
    assert "begins with" not in again.out
    assert not of(longest(root), Event.RESUME)


def test_who_does_not_keep_checkpoints_pays_nothing_for_them(train: Command, root: Path) -> None:
    """Shorter runs are looked for only with `store.keep=last`."""
    assert train(*RUN, "trainer.epochs=2").code == 0
    assert "begins with" not in train(*RUN, "trainer.epochs=3", "store.keep=none").out


def test_another_seed_or_fewer_epochs_start_anew(train: Command, root: Path) -> None:
    train(*RUN, "trainer.epochs=3")
    for other in (("trainer.epochs=4", "seed=1"), ("trainer.epochs=2",)):
        assert "begins with" not in train(*RUN, *other).out


def test_a_sweep_goes_on_from_the_runs_of_a_shorter_one(train: Command, root: Path) -> None:
    how = (*RUN, "model.hidden=8", "seed=0,1")
    assert train("-m", *how, "trainer.epochs=2").code == 0
    assert train("-m", *how, "trainer.epochs=4").code == 0
    train("-m", *how, "trainer.epochs=4", "store.root=whole")
    longer = {run.id: facts(run) for run in Store(root / "runs").runs() if len(run.epochs()) == 4}
    assert longer == {run.id: facts(run) for run in Store(root / "whole").runs()}
    assert len(longer) == 2
    for run in Store(root / "runs").runs():
        assert len(of(run, Event.RESUME)) == (len(run.epochs()) == 4)
