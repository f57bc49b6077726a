"""From a `data` config to train, valid and test: built, drawn, checked, normalised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.data import seeding
from sweeplab.data.preparing import (
    byte_scale,
    input_scaling,
    prepare,
    prepare_targets,
    shaped,
    target_scaling,
)
from sweeplab.data.reading import Reading, read_all, read_sample
from sweeplab.data.scaling import ensure_told_apart, scaled
from sweeplab.data.sources import (
    MNIST,
    Diabetes,
    Digits,
    Examples,
    FashionMNIST,
    Tensors,
    collate,
    combined,
    digest_of,
    examples_of,
)
from sweeplab.data.splits import (
    KEY,
    Facts,
    InMemorySplit,
    Split,
    Splits,
    StreamingSplit,
    seeded_example,
)
from sweeplab.errors import UserError
from sweeplab.metrics import CLASSIFICATION
from sweeplab.targets import accepts, build, locate

if TYPE_CHECKING:
    from sweeplab.config import Data


def load(data: Data) -> Splits:
    """Build `data.dataset` and split it. Raises UserError where set and config do not fit."""
    if data.shape is not None and math.prod(data.shape) != data.in_features:
        size = f"has {math.prod(data.shape)} numbers, but data.in_features={data.in_features}"
        raise UserError(f"data.shape={data.shape}: {size}")
    with seeding.preserved():
        datasets = _build(data)
        own_digests = _own_digests(datasets)
        parts = [examples_of(dataset) for dataset in datasets]
        samples = [read_sample(part) for part in parts]
        mebibytes = _mebibytes(parts, samples)
        if mebibytes > data.memory:
            notes = _notes(data, samples)
            digest = combined(own_digests) if own_digests else _version_digest(data, mebibytes)
            splits = _split(data, parts, [_streaming] * len(parts), digest, notes)
            return replace(splits, sample=combined(_digest(sample) for sample in samples))
        readings = [read_all(part, sample) for part, sample in zip(parts, samples, strict=True)]
    digest = combined(own_digests or [_digest(reading) for reading in readings])
    kept: list[Examples] = []
    cuts: list[Cut] = []
    for part, reading in zip(parts, readings, strict=True):
        kept.append(part if reading.random else reading.examples)
        cuts.append(_streaming if reading.random else _in_memory)
    return _split(data, kept, cuts, digest, _notes(data, readings))


def _mebibytes(parts: Sequence[Examples], samples: Sequence[Reading]) -> int:
    """Compute how much memory the inputs take as float32."""
    numbers = 0
    for part, sample in zip(parts, samples, strict=True):
        numbers += len(part) * sample.examples.inputs[0].numel()
    return math.ceil(4 * numbers / 2**20)


def _digest(reading: Reading) -> str:
    return digest_of(reading.examples.inputs, reading.examples.targets)


def _notes(data: Data, readings: Sequence[Reading]) -> list[str]:
    """Say what a user should know of these numbers.

    Raises UserError where float32 cannot tell them apart.
    """
    notes = []
    for reading in readings:
        inputs, targets = reading.examples.inputs, reading.examples.targets
        notes.append(ensure_told_apart(inputs, input_scaling(data)))
        if data.task != CLASSIFICATION:
            notes.append(ensure_told_apart(targets.reshape(len(targets), -1), target_scaling(data)))
    return [note for note in notes if note]


def facts(data: Data) -> Facts:
    """Return sizes and digest as `load` gives them; of (fashion_)mnist without reading any file."""
    target: Any = locate(data.dataset["_target_"], "data.dataset._target_")
    if target in (MNIST, FashionMNIST) and "train" not in data.dataset:
        digest = combined(target.digest_of_half(train) for train in (True, False))
        return Facts(*_sizes(data, *target.sizes), digest=digest)
    splits = load(data)
    return Facts(
        train=len(splits.train),
        valid=len(splits.valid),
        test=len(splits.test),
        digest=splits.digest,
        held=isinstance(splits.train, InMemorySplit) and isinstance(splits.test, InMemorySplit),
        sample=splits.sample,
    )


# --- Building the set -----------------------------------------------------------------------------


def supplied_arguments(data: Data) -> list[str]:
    """Name those of `train` and `root` that the set takes and its config leaves open."""
    target = data.dataset["_target_"]
    open_names = [name for name in ("train", "root") if name not in data.dataset]
    return [name for name in open_names if accepts(target, name)]


def _build(data: Data) -> list[object]:
    """Build the whole set, or training and test set where the target can make both.

    What its constructor draws from the global generators is the same in each process; training and
    test set differ.
    """
    supplied = supplied_arguments(data)
    arguments: dict[str, object] = {"root": data.root} if "root" in supplied else {}
    if "train" not in supplied:
        return [_call(data, arguments)]
    return [_call(data, {**arguments, "train": train}) for train in (True, False)]


def _call(data: Data, arguments: dict[str, object]) -> object:
    """Call the target.

    A UserError that our own sets raise comes out as it is, from below Hydra's exception.
    """
    seeding.seed(f"constructor/{arguments.get('train')}")
    try:
        return build(data.dataset, "data.dataset", **arguments)
    except UserError as error:
        cause = error.__cause__
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            cause = cause.__cause__
        raise


def _own_digests(datasets: Sequence[object]) -> list[str]:
    """Collect the digests that built-in sets bring.

    A user's subclass has none: it may have other examples.
    """
    own = [dataset for dataset in datasets if type(dataset).__module__ == MNIST.__module__]
    return [dataset.digest for dataset in own if isinstance(dataset, MNIST | Digits | Diabetes)]


def _version_digest(data: Data, mebibytes: int) -> str:
    """Digest what names the state of a streamed set."""
    if data.version is None:
        raise UserError(
            f"data.version=null: the set needs {mebibytes} MiB, more than "
            f"data.memory={data.memory}, so it is streamed and never read as a whole; name its "
            f"state, as in data.version=1, or hold it by data.memory={mebibytes}"
        )
    node = {key: value for key, value in data.dataset.items() if key != "root"}
    return combined([data.version, json.dumps(node, sort_keys=True, default=str)])


# --- Splitting it ---------------------------------------------------------------------------------


Cut = Callable[["Data", Any, Tensor], Split]
"""Makes a split of those examples of a set that have these numbers."""


def _split(
    data: Data,
    parts: Sequence[Examples],
    cuts: Sequence[Cut],
    digest: str,
    notes: Sequence[str],
) -> Splits:
    """Draw test (unless the set brings it) and valid by `data.split_seed`; the order is kept."""
    own_test_size = len(parts[1]) if len(parts) == 2 else None
    _, valid_size, test_size = _sizes(data, len(parts[0]), own_test_size)
    rest = torch.randperm(len(parts[0]), generator=torch.Generator().manual_seed(data.split_seed))
    if own_test_size is None:
        test = cuts[0](data, parts[0], rest[:test_size].sort().values)
        rest = rest[test_size:]
    else:
        test = cuts[1](data, parts[1], torch.arange(test_size))
    valid = cuts[0](data, parts[0], rest[:valid_size].sort().values)
    train = cuts[0](data, parts[0], rest[valid_size:].sort().values)
    return Splits(train, valid, test, digest, tuple(notes))


def _sizes(data: Data, total: int, own_test_size: int | None) -> tuple[int, int, int]:
    """Compute the sizes of train, valid and test, each at least 1."""
    test = own_test_size or _size("data.test", data.test, total // 5, total - 2)
    rest = total if own_test_size else total - test
    valid = _size("data.valid", data.valid, rest // 12, rest - 1)
    return rest - valid, valid, test


def _size(key: str, wanted: int | None, default: int, most: int) -> int:
    size = max(default, 1) if wanted is None else wanted
    if not 1 <= size <= most:
        allowed = f"give 1 to {most}, to leave one to train on"
        if most < 1:
            allowed = "the set is too small to be split"
        raise UserError(f"{key}={config.yaml_str(wanted)}: {allowed}")
    return size


def _in_memory(data: Data, part: Tensors, indices: Tensor) -> InMemorySplit:
    inputs = shaped(data, part.inputs[indices])
    if inputs.dtype != torch.uint8:
        inputs = scaled(inputs, input_scaling(data))
    return InMemorySplit(inputs, prepare_targets(data, part.targets[indices]), byte_scale(data))


def _streaming(data: Data, part: Examples, indices: Tensor) -> StreamingSplit:
    with seeding.preserved():
        first = collate([seeded_example(part, 0, KEY)])
    digest = digest_of(*first)
    # Which changes it in place; what is wrong with all examples is found before any work
    prepare(data, *first)
    return StreamingSplit(part, indices, partial(prepare, data), data.workers, digest)
