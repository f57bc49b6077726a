"""What the feeder and its clients leave beside the runs: locks, the feeder's state, and where each run is in MLflow."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab import store
from sweeplab.tracking.address import public

Node = dict[str, Any]

DELETED = "deleted"  # what MLflow calls it; in a record, that somebody deleted the run there, and one of the next
RUN, EXPERIMENT, FOR_GOOD = "run", "experiment", "for good"
"""What was deleted: the run alone, its whole experiment, or either, and `mlflow gc` went over it, too."""
AHEAD = "ahead"  # in a record, that MLflow has rows of a later time than the journal, as after a backup of the store
RENAMED = "renamed"  # in a record, how the experiment is called in MLflow, if otherwise than here


def lock_file(folder: store.Store) -> Path:
    return folder.root / "feeder.lock"


def clients_file(folder: store.Store) -> Path:
    return folder.root / "feeder.clients"


def ask_file(folder: store.Store) -> Path:
    """Touched by who wants the feeder to look at what MLflow has."""
    return folder.root / "feeder.ask"


def asked(folder: store.Store) -> int:
    """When somebody asked last (nanoseconds); 0 if nobody has."""
    try:
        return ask_file(folder).stat().st_mtime_ns
    except OSError:
        return 0


def state_file(folder: store.Store) -> Path:
    return folder.root / "feeder.json"


def nobody(folder: store.Store, leaving: Callable[[], None] = lambda: None) -> bool:
    """Whether no client lives; `leaving` is then called while none can come: it waits for its lock until after it."""
    with clients_file(folder).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        leaving()
        return True


def read_json(file: Path) -> Node:
    """What the file holds; nothing if there is none, or it is damaged: all of it can be found out again."""
    try:
        return store.read_json(file)
    except (FileNotFoundError, store.DamagedError):
        return {}


def entries(file: Path, uri: str) -> dict[str, Node]:
    """Of a record (`mlflow.json`): experiment name -> {experiment, created, run, fed} at this URI."""
    found = read_json(file).get(public(uri))
    known = found.items() if isinstance(found, dict) else ()
    return {name: entry for name, entry in known if isinstance(entry, dict) and isinstance(entry.get("fed"), dict)}


def write_entry(file: Path, uri: str, experiment: str, entry: Node) -> None:
    """Note where a run, or a sweep, is in an experiment at this URI, and what it was fed."""
    record = {uri: places for uri, places in read_json(file).items() if isinstance(places, dict)}
    record.setdefault(public(uri), {})[experiment] = entry
    store.remove_leftovers(file.parent, f".{file.name}.*")  # of a feeder that was killed here
    store.write_json(file, record)


def is_ours(entry: Node, folder: store.Store) -> bool:
    """Whether this store has noted it, and not one that it is a copy of."""
    return bool(entry.get("store", folder.ownership.first) == folder.id)


def made_file(folder: store.Store) -> Path:
    """The MLflow runs that were made from here, one a line, each after the owner that it was made for."""
    return folder.root / "feeder.runs"


def note_made(folder: store.Store, *runs: str) -> None:
    with made_file(folder).open("a", encoding="utf-8") as file:
        file.writelines(f"{folder.ownership.owner} {run_id}\n" for run_id in runs)


def made(folder: store.Store) -> set[str]:
    """The MLflow runs that were surely made by this folder, and not by one that it is a copy of."""
    try:
        lines = made_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    words = (line.split() for line in lines)
    return {pair[1] for pair in words if len(pair) == len(["owner", "run"]) and pair[0] == folder.ownership.owner}


def damaged_records(folder: store.Store) -> list[str]:
    """What is wrong with the records of a store, one line each; feeding makes them anew."""
    found = []
    for file in all_records(folder):
        try:
            places = store.read_json(file).values()
        except FileNotFoundError:
            continue
        except store.DamagedError as error:
            found.append(str(error))
        else:
            if not all(isinstance(place, dict) for place in places):
                found.append(f"{file}: is no record of the feeder's")
    return found


def sweep_record(folder: store.Store, sweep_id: str) -> Path:
    """Where the feeder notes a sweep's parent runs."""
    return folder.sweeps / f"{sweep_id[: store.ID_LENGTH]}.mlflow.json"


def all_records(folder: store.Store) -> list[Path]:
    """The records of all runs and sweeps."""
    return [*folder.root.glob("*/mlflow.json"), *folder.root.glob("sweeps/*.mlflow.json")]


def recorded_experiments(folder: store.Store, uri: str, name: str) -> list[tuple[str, int]]:
    """MLflow's experiments that runs of an experiment of this store are in: (id, time of creation).

    The one with the most runs is first; those of the store that this one is a copy of count, too.
    """
    found: Counter[tuple[str, int]] = Counter()
    for record in all_records(folder):
        entry = entries(record, uri).get(name)
        if entry and entry.get("created"):
            found[str(entry.get("experiment")), int(entry["created"])] += 1
    return [experiment for experiment, _ in found.most_common()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is in MLflow."""

    experiment: str
    experiment_id: str
    run_id: str


def _places(record: Path, uri: str) -> list[Place]:
    found = entries(record, uri).items()
    there = [(name, entry) for name, entry in found if entry.get("run") and not entry.get(DELETED)]
    return [Place(name, str(entry.get("experiment")), entry["run"]) for name, entry in there]


def run_places(run: store.Run, uri: str) -> list[Place]:
    """The MLflow runs of this run at this URI, one an experiment; of the feeder's record, without asking MLflow."""
    return _places(run.mlflow_file, uri)


def sweep_places(folder: store.Store, sweep_id: str, uri: str) -> list[Place]:
    """The parent runs of this sweep, one an experiment."""
    return _places(sweep_record(folder, sweep_id), uri)
