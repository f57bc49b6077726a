"""From a `data` config to train, valid and test: built, drawn, checked, normalised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweeplab import config
from sweeplab.data import seeding
from sweeplab.data.preparing import byte_scale, floats, input_scaling, prepare, shaped, target_scaling, targets_of
from sweeplab.data.reading import KEY, gather, sample, seeded
from sweeplab.data.scaling import ensure_told_apart, scaled
from sweeplab.data.sources import (
    MNIST,
    Diabetes,
    Digits,
    Examples,
    FashionMNIST,
    Pair,
    Tensors,
    collate,
    combined,
    digest_of,
    examples_of,
)
from sweeplab.errors import UserError
from sweeplab.metrics import CLASSIFICATION
from sweeplab.targets import accepts, build, locate

if TYPE_CHECKING:
    from sweeplab.config import Data


@dataclass(frozen=True, slots=True)
class Held:
    """A split in memory. Pictures stay bytes there: a quarter of the memory, and nothing to compute before training."""

    inputs: Tensor  # [N, in_features] or [N, *shape]; float32 as a model takes them, or uint8
    targets: Tensor  # classification: int64 [N]; regression: float32 [N, out_features]
    scale: tuple[float, float] = (1.0, 0.0)  # what a model takes of bytes: bytes * scale[0] - scale[1]

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Tensor) -> Pair:
        """These examples as a model takes them: a copy."""
        return floats(self.inputs.index_select(0, indices), self.scale), self.targets.index_select(0, indices)

    def to(self, device: torch.device) -> Held:
        return Held(self.inputs.to(device), self.targets.to(device), self.scale)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A split that is read again in each epoch: it does not fit into memory, or its examples draw random numbers.

    `prepare` makes of a raw batch what `Held` holds.
    """

    examples: Examples
    indices: Tensor  # int64 [N]: those of `examples` that are in this split
    prepare: Callable[[Tensor, Tensor], Pair]
    workers: int  # processes that load batches
    first: str = ""  # SHA-256 of the first of `examples`

    def __len__(self) -> int:
        return len(self.indices)

    def changed(self) -> bool:
        """Whether reading has changed the set itself, so that it gives another first example than in the beginning."""
        with seeding.preserved():
            return digest_of(*collate([seeded(self.examples, 0, KEY)])) != self.first


Split = Held | Streamed


@dataclass(frozen=True, slots=True)
class Splits:
    train: Split
    valid: Split
    test: Split
    digest: str  # SHA-256 of the whole set, before it is split and normalised
    notes: tuple[str, ...] = ()  # lines for the user
    sample: str = ""  # SHA-256 of a few examples, where the digest is not over the examples


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan needs to know of a set: how many examples, and the digest."""

    train: int
    valid: int
    test: int
    digest: str
    held: bool = field(default=True, compare=False)  # all in memory, so that the digest is over all examples
    sample: str = field(default="", compare=False)  # as in Splits


def load(data: Data) -> Splits:
    """Build `data.dataset` and split it. Raises UserError where set and config do not fit."""
    if data.shape is not None and math.prod(data.shape) != data.in_features:
        count = math.prod(data.shape)
        raise UserError(f"data.shape={data.shape}: has {count} numbers, but data.in_features={data.in_features}")
    with seeding.preserved():
        made = _build(data)
        own = [digest for one in made if (digest := _own_digest(one))]
        parts = [examples_of(one) for one in made]
        samples = [sample(part) for part in parts]
        numbers = [len(part) * first.examples.inputs[0].numel() for part, first in zip(parts, samples, strict=True)]
        mebibytes = math.ceil(4 * sum(numbers) / 2**20)
        if mebibytes > data.memory:
            notes = [note for first in samples for note in _notes(data, first.examples)]
            digest = combined(own) if own else _version_digest(data, mebibytes)
            splits = _split(data, parts, [_streamed] * len(parts), digest, notes)
            return replace(splits, sample=combined(_digest(first.examples) for first in samples))
        gathered = [gather(part, first) for part, first in zip(parts, samples, strict=True)]
    notes = [note for whole in gathered for note in _notes(data, whole.examples)]
    digest = combined(own or [_digest(whole.examples) for whole in gathered])
    read = [part if whole.random else whole.examples for part, whole in zip(parts, gathered, strict=True)]
    return _split(data, read, [_streamed if whole.random else _held for whole in gathered], digest, notes)


def _digest(examples: Tensors) -> str:
    return digest_of(examples.inputs, examples.targets)


def _notes(data: Data, examples: Tensors) -> list[str]:
    """What a user should know of these numbers. Raises UserError where float32 cannot tell them apart."""
    found = [ensure_told_apart(examples.inputs, input_scaling(data))]
    if data.task != CLASSIFICATION:
        found.append(ensure_told_apart(examples.targets.reshape(len(examples), -1), target_scaling(data)))
    return [note for note in found if note]


def facts(data: Data) -> Facts:
    """Sizes and digest, the same as those of `load`; of mnist and fashion_mnist known without fetching or reading."""
    target: Any = locate(data.dataset["_target_"], "data.dataset._target_")
    if target in (MNIST, FashionMNIST) and "train" not in data.dataset:
        digest = combined(target.digest_of_half(train) for train in (True, False))
        return Facts(*_sizes(data, *target.sizes), digest=digest)
    splits = load(data)
    sizes = len(splits.train), len(splits.valid), len(splits.test)
    held = isinstance(splits.train, Held) and isinstance(splits.test, Held)
    return Facts(*sizes, digest=splits.digest, held=held, sample=splits.sample)


def supplied(data: Data) -> list[str]:
    """Which arguments of `data.dataset` are given by sweeplab: of `train` and `root` those it has and leaves open."""
    target = data.dataset["_target_"]
    return [name for name in ("train", "root") if name not in data.dataset and accepts(target, name)]


def _build(data: Data) -> list[object]:
    """The set as a list of one, or as training and test set where the target can make both.

    What its constructor draws from the global generators is the same in each process; training and test set differ.
    """
    ours = supplied(data)
    given: dict[str, object] = {"root": data.root} if "root" in ours else {}
    if "train" not in ours:
        return [_make(data, given)]
    return [_make(data, {**given, "train": train}) for train in (True, False)]


def _make(data: Data, given: dict[str, object]) -> object:
    seeding.seed(f"constructor/{given.get('train')}")
    try:
        return build(data.dataset, "data.dataset", **given)
    except UserError as error:
        reason = error.__cause__
        while reason is not None:  # which may be below Hydra's own exception
            if isinstance(reason, UserError):  # as from our own sets, which explain themselves
                raise reason from None
            reason = reason.__cause__
        raise


def _own_digest(made: object) -> str | None:
    """The digest that a built-in set brings. A user's subclass does not count: it may have other examples."""
    if isinstance(made, MNIST | Digits | Diabetes) and type(made).__module__ == MNIST.__module__:
        return made.digest
    return None


def _version_digest(data: Data, mebibytes: int) -> str:
    if data.version is None:
        raise UserError(
            f"data.version=null: the set needs {mebibytes} MiB, more than data.memory={data.memory}, so it is streamed "
            f"and never read as a whole; name its state, as in data.version=1, or hold it by data.memory={mebibytes}"
        )
    node = {key: value for key, value in data.dataset.items() if key != "root"}
    return combined([data.version, json.dumps(node, sort_keys=True, default=str)])


# --- The split --------------------------------------------------------------------------------------------------------


Cut = Callable[["Data", Any, Tensor], Split]
"""Makes a split of those examples of a set that have these numbers."""


def _split(data: Data, parts: Sequence[Examples], cuts: Sequence[Cut], digest: str, notes: Sequence[str]) -> Splits:
    """Draw test (unless the set brings it) and valid by `data.split_seed`; each keeps the order of the set."""
    brought = len(parts[1]) if len(parts) == 2 else None
    _, valid, test = _sizes(data, len(parts[0]), brought)
    rest = torch.randperm(len(parts[0]), generator=torch.Generator().manual_seed(data.split_seed))
    if brought is None:
        drawn, rest = rest[:test], rest[test:]
        test_split = cuts[0](data, parts[0], drawn.sort().values)
    else:
        test_split = cuts[1](data, parts[1], torch.arange(test))
    valid_split, train_split = (cuts[0](data, parts[0], part.sort().values) for part in (rest[:valid], rest[valid:]))
    return Splits(train_split, valid_split, test_split, digest, tuple(notes))


def _sizes(data: Data, total: int, brought: int | None) -> tuple[int, int, int]:
    """Train, valid and test, each at least 1; `brought` is the size of the test set that comes with the set."""
    test = brought or _size("data.test", data.test, total // 5, total - 2)
    rest = total if brought else total - test
    valid = _size("data.valid", data.valid, rest // 12, rest - 1)
    return rest - valid, valid, test


def _size(key: str, asked: int | None, default: int, most: int) -> int:
    size = max(default, 1) if asked is None else asked
    if not 1 <= size <= most:
        allowed = f"give 1 to {most}, to leave one to train on" if most > 0 else "the set is too small to be split"
        raise UserError(f"{key}={config.yaml_str(asked)}: {allowed}")
    return size


def _held(data: Data, part: Tensors, indices: Tensor) -> Held:
    inputs = shaped(data, part.inputs[indices])
    if inputs.dtype != torch.uint8:
        inputs = scaled(inputs, input_scaling(data))
    return Held(inputs, targets_of(data, part.targets[indices]), byte_scale(data))


def _streamed(data: Data, part: Examples, indices: Tensor) -> Streamed:
    with seeding.preserved():
        first = collate([seeded(part, 0, KEY)])
    digest = digest_of(*first)
    prepare(data, *first)  # what is wrong with all is found before any work
    return Streamed(part, indices, partial(prepare, data), data.workers, digest)
