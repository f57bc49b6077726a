"""What a cluster's user asks of Slurm: the section `hydra.launcher` of hydra/launcher=slurm."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sweeplab import store
from sweeplab.config import Config, as_plain, launcher_key_meant, read_section
from sweeplab.errors import UserError
from sweeplab.runs.job import Job
from sweeplab.sweep.leases import Leases, gpus_elsewhere

KEY = "hydra.launcher"
OURS = re.compile(  # what sweeplab itself decides on
    r"--(job|arr|out|wrap|test|wait$|nodes(=|$)|ntasks(=|$))|-[JaoWNn]"
)
TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d(:\d\d)?)?")  # as `man sbatch` has it


def _is_time(value: Any) -> bool:
    if value is None:
        return True
    is_some = re.search("[1-9]", str(value)) is not None  # 0 means no limit to Slurm
    return not isinstance(value, float) and is_some and bool(TIME.fullmatch(str(value)))


def _seconds(time: str) -> int:
    """Return how long a time of Slurm's is: it counts whole minutes."""
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    units = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
    seconds = sum(part * unit for part, unit in zip(parts, units, strict=False))
    return 24 * 3600 * int(days or 0) + math.ceil(seconds / 60) * 60


def _is_memory(value: Any) -> bool:
    return value is None or bool(re.fullmatch(r"[1-9]\d*[KMGT]?", str(value), re.IGNORECASE))


def _is_gpus(value: Any) -> bool:
    return value is None or bool(re.fullmatch(r"([a-z][\w.-]*:)?\d+", str(value), re.IGNORECASE))


def _are_options(words: list[str]) -> bool:
    """Whether sbatch could take these: it would take a first word without a dash for a script."""
    begins = not words or words[0].startswith("-")
    return begins and not any(map(OURS.match, words))


def _rule(allowed: str, test: Any = lambda _: True) -> Any:
    return field(default=None, metadata={"allowed": f"{allowed}, or null", "test": test})


@dataclass(kw_only=True, slots=True)
class SlurmOptions:
    """The section `hydra.launcher` of hydra/launcher=slurm; its file comments each key."""

    workers: int | None = _rule("a whole number >= 1", lambda number: number >= 1)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Any = field(
        default=None,
        metadata={"allowed": "minutes, HH:MM:SS or D-HH:MM:SS, or null", "test": _is_time},
    )
    memory: Any = field(
        default=None,
        metadata={
            "allowed": "megabytes, or a number with K, M, G or T, or null",
            "test": _is_memory,
        },
    )
    cores: int | None = _rule("a whole number >= 1", lambda number: number >= 1)
    gpus: Any = field(
        default=None,
        metadata={
            "allowed": "a whole number >= 0, or a type and a number as a100:1, or null",
            "test": _is_gpus,
        },
    )
    grace: int = field(
        default=60,
        metadata={"allowed": "a whole number >= 1 (seconds)", "test": lambda number: number >= 1},
    )
    setup: list[str] = field(default_factory=list)
    options: list[str] = field(
        default_factory=list,
        metadata={
            "allowed": 'a list of options of sbatch, as ["--exclusive"], without those that sweeplab'
            " gives itself: job-name, nodes, ntasks, array, output, wrap, wait and test-only",
            "test": _are_options,
        },
    )

    @classmethod
    def read(cls, section: dict[str, Any]) -> SlurmOptions:
        """Read the section. Raises UserError for unknown keys and bad values."""
        plain = as_plain(section)
        known = [spec.name for spec in fields(cls)]
        unknown = {key: value for key, value in plain.items() if key not in known}
        if unknown:
            reasons = {key: f"no such key{launcher_key_meant(key, known)}" for key in unknown}
            raise UserError(*[f"{KEY}.{key}={unknown[key]}: {why}" for key, why in reasons.items()])
        options = read_section(cls, plain, KEY)
        seconds = math.inf if options.time is None else _seconds(str(options.time))
        if options.grace >= seconds:
            reason = f"a worker would stop at once, {KEY}.grace={options.grace} seconds before"
            raise UserError(f"{KEY}.time={options.time}: {reason} the end of its time")
        return options

    def arguments(self, name: str, size: WorkerSize, logs: str) -> list[str]:
        """Return the arguments of sbatch for a worker."""
        asked = {
            "job-name": name,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": self.time,
            "mem": self.memory,
            "nodes": 1,
            "ntasks": 1,
            "cpus-per-task": size.cores,
            "gpus-per-node": (self.gpus or size.gpus) if size.gpus else None,
            "signal": f"B:USR1@{self.grace}",  # when the time is nearly over
            "open-mode": "append",
            "output": f"{logs.replace('%', '%%')}/%A_%a.txt",  # Slurm fills in what follows a %
        }
        words = [f"--{key}={value}" for key, value in asked.items() if value is not None]
        return [*words, "--requeue", *self.options]


@dataclass(kw_only=True, slots=True, frozen=True)
class WorkerSize:
    """What a worker is given, and how many jobs it does at once with that."""

    cores: int
    gpus: int
    jobs: int

    @classmethod
    def of(cls, options: SlurmOptions, jobs: Sequence[Job], settings: Config) -> WorkerSize:
        """Return what the largest of these jobs needs, unless the options say otherwise.

        Raises UserError if a job needs more than they say, or no job uses the GPUs that they ask for.
        """
        home = store.Store(settings.store.root)
        threads = settings.trainer.threads or 1
        share = gpus_elsewhere(settings)
        for job in jobs:
            recorded = home.run(job.fingerprint).threads
            threads = max(threads, recorded or job.config.trainer.threads or 1)
            share = max(share, gpus_elsewhere(job.config))
        gpus = math.ceil(share)
        if options.gpus is not None:
            gpus = int(str(options.gpus).rpartition(":")[2])
            _ensure_used(options, gpus, share, settings.trainer.device)
        at_once = Leases(cores=sys.maxsize, gpus=["GPU"] * gpus).most(share) if share else 1
        cores = options.cores or threads * at_once
        if cores < threads:
            needed = f"a job needs {threads} (trainer.threads)"
            raise UserError(f"{KEY}.cores={cores}: {needed}, and a worker would do none")
        most = cores // threads
        return cls(cores=cores, gpus=gpus, jobs=min(most, at_once) if share else most)


def _ensure_used(options: SlurmOptions, gpus: int, share: float, device: str) -> None:
    """Raise UserError for GPUs that do not do for a job, or that no job would use."""
    key = f"{KEY}.gpus={options.gpus}"
    if gpus < share:
        needed = f"a job needs {share:g} (sweep.gpus_per_worker)"
        raise UserError(f"{key}: {needed}, and a worker would do none")
    if gpus and not share and device in ("auto", "cpu"):
        advice = "trainer.device=auto sweep.gpus_per_worker=1 gives each job one"
        raise UserError(f"{key}: no job would use a GPU; {advice}")
