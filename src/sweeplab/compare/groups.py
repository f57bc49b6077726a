"""Groups: a group is what several runs were asked alike, its runs are its replicas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.compare import statistics
from sweeplab.compare.replicas import MISSING, SEED, Node, Replica, key_of

TO_TARGET = "epochs_to_target"  # a metric of the comparison: the first epoch that reached it, at most the limit

PLACES = ("store.", "tracking.", "sweep.", "hydra.")
HOW = {f"trainer.{key}" for key in config.EXECUTION_KEYS} | {"data.root", "data.workers", "data.memory"}
INIT_FROM, WEIGHTS, DATA_DIGEST = "trainer.init_from", "trainer.init_from (weights)", "data.digest"
DEFAULT = "(default)"  # a choice (`model=mlp`) that some sweeps were given and this one was not
DIGITS = 12  # of a digest, where it is shown as a value


@dataclass(kw_only=True, slots=True, eq=False)
class Group:
    """A config under several seeds, or under several values of other keys over which it is replicated."""

    values: Node  # flat: what was asked, and the digests of data and code; without the keys of `over`
    over: tuple[str, ...]  # the keys whose values tell its replicas apart
    choices: dict[str, str] = field(default_factory=dict)  # override key -> text, of what its cells were given
    replicas: list[Replica] = field(default_factory=list)  # each value of `over` once
    repeated: list[Replica] = field(default_factory=list)  # earlier runs of a value that is there already
    cells: list[str] = field(default_factory=list)  # its text in each column of the comparison
    name: str = ""  # the same in one line
    measured: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> run id -> finite value
    late: set[str] = field(default_factory=set)  # run ids: they did not reach the target, and count at the limit

    def mean(self, name: str) -> statistics.Mean | None:
        return statistics.mean(self.measured.get(name, {}).values(), metrics.bounds(name))

    def replica_of(self, run: Replica) -> Hashable:
        """What tells a run from the others of its group: its seed, or the values of all keys of `over`."""
        values = tuple(_hashable(run.value(key)) for key in self.over)
        if all(value is None for value in values):
            return None
        return values[0] if len(values) == 1 else values

    def by_replica(self, name: str) -> dict[Hashable, float]:
        """Seed (or what else is replicated over) -> value, for pairing."""
        values = self.measured.get(name, {})
        found = {self.replica_of(run): values[run.id] for run in self.replicas if run.id in values}
        return {key: value for key, value in found.items() if key is not None}

    def late_replicas(self) -> set[Hashable]:
        """The seeds whose runs did not reach the target."""
        return {self.replica_of(run) for run in self.replicas if run.id in self.late} - {None}

    def text(self, column: str) -> str:
        """Its value of a column: a key of the config (a dash if it has none such), else what was typed."""
        if column in self.values:
            return config.to_text(self.values[column])
        return self.choices.get(column, "-" if "." in column else DEFAULT)

    def value(self, column: str) -> Any:
        """What tells it from other groups in a column: null is what has no such key."""
        return self.values.get(column) if "." in column else self.text(column)


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else json.dumps(value)


def group(replicas: Iterable[Replica], over: Sequence[str] = (SEED,)) -> list[Group]:
    """Replicas by what they were asked but for the keys of `over`, in the order of their first ones."""
    found: dict[str, Group] = {}
    places = _Places()
    for replica in sorted(replicas, key=lambda run: not run.start):
        key = _identity(replica, over) if replica.start else places.of(replica)
        places.note(replica, key)
        choices = given(replica.cell)
        values = asked(replica.start, over) if replica.start else {k: config.from_text(v) for k, v in choices.items()}
        place = found.setdefault(key, Group(values=values, over=tuple(over)))
        place.choices = {**choices, **place.choices}
        place.replicas.append(replica)
    for one in found.values():
        _count_once(one)
    return list(found.values())


class _Places:
    """Where runs belong that were never started: with those of which their sweep says that they are asked alike."""

    def __init__(self) -> None:
        self._by_group: dict[str, str] = {}
        self._by_text: dict[str, set[str]] = {}

    def note(self, replica: Replica, key: str) -> None:
        if "group" in replica.cell:
            self._by_group.setdefault(replica.cell["group"], key)
        self._by_text.setdefault(_typed(replica), set()).add(key)

    def of(self, replica: Replica) -> str:
        """The key of the group; of a sweep that an earlier version planned, by what was typed, if that is clear."""
        typed = _typed(replica)
        if "group" in replica.cell:
            return self._by_group.get(replica.cell["group"], str(replica.cell["group"]))
        known = self._by_text.get(typed, set())
        return next(iter(known)) if len(known) == 1 else typed


def _typed(replica: Replica) -> str:
    return json.dumps(sorted(given(replica.cell).items()))


def _identity(replica: Replica, over: Sequence[str]) -> str:
    """What the runs of a group have in common, as text."""
    start = replica.start
    values = _config(start, over)
    if "asked" not in start:  # of an earlier version: null may say nothing there
        values = {key: value for key, value in values.items() if value is not None}
    return json.dumps([values, _digests(start, over)], sort_keys=True)


def asked(start: Node, over: Sequence[str] = (SEED,)) -> Node:
    """What a run was asked to compute, flat: without seed and places, with the digests of data and code, in short.

    Which set it is, is there for people: the digest of its examples tells runs apart.
    """
    data = {key: value for key, value in _data(start).items() if key not in over}
    found = data | _config(start, over) | {name: digest[:DIGITS] for name, digest in _digests(start, over).items()}
    if "asked" in start and INIT_FROM in found:  # whose weights they are is told beside what they are
        found[WEIGHTS] = str(found.pop(INIT_FROM))[:DIGITS]
        if name := start.get("config", {}).get("trainer", {}).get("init_from"):
            found[INIT_FROM] = name
    return found


def _config(start: Node, over: Sequence[str]) -> Node:
    """The config in the form that fingerprints are made of; of a record without it, all that could be part of that."""
    if "asked" in start:
        flat = config.flatten(start["asked"])
        return {key: value for key, value in flat.items() if key not in over}
    flat = config.flatten(config.normalize(start["config"]))
    monitor, mode = metrics.watched(start)
    flat |= {"trainer.monitor": monitor, "trainer.mode": mode}
    return {key: value for key, value in flat.items() if _is_asked(key) and key not in over and value != {}}


def _data(start: Node) -> Node:
    """The name of the set and what it is built of, flat."""
    data = start.get("config", {}).get("data", {})
    return config.flatten({"data": {key: data[key] for key in ("name", "dataset") if data.get(key)}})


def _digests(start: Node, over: Sequence[str]) -> dict[str, str]:
    """The digests of the examples and of the code, piece by piece.

    Runs that are replicated over an argument of the set have other examples each.
    """
    found = {f"code.{name}": str(digest) for name, digest in (start.get("code") or {}).items()}
    if not any(key.startswith("data.dataset.") for key in over):
        found[DATA_DIGEST] = str(start.get("data", {}).get("digest", ""))
    return found


def _is_asked(key: str) -> bool:
    return key not in HOW and not key.startswith(PLACES)


def _count_once(one: Group) -> None:
    """Keep one run of each seed, the latest finished one; runs of which no seed is known are all kept."""
    latest: dict[Hashable, Replica] = {}
    for run in sorted(one.replicas, key=lambda run: (run.status == store.Status.FINISHED, run.start.get("time", 0.0))):
        key = one.replica_of(run)
        latest[run.id if key is None else key] = run
    kept = set(map(id, latest.values()))
    one.repeated = [run for run in one.replicas if id(run) not in kept]
    one.replicas = sorted((run for run in one.replicas if id(run) in kept), key=lambda run: _order(one, run))


def _order(one: Group, run: Replica) -> tuple[Any, ...]:
    """Numbers first, by size; then texts; what is not known last."""
    values = [run.value(key) for key in one.over]
    return tuple((v is None, isinstance(v, str), v if isinstance(v, int | float | str) else str(v)) for v in values)


def place(outline: Node, over: Sequence[str], varied: Mapping[str, str]) -> Node:
    """Where a job belongs among those of its sweep: a digest of its group, its seed (or what else sweeps replicate
    over), and its values of the `varied` keys; of those that are no part of what is asked the given text.
    """
    values = asked(outline, over)
    run = Replica(id="", cell={"overrides": []}, status=MISSING, start=outline)
    typed = _dotted((key.lstrip("+~"), text) for key, text in varied.items())
    texts = {
        key: config.to_text(values.get(key, value))
        for key, value in typed.items()
        if _is_asked(key) and key not in over
    }
    return {
        "group": hashlib.sha256(_identity(run, over).encode()).hexdigest(),
        "replica": {key: run.value(key) for key in over},
        "values": texts | ({WEIGHTS: values[WEIGHTS]} if WEIGHTS in values else {}),
    }


def columns(groups: Sequence[Group]) -> list[str]:
    """The swept keys: those of the command line whose values differ, and what else tells groups apart."""
    typed = dict.fromkeys(key for one in groups for key in one.choices)
    differ = [key for key in typed if _differs(groups, key)]
    buckets: dict[tuple[str, ...], list[Group]] = {}
    for one in groups:
        buckets.setdefault(tuple(one.text(key) for key in differ), []).append(one)
    for alike in (several for several in buckets.values() if len(several) > 1):
        keys = dict.fromkeys(key for one in alike for key in one.values if key not in differ)
        differ += [key for key in keys if len({one.text(key) for one in alike}) > 1]
    return differ if len(groups) > 1 else list(typed)


def named(groups: Sequence[Group]) -> list[str]:
    """Give each group its cells and its name; returns the columns."""
    _complete_choices(groups)
    keys = columns(groups)
    for one in groups:
        one.cells = [one.text(column) for column in keys]
        pairs = zip(short(keys), one.cells, strict=True)
        one.name = " ".join(f"{key}={text}" for key, text in pairs if text != DEFAULT)
    return keys


def _complete_choices(groups: Sequence[Group]) -> None:
    """Give groups of sweeps that were not given a choice (`model=mlp`) that of the others whose part is the same."""
    for key in (*config.COMPONENTS, "data"):
        texts: dict[Any, set[str]] = {}
        for one in groups:
            if key in one.choices:
                texts.setdefault(_part(one, key), set()).add(one.choices[key])
        for one in groups:
            known = texts.get(_part(one, key), set())
            if len(known) == 1:
                one.choices.setdefault(key, *known)


def _part(one: Group, section: str) -> Any:
    """What a choice of options decides: which class is called, or which set it is."""
    return one.values.get("data.name" if section == "data" else f"{section}._target_", one)


def _differs(groups: Sequence[Group], key: str) -> bool:
    return len({config.to_text(one.value(key)) for one in groups}) > 1


def short(keys: Sequence[str]) -> list[str]:
    """The shortest clear names (`model.hidden` -> `hidden`)."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        end if last.count(end) == 1 and not end.startswith("_") else key for key, end in zip(keys, last, strict=True)
    ]


def given(cell: Mapping[str, Any]) -> dict[str, str]:
    """Key -> text of what a cell of a sweep was given to compute, in YAML's spelling.

    Where the sweep says to which value an override came (`model.hidden=${data.in_features}`: 784), that value.
    """
    pairs = ((key_of(override), override.partition("=")[2]) for override in cell["overrides"])
    replicated = cell.get("replica", (SEED,))
    typed = {
        key: config.to_text(value)
        for key, value in _dotted(pairs).items()
        if _is_asked(key) and key not in replicated and key not in ("tracking", "store")
    }
    return {**typed, **cell.get("values", {})}


def _dotted(pairs: Iterable[tuple[str, str]]) -> Node:
    """Keys with the values that these texts stand for.

    A section of keys, `model={hidden:8}`, is its keys; a list of one choice, `model=[mlp]`, is that choice.
    """
    found: Node = {}
    for key, text in pairs:
        value = config.from_text(text)
        if "." not in key and isinstance(value, list) and len(value) == 1:
            value = value[0]
        found |= config.flatten({key: value})
    return found
