"""Weights: their digest depends on every bit and on nothing else, and they come back from disk as they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sweeplab.errors import UserError
from sweeplab.runs import checkpoint
from sweeplab.runs.checkpoint import Checkpoint
from sweeplab.runs.weights import load_weights, verified_weights, weights_bytes, weights_sha256
from sweeplab.store import Result, Run
from sweeplab.train.state import snapshot
from sweeplab.train.stopping import StopReason

STATE = {"bias": torch.tensor([0.5]), "weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}


def changed(**tensors: Tensor) -> dict[str, Tensor]:
    return {**STATE, **tensors}


def test_the_digest_is_a_sha256_of_names_types_shapes_and_bits() -> None:
    # printf 'bias torch.float32 [1]\n\0\0\0\x3f' | sha256sum: 0.5 is 3f000000, the lowest byte first
    expected = "9186b4ea237d0ff587c3671b009ec65a55422274feab56e605ca1741db27a9b6"
    assert weights_sha256({"bias": STATE["bias"]}) == expected


def test_one_bit_changes_the_digest() -> None:
    next_to_one_half = torch.nextafter(STATE["bias"], torch.tensor(1.0))
    assert weights_sha256(changed(bias=next_to_one_half)) != weights_sha256(STATE)


@pytest.mark.parametrize(
    "other",
    [
        {"bias": STATE["bias"], "weights": STATE["weight"]},
        changed(weight=STATE["weight"].reshape(1, 4)),
        changed(bias=torch.tensor([0.5], dtype=torch.float64)),
        changed(bias=torch.tensor([-0.0])),
    ],
    ids=["name", "shape", "type", "value"],
)
def test_what_else_changes_the_digest(other: dict[str, Tensor]) -> None:
    assert weights_sha256(other) != weights_sha256(STATE)


def test_zero_and_minus_zero_have_different_bits() -> None:
    assert weights_sha256({"x": torch.tensor([0.0])}) != weights_sha256({"x": torch.tensor([-0.0])})


def test_the_order_of_names_and_of_memory_does_not_change_the_digest() -> None:
    transposed = torch.tensor([[1.0, 3.0], [2.0, 4.0]]).T
    assert not transposed.is_contiguous()
    assert weights_sha256({"weight": transposed, "bias": STATE["bias"]}) == weights_sha256(STATE)


def test_weights_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    state = nn.BatchNorm1d(3).state_dict() | {
        "half": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.empty(0),
    }
    file = tmp_path / "weights.safetensors"
    file.write_bytes(weights_bytes(state))
    loaded = load_weights(file)
    assert sorted(loaded) == sorted(state)
    assert loaded["num_batches_tracked"].shape == ()
    assert weights_sha256(loaded) == weights_sha256(state)


def test_tied_weights_are_written_under_each_name(tmp_path: Path) -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(weights_bytes(model.state_dict()))
    loaded = load_weights(file)
    assert sorted(loaded) == ["0.weight", "1.weight"]
    assert torch.equal(loaded["0.weight"], first.weight)
    assert torch.equal(loaded["1.weight"], first.weight)


def test_a_snapshot_is_not_changed_by_later_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    kept = snapshot(model)
    nn.init.constant_(model.weight, 5.0)
    assert kept["weight"].item() == 2.0
    assert not kept["weight"].requires_grad


# --- Checkpoints, and what is read back of a run


WEIGHT = torch.arange(64.0)


def saved(epoch: int, fingerprint: str = "f" * 64) -> Checkpoint:
    return Checkpoint(
        fingerprint=fingerprint,
        epoch=epoch,
        reason=StopReason.PATIENCE,
        threads=1,
        model=OrderedDict(weight=WEIGHT),
        best=None,
        optimizer={},
        scheduler={},
        stopping={},
        attributes={},
        random={},
        trained_examples=64,
        train_seconds=0.5,
    )


def saved_in(folder: Path) -> list[Path]:
    """Checkpoints of two epochs."""
    for epoch in (1, 2):
        checkpoint.save(folder, saved(epoch))
    return [folder / "1.pt", folder / "2.pt"]


def test_the_last_two_are_kept_however_far_apart_and_none_of_a_later_epoch(tmp_path: Path) -> None:
    """A later one was not believed, or the training would have gone on from it."""
    for epoch in (3, 40, 1200, 90):
        checkpoint.save(tmp_path, saved(epoch))
    assert sorted(int(file.stem) for file in tmp_path.iterdir()) == [40, 90]


def test_no_flipped_byte_of_a_checkpoint_is_believed(tmp_path: Path) -> None:
    first, second = saved_in(tmp_path / "checkpoints")
    whole = second.read_bytes()
    believed, told = [], list[str]()
    for at in range(0, len(whole), 7):
        second.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = checkpoint.latest(first.parent, "f" * 64, told.append)
        assert found is not None
        if found.epoch == 2 and not torch.equal(found.model["weight"], WEIGHT):
            believed.append(at)
    assert believed == []
    assert len(told) > 0.9 * len(range(0, len(whole), 7)), "all but the comment's own beginning"
    assert all(line.startswith(f"{second}: this checkpoint is damaged (") for line in told)


def test_a_checkpoint_is_read_by_torch_alone_and_one_without_a_digest_by_us(tmp_path: Path) -> None:
    _, second = saved_in(tmp_path / "checkpoints")
    assert torch.load(second, weights_only=True)["epoch"] == 2
    torch.save(torch.load(second, weights_only=True), second)
    found = checkpoint.latest(second.parent, "f" * 64, lambda told: pytest.fail(told))
    assert found is not None
    assert (found.epoch, found.reason, found.train_seconds) == (2, StopReason.PATIENCE, 0.5)
    assert torch.equal(found.model["weight"], WEIGHT)


def test_a_checkpoint_of_another_run_or_an_earlier_version_is_left_aside(tmp_path: Path) -> None:
    first, second = saved_in(tmp_path / "checkpoints")
    told: list[str] = []
    checkpoint.save(first.parent, saved(2, "0123456789abcdef" * 4))
    found = checkpoint.latest(first.parent, "f" * 64, told.append)
    assert found is not None
    assert found.epoch == 1
    older = torch.load(second, weights_only=True)
    del older["fingerprint"], older["attributes"]
    torch.save(older, second)
    assert checkpoint.latest(first.parent, "0" * 64, told.append) is None
    assert told == [
        f"{second}: this checkpoint is of run 0123456789abcdef; it is left aside",
        f"{second}: this checkpoint has no fingerprint, attributes, as of an earlier version; it is left aside",
        f"{first}: this checkpoint is of run ffffffffffffffff; it is left aside",
    ]


def with_weights(folder: Path) -> Run:
    run = Run(folder)
    run.weights_file.write_bytes(weights_bytes(STATE))
    values = {
        "fingerprint": "f" * 64,
        "question": "0" * 64,
        "status": "finished",
        "stop_reason": "patience",
    }
    run.write_result(Result(**values, metrics={}, weights_sha256=weights_sha256(STATE)))
    return run


def test_weights_come_back_if_they_are_those_that_were_recorded(tmp_path: Path) -> None:
    assert weights_sha256(verified_weights(with_weights(tmp_path))) == weights_sha256(STATE)


@pytest.mark.parametrize("damage", [lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: c[:-2], lambda _: b"", lambda c: c.replace(b"bias", b"bibs")])  # fmt: skip
def test_damaged_weights_are_named_and_not_believed(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    run = with_weights(tmp_path)
    run.weights_file.write_bytes(damage(run.weights_file.read_bytes()))
    with pytest.raises(
        UserError, match=f"^{run.weights_file}: is damaged: .*; remove {tmp_path} and issue its"
    ):
        verified_weights(run)
