"""Sets that only iterate and do not fit in memory: iterated anew, alike, in each epoch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from sets import config
from stored import facts, only
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from sweeplab.config import Data
from sweeplab.data import Batches, Splits, StreamingSplit, examples, load, seeding
from sweeplab.data import facts as facts_of
from sweeplab.data.splits import nearby_order
from sweeplab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
COUNT = 200


class Stream(IterableDataset[Any]):
    """Example i is [i, a random number], its class i % 3; several workers share the examples."""

    iterations = 0

    def __init__(self, delivered: int = COUNT, shifting: bool = False) -> None:
        self.delivered, self.shifting = delivered, shifting

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        Stream.iterations += 1
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for number in range(first, self.delivered, step):
            noise = float(torch.rand(())) + random.random() + float(np.random.rand())
            if self.shifting:
                noise += Stream.iterations
            yield torch.tensor([float(number), noise]), number % 3


class WithTest(Stream):
    """A set that brings a test set."""

    def __init__(self, train: bool) -> None:
        super().__init__()


class Failing(Stream):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for pair in super().__iter__():
            if pair[0][0] == 150:
                raise OSError("the disk is gone")
            yield pair


def plus_noise(inputs: Tensor) -> Tensor:
    return inputs + torch.rand(())


def made(target: str = "Stream", node: dict[str, Any] | None = None, **changes: Any) -> Data:
    return config(f"{__name__}.{target}", node, **{"memory": 0, "version": "1", **changes})


def epoch(split: Any, number: int = 1, seed: int | None = 0, **options: Any) -> list[list[float]]:
    """The inputs of an epoch, in its order."""
    batches = Batches(split, 16, device="cpu", seed=seed, **options).epoch(number)
    return torch.cat([inputs for inputs, _ in batches]).tolist()  # type: ignore[no-any-return]


def parts(splits: Splits, seed: int | None = None) -> list[list[list[float]]]:
    return [epoch(part, seed=seed) for part in (splits.train, splits.valid, splits.test)]


@pytest.mark.few(3)
@pytest.mark.parametrize("task", ["classification", "any"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_examples_are_those_of_a_set_in_memory(task: str, workers: int) -> None:
    before = seeding.states()
    streamed = load(made(task=task, workers=workers))
    held = load(made(task=task, memory=2048, version=None))
    assert isinstance(streamed.train, StreamingSplit)
    assert not isinstance(held.train, StreamingSplit)
    for _ in range(2):
        assert parts(streamed) == parts(held)
    assert epoch(streamed.train, limit=2) == epoch(held.train, seed=None)[:32]
    assert parts(streamed) == parts(held), "begun anew after an epoch that was cut"
    assert seeding.states() == before
    assert facts_of(made(task=task)).held is False


@pytest.mark.parametrize("workers", [0, 2])
def test_a_buffer_shuffles_by_seed_and_epoch(workers: int) -> None:
    train = load(made(buffer=20, workers=workers)).train
    in_order = epoch(train, seed=None)
    first = epoch(train)
    assert sorted(first) == sorted(in_order)
    order = nearby_order(len(train), 20, seeding.generator(0, "order/1"))
    assert first == [in_order[number] for number in order]
    assert epoch(train) == first, "resumed"
    assert first not in (epoch(train, 2), epoch(train, seed=1))
    assert epoch(load(made(workers=workers)).train) == in_order, "no buffer, no shuffling"


@pytest.mark.parametrize(("size", "window"), [(100, 10), (10, 100), (7, 1)])
def test_a_number_comes_no_earlier_than_the_buffer_lets_it(size: int, window: int) -> None:
    order = nearby_order(size, window, torch.Generator().manual_seed(0)).tolist()
    assert sorted(order) == list(range(size))
    assert all(number < place + window for place, number in enumerate(order))
    assert (order == list(range(size))) is (window == 1)


def test_what_may_be_asked_for_and_no_more_is_kept() -> None:
    split: Any = load(made(buffer=20)).train
    dataset = examples.replayed(split.examples)
    assert dataset is not None
    for batches in (Batches, OfOneRank):
        for _ in batches(split, 16, device="cpu", seed=0).epoch(1):
            assert len(dataset._waiting) <= 20 + examples.CHUNK
        assert len(dataset._waiting) == 0


class OfOneRank(Batches):
    """Half of the examples; another process reads the others."""

    def rank_part(self, values: Tensor) -> Tensor:
        return values[::2]


def test_a_small_part_is_kept_once_it_has_been_read() -> None:
    # 200 examples of 8 KiB, where 1 MiB is allowed: the 13 that validate are less than a quarter
    splits = load(made("Wide", memory=1, in_features=2048))
    epoch(splits.valid, seed=None)
    before = Stream.iterations
    valid = epoch(splits.valid, seed=None)
    assert Stream.iterations == before
    assert valid == epoch(load(made("Wide", memory=1, in_features=2048)).valid, seed=None)
    epoch(splits.train)
    assert Stream.iterations > before


class Wide(Stream):
    """Examples that take more memory."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for inputs, target in super().__iter__():
            yield inputs.repeat(1024), target


def test_training_examples_are_changed_anew_in_each_epoch() -> None:
    splits = load(made(train_transform={"_target_": f"{__name__}.plus_noise"}, buffer=20))
    first = epoch(splits.train)
    assert epoch(splits.train) == first
    plain = load(made(buffer=20))
    drawn = {round(a[0] - b[0], 4) for a, b in zip(first, epoch(plain.train), strict=True)}
    assert len(drawn) > 100
    assert parts(splits)[1:] == parts(plain)[1:]


def test_a_set_may_bring_a_test_set() -> None:
    splits = load(made("WithTest"))
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [184, 16, 200]
    assert [row[0] for row in epoch(splits.test, seed=None)] == list(range(200))


def test_a_killed_run_resumes_to_the_same_bits(
    train: Command, root: Path, die_at: Callable[[int], None]
) -> None:
    how = ("data=digits", f"data.dataset._target_={__name__}.Stream", "data.shape=null", "data.in_features=2",
           "data.out_features=3", "data.memory=0", "data.version=1", "data.buffer=50", "data.mean=null", "data.std=null",
           "model=linear", "trainer.batch_size=16", "trainer.epochs=3", "trainer.threads=1")  # fmt: skip
    assert train(*how, "store.root=whole").code == 0
    die_at(2)
    assert train(*how).code == 130
    assert "goes on after epoch 1" in train(*how, "data.workers=1").out
    assert facts(only(root)) == facts(only(root, "whole"))


def test_planning_reads_the_beginning_only() -> None:
    splits = load(made("Failing"))  # fails at example 150
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 200


@pytest.mark.parametrize(
    ("target", "node", "changes", "message"),
    [
        ("Stream", {}, {"version": None}, r"data\.version=null: the set needs 1 MiB, more than data\.memory=0, so it is streamed"),
        ("Stream", {"shifting": True}, {}, r"data\.dataset: the Stream gives other examples when it is iterated again, though"),
    ],
)  # fmt: skip
def test_what_cannot_be_streamed(
    target: str, node: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(made(target, node, **changes))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("target", "node", "message"),
    [
        ("Stream", {"delivered": 150}, "the Stream has a __len__ of 200, and delivers 150 examples"),
        ("Stream", {"delivered": 201}, "the Stream has a __len__ of 200, and more examples"),
        ("Failing", {}, "example 150 cannot be read: OSError: the disk is gone"),
    ],
)  # fmt: skip
def test_what_is_wrong_further_on_is_found_in_an_epoch(
    target: str, node: dict[str, Any], message: str, workers: int
) -> None:
    splits = load(made(target, node, workers=workers))
    with pytest.raises(UserError, match=message):
        parts(splits)


def test_the_order_is_told() -> None:
    (note,) = load(made()).notes
    assert note == (
        "data.buffer=null: the set only iterates and does not fit in memory, so it is trained on in "
        "its order; data.buffer=1000 draws each from the next 1000"
    )
    assert load(made(buffer=20)).notes == ()
    in_memory = load(made(memory=2048, buffer=20)).notes[:1]
    assert in_memory == ("data.buffer=20: has no effect: all examples of the set are shuffled",)
