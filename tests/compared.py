"""Stores written by hand, to be compared."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from sweeplab import compare, store
from sweeplab.config import from_text
from sweeplab.store import Result, Run, Store

Node = dict[str, Any]


def cell(overrides: Sequence[str], name: str = "") -> Node:
    """A cell of a manifest; its fingerprint is made of its overrides."""
    digest = hashlib.sha256(json.dumps(sorted(overrides)).encode()).hexdigest()
    return {"fingerprint": digest, "name": name, "overrides": list(overrides)}


def begin(
    home: Store, overrides: Sequence[str], task: str = "classification", **start: Any
) -> tuple[Run, Node]:
    """A run with these overrides that has just started."""
    one = cell(overrides)
    run = home.run(one["fingerprint"])
    run.folder.mkdir(parents=True)
    settings: Node = {
        "seed": 0,
        "model": {"hidden": 392, "batch_norm": True, "dropout": None},
        "data": {"name": "mnist", "task": task, "root": "/here"},
        "trainer": {"epochs": 3, "monitor": "auto", "mode": "auto", "threads": 1, "target": None},
        "store": {"root": str(home.root)},
    }
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        section, dot, name = key.partition(".")
        if dot:
            settings.setdefault(section, {})[name] = from_text(text)
        elif key == "seed":
            settings["seed"] = int(text)
    fields = {
        "name": " ".join(overrides),
        "data": {"name": "mnist", "digest": "d" * 64},
        "provenance": {"device": "cpu", "threads": 1},
        "config": settings,
    } | start
    run.journal.append(
        store.Event.START, fingerprint=one["fingerprint"], overrides=list(overrides), **fields
    )
    return run, one


def add(
    home: Store,
    *overrides: str,
    valid: Sequence[float] = (0.5, 0.75),
    test: float = 0.5,
    status: str = "finished",
    stop_reason: str | None = "patience",
    more: dict[str, float] | None = None,
    rates: Sequence[float] | None = None,
    **start: Any,
) -> Node:
    """A run with these values of the monitored metric, epoch by epoch, and its cell."""
    run, one = begin(home, overrides, **start)
    score = "accuracy" if start.get("task", "classification") == "classification" else "loss"
    for epoch, value in enumerate(valid, 1):
        other = {} if score == "loss" else {"valid/loss": 1 - value}
        other |= {} if rates is None else {"train/lr": rates[epoch - 1]}
        run.journal.append(
            store.Event.EPOCH,
            epoch=epoch,
            metrics={f"valid/{score}": value, "train/loss": 0.5, **other},
        )
    done = status == "finished"
    final: dict[str, float] = {
        "parameters": 1000.0,
        "early_stop_epoch": float(len(valid)),
        "seconds": 2.0,
    }
    known = [value for value in valid if math.isfinite(value)]
    if known:
        best = (max if score == "accuracy" else min)(known)
        final |= {
            "best_epoch": valid.index(best) + 1.0,
            "test/accuracy" if score == "accuracy" else "test/mae": test,
        }
    final = (final | (more or {})) if done else {}
    if status != "unfinished":
        error = "ValueError: no" if status == "failed" else None
        run.journal.append(
            store.Event.END, status=status, stop_reason=stop_reason, metrics=final, error=error
        )
        result = Result(
            fingerprint=one["fingerprint"],
            question="",
            status=status,
            stop_reason=stop_reason,
            metrics=final,
        )
        run.write_result(result)
    return one


def manifest(
    home: Store,
    cells: Sequence[Node],
    name: str = "demo",
    experiment: str | None = None,
    baseline: str | None = None,
    replicate: Sequence[str] = ("seed",),
) -> str:
    """Record the sweep of these cells; its id."""
    sweep_id = hashlib.sha256(
        json.dumps([name, *(c["fingerprint"] for c in cells)]).encode()
    ).hexdigest()
    time = 1_800_000_000.0 + len(home.manifests())
    home.write_manifest(
        {"id": sweep_id, "time": time, "experiment": experiment, "name": name, "overrides": name.split(),
         "baseline": baseline, "replicate": list(replicate), "cells": list(cells), "status": "finished", "ended": time + 60}
    )  # fmt: skip
    return sweep_id


def summarise(home: Store, sweep_id: str) -> compare.Comparison:
    """The comparison of one sweep."""
    return compare.compare(home, [home.manifest(sweep_id)])


def widths(home: Store) -> str:
    """Two widths under three seeds; the wider one is better by 0.01, 0.02, 0.03 in validation, and worse in test."""
    cells = []
    for seed, gain in enumerate((0.01, 0.02, 0.03)):
        cells.append(
            add(home, "model.hidden=392", f"seed={seed}", valid=[0.9, 0.95, 0.94], test=0.9)
        )
        cells.append(
            add(home, "model.hidden=784", f"seed={seed}", valid=[0.9, 0.95 + gain], test=0.8)
        )
    return manifest(home, cells)


def troubled(home: Store) -> str:
    """A sweep of which one run each failed, never started, was cut short, diverged, and has a metric that is NaN."""
    cells = [
        add(home, "model.hidden=8", "seed=0", valid=[0.9]),
        add(home, "model.hidden=8", "seed=1", status="failed", stop_reason=None),
        cell(["model.hidden=8", "seed=2"]),
        add(home, "model.hidden=8", "seed=3", status="interrupted", stop_reason="interrupted"),
        add(home, "model.hidden=16", "seed=0", valid=[0.8], test=math.nan),
        add(home, "model.hidden=16", "seed=1", valid=[0.8]),
        add(home, "model.hidden=16", "seed=2", valid=[math.nan], stop_reason="diverged"),
        add(home, "model.hidden=16", "seed=3", valid=[0.7, math.nan], stop_reason="diverged"),
        add(home, "model.hidden=32", "seed=0", status="unfinished"),
        cell(["model.hidden=64", "seed=0"]),
    ]
    return manifest(home, cells)


def factorial(home: Store) -> Store:
    """BatchNorm on and off at three learning rates, five seeds; it helps at the first, hurts at the second."""
    noise = (0.001, -0.001, 0.002, -0.002, 0.0015)
    effects = {0.1: 0.02, 0.2: -0.02, 0.4: 0.0001}
    cells = [
        add(home, f"model.rate={rate}", f"model.batch_norm={norm}", f"seed={seed}",
            valid=[0.9 + (effect * (1 + 10 * jitter) if norm else -jitter / 4)], test=0.5 + seed / 100)
        for rate, effect in effects.items() for norm in (True, False) for seed, jitter in enumerate(noise)
    ]  # fmt: skip
    manifest(home, cells, experiment="norms")
    return home
