"""Swept keys that had no effect: runs of one seed that came to the same weights, bit for bit."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

from sweeplab.compare.groups import Group

SHOWN = 3  # pairs of values of a key, or of groups
MOST = 30  # values of a key whose pairs are looked at


def without_effect(columns: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """A sentence for each column that had no effect on the weights, at all or between some of its values."""
    said, told = [], set[frozenset[int]]()
    for index, column in enumerate(columns):
        pairs = list(_pairs(index, groups))
        equal = [pair for pair in pairs if _same_weights(*pair)]
        told |= {frozenset(map(id, pair)) for pair in equal}
        if equal and len(equal) == len(pairs):
            said.append(f"{column} had no effect on the weights: they are the same whatever its value")
        elif equal:
            said.append(
                f"{column} had no effect on the weights between {_listed([_named(index, pair) for pair in equal])}"
            )
    others = [pair for pair in _alike(groups) if frozenset(map(id, pair)) not in told]
    if others:
        said.append(f"the same weights came out of {_listed([f'{a.name} and {b.name}' for a, b in others])}")
    return said


def _pairs(index: int, groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """The pairs of groups that differ in this column alone, of which some seed is finished on both sides."""
    buckets: dict[tuple[str, ...], list[Group]] = {}
    for one in groups:
        buckets.setdefault((*one.cells[:index], *one.cells[index + 1 :]), []).append(one)
    for alike in buckets.values():
        for a, b in combinations(alike[:MOST], 2):
            if _weights(a).keys() & _weights(b).keys():
                yield a, b


def _alike(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Groups whose replicas all have the same weights, each with the first such."""
    first: dict[frozenset[tuple[Hashable, str]], Group] = {}
    for one in groups:
        weights = frozenset(_weights(one).items())
        if weights and (other := first.setdefault(weights, one)) is not one:
            yield other, one


def _same_weights(a: Group, b: Group) -> bool:
    of_a, of_b = _weights(a), _weights(b)
    return all(of_a[key] == of_b[key] for key in of_a.keys() & of_b.keys())


def _weights(one: Group) -> dict[Hashable, str]:
    """Seed -> the digest of the final weights, of the runs that have some."""
    found = {one.replica_of(run): run.weights for run in one.replicas}
    return {key: weights for key, weights in found.items() if key is not None and weights is not None}


def _named(index: int, pair: tuple[Group, Group]) -> str:
    a, b = pair
    rest = [text for at, text in enumerate(a.cells) if at != index]
    return f"{a.cells[index]} and {b.cells[index]}" + (f" (with {' '.join(rest)})" if rest else "")


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more pairs" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
