"""The plan of a sweep: every job composed, checked and fingerprinted before the first one starts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeplab import config, console
from sweeplab.config.where import Condition
from sweeplab.errors import UserError, did_you_mean
from sweeplab.runs import parts
from sweeplab.runs.job import Job, Memo, prepare
from sweeplab.sweep import fate
from sweeplab.train.inert_keys import effective_config, inert_keys

if TYPE_CHECKING:
    from omegaconf import DictConfig

Compose = Callable[[list[str]], "DictConfig"]

SHOWN_ERRORS = 20
SEED = "seed"
PATIENCE = 2.0  # seconds of planning after which it is counted
YAML = {"True": "true", "False": "false", "None": "null"}  # Hydra hands swept values on in Python's spelling


@dataclass(kw_only=True, frozen=True)
class Cell:
    """One job of a sweep."""

    name: str  # what sets it apart from the others: hidden=392 seed=0
    overrides: list[str]
    varied: dict[str, str]  # the swept keys and its values of them
    job: Job
    fate: fate.Fate

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the sweep's manifest says of it: which run, and how it stands among the others, before it is started."""
        from sweeplab.compare.computation import manifest_entry

        return {
            "fingerprint": self.job.fingerprint,
            "name": self.name,
            "overrides": self.job.overrides,
            **manifest_entry(self.job.outline(), self.job.config.sweep.replicate, self.varied),
        }


@dataclass(kw_only=True, slots=True, frozen=True)
class Plan:
    """The jobs of one sweep command, duplicates left out; those of a search are added as they are chosen."""

    cells: list[Cell]
    overrides: list[str]  # of the sweep's command, as typed
    settings: config.Config  # of the first job: its store and its tracking are those of the sweep
    search_id: str | None = None
    search: dict[str, Any] = field(default_factory=dict)  # what the store is to keep of it

    @property
    def id(self) -> str:
        """The hash of the sorted fingerprints: the same command, or another for the same runs, has the same id."""
        if self.search_id is not None:
            return self.search_id
        return hashlib.sha256("\n".join(sorted(cell.job.fingerprint for cell in self.cells)).encode()).hexdigest()

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
            "baseline": _shown(self.settings.sweep.baseline),
            "replicate": self.settings.sweep.replicate,
            "cells": [cell.record for cell in self.cells],
            "status": status,
            "ended": None if status == "running" else time.time(),
            **({"search": self.search} if self.search else {}),
        }


def make(jobs: Sequence[Sequence[str]], given: Sequence[str], compose: Compose, *, alone: bool = False) -> Plan:
    """Compose and check all jobs, each a list of overrides, and look up what becomes of them.

    `given` is what the user typed. Jobs for which `sweep.where` does not hold are dropped, and none of several that ask
    for the same run but the first is kept. Raises UserError that lists what is wrong with which jobs.
    """
    cells = _checked(jobs, compose, alone=alone)
    _ensure_one_sweep(cells)
    _ensure_replicated(cells)
    _ensure_baseline(cells)
    said = [note for cell in cells for note in cell.job.notes]
    console.warn([*without_effect(cells), *said])
    if len(cells) < len(jobs):
        console.say(f"{len(jobs) - len(cells)} of {len(jobs)} jobs are left out by sweep.where")
    unique = {cell.job.fingerprint: cell for cell in reversed(cells)}
    if len(unique) < len(cells):
        twice = f"{len(cells) - len(unique)} of {len(cells)} jobs ask for the same run as another"
        console.say(f"{twice}: trained once{_why_the_same(cells, unique)}")
    return Plan(
        cells=list(reversed(unique.values())),
        overrides=[config.redact_override(o) for o in given],
        settings=cells[0].job.config,
    )


def _shown(text: str | None) -> str | None:
    return None if text is None else config.redact_override(text)


def _ensure_one_sweep(cells: Sequence[Cell]) -> None:
    if len({repr((cell.job.config.store, cell.job.config.tracking)) for cell in cells}) > 1:
        raise UserError("store, tracking: must be the same for all jobs of a sweep; it is one place")
    if len({repr(cell.job.config.sweep) for cell in cells}) > 1:
        asked = [asdict(cell.job.config.sweep) for cell in cells]
        keys = [f"sweep.{key}" for key in asked[0] if any(each[key] != asked[0][key] for each in asked)]
        raise UserError(f"{', '.join(keys)}: must be the same for all jobs of a sweep; it is carried out as one")


def _ensure_replicated(cells: Sequence[Cell]) -> None:
    """What runs are replicated over has to be swept, but for the seed, and to be one value."""
    swept = {key.lstrip("+"): values for cell in cells for key, values in cell.varied.items()}
    for key in cells[0].job.config.sweep.replicate:
        if key not in swept and key != SEED:
            raise UserError(f"sweep.replicate={key}: is not swept{did_you_mean(key, [*swept, SEED])}")
        if "." not in key and key != SEED:
            raise UserError(f"sweep.replicate={key}: is a choice of many keys; name one of these, as data.split_seed")


def _why_the_same(cells: Sequence[Cell], unique: Mapping[str, Cell]) -> str:
    """The swept keys in which jobs differ that ask for the same run: they say nothing about what is computed."""
    pairs = [(cell.varied, unique[cell.job.fingerprint].varied) for cell in cells]
    keys = [key for key in cells[0].varied if any(_differ(a.get(key), b.get(key)) for a, b in pairs)]
    return f"; {', '.join(keys)} had no effect on what they ask for" if keys else ""


def _differ(one: str | None, other: str | None) -> bool:
    """Whether two texts are two values: `0` and `0.0` are one, as are `392` and `[392]`."""
    return one != other and (one is None or other is None or not config.same_value(one, other))


def _ensure_baseline(cells: Sequence[Cell]) -> None:
    """What the others will be compared with has to be among them, as the comparison will show it."""
    settings = cells[0].job.config.sweep
    if settings.baseline is None:
        return
    from sweeplab.compare import baseline
    from sweeplab.compare.groups import group_runs, name_groups
    from sweeplab.compare.runs import planned

    runs = [planned(cell.record, cell.job.outline()) for cell in cells]
    groups = group_runs(runs, settings.replicate)
    baseline.find(name_groups(groups), groups, baseline.read([settings.baseline]), "sweep.baseline: ")


def without_effect(cells: Sequence[Cell]) -> list[str]:
    """What is to be said of swept keys that change nothing in some jobs. Raises UserError for one that never does.

    Of a sweep over the momentum under a schedule that sets it, say, several jobs would come out the same.
    """
    alike: dict[str, list[Cell]] = {}
    for cell in {cell.job.fingerprint: cell for cell in cells}.values():
        alike.setdefault(_effective(cell), []).append(cell)
    repeated = [several for several in alike.values() if len(several) > 1]
    if not repeated:
        return []
    total, said = sum(map(len, alike.values())), []
    for key, why in {key: why for several in repeated for key, why in _inert(several).items()}.items():
        count = sum(len(several) for several in repeated if key in _inert(several))
        if count == total:
            raise UserError(f"{key}: is swept, but {why}\nnothing was trained")
        said.append(f"{key}: {count} of {total} jobs come out the same as another: {why}")
    return said


def _effective(cell: Cell) -> str:
    settings = cell.job.config
    effective = effective_config(settings)
    if effective is settings:
        return cell.job.fingerprint
    return repr((config.canonical(effective), cell.job.facts.digest, cell.job.code))


def _inert(cells: Sequence[Cell]) -> dict[str, str]:
    """The keys whose values differ between jobs that must come out the same, with the reason."""
    settings = [cell.job.config for cell in cells]
    flat = [config.flatten(config.to_dict(each)) for each in settings]
    reasons = {key: why for each in settings for key, why in inert_keys(each).items()}
    return {key: why for key, why in reasons.items() if len({repr(each.get(key)) for each in flat}) > 1}


def _checked(jobs: Sequence[Sequence[str]], compose: Compose, *, alone: bool) -> list[Cell]:
    varied = varied_keys(jobs)
    cells: list[Cell] = []
    errors: dict[str, list[str]] = {}
    memo = Memo()
    for overrides in _counted(jobs):
        try:
            cell = checked(overrides, varied, compose, memo, alone=alone)
        except UserError as error:
            for problem in error.problems:
                errors.setdefault(problem, []).append(_name(overrides, varied))
            continue
        if cell is not None:
            cells.append(cell)
    if errors:
        raise UserError(_listed(errors, len(jobs)))
    if not cells:
        raise UserError(f"sweep.where: holds for none of the {len(jobs)} jobs; nothing was trained")
    return cells


def checked(
    overrides: Sequence[str], varied: dict[str, str], compose: Compose, memo: Memo, *, alone: bool = False
) -> Cell | None:
    """One job, found to be in order; None if it is not of those that `sweep.where` asks for. Raises UserError.

    `alone`: it is a single run, which this process trains.
    """
    job = _prepared(list(overrides), compose, memo)
    if job is None:
        return None
    if not alone:
        _ensure_importable(job.config)
    name = _name(overrides, varied) or job.name
    values = _values(overrides, varied)
    return Cell(name=name, overrides=list(overrides), varied=values, job=job, fate=fate.of(job, memo))


def _ensure_importable(settings: config.Config) -> None:
    """Raise UserError for classes of the script itself: the jobs are other processes, with another `__main__`."""
    if found := parts.of_script(settings):
        listed = ", ".join(f"{key}={name}" for key, name in found.items())
        raise UserError(f"{listed}: the jobs of a sweep cannot import it from the script; put it into a module")


def _name(overrides: Sequence[str], varied: dict[str, str]) -> str:
    values = _values(overrides, varied)
    return " ".join(f"{short}={values[key]}" for key, short in varied.items() if key in values)


def _counted(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """The same jobs; a spinner turns meanwhile, and after a while they are counted on a bar."""
    with ExitStack() as shown:
        shown.enter_context(console.waiting(f"checking {len(jobs)} jobs"))
        began, progress = time.monotonic(), None
        for number, overrides in enumerate(jobs):
            if progress is None and time.monotonic() - began > PATIENCE:
                shown.close()
                progress = shown.enter_context(console.counting("checking jobs"))
            if progress is not None:
                progress(number, len(jobs))
            yield overrides


def _prepared(overrides: list[str], compose: Compose, memo: Memo) -> Job | None:
    """The job, or None if it is not of those that `sweep.where` asks for; those need not be in order."""
    config.remember_secrets(overrides)
    try:
        composed = compose(overrides)
    except Exception as error:  # Hydra's, over what was typed
        raise UserError(config.explain(error, overrides) or str(error)) from error
    plain = config.resolve(composed)
    sweep = plain.get("sweep")
    where = sweep.get("where") if isinstance(sweep, dict) else None
    if where is not None and not Condition.read(str(where), "sweep.where").holds(config.flatten(plain)):
        return None
    settings = _shared(config.validate(plain), memo)
    return prepare(settings, [config.redact_override(o) for o in overrides], memo)


def _shared(settings: config.Config, memo: Memo) -> config.Config:
    """The same, each section the first one that was equal: the jobs of a sweep differ in little, and all are kept."""

    def once(value: object) -> Any:
        return memo("section", value, lambda: value)

    return replace(settings, **{each.name: once(getattr(settings, each.name)) for each in fields(settings)})


def varied_keys(jobs: Sequence[Sequence[str]]) -> dict[str, str]:
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
    pairs = (config.redact_override(override).partition("=") for override in overrides)
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
