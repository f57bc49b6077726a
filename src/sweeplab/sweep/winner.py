"""The sweep that another one starts from: `sweep.from` takes the config that came out best."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeplab import config, console, store
from sweeplab.config import Node, key_of
from sweeplab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from sweeplab.compare.groups import Group
    from sweeplab.store import Store
    from sweeplab.sweep.compose import Composer

LATEST = "latest"
ENDED = {store.Status.FINISHED, store.Status.FAILED}
PLACES = ("sweep", "store", "tracking", "hydra", "experiment")
"""The sections that say where and how runs are made: nothing of them is taken."""


def take(
    name: str, given: Sequence[Override], typed: Sequence[str], composer: Composer, home: Store
) -> Node:
    """Take from the best config of a sweep its values of the keys that were swept there.

    Keys and groups that this sweep is `given`, or sets in its experiment, are left as they are.
    Returns what the manifest keeps of it; `taken` are overrides. Raises UserError if there is no
    such sweep, if it is not done or cannot be ranked, and for a value that is not plain.
    """
    sweep = _find(name, typed, composer, home)
    best = _best_group(name, sweep, home)
    own = _own_keys(given, composer)
    taken = []
    values = _swept_values(name, sweep, best)
    for key, value in values.items():
        if not _is_set(key_of(key), own):
            taken.append(_plain(name, key, value))
    nothing = "it swept no keys of a config"
    if values:
        nothing = "all of its swept keys are given here, or are of a group that is chosen here"
    words = " ".join(taken) or f"nothing: {nothing}"
    console.say(f"from {name}: {words} (the best of sweep {sweep['id'][: store.ID_LENGTH]})")
    before = _taken_before(typed, home)
    if before not in ([], taken):
        console.say(f"when this sweep was last asked for, that was {' '.join(before)}")
    return {"asked": name, "sweep": sweep["id"], "taken": taken}


# --- which sweep


def _find(name: str, typed: Sequence[str], composer: Composer, home: Store) -> Node:
    """Return the latest sweep of that name that does not itself come from this one."""
    _ensure_no_circle(name, composer)
    manifests = home.manifests(console.complain)
    try:
        named = manifests if name == LATEST else home.named(name)
    except UserError as error:
        raise UserError(f"sweep.from={error}") from error
    by_id = {sweep["id"]: sweep for sweep in manifests}
    this = f"experiment={composer.experiment}"
    others = []
    for sweep in named:
        line = list(_line(sweep, by_id))
        if not any(_is_same(s["overrides"], typed) or this in s["overrides"] for s in line):
            others.append(sweep)
    if others:
        return others[-1]
    known = {sweep["experiment"] for sweep in manifests} | {*composer.experiments, LATEST}
    for sweep in manifests:
        known |= {w.partition("=")[2] for w in sweep["overrides"] if w.startswith("experiment=")}
    problem = f"no other sweep in {home.root} begins so or is of an experiment of that name"
    problem += did_you_mean(name, known - {composer.experiment, None})
    if name == LATEST:
        problem = f"there is no other sweep in {home.root} yet"
    elif named:
        problem = "is this sweep itself, or comes from it; name another"
    elif name in composer.experiments:
        places = [word for word in typed if word.startswith("store.")]
        first = shlex.join(["python", "train.py", f"experiment={name}", *places])
        problem = f"has not been run in {home.root}; first: {first}"
    raise UserError(f"sweep.from={name}: {problem}")


def _ensure_no_circle(name: str, composer: Composer) -> None:
    """Raise UserError for experiments each of which says that it starts from the next."""
    path = [name] if composer.experiment is None else [composer.experiment, name]
    while path[-1] not in path[:-1] and path[-1] in composer.experiments:
        path.append(str(composer.option("experiment", path[-1]).get("sweep.from")))
    if path[-1] in path[:-1]:
        raise UserError(f"sweep.from={name}: goes in a circle: {' from '.join(path)}")


def _line(sweep: Node, by_id: dict[str, Node]) -> Iterator[Node]:
    """Yield a sweep, the one that it started from, and so on."""
    seen: set[str] = set()
    current: Node | None = sweep
    while current is not None and current["id"] not in seen:
        yield current
        seen.add(current["id"])
        current = by_id.get(current.get("from", {}).get("sweep", ""))


def _is_same(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two commands ask for the same, however it is carried out."""
    return _asking(first) == _asking(second)


def _asking(words: Sequence[str]) -> list[str]:
    """Return the words of a command that say what is asked for."""
    asking = []
    for word in words:
        key = key_of(word)
        if key == "sweep.from" or key.partition(".")[0] not in PLACES:
            asking.append(word)
    return asking


def _taken_before(typed: Sequence[str], home: Store) -> list[str]:
    """Return what the same command took when it was last issued."""
    for sweep in reversed(home.manifests()):
        if "from" in sweep and _is_same(sweep["overrides"], typed):
            return [str(override) for override in sweep["from"]["taken"]]
    return []


# --- which config


def _best_group(name: str, sweep: Node, home: Store) -> Group:
    """Return the group that the comparison ranks first. Raises UserError if that is not settled."""
    from sweeplab.compare import compare
    from sweeplab.compare.comparability import incomparable_keys

    comparison = compare(home, [sweep])
    monitor, groups = comparison.monitor, comparison.groups
    # A search gives some of its runs up.
    is_done = "search" in sweep and sweep["status"] == store.Status.FINISHED
    problem = ""
    if not is_done and not ENDED.issuperset(run.status for run in comparison.replicas):
        again = shlex.join(["python", "train.py", "-m", *sweep["overrides"]])
        problem = f"is not done, {comparison.statuses()}; first: {again}"
    elif keys := incomparable_keys(monitor, monitor, groups):
        reason = f"{monitor} is another number where {', '.join(keys)} differs"
        problem = f"has no best config: {reason}"
    elif groups[0].mean(monitor) is None:
        problem = f"has no best config: none of its runs has {monitor}"
    if problem:
        raise UserError(f"sweep.from={name}: {problem}")
    return groups[0]


# --- which values


def _own_keys(given: Sequence[Override], composer: Composer) -> set[str]:
    """List the keys and groups that a command and its experiment set by themselves."""
    keys = set()
    options = {"experiment": composer.experiment}
    for override in given:
        key = key_of(override.get_key_element())
        value = None if override.is_sweep_override() else override.value()
        keys |= set(config.flatten({key: value}))
        if isinstance(value, str):
            options[key] = value
    for group, option in options.items():
        keys |= composer.option(group, str(option)).keys()
    return keys


def _is_set(key: str, own: set[str]) -> bool:
    """Whether a key, or a section or group that it is in, is one of these."""
    return any(key == other or key.startswith(f"{other}.") for other in own)


def _swept_values(name: str, sweep: Node, best: Group) -> Node:
    """Return the best config's values of the keys that its sweep varied, or took itself.

    A key begins as its override: `++model.x` is one that the config lacks.
    """
    taken = sweep.get("from", {}).get("taken", [])
    try:
        asked = _parse(sweep["overrides"])
        chosen = _parse(best.replicas[0].cell["overrides"])
    except Exception as error:  # of Hydra's parser
        raise UserError(f"sweep.from={name}: its manifest cannot be read: {error}") from error
    swept = {key_of(o.get_key_element()) for o in asked if o.is_sweep_override()}
    swept |= set(map(key_of, taken))
    values = {}
    for override in chosen:
        key = override.get_key_element()
        section = key_of(key).partition(".")[0]
        is_varied = key_of(key) in swept and key_of(key) not in best.over
        if is_varied and section not in PLACES and not override.is_sweep_override():
            values[key] = override.value()
    return config.flatten(values)


def _parse(words: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(list(words))


def _plain(name: str, key: str, value: object) -> str:
    """Return an override that sets a key to a plain value: no class, and no interpolation."""
    text = config.item_text(value)
    if "_target_" in f"{key}={text}" or "${" in text or list(config.hidden_keys(value)):
        rule = "a class, an interpolation and a secret are not taken from a store"
        raise UserError(
            f"sweep.from={name}: its best config has {key}={text}; {rule}: give it here"
        )
    if key.startswith("+") and "." in key:
        key = f"++{key_of(key)}"  # whether this config has it or not
    return f"{key}={text}"
