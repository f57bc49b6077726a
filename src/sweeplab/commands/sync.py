"""`sweeplab sync`: bring MLflow up to date with the store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from sweeplab import console, targets, tracking
from sweeplab.config import Config
from sweeplab.errors import RunFailed, UserError
from sweeplab.store import Store


def add_options(_: ArgumentParser) -> None:
    """Add nothing: the store and the server are settings."""


def main(_: Namespace, settings: Config) -> None:
    """Carry what MLflow lacks; exit code 1 if some of it still lags."""
    home = Store(settings.store.root)
    say_copied(home)
    with console.counting("runs carried to MLflow") as progress:
        lag = tracking.sync(home, settings.tracking, progress)
    for notice in tracking.notices(home, settings.tracking):
        console.say(notice)
    if lag:
        count = "1 run lags" if len(lag) == 1 else f"{len(lag)} runs lag"
        raise RunFailed("\n".join([f"{count} behind in MLflow:", *by_cause(lag)]))
    console.say("MLflow is level with the store")
    _export(home, settings)


def _export(home: Store, settings: Config) -> None:
    """Carry what further trackers lack. Raises RunFailed if some of it still lags."""
    exporters = settings.tracking.exporters
    targets.search_here()  # for a class of the user's
    if problems := tracking.exporter_problems(exporters):
        raise UserError(*problems)
    if not exporters:
        return
    with console.waiting(f"carrying runs to {', '.join(exporters)}"):
        lag = tracking.export(home, settings.tracking)
    if lag:
        raise RunFailed(lag)
    console.say(f"{', '.join(exporters)}: level with the store")


def by_cause(lag: Sequence[str]) -> list[str]:
    """Join the lines of `tracking.sync` of all runs that lag for the same cause."""
    runs: dict[str, list[str]] = {}
    for line in lag:
        run_id, _, cause = line.partition(": ")
        runs.setdefault(cause, []).append(run_id)
    lines = []
    for cause, ids in runs.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        lines.append(f"{ids[0]}{more}: {cause}")
    return lines


def say_copied(home: Store) -> None:
    """Say that this store is a copy, if that has just been noticed."""
    if not home.sweeps.is_dir() or not home.writable:
        return
    notice = home.settle()
    if notice:
        console.say(notice)
