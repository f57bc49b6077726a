"""What a user's `_target_` delivers, and what its examples go through.

Examples that are transformed anew in each epoch are kept in memory as the set delivers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeplab.data import iterables, trees
from sweeplab.data.building import build_set, own_digests
from sweeplab.data.grouping import labels_of
from sweeplab.data.reading import read_all, read_sample
from sweeplab.data.sources import is_in_memory
from sweeplab.data.transforms import Transforms, transforms_for_all, transforms_for_training

if TYPE_CHECKING:
    from sweeplab.config import Data


@dataclass(frozen=True, slots=True)
class Delivered:
    """The sets that a config names, with the transforms of their examples."""

    sets: list[Any]  # the whole, or training and test set
    for_all: Transforms
    for_training: Transforms  # () where these are no others
    digests: list[str]  # that built-in sets bring; none where their examples are transformed
    groups: list[str] | None  # labels of the examples of the first set, which is split


def delivered(data: Data) -> Delivered:
    """Build `data.dataset` and its transforms; changes the generators."""
    sets = build_set(data)
    groups = labels_of(data, sets[0])
    for_training = transforms_for_training(data)
    if for_training:
        sets[0] = kept(sets[0], data.memory)
    digests = [] if data.transform else own_digests(sets)
    return Delivered(sets, transforms_for_all(data), for_training, digests, groups)


def kept(dataset: Any, memory: int) -> Any:
    """Read a map-style set once into a list; changes the generators.

    The set itself is returned if it is in memory already, does not fit into `memory` MiB, or draws
    random numbers.
    """
    if is_in_memory(dataset) or not iterables.is_map_style(dataset):
        return dataset
    sample = read_sample(dataset)
    needed = len(dataset) * trees.size(sample.examples) / len(sample.examples)
    if sample.random or needed > memory * 2**20:
        return dataset
    reading = read_all(dataset, sample)
    if reading.random:
        return dataset
    return [trees.loaded(example) for example in reading.examples]
