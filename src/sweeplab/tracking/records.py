"""What the feeder and its clients leave beside the runs: locks, the feeder's state, and records.

A record (`mlflow.json`) tells where a run is in MLflow, and what it was fed there.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab import store
from sweeplab.tracking.address import public

Node = dict[str, Any]

FINGERPRINT, SWEEP_ID, STORE_ID = "fingerprint", "sweep.id", "store.id"
"""Tags: an MLflow run is known by one of the first two, and the third."""
CLIENTS = "feeder.clients"  # the file whose lock all clients share
ASK = "feeder.ask"  # the file that is touched to have the feeder check what MLflow has
MADE = "feeder.runs"  # the file of the MLflow runs made from here: an owner and a run each line
DELETED = "deleted"
"""In a record: somebody deleted the run in MLflow. The value is one of the next three."""
RUN, EXPERIMENT, FOR_GOOD = "run", "experiment", "for good"
"""What was deleted: the run, its experiment, or either, and `mlflow gc` removed it for good."""
AHEAD = "ahead"
"""In a record: MLflow has later rows than the journal, as after a backup of the store."""
RENAMED = "renamed"
"""In a record: the experiment's name in MLflow, if it is another one there."""


def lock_file(home: store.Store) -> Path:
    """Return the file whose lock the feeder holds."""
    return home.root / "feeder.lock"


def state_file(home: store.Store) -> Path:
    """Return the file in which the feeder tells its state."""
    return home.root / "feeder.json"


def ask(home: store.Store) -> int:
    """Ask the feeder to check what MLflow has; return the time of the request (`asked`)."""
    (home.root / ASK).touch()
    return asked(home)


def asked(home: store.Store) -> int:
    """Return when somebody asked last (nanoseconds); 0 if nobody has."""
    try:
        return (home.root / ASK).stat().st_mtime_ns
    except OSError:
        return 0


@contextmanager
def attend(home: store.Store) -> Iterator[None]:
    """Be a client of this store meanwhile: its feeder stays as long as there is one."""
    # NFS shares the lock of a file that is open for reading alone, and of a client that may write.
    with (home.root / CLIENTS).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # it ends with this process, however that ends
        yield


@contextmanager
def hold_clients_off(home: store.Store) -> Iterator[bool]:
    """Have new clients wait meanwhile; yield whether there are none already."""
    with (home.root / CLIENTS).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def has_clients(home: store.Store) -> bool:
    """Tell whether a client lives."""
    with hold_clients_off(home) as is_deserted:
        return not is_deserted


def read_json(file: Path) -> Node:
    """Read a JSON file; empty if there is none, or it is damaged: all can be found out again."""
    try:
        return store.read_json(file)
    except (FileNotFoundError, store.DamagedError):
        return {}


def entries(record: Path, uri: str) -> dict[str, Node]:
    """Read a record: experiment name -> {experiment, created, run, fed} at this URI."""
    experiments = read_json(record).get(public(uri))
    if not isinstance(experiments, dict):
        return {}
    return {
        name: entry
        for name, entry in experiments.items()
        if isinstance(entry, dict) and isinstance(entry.get("fed"), dict)
    }


def write_entry(record: Path, uri: str, experiment: str, entry: Node) -> None:
    """Note where a run, or a sweep, is in an experiment at this URI, and what it was fed."""
    places = {uri: place for uri, place in read_json(record).items() if isinstance(place, dict)}
    places.setdefault(public(uri), {})[experiment] = entry
    store.remove_leftovers(record.parent, f".{record.name}.*")  # of a feeder that was killed here
    store.write_json(record, places, lasting=False)  # MLflow's tags tell the same


def is_valid(entry: Node, home: store.Store, created: int | None = None) -> bool:
    """Tell whether this store wrote an entry, and not one that it is a copy of.

    It also has to be of the experiment that was `created` then. What somebody deleted stays
    deleted, though the experiment went with it.
    """
    is_same = created is None or entry.get("created") == created or bool(entry.get(DELETED))
    return is_same and bool(entry.get("store", home.ownership.first) == home.id)


def note_made(home: store.Store, *runs: str) -> None:
    """Note MLflow runs that were made from here, or taken over."""
    with (home.root / MADE).open("a", encoding="utf-8") as file:
        file.writelines(f"{home.ownership.owner} {run_id}\n" for run_id in runs)


def made(home: store.Store) -> set[str]:
    """Return the MLflow runs that this folder surely made, and not one that it is a copy of."""
    try:
        text = (home.root / MADE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return set()
    beginning = f"{home.ownership.owner} "
    lines = [line for line in text.splitlines() if line.startswith(beginning)]
    return {line.removeprefix(beginning) for line in lines}


def damaged_records(home: store.Store) -> list[str]:
    """List what is wrong with the records of a store, one line each; feeding makes them anew."""
    problems = []
    for record in all_records(home):
        try:
            places = store.read_json(record).values()
        except FileNotFoundError:
            continue
        except store.DamagedError as error:
            problems.append(str(error))
        else:
            if not all(isinstance(place, dict) for place in places):
                problems.append(f"{record}: is no record of the feeder's")
    return problems


def sweep_record(home: store.Store, sweep_id: str) -> Path:
    """Return the file in which the feeder notes a sweep's parent runs."""
    return home.sweeps / f"{sweep_id[: store.ID_LENGTH]}.mlflow.json"


def all_records(home: store.Store) -> list[Path]:
    """List the records of all runs and sweeps."""
    return [*home.root.glob("*/mlflow.json"), *home.sweeps.glob("*.mlflow.json")]


def recorded_experiments(home: store.Store, uri: str, name: str) -> list[tuple[str, int]]:
    """List the MLflow experiments that runs of an experiment are in: (id, time of creation).

    The one with the most runs is first; the runs of the store that this one is a copy of count,
    too.
    """
    counts: Counter[tuple[str, int]] = Counter()
    for record in all_records(home):
        entry = entries(record, uri).get(name)
        if entry and entry.get("created"):
            counts[str(entry.get("experiment")), int(entry["created"])] += 1
    return [experiment for experiment, _ in counts.most_common()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is in MLflow."""

    experiment: str
    experiment_id: str
    run_id: str
    view: str | None = None  # of a sweep: the id of its saved view


def _places(record: Path, uri: str) -> list[Place]:
    return [
        Place(name, str(entry.get("experiment")), entry["run"], entry.get("view"))
        for name, entry in entries(record, uri).items()
        if entry.get("run") and not entry.get(DELETED)
    ]


def run_places(run: store.Run, uri: str) -> list[Place]:
    """List where this run is at this URI, one place an experiment, by the record alone."""
    return _places(run.mlflow_file, uri)


def sweep_places(home: store.Store, sweep_id: str, uri: str) -> list[Place]:
    """List where the parent runs of this sweep are, one place an experiment."""
    return _places(sweep_record(home, sweep_id), uri)
