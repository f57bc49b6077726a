"""Sets of the task `any`: examples of any form, batches as they collate, held or read in turn."""

from __future__ import annotations

import random
import re
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image
from sets import config
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from sweeplab.config import Data, compose
from sweeplab.data import (
    Batches,
    Splits,
    StreamingSplit,
    TreeSplit,
    can_be_shared,
    facts,
    load,
    mapped,
    problems,
    share,
    trees,
)
from sweeplab.errors import UserError
from sweeplab.runs import identity, parts

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


# --- Sets of a user's own -------------------------------------------------------------------------


class Boxes(NamedTuple):
    boxes: Tensor
    count: int


class Dicts(Dataset[Any]):
    """Dictionaries with a tensor, an array, numbers, and a tuple in a named tuple's place."""

    def __init__(self, count: int = 24) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return {
            "picture": torch.full((1, 2, 2), index, dtype=torch.uint8),
            "row": np.array([index, index + 0.5], np.float32),
            "more": (Boxes(torch.ones(4) * index, index), [index % 2 == 0, index / 2]),
        }


class Sequences(Dataset[Any]):
    """Example i is a sequence of 1 + i % 3 numbers i, and its length."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        length = 1 + index % 3
        return torch.full((length,), float(index)), length


class Texts(Dataset[Any]):
    """Texts of equal structure, which default_collate makes lists of."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[str, int]:
        return f"word {index}", index


class Noise(Dataset[Any]):
    """Examples that draw from all generators."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = float(torch.rand(())) + random.random() + float(np.random.rand())
        return {"number": index, "noise": noise}


class Once(IterableDataset[Any]):
    """Pairs in one order only."""

    def __init__(self, count: int = 24, said: int | None = 24, width: int = 2) -> None:
        self.count, self.said, self.width = count, said, width

    def __len__(self) -> int:
        if self.said is None:
            raise TypeError("unknown")
        return self.said

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for number in range(self.count):
            yield torch.full((self.width,), float(number)), number % 3


class NoLength(IterableDataset[Any]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(24))


class Graph:
    """A graph as torch_geometric has it: an object with a to_dict() and a to()."""

    def __init__(self, nodes: Tensor, edges: Tensor) -> None:
        self.nodes, self.edges = nodes, edges

    def to_dict(self) -> dict[str, Tensor]:
        return {"nodes": self.nodes, "edges": self.edges}

    def to(self, device: torch.device) -> Graph:
        return Graph(self.nodes.to(device), self.edges.to(device))


def graphs(count: int = 24) -> list[Graph]:
    return [Graph(torch.ones(2 + i % 3) * i, torch.zeros(2, i % 4)) for i in range(count)]


def joined(graphs: list[Graph]) -> Graph:
    nodes = torch.cat([graph.nodes for graph in graphs])
    return Graph(nodes, torch.cat([graph.edges for graph in graphs], 1))


class Molecule:
    """An object of which nothing tells what it holds."""

    def __init__(self, number: int) -> None:
        self.number = number


def molecules() -> list[Molecule]:
    return [Molecule(i) for i in range(24)]


def numbers_of(molecules: list[Molecule]) -> Tensor:
    return torch.tensor([molecule.number for molecule in molecules])


def padded(examples: list[tuple[Tensor, int]], value: float = 0.0) -> dict[str, Tensor]:
    sequences, lengths = zip(*examples, strict=True)
    rows = pad_sequence(list(sequences), batch_first=True, padding_value=value)
    return {"rows": rows, "lengths": torch.tensor(lengths)}


class Pad:
    """The same as a class."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, examples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        return padded(examples, self.value)


class NotCallable:
    pass


def masked(examples: list[Any]) -> tuple[list[Any], Tensor]:
    """Draws, as the collate function of a masked language model does."""
    return examples, torch.rand(len(examples)) + random.random() + float(np.random.rand())


def greedy(examples: list[Any]) -> Any:
    """Changes its examples in place."""
    for example in examples:
        example[0].add_(1)
    return default_collate(examples)


def packed(examples: list[tuple[Tensor, int]]) -> PackedSequence:
    return pack_sequence([sequence for sequence, _ in examples], enforce_sorted=False)


def factory(value: float = 0.0) -> Any:
    return lambda examples: padded(examples, value)


def nothing(examples: list[Any]) -> None:
    examples.clear()


def failing(examples: list[Any]) -> Tensor:
    return torch.stack([example["x"] for example in examples])


def delivered(what: str) -> Any:
    ones = torch.ones(24, 2)
    return {
        "tuple": (ones, np.arange(24), {"weight": torch.arange(24.0)}),
        "dict": {"x": ones, "y": torch.arange(24)},
        "tensor": torch.arange(24.0),
        "list": [{"x": i} for i in range(24)],
        "pictures": [(Image.new("L", (2, 2), i), i) for i in range(24)],
        "uneven": (ones, torch.ones(20)),
        "number": (ones, torch.tensor(1.0)),
        "mixed": {"x": ones, "names": ["a"] * 24},
        "few": ones[:2],
        "none": ones[:0],
        "loader": DataLoader(TensorDataset(ones)),
        "text": "pictures/",
        "generator": (i for i in range(24)),
        "ragged": [torch.ones(3 if i == 4 else 2) for i in range(24)],
        "structures": [{"x": 1} if i else {"y": 1} for i in range(24)],
        "nulls": [(1, None)] * 24,
        "frame": _frame(),
        "set": {(i, i + 1) for i in range(24)},
    }[what]


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"x": range(24)})


def made(target: str = "Dicts", node: dict[str, Any] | None = None, **changes: Any) -> Data:
    """A config of the task any for one of the sets above."""
    collate = changes.pop("collate", None)
    if isinstance(collate, str):
        collate = {"_target_": f"{__name__}.{collate}"}
    return config(f"{__name__}.{target}", node, task="any", collate=collate, **changes)


def given(what: str, **changes: Any) -> Data:
    return made("delivered", {"what": what}, **changes)


def epoch(split: Any, number: int = 1, **options: Any) -> list[Any]:
    return list(Batches(split, 4, **{"device": "cpu", "seed": 0, **options}).epoch(number))


def seen(splits: Splits, number: int = 1, **options: Any) -> dict[int, float]:
    """What an example of Noise drew in an epoch."""
    batches = epoch(splits.train, number, **options)
    values: dict[int, float] = {}
    for batch in batches:
        values |= dict(zip(batch["number"].tolist(), batch["noise"].tolist(), strict=True))
    return values


# --- Held as tensors ------------------------------------------------------------------------------


def test_equal_tensors_are_held_and_batches_are_those_of_default_collate() -> None:
    splits = load(made())
    assert isinstance(splits.train, TreeSplit)
    examples = Dicts()
    batches = epoch(splits.train)
    assert len(batches) == 5
    for batch in batches:
        numbers = batch["more"][0].count.tolist()
        expected = default_collate([examples[number] for number in numbers])
        assert trees.digest(batch) == trees.digest(expected)
        assert isinstance(batch["more"][0], Boxes)
    assert batches[0]["picture"].dtype == torch.uint8, "nothing is normalised"
    assert facts(made()).held
    assert facts(made()).digest == splits.digest == load(made()).digest
    assert load(made(node={"count": 25})).digest != splits.digest


def test_streamed_equals_held_with_any_number_of_workers() -> None:
    held = epoch(load(made()).train)
    for workers in (0, 2):
        streamed = load(made(memory=0, version="1", workers=workers))
        assert isinstance(streamed.train, StreamingSplit)
        assert trees.digest(epoch(streamed.train)) == trees.digest(held)
    assert not facts(made(memory=0, version="1")).held


@pytest.mark.parametrize(
    ("what", "structure"), [("tuple", list), ("dict", dict), ("tensor", Tensor), ("list", dict)]
)
def test_arrays_are_columns_and_a_list_is_of_examples(what: str, structure: type) -> None:
    splits = load(given(what))
    assert isinstance(splits.train, TreeSplit)
    batch = epoch(splits.train)[0]
    assert isinstance(batch, structure)
    assert [len(split) for split in (splits.train, splits.valid, splits.test)] == [19, 1, 4]


def test_arrays_and_examples_of_the_same_content_have_one_digest() -> None:
    columns = load(given("dict"))
    as_examples = load(made("dataset_of_columns"))
    assert columns.digest == as_examples.digest
    assert trees.digest(epoch(columns.train)) == trees.digest(epoch(as_examples.train))


def dataset_of_columns() -> list[dict[str, Any]]:
    return [{"x": torch.ones(2), "y": i} for i in range(24)]


def test_a_built_in_set_is_taken_as_it_is() -> None:
    pairs = config("sweeplab.data.Digits", in_features=64, out_features=10)
    digits = replace(pairs, task="any")
    assert load(digits).digest == load(pairs).digest
    pictures, labels = epoch(load(digits).train)[0]
    assert (pictures.shape, pictures.max().item(), labels.dtype) == (
        (4, 1, 8, 8),
        16.0,
        torch.int64,
    )


def test_batches_are_copies() -> None:
    split = load(made()).train
    before = trees.digest(epoch(split))
    for batch in epoch(split):
        batch["row"].zero_()
    assert trees.digest(epoch(split)) == before


def test_sizes_are_those_of_the_batches() -> None:
    train = load(given("tensor")).train
    for options in ({}, {"drop_last": True}, {"limit": 2}, {"limit": 5}):
        batches = Batches(train, 8, device="cpu", seed=0, **options)
        assert batches.sizes() == [len(batch) for batch in batches.epoch(1)]
    assert Batches(train, 8, device="cpu").sizes() == [8, 8, 3]


def test_all_processes_of_a_sweep_share_one_copy() -> None:
    for data in (made(), given("dict"), given("tensor")):
        splits = load(data)
        assert can_be_shared(splits) is (data != made()), "a named tuple is a class of the user's"
        if can_be_shared(splits):
            shared = share(splits)
            with shared.file:
                copy = mapped(shared.file.fileno(), shared.layout)
            assert copy.digest == splits.digest
            for part in ("train", "valid", "test"):
                ours, theirs = (epoch(getattr(each, part)) for each in (splits, copy))
                assert trees.digest(ours) == trees.digest(theirs)
    assert not can_be_shared(load(made("Texts")))


# --- Held as a list -------------------------------------------------------------------------------


def test_texts_are_kept_in_a_list() -> None:
    splits = load(made("Texts"))
    assert isinstance(splits.train, StreamingSplit)
    assert facts(made("Texts")).held
    for words, numbers in epoch(splits.train):
        assert list(words) == [f"word {number}" for number in numbers.tolist()]
    assert not splits.train.changed()


@pytest.mark.few(2)
@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("workers", [0, 2])
def test_sequences_are_padded_by_a_function_or_a_class(memory: int, workers: int) -> None:
    options = {"memory": memory, "version": "1", "workers": workers}
    batches = [
        epoch(load(made("Sequences", collate=collate, **options)).train)
        for collate in ("padded", "Pad", {"_target_": f"{__name__}.padded", "value": 0.0})
    ]
    assert trees.digest(batches[0]) == trees.digest(batches[1]) == trees.digest(batches[2])
    for batch in batches[0]:
        assert batch["rows"].shape == (len(batch["lengths"]), batch["lengths"].max().item())
    collate = {"_target_": f"{__name__}.Pad", "value": -1.0}
    other = epoch(load(made("Sequences", collate=collate, **options)).train)
    assert min(batch["rows"].min().item() for batch in other) == -1.0


def test_packed_sequences_and_graphs_are_moved_by_their_own_method() -> None:
    batch = epoch(load(made("Sequences", collate="packed")).train)[0]
    assert isinstance(batch, PackedSequence)
    splits = load(made("graphs", collate="joined"))
    assert isinstance(epoch(splits.train)[0], Graph)
    assert load(made("graphs", {"count": 25}, collate="joined")).digest != splits.digest
    on_meta = trees.moved({"graph": graphs()[1], "name": "a"}, torch.device("meta"))
    assert (on_meta["graph"].nodes.device.type, on_meta["name"]) == ("meta", "a")


class Pinned:
    """An object that says that it was pinned."""

    def __init__(self, pinned: bool = False) -> None:
        self.pinned = pinned

    def pin_memory(self) -> Pinned:
        return Pinned(pinned=True)


def test_pinning_keeps_tuples_and_asks_objects() -> None:
    first, (second, name) = trees.pinned((Pinned(), [Pinned(), "a"]))
    assert (first.pinned, second.pinned, name) == (True, True, "a")
    assert isinstance(trees.pinned((Pinned(), 1)), tuple)


@pytest.mark.parametrize("memory", [2048, 0])
def test_what_collate_draws_is_a_function_of_seed_epoch_and_batch(memory: int) -> None:
    splits = [
        load(made("Texts", collate="masked", memory=memory, version="1", workers=workers))
        for workers in (0, 2)
    ]
    drawn = [[values.tolist() for _, values in epoch(each.train)] for each in splits]
    assert drawn[0] == drawn[1]
    torch.rand(3), random.random()
    assert [values.tolist() for _, values in epoch(splits[0].train)] == drawn[0]
    assert [values.tolist() for _, values in epoch(splits[0].train, 2)] != drawn[0]
    assert [values.tolist() for _, values in epoch(splits[0].train, seed=1)] != drawn[0]
    first, again = (epoch(splits[0].valid, number, seed=None) for number in (0, 1))
    assert trees.digest(first) == trees.digest(again)


def test_collate_leaves_the_set_and_the_generators_alone() -> None:
    split = load(made("dataset_of_pairs", collate="greedy")).train
    before = torch.get_rng_state().tolist(), random.getstate()
    assert trees.digest(epoch(split)) == trees.digest(epoch(split))
    epoch(load(made("Texts", collate="masked")).train)
    assert (torch.get_rng_state().tolist(), random.getstate()) == before


def dataset_of_pairs() -> list[Any]:
    return [(torch.zeros(2), i) for i in range(24)]


# --- Read in turn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [2048, 0])
def test_examples_that_draw_are_read_anew_in_each_epoch(memory: int) -> None:
    splits = load(made("Noise", memory=memory, version="1"))
    assert isinstance(splits.train, StreamingSplit)
    first = seen(splits)
    assert len(set(first.values())) == 19
    assert not {*first.values()} & {*seen(splits, 2).values()}
    assert not {*first.values()} & {*seen(splits, seed=1).values()}
    parallel = load(made("Noise", memory=memory, version="1", workers=2))
    assert seen(splits) == first == seen(parallel)
    assert facts(made("Noise")).held is False


def test_objects_without_content_are_refused_or_named_by_a_version() -> None:
    with pytest.raises(UserError) as error:
        load(made("molecules", collate="numbers_of"))
    assert str(error.value) == (
        f"data.dataset: an example has a {__name__}.Molecule, and nothing tells what it holds: "
        "give it a method to_dict(), or name the state of the set, as in data.version=1; it is "
        "then read anew in each epoch"
    )
    splits = load(made("molecules", collate="numbers_of", version="1"))
    assert sorted(torch.cat(epoch(splits.train)).tolist())[-1] == 23
    assert not facts(made("molecules", collate="numbers_of", version="1")).held
    other = load(made("molecules", collate="numbers_of", version="2"))
    assert other.digest != splits.digest


# --- Sets that only iterate -----------------------------------------------------------------------


def test_an_iterable_set_is_read_once_for_pairs_and_for_any() -> None:
    for task in ("any", "classification"):
        splits = load(config(f"{__name__}.Once", task=task))
        x, y = epoch(splits.train)[0]
        assert (x[:, 0].long() % 3).tolist() == y.tolist()
        assert [len(split) for split in (splits.train, splits.valid, splits.test)] == [19, 1, 4]
    assert isinstance(load(given("set", collate=None)).train, TreeSplit)


@pytest.mark.parametrize("task", ["any", "classification"])
@pytest.mark.parametrize(
    ("target", "node", "message"),
    [
        (
            "NoLength",
            {},
            "delivers a NoLength, an IterableDataset without __len__; it must deliver",
        ),
        ("Once", {"said": None}, "delivers a Once, an IterableDataset without __len__"),
        ("Once", {"count": 20}, "the Once has a __len__ of 24, and delivers 20 examples"),
        ("Once", {"count": 30}, "the Once has a __len__ of 24, and more examples"),
        (
            "Once",
            {"width": 100_000},
            r"data\.version=null: the set needs 10 MiB, more than data\.memory=1, so it is streamed and never read as a whole",
        ),
    ],
)
def test_iterable_sets_that_cannot_be_taken(
    target: str, node: dict[str, Any], message: str, task: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(config(f"{__name__}.{target}", node, task=task, memory=1))


# --- What a student may get wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("uneven", r"data\.dataset: the arrays have 24, 20 rows; a tuple or a dict is taken as"),
        ("number", r"data\.dataset: an array of the set is one number; it must be an array of a"),
        ("mixed", r"delivers a dict of the keys x, names; it must deliver a torch Dataset .* dict"),
        ("few", r"data\.test=null: the set is too small to be split"),
        ("none", r"data\.dataset: the target delivers no examples"),
        ("loader", r"delivers a DataLoader, whose batches sweeplab makes itself; it must deliver"),
        ("text", r"delivers a str; it must deliver a torch Dataset"),
        ("generator", r"delivers a generator; it must deliver a torch Dataset"),
        ("frame", r"delivers a DataFrame of pandas \(data=csv reads a table\)"),
        (
            "ragged",
            r"data\.collate=null: example 4 differs from example 0 \(a tensor of shape \[3\] instead of a tensor of shape \[2\]\); name a function .* data\.collate\._target_",
        ),
        (
            "structures",
            r"data\.collate=null: examples differ \(it has another structure, example 1 of a",
        ),
        ("nulls", r"data\.collate=null: default_collate: .*NoneType.*; name a function"),
        ("pictures", r"data\.collate=null: default_collate: .*PIL.*; name a function"),
    ],
)
def test_sets_that_are_refused(what: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(given(what))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("collate", "message"),
    [
        (
            "failing",
            r"^data\.collate=.*\.failing: fails on a list of 8 examples: TypeError: .*line",
        ),
        ("nothing", r"^data\.collate=.*\.nothing: returns nothing; it must return the batch"),
        ("factory", r"^data\.collate=.*\.factory: returns a function; it must return the batch"),
        (
            "NotCallable",
            r"^data\.collate\._target_=.*\.NotCallable: an object of this class cannot",
        ),
        ("pade", r"^data\.collate.*did you mean.*padded"),
    ],
)
def test_collate_functions_that_are_refused(collate: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(made("Sequences", collate=collate))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_cannot_be_collated_is_one_line_with_any_workers(workers: int) -> None:
    splits = load(given("ragged", memory=0, version="1", workers=workers))
    with pytest.raises(
        UserError, match=r"^data\.collate=null: examples differ \(a tensor of shape"
    ):
        epoch(splits.train)


def test_keys_that_say_nothing_are_refused_by_name() -> None:
    assert problems(made()) == []
    assert problems(made(shape=[1, 2], flatten=False)) == [], "a network may read these"
    assert problems(made(mean=0.5, std=2.0)) == [
        "data.mean=0.5, data.std=2.0: with data.task=any nothing is normalised; give data.mean=null data.std=null, and scale the numbers in the set"
    ]
    assert problems(replace(made(collate="padded"), task="regression")) == [
        "data.collate: makes batches of data.task=any, not of pairs of data.task=regression; give null, or data.task=any"
    ]


def composed(*overrides: str) -> Any:
    return compose(
        [
            "data=digits",
            "data.task=any",
            "data.mean=null",
            "data.std=null",
            f"data.dataset._target_={__name__}.Sequences",
            *overrides,
        ],
        PROJECT / "conf",
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.collate._target_=test_any_form.padded", "+data.collate.valu=1"],
         r"data\.collate\.valu=1: test_any_form\.padded has no argument 'valu'; did you mean 'value'"),
        (["data.collate._target_=test_any_form.padded", "+data.collate.examples=1"],
         r"data\.collate\.examples=1: sweeplab itself gives"),
        (["data.collate._target_=test_any_form.Pad", "+data.collate.value=text"],
         r"data\.collate\.value=text: must be a number"),
        (["data.collate._target_=test_any_form.Padd"], r"data\.collate\._target_.*Pad"),
        (["+data.collate.value=1"], r"data\.collate\._target_: is missing"),
        (["trainer.shift=1"], r"trainer\.shift=1: moves the pictures of pairs, and data\.task=any"),
    ],
)  # fmt: skip
def test_a_bad_argument_dies_before_any_work(overrides: list[str], message: str) -> None:
    found = parts.problems(composed(*overrides))
    assert any(re.search(message, problem) for problem in found), found


def test_collate_is_part_of_what_is_asked_and_of_the_code() -> None:
    plain = composed()
    sized = facts(made("Sequences", collate="padded"))
    with_collate = composed("data.collate._target_=test_any_form.padded")
    valued = composed("data.collate._target_=test_any_form.padded", "+data.collate.value=1.0")
    nulled = composed("data.collate._target_=test_any_form.Pad", "+data.collate._convert_=all")
    assert "collate" not in identity.asked(plain, sized)["data"]
    asked = identity.asked(with_collate, sized)["data"]["collate"]
    assert asked == {"_target_": "test_any_form.padded"}
    assert identity.asked(valued, sized)["data"]["collate"] == {**asked, "value": 1}
    assert identity.asked(nulled, sized)["data"]["collate"] == {"_target_": "test_any_form.Pad"}
    assert "test_any_form.padded" in parts.class_paths(with_collate)


# --- The digest of an example ---------------------------------------------------------------------


@dataclass
class Point:
    x: float
    name: str = ""


Pair = namedtuple("Pair", "a b")


def test_values_that_differ_have_other_digests() -> None:
    values: list[Any] = [
        None, True, 1, 1.0, "1", b"1", (1,), [1], {"a": 1}, {"b": 1}, [1, [2]], [[1], 2], ["ab", "c"],
        ["a", "bc"], np.float32(1), np.ones(1), np.ones(1, np.float32), torch.ones(1), torch.ones(1, 1),
        torch.ones(1, dtype=torch.float64), {1, 2}, {1, 3}, Point(1), Point(2), Pair(1, 2), Pair(2, 1),
        Image.new("L", (2, 2), 1), Image.new("L", (2, 2), 2), Image.new("L", (4, 1), 1),
        torch.eye(2).to_sparse(), torch.ones(2, 2).to_sparse(), np.array(["a", "b"]),
        np.array(["a", None], object), pack_sequence([torch.ones(2)]), pack_sequence([torch.zeros(2)]),
    ]  # fmt: skip
    assert len({trees.digest(value) for value in values}) == len(values)
    again = [trees.digest(value) for value in values]
    assert again == [trees.digest(value) for value in values]
    assert trees.digest({"a", "b", "c"}) == trees.digest({"c", "b", "a"})
    assert trees.digest(torch.arange(6).reshape(2, 3).T) == trees.digest(
        torch.tensor([[0, 3], [1, 4], [2, 5]])
    )
