"""The state of a network as torch has it: what it holds is kept, read back as it was, or refused by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from torch import Tensor, nn

from sweeplab.errors import UserError
from sweeplab.runs.weights import (
    load_weights,
    try_saving,
    weights_bytes,
    weights_sha256,
    write_weights,
)
from sweeplab.store import Run
from sweeplab.train.state import collect, from_bytes, metadata, restore, snapshot, to_bytes, unsafe

quantized = pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")


class Keeping(nn.Module):
    """A module with one buffer, and one value that `get_extra_state` adds."""

    def __init__(self, buffer: Tensor | None, extra: Any = None) -> None:
        super().__init__()
        self.register_buffer("buffer", buffer)
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


class Versioned(nn.Linear):
    """A module that insists on the version of what it loads, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *more: Any
    ) -> None:
        assert local_metadata.get("version") in (1, 2)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


BUFFERS: dict[str, Callable[[], Tensor | None]] = {
    "complex": lambda: torch.tensor([1 + 2j, 3.0]),
    "complex, conjugate": lambda: torch.tensor([1 + 2j, 3.0]).conj(),
    "complex, double": lambda: torch.tensor([1 + 2j, 3.0], dtype=torch.complex128),
    "expanded": lambda: torch.tensor([[1.0], [2.0]]).expand(2, 3),
    "a view": lambda: torch.arange(12.0).reshape(3, 4).T[1:, 1],
    "empty": lambda: torch.empty(0, 3),
    "a scalar": lambda: torch.tensor(3.5),
    "bool": lambda: torch.tensor([True, False]),
    "bytes": lambda: torch.tensor([1, 255], dtype=torch.uint8),
    "int64": lambda: torch.tensor([2**60 + 1]),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.tensor([0.1, 0.7]), 0.1, 3, torch.qint8),
    "none": lambda: None,
}
EXTRAS: dict[str, Any] = {
    "a dict": {"calls": 3, "names": ["a", "b"], "rate": 0.1, 7: None},
    "an array": np.arange(3.0),
    "a number of numpy": np.float64(0.5),
    "a set": frozenset({1, 2}),
    "tensors": (torch.ones(2), {"inner": torch.zeros(1)}),
    "a type": torch.float16,
}


def equal(one: Any, other: Any) -> bool:
    return weights_sha256({"value": one}) == weights_sha256({"value": other})


def there_and_back(module: nn.Module, tmp_path: Path) -> OrderedDict[str, Any]:
    run = Run(tmp_path)
    write_weights(run, snapshot(module))
    loaded = load_weights(run.weights_file)
    assert weights_sha256(loaded) == weights_sha256(snapshot(module))
    assert isinstance(loaded, OrderedDict)
    return loaded


@quantized
@pytest.mark.parametrize("kind", BUFFERS)
def test_every_kind_of_tensor_comes_back_from_the_file_as_it_was(kind: str, tmp_path: Path) -> None:
    module = Keeping(BUFFERS[kind](), extra=None)
    try_saving(module, nn.MSELoss())
    other = Keeping(BUFFERS[kind]())
    restore(there_and_back(module, tmp_path), other)
    assert equal(other.buffer, BUFFERS[kind]())


@pytest.mark.parametrize("kind", EXTRAS)
def test_what_get_extra_state_adds_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    module = Keeping(torch.ones(1), EXTRAS[kind])
    try_saving(module, nn.MSELoss())
    other = Keeping(torch.zeros(1))
    restore(there_and_back(module, tmp_path), other)
    assert type(other.extra) is type(EXTRAS[kind])
    assert equal(other.extra, EXTRAS[kind])
    assert Run(tmp_path).weights_file.name == "weights.pt"


def test_an_ordinary_network_is_kept_in_safetensors_and_torch_would_load_it(tmp_path: Path) -> None:
    loaded = there_and_back(plain(), tmp_path)
    assert Run(tmp_path).weights_file.name == "weights.safetensors"
    plain().load_state_dict(loaded)
    write_weights(Run(tmp_path), snapshot(Keeping(torch.ones(1), {1: 2})))
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"], "the other one is gone"
    assert torch.load(tmp_path / "weights.pt", weights_only=True)["_extra_state"] == {1: 2}


def test_the_versions_of_modules_are_kept(tmp_path: Path) -> None:
    network = nn.Sequential(Versioned(2, 2), nn.BatchNorm1d(2))
    try_saving(network, nn.MSELoss())
    loaded = there_and_back(network, tmp_path)
    assert metadata(loaded) == network.state_dict()._metadata  # type: ignore[attr-defined]
    nn.Sequential(Versioned(2, 2), nn.BatchNorm1d(2)).load_state_dict(loaded)
    damaged = weights_bytes(snapshot(network)).replace(rb"{\"version\": 2}", rb"{\"version\": 3}")
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(ValueError, match="the versions of its modules are damaged"):
        load_weights(tmp_path / "damaged")


def test_the_state_of_a_loss_has_names_of_its_own_and_versions() -> None:
    network, loss = nn.Sequential(OrderedDict(loss=nn.Linear(1, 1))), Versioned(1, 1)
    state = snapshot(network, loss)
    assert list(state) == ["loss.weight", "loss.bias", ".loss.weight", ".loss.bias"]
    other, its = nn.Sequential(OrderedDict(loss=nn.Linear(1, 1))), Versioned(1, 1)
    restore(state, other, its)
    assert equal(dict(collect(other, its)), dict(state))
    restore(state, nn.Sequential(OrderedDict(loss=nn.Linear(1, 1))))


def test_a_buffer_that_is_set_later_or_grows_is_restored() -> None:
    for late in (None, torch.zeros(2)):
        module = Keeping(late)
        restore(snapshot(Keeping(torch.ones(5))), module)
        assert torch.equal(module.buffer, torch.ones(5))


def test_a_snapshot_and_a_restored_network_share_nothing() -> None:
    module = Keeping(torch.zeros(1), {"calls": [1]})
    kept = snapshot(module)
    restore(kept, module)
    module.extra["calls"].append(2)
    module.buffer += 1
    assert kept["_extra_state"] == {"calls": [1]}
    assert kept["buffer"].item() == 0.0


@quantized
def test_other_bits_have_another_digest() -> None:
    def digest(value: Any) -> str:
        return weights_sha256({"x": value})

    values = [torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse(), torch.eye(2), {"a": 1}, {"a": 2}, {"b": 1}, [1], (1,), "1", 1, 1.0, True]  # fmt: skip
    values += [
        torch.quantize_per_tensor(torch.ones(1), scale, 0, torch.qint8) for scale in (0.1, 0.2)
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({3, 1, 2}) == digest({2, 3, 1})


class Unknown:
    """A class of a user's own, which no checkpoint may hold: reading it back would run its code."""


def test_what_cannot_be_read_back_is_named() -> None:
    assert list(unsafe({"a": [1, {"b": Unknown()}], "c": (len,)})) == ["a[1].b (Unknown)", "c[0] (builtin_function_or_method)"]  # fmt: skip
    with pytest.raises(
        UserError, match=r"^model._extra_state.x \(Unknown\): cannot be kept in a checkpoint"
    ):
        try_saving(Keeping(None, {"x": Unknown()}), nn.MSELoss())
    with pytest.raises(UserError, match=r"^loss\._extra_state \(Unknown\)"):
        try_saving(nn.Linear(1, 1), Keeping(None, Unknown()))
    assert from_bytes(to_bytes(EXTRAS["a dict"])) == EXTRAS["a dict"]


def test_what_could_not_be_saved_is_refused_before_any_work(train: Command, root: Path) -> None:
    ended = train("data=digits", "model=linear", "model._target_=own.Unsavable")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert ended.err.startswith("model._extra_state (object): cannot be kept in a checkpoint")
    assert not (root / "runs").exists()


def test_a_schedule_that_no_checkpoint_can_hold_is_refused_before_any_work(
    train: Command, root: Path
) -> None:
    odd = ("scheduler=constant", "scheduler._target_=own.OddSchedule")
    ended = train("data=digits", *odd)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended.err
    assert ended.err.startswith("scheduler.calls (defaultdict): cannot be kept in a checkpoint")
