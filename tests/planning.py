"""Plans that are made in this process, and runs as they would be left in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import PROJECT
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeplab.errors import UserError
from sweeplab.runs.job import Job
from sweeplab.store import Event, Run, Status, Store
from sweeplab.sweep import compose, rules
from sweeplab.sweep.plan import Plan

Planned = Callable[..., Plan]

DIGITS = ("data=digits", "tracking=off", "trainer.threads=1")


@contextmanager
def planner() -> Iterator[Planned]:
    """Make the plans that `train.py -m ...` makes, on digits."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None

        def plan(*overrides: str) -> Plan:
            given = [*DIGITS, *overrides]
            master = hydra.compose_config(
                "config", given, run_mode=RunMode.MULTIRUN, from_shell=False
            )
            composer = compose.Composer(hydra.config_loader, master)
            return rules.plan(rules.read(given, hydra.config_loader, composer), composer)

        yield plan


def record(
    job: Job,
    status: str = Status.FINISHED,
    threads: int = 1,
    best: float | None = None,
    **metrics: float,
) -> Run:
    """A run as it would be left in the store, with its best value of the monitored metric."""
    home = Store(job.config.store.root).open()
    run = home.run(job.fingerprint)
    run.folder.mkdir()
    run.journal.append(Event.START, **job.record(), provenance={"threads": threads})
    if best is not None:
        run.journal.append(Event.EPOCH, epoch=1, metrics={job.config.monitor: best})
        metrics["best_epoch"] = 1.0
    measured = {"seconds": 8.0, "early_stop_epoch": 4.0, "parameters": 1234.0, **metrics}
    run.journal.append(Event.END, status=status, stop_reason="patience", metrics=measured)
    run.write_result(job.result(status, "patience", metrics=measured))
    return run


def refused(planned: Planned, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        planned(*overrides)
    return str(error.value)
