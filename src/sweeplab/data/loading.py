"""From a `data` config to train, valid and test: build, read, hold or stream, split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sweeplab.data import examples, seeding, splitting, trees
from sweeplab.data.any_form import AnyForm
from sweeplab.data.kinds import Kind
from sweeplab.data.pairs import Pairs, ensure_shape
from sweeplab.data.reading import read_all, read_sample
from sweeplab.data.sources import MNIST, Diabetes, Digits, FashionMNIST, combined, is_tensors
from sweeplab.data.splits import Facts, Split, Splits
from sweeplab.data.transforms import Transforms, transforms_for_all, transforms_for_training
from sweeplab.errors import UserError
from sweeplab.metrics import ANY
from sweeplab.targets import accepts, build, locate

if TYPE_CHECKING:
    from sweeplab.config import Data


def load(data: Data) -> Splits:
    """Build `data.dataset` and split it. Raises UserError where set and config do not fit."""
    kind: type[Kind] = AnyForm
    if data.task != ANY:
        kind = Pairs
        ensure_shape(data)
    with seeding.preserved():
        built = _build(data)
        return _Loading(kind(data), built).splits()


def facts(data: Data) -> Facts:
    """Return sizes and digest as `load` gives them; of (fashion_)mnist without reading any file."""
    target: Any = locate(data.dataset["_target_"], "data.dataset._target_")
    is_known = target in (MNIST, FashionMNIST) and "train" not in data.dataset
    if is_known and data.task != ANY and data.group is None:
        digest = combined(target.digest_of_half(train) for train in (True, False))
        return Facts(*splitting.sizes(data, *target.sizes), digest=digest)
    splits = load(data)
    return Facts(
        train=len(splits.train),
        valid=len(splits.valid),
        test=len(splits.test),
        digest=splits.digest,
        held=splits.train.held and splits.test.held,
        sample=splits.sample,
    )


def class_names(data: Data) -> list[str]:
    """Return the names of the classes, as the set has them (`classes`); else their numbers."""
    with seeding.preserved():
        names = getattr(_build_sets(data)[0], "classes", None)
    if isinstance(names, list | tuple) and len(names) == data.out_features:
        return [str(name) for name in names]
    return [str(number) for number in range(data.out_features)]


# --- Built ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Built:
    """The sets that a config names, with the transforms of their examples."""

    sets: list[Any]  # the whole, or training and test set
    for_all: Transforms
    for_training: Transforms  # () where these are no others
    digests: list[str]  # that built-in sets bring; none where their examples are transformed
    labels: list[str] | None  # of the examples of the first set, which is split


def _build(data: Data) -> Built:
    """Build `data.dataset` and its transforms; changes the generators."""
    sets = _build_sets(data)
    labels = splitting.labels_of(data, sets[0])
    for_training = transforms_for_training(data)
    if for_training:
        sets[0] = _kept(sets[0], data.memory)
    digests = [] if data.transform else _own_digests(sets)
    return Built(sets, transforms_for_all(data), for_training, digests, labels)


def supplied_arguments(data: Data) -> list[str]:
    """Name those of `train` and `root` that the set takes and its config leaves open."""
    target = data.dataset["_target_"]
    open_names = [name for name in ("train", "root") if name not in data.dataset]
    accepted = [name for name in open_names if accepts(target, name)]
    brings_test_set = getattr(locate(target, "data.dataset._target_"), "brings_test_set", None)
    if brings_test_set is not None and not brings_test_set(data.dataset):
        return [name for name in accepted if name != "train"]  # one set, which is split
    return accepted


def _build_sets(data: Data) -> list[object]:
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


def _kept(dataset: Any, memory: int) -> Any:
    """Read a map-style set once into a list; changes the generators.

    Examples that are transformed anew in each epoch are kept so, as the set delivers them. The set
    itself is returned if it is in memory already, does not fit into `memory` MiB, or draws random
    numbers.
    """
    in_memory = isinstance(dataset, tuple | list | Mapping | Tensor | np.ndarray)
    if in_memory or is_tensors(dataset) or not examples.is_map_style(dataset):
        return dataset
    sample = read_sample(dataset)
    needed = len(dataset) * trees.size(sample.examples) / len(sample.examples)
    if sample.random or needed > memory * 2**20:
        return dataset
    reading = read_all(dataset, sample)
    if reading.random:
        return dataset
    return [trees.loaded(example) for example in reading.examples]


# --- Read, and held or streamed -------------------------------------------------------------------


class _Loading:
    """The parts of a set, of which a sample is read; changes the generators."""

    def __init__(self, kind: Kind, built: Built) -> None:
        self.data, self.kind, self.built = kind.data, kind, built
        self.parts = [kind.part(dataset, built.for_all) for dataset in built.sets]
        self.samples = [kind.sample(part) for part in self.parts]
        self.sampled = [kind.batched(sample.examples) for sample in self.samples]
        self.training = None
        if built.for_training:
            self.training = kind.for_training(self.parts[0], built.for_training)

    def splits(self) -> Splits:
        """Hold the parts in memory if they fit, else stream them."""
        needed = max(self._mebibytes(), examples.mebibytes(self.parts))
        if needed <= self.data.memory:
            return self._held()
        notes = self._notes(self.sampled)
        digest = combined(self.built.digests)
        if not self.built.digests:
            reason = f"the set needs {needed} MiB, more than data.memory={self.data.memory}"
            advice = f", or hold it by data.memory={needed}"
            digest = _version_digest(self.data, reason, advice)
        return self._streamed(digest, notes)

    def _mebibytes(self) -> int:
        """Estimate how much memory the examples take."""
        total = 0.0
        for part, sample in zip(self.parts, self.samples, strict=True):
            total += len(part) * sum(map(self.kind.size, sample.examples)) / len(sample.examples)
        return math.ceil(total / 2**20)

    def _notes(self, held: Sequence[Any]) -> list[str]:
        notes = [note for each in held for note in self.kind.notes(each)]
        notes += examples.notes(self.parts, self.data.buffer)
        scale = self.kind.scale_note(held[0])
        return notes if scale is None else [*notes, scale]

    def _streamed(self, digest: str, notes: Sequence[str]) -> Splits:
        """Split a set that is not held, or of which it is not known what its examples hold."""
        splits = self._split(self.parts, self.kind.stream, digest, notes)
        sample = combined(map(self.kind.digest_of_sample, self.sampled))
        return replace(splits, sample=sample)

    def _held(self) -> Splits:
        """Read all examples, and hold those that are the same each time."""
        whole, kept = [], []
        for part, sample in zip(self.parts, self.samples, strict=True):
            held, random = part, False
            if isinstance(part, examples.ExampleView):
                reading = read_all(part, sample)
                held, random = self.kind.hold(reading.examples), reading.random
            whole.append(held)
            kept.append(part if random else held)
        try:
            digests = self.built.digests or [self.kind.digest(held) for held in whole]
        except UserError:
            if self.data.version is None:
                raise
            return self._streamed(_version_digest(self.data), self._notes(whole))
        return self._split(
            kept,
            self.kind.cut,
            combined(digests),
            self._notes(whole),
            stays=kept[0] is whole[0],
        )

    def _split(
        self,
        parts: Sequence[Any],
        cut: Callable[[Any, Tensor], Split],
        digest: str,
        notes: Sequence[str],
        *,
        stays: bool = False,
    ) -> Splits:
        """Cut parts into splits.

        `stays` says that the digest is over all training examples before they are transformed.
        """
        labels = self.built.labels
        own_test_size = len(parts[1]) if len(parts) == 2 else None
        drawn = splitting.draw(self.data, len(parts[0]), own_test_size, labels)
        tested, numbers = parts[0], drawn.test
        if numbers is None:
            tested, numbers = parts[1], torch.arange(len(parts[1]))
        test = cut(tested, numbers)
        valid = cut(parts[0], drawn.valid)
        if self.training is None:
            train = cut(parts[0], drawn.train)
        else:
            train = self.kind.stream(self.training, drawn.train, held=stays)
        if labels is not None:
            digest = combined([digest, *labels])
        return Splits(train, valid, test, digest, tuple(notes))


def _own_digests(datasets: Sequence[object]) -> list[str]:
    """Collect the digests that built-in sets bring.

    A user's subclass has none: it may have other examples.
    """
    own = [dataset for dataset in datasets if type(dataset).__module__ == MNIST.__module__]
    return [dataset.digest for dataset in own if isinstance(dataset, MNIST | Digits | Diabetes)]


def _version_digest(data: Data, reason: str = "", advice: str = "") -> str:
    """Digest what names the state of a streamed set.

    Raises UserError, with the reason why it is streamed, where nothing names it.
    """
    if data.version is None:
        raise UserError(
            f"data.version=null: {reason}, so it is streamed and never read as a whole; name its "
            f"state, as in data.version=1{advice}"
        )
    node = {key: value for key, value in data.dataset.items() if key != "root"}
    return combined([data.version, json.dumps(node, sort_keys=True, default=str)])
