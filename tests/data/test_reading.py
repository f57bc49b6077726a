"""Sets that draw random numbers: read anew in each epoch, with streams of their own for each example."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sets import config
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from sweeplab.data import Batches, Digits, InMemorySplit, Splits, StreamingSplit, facts, load
from sweeplab.data.pairs import Pairs
from sweeplab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
clock = itertools.count()  # what a set may depend on beside the generators


# --- Sets of a user's own ---------------------------------------------------------------------------------------------

DRAWS: Mapping[str, Callable[[int], float]] = {
    "torch": lambda _: float(torch.rand(())),
    "torch.normal": lambda _: float(torch.randn(())),
    "random": lambda _: random.random(),
    "random.gauss": lambda _: random.gauss(0, 1),
    "numpy": lambda _: float(np.random.rand()),
    "numpy.normal": lambda _: float(np.random.normal()),
    "all": lambda _: float(torch.rand(())) + random.random() + float(np.random.rand()),
    "one": lambda index: random.random() if index == 4 else 0.0,  # which is not in the sample
    "nothing": lambda index: float(index),
    "its own seed": lambda index: float(torch.rand((), generator=torch.manual_seed(index))),
    "its own seeds": lambda index: (
        random.seed(index),
        np.random.seed(index),
        random.random() + np.random.rand(),
    )[2],
    "a generator of its own": lambda _: float(OWN.random()),
    "a new generator": lambda _: float(np.random.default_rng().random()),
    "the clock": lambda _: float(next(clock)),
}
OWN = np.random.default_rng(0)


class Noisy(Dataset[Any]):
    """Example i is [i, something drawn], its class i % 3."""

    def __init__(self, draws: str, count: int = 24) -> None:
        self.draw = DRAWS[draws]
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index), self.draw(index)]), index % 3


class Halves(Noisy):
    """Training examples draw, test examples do not."""

    def __init__(self, train: bool) -> None:
        super().__init__("all" if train else "nothing", 24 if train else 6)


class Made(Dataset[Any]):
    """Examples that are drawn in the constructor."""

    def __init__(self, draws: str, train: bool) -> None:
        self.values = torch.tensor([[DRAWS[draws](i), i] for i in range(24)])

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.values[index], index % 3


class Kept(Noisy):
    """Examples that are drawn when they are read first, and kept."""

    def __init__(self) -> None:
        super().__init__("all")
        self.kept: dict[int, tuple[Tensor, int]] = {}

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index not in self.kept:
            self.kept[index] = super().__getitem__(index)
        return self.kept[index]


class Worn(Noisy):
    """Examples that become others when many have been read."""

    read = 0

    def __init__(self) -> None:
        super().__init__("all")

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        inputs, target = super().__getitem__(index)
        return inputs + (self.read > 200), target


class NoisyDigits(Digits):
    """A built-in set with noise."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = super().__getitem__(index)
        return inputs + torch.rand(inputs.shape), target


class Endless(IterableDataset[Any]):
    """Examples without numbers, though with a length."""

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Any:
        return iter([])


class Ragged(Noisy):
    """An example that is longer than the others."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.ones(3 if index == 4 else 2), 0


class Broken(Noisy):
    """An example that cannot be read."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 4:
            raise FileNotFoundError("no such picture: 4.png")
        return super().__getitem__(index)


class Frame:
    """A table as pandas has it: with a length, and columns instead of examples."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, name: object) -> object:
        return {"x": [1]}[name]  # type: ignore[index]


def drawn_pair() -> tuple[Tensor, Any]:
    return torch.rand(24, 2) + random.random(), np.random.randint(0, 3, 24)


def of_torch(kind: str) -> Dataset[Any]:
    noisy = Noisy("all")
    return {
        "Subset": Subset(noisy, range(20)),
        "ConcatDataset": ConcatDataset([Noisy("nothing", 4), noisy]),
        "TensorDataset": TensorDataset(torch.rand(24, 2), torch.arange(24) % 3),
    }[kind]


def given(what: str) -> Any:
    """What is no set of pairs."""
    return {
        "dict": {"train": [], "test": []},
        "bunch": {"data": np.zeros((24, 2)), "target": np.zeros(24)},
        "dicts": [{"x": [1, 2], "y": 0}] * 24,
        "endless": Endless(),
        "frame": Frame(),
        "numbers": (np.array(1.0), np.array(2.0)),
        "sparse": [(torch.zeros(2).to_sparse(), 0)] * 24,
        "objects": [(np.array([1, None]), 0)] * 24,
        "dates": [(np.array([1, 2], dtype="datetime64[s]"), 0)] * 24,
        "complex": (torch.zeros(24, 2, dtype=torch.complex64), torch.zeros(24, dtype=torch.int64)),
        "complex classes": (torch.zeros(24, 2), torch.zeros(24, dtype=torch.complex64)),
        "text": "digits",
    }[what]


def noisy(draws: str, target: str = "Noisy", **changes: Any) -> Any:
    node = {"draws": draws} if target in ("Noisy", "Made", "Ragged", "Broken") else {}
    return config(dataset={"_target_": f"{__name__}.{target}", **node}, **changes)


def seen(
    splits: Splits, seed: int | None = 0, epoch: int = 1, part: str = "train"
) -> dict[float, float]:
    """What is drawn for each example of an epoch, by its number."""
    batches = Batches(getattr(splits, part), 4, device="cpu", seed=seed)
    return {
        number: value for inputs, _ in batches.epoch(epoch) for number, value in inputs.tolist()
    }


# --- Tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draws",
    ["torch", "torch.normal", "random", "random.gauss", "numpy", "numpy.normal", "all", "one"],
)
def test_a_set_that_draws_is_streamed_and_has_one_digest(draws: str) -> None:
    splits = load(noisy(draws))
    assert isinstance(splits.train, StreamingSplit)
    torch.rand(3), random.random(), np.random.rand()
    assert facts(noisy(draws)).digest == splits.digest
    assert load(noisy(draws)).digest == splits.digest, "the same command finds its finished run"


@pytest.mark.parametrize("draws", ["nothing", "its own seed", "its own seeds"])
def test_a_set_whose_examples_stay_the_same_is_held(draws: str) -> None:
    splits = load(noisy(draws))
    assert isinstance(splits.train, InMemorySplit)
    examples = Noisy(draws)
    assert seen(splits) == {i: pytest.approx(float(examples[int(i)][0][1])) for i in seen(splits)}


@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("draws", ["torch", "random", "numpy", "random.gauss", "numpy.normal"])
def test_an_example_draws_anew_in_each_epoch_and_for_each_seed(draws: str, memory: int) -> None:
    splits = load(noisy(draws, memory=memory, version="1"))
    first = seen(splits)
    assert len(set(first.values())) == len(first), "each its own"
    others = [seen(splits, 0, 2), seen(splits, 1, 1)]
    assert not {*first.values()} & {*others[0].values()}
    assert not {*first.values()} & {*others[1].values()}
    assert seen(splits) == first


@pytest.mark.parametrize("memory", [2048, 0])
def test_any_number_of_workers_draws_the_same(memory: int) -> None:
    sets = [
        load(noisy("all", memory=memory, version="1", workers=workers)) for workers in (0, 1, 2)
    ]
    assert seen(sets[0]) == seen(sets[1]) == seen(sets[2])
    assert seen(sets[0], epoch=2) == seen(sets[2], epoch=2)


def test_examples_to_evaluate_on_are_the_same_in_each_epoch() -> None:
    splits = load(noisy("all", valid=6))
    assert seen(splits, None, 0, "valid") == seen(splits, None, 1, "valid")
    assert len(set(seen(splits, None, 0, "valid").values())) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_and_building_leave_the_global_generators_alone(workers: int) -> None:
    def states() -> tuple[object, ...]:
        numpy: Any = np.random.get_state()
        return torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2:]

    before = states()
    for target, draws in (
        ("Noisy", "all"),
        ("Noisy", "its own seeds"),
        ("Made", "all"),
        ("drawn_pair", ""),
    ):
        for memory in (2048, 0):
            data = noisy(draws, target, memory=memory, version="1", workers=workers)
            facts(data)
            splits = load(data)
            for _ in Batches(splits.train, 4, device="cpu", seed=0).epoch(1):
                assert states() == before
    assert states() == before


def test_only_the_half_that_draws_is_streamed() -> None:
    splits = load(noisy("", "Halves"))
    assert [type(part) for part in (splits.train, splits.valid, splits.test)] == [
        StreamingSplit,
        StreamingSplit,
        InMemorySplit,
    ]


@pytest.mark.parametrize("draws", ["torch", "random", "numpy", "all"])
def test_what_a_constructor_draws_is_the_same_in_each_process(draws: str) -> None:
    splits = load(noisy(draws, "Made"))
    assert isinstance(splits.train, InMemorySplit)
    torch.rand(3), random.random(), np.random.rand()
    assert facts(noisy(draws, "Made")).digest == splits.digest
    train, test = (
        held.inputs[:, 0].tolist()
        for held in (splits.train, splits.test)
        if isinstance(held, InMemorySplit)
    )
    assert not {*train} & {*test}, "the two halves draw differently"


def test_a_function_and_sets_of_torch_that_draw() -> None:
    for target, node, kind in (
        ("drawn_pair", {}, InMemorySplit),
        ("of_torch", {"kind": "TensorDataset"}, InMemorySplit),
        ("of_torch", {"kind": "Subset"}, StreamingSplit),
        ("of_torch", {"kind": "ConcatDataset"}, StreamingSplit),
    ):
        data = config(dataset={"_target_": f"{__name__}.{target}", **node})
        splits = load(data)
        assert isinstance(splits.train, kind)
        assert facts(data).digest == splits.digest


def test_a_subclass_of_a_built_in_set_is_read_by_its_own_method() -> None:
    splits = load(
        config(dataset={"_target_": f"{__name__}.NoisyDigits"}, in_features=64, out_features=10)
    )
    assert isinstance(splits.train, StreamingSplit)


@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("draws", ["a generator of its own", "a new generator", "the clock"])
def test_a_set_that_is_another_one_each_time_it_is_read_is_refused(draws: str, memory: int) -> None:
    with pytest.raises(UserError) as error:
        load(noisy(draws, memory=memory, version="1"))
    assert str(error.value) == (
        "data.dataset: example 0 is another one each time it is read, though the global generators of torch, random "
        "and numpy are seeded alike before; draw from these, not from a generator of its own"
    )


@pytest.mark.parametrize("memory", [2048, 0])
def test_a_set_that_keeps_what_it_drew_first_is_refused(memory: int) -> None:
    with pytest.raises(UserError) as error:
        load(noisy("", "Kept", memory=memory, version="1"))
    assert str(error.value) == (
        "data.dataset: example 3 draws random numbers when it is read first and not when it is read again: what it "
        "keeps would depend on who read it before; draw each time, or in the constructor"
    )


def test_a_set_that_reading_changes_is_told() -> None:
    for target, expected in (("Noisy", False), ("Worn", True)):
        split = load(noisy("all", target)).train
        assert isinstance(split, StreamingSplit)
        assert not split.changed()
        for epoch in range(10):
            assert len(list(Batches(split, 4, device="cpu", seed=0).epoch(epoch))) == 5
        assert split.changed() is expected


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "dict",
            r"the target delivers a dict of the keys train, test; it must deliver a torch Dataset with __len__ and",
        ),
        (
            "bunch",
            r"delivers a dict of the keys data, target \(scikit-learn's own take return_X_y: true beside _target_\)",
        ),
        ("dicts", r"an example is a dict; it must be a pair \(input, target\)"),
        (
            "endless",
            r"the Endless has a __len__ of 24, and delivers 0 examples",
        ),
        ("frame", r"example 0 cannot be read: KeyError: 0 \(test_reading\.py, line \d+\)"),
        ("numbers", r"the inputs are one number; they must be an array of a row for each example"),
        ("sparse", r"a torch\.sparse_coo tensor of torch\.float32 is not dense numbers"),
        (
            "objects",
            r"an ndarray cannot be made a tensor: its items are NoneType, int, and numbers are needed",
        ),
        ("dates", r"an ndarray cannot be made a tensor: .*datetime64"),
        ("complex", r"the inputs are torch\.complex64; give real and imaginary parts as numbers"),
        (
            "complex classes",
            r"a target must be one whole number, not torch\.complex64 of shape \[\]",
        ),
        ("text", r"delivers a str; it must deliver a torch Dataset"),
    ],
)
@pytest.mark.parametrize("memory", [2048, 0])
def test_what_is_no_set_of_pairs_is_refused_in_one_line(
    what: str, message: str, memory: int
) -> None:
    with pytest.raises(
        UserError, match=rf"^data\.(dataset|task=classification): .*{message}"
    ) as error:
        load(
            config(
                dataset={"_target_": f"{__name__}.given", "what": what}, memory=memory, version="1"
            )
        )
    assert "\n" not in str(error.value)


def test_a_bunch_of_scikit_learn_is_refused_and_its_pair_taken() -> None:
    iris = {"_target_": "sklearn.datasets.load_iris"}
    with pytest.raises(
        UserError, match=r"delivers a Bunch of the keys data, target, .*return_X_y: true"
    ):
        load(config(dataset=iris, in_features=4))
    assert len(load(config(dataset=iris | {"return_X_y": True}, in_features=4)).train) == 110


def test_an_example_that_cannot_be_read_is_named() -> None:
    message = r"^data\.dataset: example 4 cannot be read: FileNotFoundError: no such picture: 4\.png \(test_reading\.py"
    with pytest.raises(UserError, match=message):
        load(noisy("nothing", "Broken"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_batch_is_one_line_with_any_number_of_workers(workers: int) -> None:
    splits = load(noisy("nothing", "Ragged", memory=0, version="1", workers=workers))
    with pytest.raises(UserError) as error:
        seen(splits)
    assert str(error.value).startswith("data.dataset: the examples differ in shape: ")
    assert "\n" not in str(error.value)


def test_numbers_of_any_kind_are_taken() -> None:
    for example in (
        ([1.0, 2.0], (1, 2)),
        (np.float64(3.0), True),
        (5, np.int16(1)),
        (torch.ones(2, 1), torch.tensor(1)),
    ):
        assert len(Pairs(config()).part([example] * 3, ())[0]) == 2
