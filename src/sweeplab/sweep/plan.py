"""The plan of a sweep: every job composed, checked and fingerprinted before the first one starts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeplab import config, data, screen
from sweeplab.errors import UserError
from sweeplab.job import Job, prepare

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHOWN_ERRORS = 20
YAML = {"True": "true", "False": "false", "None": "null"}  # Hydra hands swept values on in Python's spelling


@dataclass(kw_only=True, slots=True, frozen=True)
class Cell:
    """One job of a sweep."""

    name: str  # what sets it apart from the others: hidden=392 seed=0
    overrides: list[str]
    varied: dict[str, str]  # the swept keys and its values of them
    job: Job


@dataclass(kw_only=True, slots=True, frozen=True)
class Plan:
    """The jobs of one sweep command, duplicates left out."""

    cells: list[Cell]
    overrides: list[str]  # of the sweep's command, as typed

    @property
    def id(self) -> str:
        """The hash of the sorted fingerprints: the same command, or another for the same runs, has the same id."""
        return hashlib.sha256("\n".join(sorted(cell.job.fingerprint for cell in self.cells)).encode()).hexdigest()

    @property
    def settings(self) -> config.Config:
        """The config of the first job: its store and its tracking are those of the sweep."""
        return self.cells[0].job.config

    @property
    def name(self) -> str:
        return " ".join(self.overrides) or "sweep"

    def manifest(self, experiment: str | None, status: str, started: float) -> dict[str, Any]:
        """What the store keeps of the sweep."""
        return {
            "id": self.id,
            "time": started,
            "experiment": experiment,
            "name": self.name,
            "overrides": self.overrides,
            "cells": [
                {"fingerprint": c.job.fingerprint, "name": c.name, "overrides": c.job.overrides} for c in self.cells
            ],
            "status": status,
            "ended": None if status == "running" else time.time(),
        }


def make(jobs: Sequence[Sequence[str]], given: Sequence[str], compose: Callable[[list[str]], DictConfig]) -> Plan:
    """Compose and check all jobs, each a list of overrides; `given` is what the user typed.

    Raises UserError that lists what is wrong with which jobs.
    """
    cells = _checked(jobs, compose)
    if len({repr((cell.job.config.store, cell.job.config.tracking)) for cell in cells}) > 1:
        raise UserError("store, tracking: must be the same for all jobs of a sweep; it is one place")
    unique = {cell.job.fingerprint: cell for cell in reversed(cells)}
    if len(unique) < len(jobs):
        screen.say(f"{len(jobs) - len(unique)} of {len(jobs)} jobs ask for the same run as another: trained once")
    plan = Plan(cells=list(reversed(unique.values())), overrides=[config.redact_override(o) for o in given])
    for settings in {repr(c.job.config.data): c.job.config.data for c in plan.cells if not c.job.finished}.values():
        data.load(settings)  # fetched once, and what is wrong with it shows before anything is made
    return plan


def _checked(jobs: Sequence[Sequence[str]], compose: Callable[[list[str]], DictConfig]) -> list[Cell]:
    varied = _varied(jobs)
    cells: list[Cell] = []
    errors: dict[str, list[str]] = {}
    with screen.waiting(f"checking {len(jobs)} jobs"):
        for overrides in jobs:
            values = _values(overrides, varied)
            name = " ".join(f"{short}={values[key]}" for key, short in varied.items() if key in values)
            try:
                job = _prepared(list(overrides), compose)
            except UserError as error:
                errors.setdefault(str(error), []).append(name)
                continue
            cells.append(Cell(name=name or job.name, overrides=list(overrides), varied=values, job=job))
    if errors:
        raise UserError(_listed(errors, len(jobs)))
    return cells


def _prepared(overrides: list[str], compose: Callable[[list[str]], DictConfig]) -> Job:
    try:
        composed = compose(overrides)
    except Exception as error:
        if message := config.explain(error):
            raise UserError(message) from error
        raise
    return prepare(config.parse(composed), [config.redact_override(o) for o in overrides])


def _varied(jobs: Sequence[Sequence[str]]) -> dict[str, str]:
    """The keys whose values differ between jobs, each with its shortest clear name (`model.hidden` -> `hidden`)."""
    values: dict[str, set[str]] = {}
    for overrides in jobs:
        for override in overrides:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    keys = [key for key, different in values.items() if len(different) > 1]
    last = [key.rpartition(".")[2] for key in keys]
    return {key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)}


def _values(overrides: Sequence[str], varied: dict[str, str]) -> dict[str, str]:
    pairs = (override.partition("=") for override in overrides)
    return {key: YAML.get(value, value) for key, _, value in pairs if key in varied}


def _listed(errors: dict[str, list[str]], jobs: int) -> str:
    """Each different error once, with the jobs that have it."""
    lines = [
        f"{message}{f'  (in {len(names)} of {jobs} jobs: {names[0]}, ...)' if len(names) > 1 else _in(names[0])}"
        for message, names in list(errors.items())[:SHOWN_ERRORS]
    ]
    more = len(errors) - SHOWN_ERRORS
    return "\n".join([*lines, *([f"... and {more} more"] if more > 0 else []), "nothing was trained"])


def _in(name: str) -> str:
    return f"  (in {name})" if name else ""
