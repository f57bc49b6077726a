"""The plan of a sweep: every job is composed, checked and fingerprinted before the first starts."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeplab import config, console, metrics
from sweeplab.console import counted
from sweeplab.errors import UserError, did_you_mean
from sweeplab.runs.once import Once
from sweeplab.sweep.cell import Cell, Compose, cell_name, make_cell, varied_keys
from sweeplab.train.inert_keys import effective_config, inert_keys

SHOWN_ERRORS = 20
SEED = "seed"
PATIENCE = 2.0  # seconds of planning after which it is counted


@dataclass(kw_only=True, slots=True, frozen=True)
class Plan:
    """The jobs of one sweep command, each once; a search adds its jobs as it chooses them."""

    cells: list[Cell]
    overrides: list[str]  # of the sweep's command, as typed
    settings: config.Config  # of the first job: its store and its tracking are those of the sweep
    search_id: str | None = None
    search: dict[str, Any] = field(default_factory=dict)  # what the store is to keep of it
    looks: dict[str, Any] = field(default_factory=dict)  # of `sweep.seeds`, for the comparison
    # The sweep that this one starts from, and what it takes of that
    start: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The hash of the sorted fingerprints: every command for the same runs has the same id."""
        if self.search_id is not None:
            return self.search_id
        fingerprints = sorted(cell.job.fingerprint for cell in self.cells)
        return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()

    @property
    def name(self) -> str:
        return " ".join(self.overrides) or "sweep"

    def add(self, cells: Sequence[Cell]) -> None:
        """Add jobs, except those whose run is in the plan already."""
        known = {cell.job.fingerprint for cell in self.cells}
        self.cells.extend(cell for cell in cells if cell.job.fingerprint not in known)

    def manifest(self, experiment: str | None, status: str, started: float) -> dict[str, Any]:
        """Return what the store keeps of the sweep."""
        baseline = self.settings.sweep.baseline
        if baseline is not None:
            baseline = config.redact_override(baseline)
        manifest = {
            "id": self.id,
            "time": started,
            "experiment": experiment,
            "name": self.name,
            "overrides": self.overrides,
            "command": config.issued_command(),
            "baseline": baseline,
            "margin": self.settings.sweep.margin,
            "replicate": self.settings.replicate,
            "cells": [cell.record for cell in self.cells],
            "status": status,
            "ended": None if status == "running" else time.time(),
        }
        if self.search:
            manifest["search"] = self.search
        if self.looks:
            manifest["looks"] = self.looks
        if self.start:
            manifest["from"] = self.start
        return manifest


def make(
    jobs: Sequence[Sequence[str]],
    typed: Sequence[str],
    compose: Compose,
    *,
    is_single_run: bool = False,
) -> Plan:
    """Compose and check all jobs, each a list of overrides, and look up what becomes of them.

    `typed` are the overrides of the command. Jobs for which `sweep.where` does not hold are
    dropped; of several that ask for the same run the first is kept. Raises UserError that lists
    what is wrong with which jobs.
    """
    cells = _make_cells(jobs, compose, is_single_run=is_single_run)
    _ensure_one_sweep(cells)
    if not is_single_run:  # which may be one of an experiment with rules
        _ensure_replicated(cells)
        _ensure_baseline(cells)
    _ensure_margin(cells[0].job.config)
    notes = _inert_notes(cells)
    for cell in cells:
        notes += cell.job.notes
    console.warn(notes)
    if len(cells) < len(jobs):
        console.say(
            f"{len(jobs) - len(cells)} of {counted(len(jobs), 'job')} are left out by sweep.where"
        )
    unique = {cell.job.fingerprint: cell for cell in reversed(cells)}
    if len(unique) < len(cells):
        twice = f"{len(cells) - len(unique)} of {counted(len(cells), 'job')} ask for the same run as another"
        console.say(f"{twice}: trained once{_why_the_same(cells, unique)}")
    return Plan(
        cells=list(reversed(unique.values())),
        overrides=[config.redact_override(override) for override in typed],
        settings=cells[0].job.config,
    )


# --- the jobs, one by one


def _make_cells(
    jobs: Sequence[Sequence[str]],
    compose: Compose,
    *,
    is_single_run: bool,
) -> list[Cell]:
    """Compose and check all jobs. Raises UserError that lists what is wrong with which."""
    varied = varied_keys(jobs)
    cells: list[Cell] = []
    errors: dict[str, list[str]] = {}  # message -> names of the jobs
    once = Once()
    for overrides in _counted(jobs):
        try:
            cell = make_cell(overrides, varied, compose, once, is_single_run=is_single_run)
        except UserError as error:
            for problem in error.problems:
                errors.setdefault(problem, []).append(cell_name(overrides, varied))
            continue
        if cell is not None:
            cells.append(cell)
    if errors:
        raise UserError(_listed(errors, len(jobs)))
    if not cells:
        raise UserError(
            f"sweep.where: holds for none of the {counted(len(jobs), 'job')}; nothing was trained"
        )
    return cells


def _counted(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the jobs under a spinner; after some seconds a bar counts them instead."""
    with ExitStack() as stack:
        stack.enter_context(console.waiting(f"checking {counted(len(jobs), 'job')}"))
        began, progress = time.monotonic(), None
        for number, overrides in enumerate(jobs):
            if progress is None and time.monotonic() - began > PATIENCE:
                stack.close()
                progress = stack.enter_context(console.counting("checking jobs"))
            if progress is not None:
                progress(number, len(jobs))
            yield overrides


def _listed(errors: dict[str, list[str]], jobs: int) -> str:
    """List each different error once, with the jobs that have it."""
    lines = []
    for message, names in list(errors.items())[:SHOWN_ERRORS]:
        where = f"  (in {names[0]})" if names[0] else ""
        if len(names) > 1:
            where = f"  (in {len(names)} of {counted(jobs, 'job')}: {names[0]}, ...)"
        lines.append(message + where)
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"... and {len(errors) - SHOWN_ERRORS} more")
    return "\n".join([*lines, "nothing was trained"])


# --- all jobs together


def _ensure_one_sweep(cells: Sequence[Cell]) -> None:
    configs = [cell.job.config for cell in cells]
    if len({repr((settings.store, settings.tracking)) for settings in configs}) > 1:
        rule = "must be the same for all jobs of a sweep; it is one place"
        raise UserError(f"store, tracking: {rule}")
    if len({repr(settings.sweep) for settings in configs}) > 1:
        first, *others = [asdict(settings.sweep) for settings in configs]
        keys = [key for key in first if any(other[key] != first[key] for other in others)]
        listed = ", ".join(f"sweep.{key}" for key in keys)
        rule = "must be the same for all jobs of a sweep; it is carried out as one"
        raise UserError(f"{listed}: {rule}")


def _ensure_replicated(cells: Sequence[Cell]) -> None:
    """Raise UserError if a key of `sweep.replicate` is not a swept value: seed and fold need not be."""
    swept: list[str] = []
    for cell in cells:
        swept += [key.lstrip("+") for key in cell.varied]
    swept = list(dict.fromkeys(swept))
    for key in cells[0].job.config.sweep.replicate:
        if key in (SEED, config.FOLD):
            continue
        if key not in swept:
            hint = did_you_mean(key, dict.fromkeys([*swept, SEED]))
            raise UserError(f"sweep.replicate={key}: is not swept{hint}")
        if "." not in key:
            rule = "is a choice of many keys; name one of these, as data.split_seed"
            raise UserError(f"sweep.replicate={key}: {rule}")


def _ensure_baseline(cells: Sequence[Cell]) -> None:
    """Raise UserError if `sweep.baseline` is none of the groups that the comparison will show."""
    settings = cells[0].job.config
    if settings.sweep.baseline is None:
        return
    from sweeplab.compare import baseline
    from sweeplab.compare.groups import group_runs, name_groups
    from sweeplab.compare.runs import planned

    runs = [planned(cell.record, cell.job.outline()) for cell in cells]
    groups = group_runs(runs, settings.replicate)
    conditions = baseline.read([settings.sweep.baseline])
    baseline.find(name_groups(groups), groups, conditions, "sweep.baseline: ")


def _ensure_margin(settings: config.Config) -> None:
    """Raise UserError if no difference of the monitored metric is as large as `sweep.margin`."""
    margin = settings.sweep.margin
    why = "" if margin is None else metrics.unfit_margin(settings.monitor, margin)
    if why:
        raise UserError(f"sweep.margin={margin:g}: {why}")


def _why_the_same(cells: Sequence[Cell], unique: Mapping[str, Cell]) -> str:
    """Name the swept keys in which jobs differ that ask for the same run, '' if there are none."""
    pairs = [(cell.varied, unique[cell.job.fingerprint].varied) for cell in cells]
    keys = [key for key in cells[0].varied if _differ(key, pairs)]
    return f"; {', '.join(keys)} had no effect on what they ask for" if keys else ""


def _differ(key: str, pairs: Sequence[tuple[dict[str, str], dict[str, str]]]) -> bool:
    """Whether a pair has two values: `0` and `0.0` are one value, as are `392` and `[392]`."""
    for values, others in pairs:
        text, other = values.get(key), others.get(key)
        if text == other:
            continue
        if text is None or other is None or not config.same_value(text, other):
            return True
    return False


def _inert_notes(cells: Sequence[Cell]) -> list[str]:
    """Describe swept keys without effect in some jobs. Raises UserError for one that never has any.

    Several jobs come out the same if, say, a momentum is swept under a schedule that sets it.
    """
    unique = {cell.job.fingerprint: cell for cell in cells}
    groups: dict[str, list[Cell]] = {}  # of jobs that must come out the same
    for cell in unique.values():
        groups.setdefault(_effective(cell), []).append(cell)
    reasons: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for group in groups.values():
        for key, why in _inert_reasons(group).items():
            reasons[key] = why
            counts[key] += len(group)
    notes = []
    for key, why in reasons.items():
        if counts[key] == len(unique):
            raise UserError(f"{key}: is swept, but {why}\nnothing was trained")
        same = f"{counts[key]} of {counted(len(unique), 'job')} come out the same as another"
        notes.append(f"{key}: {same}: {why}")
    return notes


def _effective(cell: Cell) -> str:
    """Return a text that is equal for jobs that must come out the same."""
    settings = cell.job.config
    effective = effective_config(settings)
    if effective is settings:
        return cell.job.fingerprint
    return repr((config.canonical(effective), cell.job.facts.digest, cell.job.code))


def _inert_reasons(cells: Sequence[Cell]) -> dict[str, str]:
    """Map the keys in which jobs differ, although they must come out the same, to the reason."""
    if len(cells) == 1:
        return {}
    reasons: dict[str, str] = {}
    for cell in cells:
        reasons |= inert_keys(cell.job.config)
    flat = [config.flatten(config.to_dict(cell.job.config)) for cell in cells]
    differing = [key for key in reasons if len({repr(values.get(key)) for values in flat}) > 1]
    return {key: reasons[key] for key in differing}
