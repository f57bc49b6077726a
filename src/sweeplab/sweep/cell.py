"""One job of a sweep: composed, checked, fingerprinted and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeplab import config
from sweeplab.config.where import Condition
from sweeplab.errors import UserError
from sweeplab.runs import parts
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.once import Once
from sweeplab.sweep import fate

if TYPE_CHECKING:
    from omegaconf import DictConfig

Compose = Callable[[list[str]], "DictConfig"]

YAML = {"True": "true", "False": "false", "None": "null"}
"""Python's spelling of a value, in which Hydra passes it to a job, and the spelling in a config."""


@dataclass(kw_only=True, frozen=True)
class Cell:
    """One job of a sweep."""

    name: str  # what sets it apart from the others: hidden=392 seed=0
    overrides: list[str]
    varied: dict[str, str]  # the job's value of each swept key
    job: Job
    fate: fate.Fate

    @cached_property
    def record(self) -> dict[str, Any]:
        """The cell's entry in the sweep's manifest: which run it is, and where it stands."""
        from sweeplab.compare.computation import manifest_entry

        return {
            "fingerprint": self.job.fingerprint,
            "name": self.name,
            "overrides": self.job.overrides,
            **manifest_entry(self.job.outline(), self.job.config.replicate, self.varied),
        }


def make_cell(
    overrides: Sequence[str],
    varied: dict[str, str],
    compose: Compose,
    once: Once,
    *,
    is_single_run: bool = False,
) -> Cell | None:
    """Compose and check one job; return None if `sweep.where` leaves it out. Raises UserError.

    `is_single_run`: it is trained by this process, not by a worker of a sweep.
    """
    job = _prepare(list(overrides), compose, once)
    if job is None:
        return None
    if not is_single_run:
        _ensure_importable(job.config)
    return Cell(
        name=cell_name(overrides, varied) or job.name,
        overrides=list(overrides),
        varied=_varied_values(overrides, varied),
        job=job,
        fate=fate.of(job, once),
    )


def cell_name(overrides: Sequence[str], varied: dict[str, str]) -> str:
    """Name a job by its values of the swept keys; '' if nothing is swept."""
    values = _varied_values(overrides, varied)
    return " ".join(f"{short}={values[key]}" for key, short in varied.items() if key in values)


def varied_keys(jobs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Map each key whose values differ between jobs to its shortest clear name.

    `model.hidden` becomes `hidden`, unless another swept key ends like that, too.
    """
    values: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()  # of jobs that are given a key: sweep.when may leave it out
    for overrides in sorted(jobs, key=len, reverse=True):  # the first has all keys, in their order
        pairs = [override.partition("=") for override in overrides]
        counts.update({key for key, _, _ in pairs})
        for key, _, value in pairs:
            values.setdefault(key, set()).add(value)
    keys = [key for key, several in values.items() if len(several) > 1 or counts[key] < len(jobs)]
    last_parts = [key.rpartition(".")[2] for key in keys]
    names = {}
    for key, last in zip(keys, last_parts, strict=True):
        names[key] = last if last_parts.count(last) == 1 else key
    return names


def _varied_values(overrides: Sequence[str], varied: dict[str, str]) -> dict[str, str]:
    pairs = [config.redact_override(override).partition("=") for override in overrides]
    return {key: YAML.get(value, value) for key, _, value in pairs if key in varied}


def _ensure_importable(settings: config.Config) -> None:
    """Raise UserError for classes of the script itself.

    Jobs are other processes, in which another module is `__main__`.
    """
    classes = parts.of_script(settings)
    if classes:
        listed = ", ".join(f"{key}={name}" for key, name in classes.items())
        reason = "the jobs of a sweep cannot import it from the script; put it into a module"
        raise UserError(f"{listed}: {reason}")


def _prepare(overrides: list[str], compose: Compose, once: Once) -> Job | None:
    """Compose and check a job; return None if `sweep.where` leaves it out, checked or not."""
    config.remember_secrets(overrides)
    plain = config.resolve(composed(overrides, compose))
    if not _is_wanted(plain, overrides):
        return None
    settings = config.validate(plain)
    return prepare(settings, [config.redact_override(override) for override in overrides], once)


def composed(overrides: Sequence[str], compose: Compose) -> DictConfig:
    """Compose a job. Raises UserError for what Hydra raises, over what was typed."""
    try:
        return compose(list(overrides))
    except Exception as error:
        explained = config.explain(error, overrides, is_composing=True)
        raise UserError(explained or str(error)) from error


def facts(plain: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return what conditions look at: the config, and choices of groups, as `optimizer == 'sgd'`."""
    typed = [override.partition("=") for override in overrides]
    choices = {key.lstrip("+"): config.from_text(text) for key, _, text in typed if "." not in key}
    asked = {name: section for name, section in plain.items() if name != "sweep"}
    return choices | config.flatten(asked)


def _is_wanted(plain: dict[str, Any], overrides: Sequence[str]) -> bool:
    """Whether `sweep.where` holds for a config that is not validated yet."""
    sweep = plain.get("sweep")
    where = sweep.get("where") if isinstance(sweep, dict) else None
    if where is None:
        return True
    return Condition.read(str(where), "sweep.where").holds(facts(plain, overrides))
