"""Examples as a set delivers them, kept in memory: what is transformed anew in each epoch."""

from __future__ import annotations

from typing import Any

from sweeplab.data import iterables, trees
from sweeplab.data.reading import read_all, read_sample
from sweeplab.data.sources import is_in_memory


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
