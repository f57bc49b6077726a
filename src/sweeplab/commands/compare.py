"""`sweeplab compare`: which sweeps or runs are meant, and in what form they are shown."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweeplab import config, console, tracking
from sweeplab.compare import baseline, compare, differences, experiment_page, export, show, write_report
from sweeplab.config import Config, Node, conf_dir
from sweeplab.errors import UserError, did_you_mean
from sweeplab.store import Run, Store

MLFLOW_ID = 32  # hex digits


def main(given: Namespace, names: Sequence[str], settings: Config) -> None:
    """Show what the user asks for. Raises UserError for a name that nothing has."""
    home, uri = Store(settings.store.root), tracking.resolve_uri(settings.tracking)
    if given.write and len(names) != 1:
        raise UserError(
            "--write: name the experiment whose page is to be written, as in: sweeplab compare width --write"
        )
    found = {name: sweeps(home, name, uri) for name in names}
    if len(names) == 2 and not any(found.values()):
        _two_runs(given, home, names, uri)
        return
    for name in names:
        if not found[name]:
            raise UserError(f"{name}: {_no_sweep(home)}{did_you_mean(name, _experiments(home))}")
    chosen = [sweep for several in found.values() for sweep in several] or home.manifests(console.complain)[-1:]
    if not chosen:
        raise UserError(f"no sweep in {home.root} yet; as in: python train.py -m model.hidden=392,256 'seed=range(5)'")
    unique = list({sweep["id"]: sweep for sweep in chosen}.values())
    result = compare(home, unique, where=given.where, baseline=baseline.read(given.baseline), target=given.target)
    if given.json or given.csv:
        print(export.as_json(result) if given.json else export.groups_csv(result), end="\n" if given.json else "")
    else:
        show(result)
    if given.write:
        console.say(f"written: {experiment_page.write(result, conf_dir().parent / 'experiments', names[0])}")
    if given.report is not None:
        file = write_report(result, config.expand_home(given.report))
        if not (given.json or given.csv):
            console.say(f"report: {file.resolve()}")


def sweeps(home: Store, name: str, uri: str) -> list[Node]:
    """The sweeps of this name: the beginning of an id, an MLflow parent run, or an experiment; the oldest first."""
    all_of_them = home.manifests(console.complain)
    begun = [sweep for sweep in all_of_them if name and sweep["id"].startswith(name)]
    if len(begun) > 1:
        raise UserError(f"{name}: several sweeps begin so: {', '.join(sweep['id'][:12] for sweep in begun)}")
    asked = f"experiment={name}"
    return (
        begun
        or [sweep for sweep in all_of_them if sweep["experiment"] == name or asked in sweep["overrides"]]
        or [
            sweep
            for sweep in (all_of_them if len(name) == MLFLOW_ID else [])
            if any(place.run_id == name for place in tracking.sweep_places(home, sweep["id"], uri))
        ]
    )


def _experiments(home: Store) -> list[str]:
    return sorted({sweep["experiment"] for sweep in home.manifests() if sweep["experiment"]})


def _no_sweep(home: Store) -> str:
    return f"no sweep in {home.root} begins so or is of an experiment of that name, nor are there two runs"


def _two_runs(given: Namespace, home: Store, names: Sequence[str], uri: str) -> None:
    if given.csv or given.report or given.where or given.baseline or given.target is not None:
        raise UserError("--csv, --report, --where, --baseline and --target are for sweeps, not for two runs")
    with _run(home, names[0], uri) as first, _run(home, names[1], uri) as second:
        found = differences.differences(first, second)
        if given.json:
            print(export.json_text(found))
        else:
            differences.show(found, (Path(names[0]).name[:8], Path(names[1]).name[:8]))


@contextmanager
def _run(home: Store, name: str, uri: str) -> Iterator[Run]:
    """The run with this id or the beginning of one, this folder, or this MLflow run id: of the store, else fetched."""
    try:
        run = home.find(name)
    except UserError as missing:
        if len(name) != MLFLOW_ID:
            raise UserError(f"{name}: {_no_sweep(home)} ({missing})") from missing
    else:
        yield run
        return
    for run in home.runs():
        if any(place.run_id == name for place in tracking.run_places(run, uri)):
            yield run
            return
    with tempfile.TemporaryDirectory() as folder:
        tracking.download(uri, name, Path(folder))
        yield Run(Path(folder))
