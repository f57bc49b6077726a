"""What must hold of a store, and of MLflow when a `sync` has said that it is level."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeplab import metrics, store
from sweeplab.store import Event, Run, Status, Store
from sweeplab.tracking import terms

TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)

ANSWERS: dict[str, tuple[dict[int, dict[str, float]], str | None]] = {}
"""Fingerprint -> epochs and digest of the weights: the same in every life, whatever happens in it."""


# ---- the store ----


def check_store(home: Store) -> None:
    """No run is damaged or goes on after its end, and each has the numbers that it has in every other life."""
    for run in home.runs():
        result, history = run.history()
        events = history.lines
        kinds = [event["event"] for event in events]
        assert not (run.folder / store.ASIDE).exists(), f"{run.id} was begun anew: {kinds}"
        assert Event.DIFFERS not in kinds, f"{run.id} came out otherwise when it was resumed"
        finished = [
            n
            for n, event in enumerate(events)
            if event["event"] == Event.END and event["status"] == Status.FINISHED
        ]
        if finished:
            after = kinds[finished[0] + 1 :]
            assert not {Event.START, Event.RESUME, Event.EPOCH, Event.END}.intersection(after), (
                f"{run.id} was trained twice: {kinds}"
            )
        if result is not None and result.status == Status.FINISHED:
            assert finished, f"{run.id} has a result, and its journal no end: {kinds}"
            answer = history.epochs, result.weights_sha256
            assert ANSWERS.setdefault(result.fingerprint, answer) == answer, (
                f"{run.id} has other numbers than before"
            )
            assert not run.checkpoints.exists() or run.claimed or len(run.saved_epochs()) <= 2


# ---- MLflow ----


@dataclass
class Tracked:
    """A run of MLflow's."""

    id: str
    experiment: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    rows: Counter[tuple[str, int]] = field(default_factory=Counter)  # (metric, step) -> how many
    values: dict[tuple[str, int], float] = field(default_factory=dict)
    artifacts: Path = Path()


def deleted_experiments(file: Path) -> set[str]:
    """The experiments that are deleted in MLflow."""
    with sqlite3.connect(file) as database:
        found = database.execute(
            "select name from experiments where lifecycle_stage = 'deleted'"
        ).fetchall()
    database.close()
    return {name for (name,) in found}


def tracked(file: Path, *, gone: bool = False) -> dict[str, Tracked]:
    """MLflow's runs by their ids, without those that were deleted there."""
    with sqlite3.connect(file) as database:
        shown = "1" if gone else "r.lifecycle_stage = 'active' and e.lifecycle_stage = 'active'"
        found = {
            row[0]: Tracked(*row[:3], artifacts=Path(str(row[3]).removeprefix("file://")))
            for row in database.execute(
                "select r.run_uuid, e.name, r.status, r.artifact_uri from runs r "
                f"join experiments e on e.experiment_id = r.experiment_id where {shown}"
            )
        }
        for run_id, key, value in database.execute("select run_uuid, key, value from tags"):
            if run_id in found:
                found[run_id].tags[key] = value
        for run_id, key, step, value, is_nan in database.execute(
            "select run_uuid, key, step, value, is_nan from metrics"
        ):
            if run_id in found:
                found[run_id].rows[key, step] += 1
                found[run_id].values[key, step] = float("nan") if is_nan else value
    database.close()
    return found


def check_level(
    home: Store, file: Path, excused: AbstractSet[tuple[str, str]], *, artifacts: bool = True
) -> None:
    """MLflow has the store's runs and no others, with each number once, and each parent its children.

    `excused`: fingerprints and sweep ids, and why MLflow may lack them (`deleted`), or have them still (`cleaned`).
    """
    name = (
        store.read_json(home.root / "store.json")["id"]
        if (home.root / "store.json").exists()
        else None
    )
    ours = [run for run in tracked(file).values() if run.tags.get("store.id") == name]
    manifests = home.manifests(_complain)
    parents = {
        (m["id"], name): _parent(ours, m["id"], name, excused)
        for m in manifests
        for name in _experiments(m)
    }
    known = [parent.id for parent in parents.values() if parent]
    for run in home.runs():
        events = run.history()[1].lines
        if not any(event["event"] == Event.START for event in events):
            continue
        for experiment in _wanted(run, events, manifests):
            seen = _one(ours, experiment, "fingerprint", events, excused)
            if seen is None:
                continue
            known.append(seen.id)
            _check_run(run, events, seen, artifacts=artifacts)
            _check_parents(seen, manifests, parents, events)
    for stranger in (run for run in ours if run.id not in known):
        asked = stranger.tags.get("fingerprint") or stranger.tags.get("sweep.id")
        assert (str(asked), "cleaned") in excused, f"MLflow has what the store has not: {stranger}"
        assert stranger.status != "RUNNING", (
            f"cleaned away, and still at work in MLflow: {stranger}"
        )


def _complain(text: str) -> None:
    raise AssertionError(text)


def _wanted(run: Run, events: list[dict[str, Any]], manifests: list[dict[str, Any]]) -> set[str]:
    """The experiments of MLflow that are to have the run."""
    own = {
        event.get("experiment") for event in events if event["event"] in (Event.START, Event.TRACK)
    }
    asking = [
        m for m in manifests if any(cell["fingerprint"].startswith(run.id) for cell in m["cells"])
    ]
    return {str(name) for name in own if name}.union(*map(_experiments, asking))


def _experiments(manifest: dict[str, Any]) -> set[str]:
    """Those under which the sweep was issued."""
    return {name for name in (manifest["experiment"], *manifest.get("formerly", [])) if name}


def _parent(
    ours: list[Tracked], sweep: str, experiment: str, excused: AbstractSet[tuple[str, str]]
) -> Tracked | None:
    found = [
        run for run in ours if run.experiment == experiment and run.tags.get("sweep.id") == sweep
    ]
    if not found and (sweep, "deleted") in excused:
        return None
    assert len(found) == 1, f"sweep {sweep[:12]} is {len(found)} times in MLflow's {experiment}"
    assert found[0].status != "RUNNING"
    repeated = [row for row, count in found[0].rows.items() if count > 1]
    assert not repeated, f"the parent of sweep {sweep[:12]} has numbers twice: {repeated}"
    return found[0]


def _one(
    ours: list[Tracked],
    experiment: str,
    tag: str,
    events: list[dict[str, Any]],
    excused: AbstractSet[tuple[str, str]],
) -> Tracked | None:
    start = next(event for event in events if event["event"] == Event.START)
    fingerprint = start["fingerprint"]
    found = [
        run for run in ours if run.experiment == experiment and run.tags.get(tag) == fingerprint
    ]
    if not found and (fingerprint, "deleted") in excused:
        return None
    assert len(found) == 1, f"run {fingerprint[:16]} is {len(found)} times in MLflow's {experiment}"
    return found[0]


def _check_run(run: Run, events: list[dict[str, Any]], seen: Tracked, *, artifacts: bool) -> None:
    ends = [
        event
        for event in events
        if event["event"] == Event.END and event["status"] == Status.FINISHED
    ]
    assert seen.status == ("FINISHED" if ends else "KILLED"), f"{run.id}: {seen.status} in MLflow"
    epochs = run.epochs()
    wanted = {
        (terms.key(name), epoch): value
        for epoch, found in epochs.items()
        for name, value in found.items()
    }
    last = max(epochs, default=0)
    wanted |= {
        (terms.key(k), last): v
        for end in ends[:1]
        for k, v in store.numbers(end["metrics"]).items()
    }
    assert seen.rows == Counter(wanted.keys()), f"{run.id}: its rows in MLflow are {seen.rows}"
    assert {key: repr(value) for key, value in seen.values.items()} == {
        k: repr(v) for k, v in wanted.items()
    }
    if artifacts:
        name = run.journal.path.name
        there = seen.artifacts / name
        assert there.is_file(), f"{run.id}: its files are not in MLflow: {there}"
        assert there.read_bytes() == run.journal.path.read_bytes(), (
            f"{run.id}: MLflow has another {name}"
        )


def _check_parents(
    seen: Tracked,
    manifests: list[dict[str, Any]],
    parents: Mapping[tuple[str, str], Tracked | None],
    events: list[dict[str, Any]],
) -> None:
    """It has the tag of each sweep that asks for it, and its parent is one of them."""
    fingerprint = seen.tags["fingerprint"]
    asking = [
        m for m in manifests if any(cell["fingerprint"] == fingerprint for cell in m["cells"])
    ]
    tags = {key for key in seen.tags if key.startswith("sweep.")}
    assert tags == {f"sweep.{m['id'][:12]}" for m in asking}, (
        f"{fingerprint[:16]} has the tags {tags}"
    )
    here = [parents[m["id"], seen.experiment] for m in asking if seen.experiment in _experiments(m)]
    if None in here:
        return
    parent = seen.tags.get("mlflow.parentRunId")
    alone = any(
        event["event"] in (Event.START, Event.TRACK) and event.get("experiment") == seen.experiment
        for event in events
    )
    assert parent in [p.id for p in here if p] or (parent is None and (alone or not here)), (
        f"its parent is {parent}"
    )
