"""Numbers of a set keep their digits: they are scaled in their own type, and what float32 cannot tell apart is said."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from sets import config
from torch import Tensor

from sweeplab.data import Batches, load
from sweeplab.data.precision import ensure_told_apart
from sweeplab.data.scaling import Scaling, scaled
from sweeplab.errors import UserError

START = 1_700_000_000_000  # milliseconds since 1970: float32 knows them to 131 seconds
STEPS = np.arange(48) * 250


def timestamps(where: str, dtype: str) -> tuple[Any, Any]:
    """48 examples, a quarter of a second apart, as the inputs or as the targets."""
    times = (START + STEPS).astype(dtype).reshape(-1, 1)
    small = np.linspace(0, 1, 48, dtype=np.float32).reshape(-1, 1)
    return (times, small) if where == "inputs" else (small, times)


def timed(where: str, dtype: str, **changes: Any) -> Any:
    node = {"where": where, "dtype": dtype}
    keys = {
        "task": "regression",
        "in_features": 1,
        "out_features": 1,
        "dataset": {"_target_": f"{__name__}.timestamps"},
    }
    return config(**{**keys, "dataset": keys["dataset"] | node, **changes})  # type: ignore[operator]


def everything(where: str, data: Any) -> list[float]:
    """The inputs or targets of all splits, as a network gets them, in ascending order."""
    splits = load(data)
    found: list[float] = []
    for split in (splits.train, splits.valid, splits.test):
        for batch in Batches(split, 16, device="cpu").epoch(0):
            found += batch[where == "targets"].reshape(-1).tolist()
    return sorted(found)


@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
@pytest.mark.parametrize(("where", "prefix"), [("inputs", ""), ("targets", "target_")])
def test_the_mean_is_subtracted_in_the_type_of_the_set(
    where: str, prefix: str, dtype: str, memory: int
) -> None:
    scale = {f"{prefix}mean": 1.7e12, f"{prefix}std": 1000.0}
    data = timed(where, dtype, memory=memory, version="1", **scale)
    assert everything(where, data) == [0.25 * n for n in range(48)]


@pytest.mark.parametrize("memory", [2048, 0])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
@pytest.mark.parametrize(
    ("where", "key"), [("inputs", "data.mean"), ("targets", "data.target_mean")]
)
def test_without_a_mean_that_is_refused_with_one_that_mends_it(
    where: str, key: str, dtype: str, memory: int
) -> None:
    with pytest.raises(UserError) as error:
        load(timed(where, dtype, memory=memory, version="1"))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{key}=null: float32 cannot tell the {where} apart (")
    assert "become 1)" in line
    (mean,) = re.findall(rf"; give {key}=(\S+)$", line)
    mended = everything(
        where,
        timed(where, dtype, memory=memory, version="1", **{key.removeprefix("data."): float(mean)}),
    )
    assert np.diff(mended).tolist() == [250.0] * 47


def test_a_mean_that_is_far_from_the_targets_is_refused_whatever_their_type() -> None:
    near = torch.arange(48.0).reshape(-1, 1)
    for values in (near, near.double(), near.int(), near.half()):
        with pytest.raises(
            UserError,
            match=r"^data\.target_mean=1000000000000\.0: float32 cannot .* become 1\); give data\.target_mean=2e\+01$",
        ):
            ensure_told_apart(values, Scaling("targets", 1e12, None))
        assert ensure_told_apart(values, Scaling("targets", None, None)) is None


def test_digits_that_no_mean_brings_back_are_named_with_another_way_out() -> None:
    clusters = torch.tensor([0.0, 1e12]).repeat_interleave(24) + torch.arange(
        48.0, dtype=torch.float64
    )
    values = torch.cat([clusters, -clusters - 1e12]).reshape(-1, 1)
    with pytest.raises(
        UserError,
        match=r"shift or scale them in the set, or deliver float32 if these digits do not count$",
    ):
        ensure_told_apart(values, Scaling("targets", None, None))
    assert ensure_told_apart(values.float(), Scaling("targets", None, None)) is None


def test_a_column_among_others_and_a_partial_loss_are_told() -> None:
    table = torch.rand(200, 5, dtype=torch.float64)
    assert ensure_told_apart(table, Scaling("inputs", 0.5, 0.3)) is None
    table[:, 3] = 1e12 + torch.arange(200.0, dtype=torch.float64)
    note = ensure_told_apart(table, Scaling("inputs", 0.5, 0.3))
    assert note is not None
    assert note.startswith(
        "data.mean=0.5: float32 cannot tell the inputs of 1 of 5 columns apart "
        "(200 different values from 1000000000000.0 to 1000000000199.0 become "
    )
    whole = 2**24 + torch.arange(100).reshape(-1, 1)  # float32 has every other one
    odd = torch.cat([whole[::2], whole[1:40:2]])
    note = ensure_told_apart(odd, Scaling("targets", None, None))
    assert note == (
        "data.target_mean=null: float32 cannot tell the targets apart "
        "(70 different values from 16777216 to 16777314 become 50); give data.target_mean=2e+07"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.full((48, 1), 1e12),  # constant
        np.full((48, 1), 0.1)
        * 3
        / np.linspace(1, 2, 48)[:, None]
        * np.linspace(1, 2, 48)[:, None],  # but for rounding
        np.random.default_rng(0).random((5000, 1)),
        np.random.default_rng(0).lognormal(0, 20, (5000, 1)),
        np.arange(5000).reshape(-1, 1),
        np.arange(48).reshape(-1, 1) % 2 == 0,
        np.arange(0, 2**40, 2**30).reshape(-1, 1),
        np.ones((1, 1)) * 1e300,
    ],
)
def test_ordinary_numbers_are_told_apart(values: Any) -> None:
    assert ensure_told_apart(torch.from_numpy(values), Scaling("targets", None, None)) is None


def test_whole_numbers_beyond_float64_keep_their_digits() -> None:
    far = Scaling("targets", 1.7e18, 2.0)  # nanoseconds since 1970: float64 knows them to 256
    assert scaled(1_700_000_000_000_000_000 + torch.arange(4), far).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert scaled(
        torch.tensor([-(2**63), 2**63 - 1]), Scaling("targets", 2.0**62, 2.0**62)
    ).tolist() == [-3.0, 1.0]
    assert scaled(torch.tensor([1, 2]), Scaling("targets", 0.25, None)).tolist() == [0.75, 1.75]
    assert scaled(torch.tensor([1, 2]), Scaling("targets", 1e30, 1e30)).tolist() == [-1.0, -1.0]


@pytest.mark.parametrize(
    "dtype", [np.uint16, np.uint32, np.uint64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
)
def test_every_whole_type_is_scaled_as_numpy_does_it(dtype: Any) -> None:
    top = np.array(
        [1, 0] if dtype == np.bool_ else [np.iinfo(dtype).max, np.iinfo(dtype).min], dtype=dtype
    )
    expected = ((top.astype(np.float64) - 3.5) / 7).astype(np.float32)
    assert scaled(torch.from_numpy(top), Scaling("targets", 3.5, 7.0)).numpy() == pytest.approx(
        expected, rel=1e-7
    )


def test_float32_numbers_have_the_bits_they_had() -> None:
    values = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        scaled(values.clone(), Scaling("inputs", 0.1307, 0.3081)), (values - 0.1307) / 0.3081
    )
    half = values.half()
    assert torch.equal(
        scaled(half, Scaling("inputs", 0.1307, 0.3081)), (half.float() - 0.1307) / 0.3081
    )
    assert torch.equal(half, values.half()), "not changed in place"


def test_a_large_set_is_scaled_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplab.data.scaling.CHUNK", 64)
    values = torch.arange(1000.0, dtype=torch.float64).reshape(50, 20) + 1e12
    before = values.clone()
    expected = torch.arange(1000.0).reshape(50, 20) / 4
    assert torch.equal(scaled(values, Scaling("inputs", 1e12, 4.0)), expected)
    assert torch.equal(values, before), "not changed in place"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            torch.tensor([1e300, 1.0], dtype=torch.float64),
            r"1 of 2 examples have targets that are too large for float32",
        ),
        (
            torch.tensor([torch.nan, 1.0]),
            r"1 of 2 examples have NaN or infinite targets; repair or drop them",
        ),
        (
            torch.tensor([torch.inf, 1.0], dtype=torch.float64),
            r"1 of 2 examples have NaN or infinite targets",
        ),
        (
            torch.ones(2, dtype=torch.complex64),
            r"the targets are torch\.complex64; give real and imaginary parts",
        ),
    ],
)
def test_numbers_that_float32_cannot_hold_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scaled(values, Scaling("targets", None, None))
    finite = scaled(
        torch.tensor([1e300, 2e300], dtype=torch.float64), Scaling("targets", 1e300, 1e300)
    )
    assert finite.tolist() == [0.0, 1.0]


def test_what_a_few_of_a_batch_have_by_chance_is_not_refused() -> None:
    targets = torch.tensor([[1e6], [1e6 + 0.01]], dtype=torch.float64)
    data = timed("targets", "float64", memory=0, version="1", target_mean=1.7e12)
    streamed: Any = load(data).train
    assert streamed.prepare((torch.ones(2, 1), targets + 1.7e12))[1].tolist() == [[1e6], [1e6]]
    with pytest.raises(
        UserError,
        match=r"^data\.target_mean=1700000000000\.0: float32 cannot tell the targets apart",
    ):
        streamed.prepare((torch.ones(9, 1), torch.arange(9.0, dtype=torch.float64).reshape(9, 1)))
    with pytest.raises(
        UserError,
        match=r"^data\.target_mean=1700000000000\.0: float32 cannot tell the targets apart",
    ):
        streamed.prepare((torch.ones(9, 1, dtype=torch.uint8), torch.arange(9)))
