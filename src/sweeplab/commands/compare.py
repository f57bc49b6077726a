"""`sweeplab compare`: find the sweeps or runs that are named, compare them, show the result."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweeplab import config, console, tracking
from sweeplab.compare import (
    Comparison,
    baseline,
    compare,
    differences,
    experiment_page,
    export,
    show,
    write_report,
)
from sweeplab.compare.latex import latex, write_latex
from sweeplab.config import Config, Node
from sweeplab.errors import UserError, did_you_mean
from sweeplab.store import Run, Store

LATEST = "latest"
MLFLOW_ID = 32  # hex digits


def add_options(parser: ArgumentParser) -> None:
    """Add what is compared, how, and what is written."""
    parser.usage = "%(prog)s [options] [SWEEP ...] [key=value ...]"
    sweep = "latest, the beginning of a sweep's id, its MLflow run, or an experiment; or two runs"
    parser.add_argument("words", nargs="*", action="extend", metavar="SWEEP", help=sweep)
    where = "only runs whose config fits: 'model.hidden < 512'"
    parser.add_argument("--where", metavar="EXPR", help=where)
    baseline = parser.add_argument("--baseline", metavar="KEY=VALUE", action="append", default=[])
    baseline.help = "differences from it"
    target = "of the monitored metric, for epochs to it (default 0.98)"
    parser.add_argument("--target", type=_number, help=target)
    margin = "how much worse than the best a smaller config may be and still as good"
    parser.add_argument("--margin", type=_number, help=margin)
    report = "write the report there: HTML, PNG and CSV"
    parser.add_argument("--report", metavar="FOLDER", help=report)
    write = "write the experiment's page, experiments/SWEEP.md"
    parser.add_argument("--write", action="store_true", help=write)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts, instead of the table")
    csv = "the groups, unrounded, instead of the table"
    form.add_argument("--csv", action="store_true", help=csv)
    latex = "a table for a paper, instead of the table; with FILE.tex: written there"
    form.add_argument("--latex", metavar="FILE.tex", nargs="?", const="", help=latex)


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the names of sweeps and runs, which have no `=`, from among the overrides."""
    arguments.names = [word for word in words if "=" not in word]
    chosen = [word for word in words if "=" in word]
    file = arguments.latex or ""
    if "=" in file and not file.endswith(".tex"):  # an override, and no file
        chosen.append(file)
        arguments.latex = ""
    return chosen


def main(arguments: Namespace, settings: Config) -> None:
    """Compare the named sweeps or two runs. Raises UserError for a name that nothing has."""
    home, uri = Store(settings.store.root), tracking.resolve_uri(settings.tracking)
    names: list[str] = arguments.names
    _ensure_names(arguments)
    if len(names) == 2 and not any(sweeps(home, name, uri) for name in names):
        _compare_runs(arguments, home, names, uri)
        return
    result = compare(
        home,
        chosen(home, names, uri),
        where=arguments.where,
        baseline=baseline.read(arguments.baseline),
        target=arguments.target,
        margin=arguments.margin,
    )
    if arguments.json:
        print(export.as_json(result))
    elif arguments.csv:
        print(export.groups_csv(result), end="")
    elif arguments.latex == "":
        print(latex(result), end="")
    else:
        show(result)
    _write_files(arguments, result)


def _number(text: str) -> float:
    """Read a number of the command line. Raises argparse's own error for anything else."""
    try:
        return float(text)
    except ValueError as error:
        advice = ""
        if "," in text:
            advice = f"; if {text.replace(',', '.')} is meant, its point is a dot"
        raise ArgumentTypeError(f"{text}: must be a number{advice}") from error


def _ensure_names(arguments: Namespace) -> None:
    """Raise UserError if an option needs another name, or has taken one for its file."""
    if arguments.write and len(arguments.names) != 1:
        problem = "name the experiment whose page is to be written"
        raise UserError(f"--write: {problem}, as in: sweeplab compare width --write")
    if arguments.latex and not arguments.latex.endswith(".tex"):
        advice = f"to print that of a sweep, type its name first: {arguments.latex} --latex"
        raise UserError(f"--latex={arguments.latex}: name a file that ends in .tex; {advice}")


def _write_files(arguments: Namespace, result: Comparison) -> None:
    if arguments.write:
        name = arguments.names[0]
        page = experiment_page.write(result, arguments.entry.folder.parent / "experiments", name)
        console.say(f"written: {page}")
    if arguments.latex:
        file = write_latex(result, config.expand_home(arguments.latex))
        console.say(f"written: {file.resolve()}")
    if arguments.report is not None:
        file = write_report(result, config.expand_home(arguments.report))
        is_for_scripts = arguments.json or arguments.csv or arguments.latex == ""
        if not is_for_scripts:
            console.say(f"report: {file.resolve()}")


def chosen(home: Store, names: Sequence[str], uri: str) -> list[Node]:
    """List the named sweeps, each once; without names, the latest one.

    Raises UserError for a name that no sweep has.
    """
    found: dict[str, Node] = {}
    for name in names or [LATEST]:
        named = sweeps(home, name, uri)
        if not named and name == LATEST:
            example = "python train.py -m 'seed=range(5)'"
            raise UserError(f"no sweep in {home.place} yet; as in: {example}")
        if not named and home.matching(name):
            raise UserError(
                f"{name}: begins the id of a run, not of a sweep; {_ways_of_a_run(name)}"
            )
        if not named:
            experiments = [sweep.get("experiment") for sweep in home.manifests()]
            known = {str(experiment) for experiment in experiments if experiment}
            hint = did_you_mean(name, [LATEST, *sorted(known)])
            raise UserError(f"{name}: {_no_sweep(home)}{hint}")
        for sweep in named:
            found[sweep["id"]] = sweep
    return list(found.values())


def named_sweep(home: Store, name: str, settings: Config) -> Node:
    """Return the latest sweep that a name stands for. Raises UserError if there is none."""
    uri = tracking.resolve_uri(settings.tracking)
    return chosen(home, [name], uri)[-1]


def sweeps(home: Store, name: str, uri: str) -> list[Node]:
    """List the sweeps that a name stands for, the oldest first.

    It is `latest`, the beginning of a sweep's id, an experiment, or the id of an MLflow parent run.
    """
    if name == LATEST:
        return home.manifests(console.complain)[-1:]
    named = home.named(name, console.complain)
    if named or len(name) != MLFLOW_ID:
        return named
    for sweep in home.manifests():
        if _is_at(tracking.sweep_places(home, sweep["id"], uri), name):
            return [sweep]
    return []


def _is_at(places: Sequence[tracking.Place], mlflow_id: str) -> bool:
    return any(place.run_id == mlflow_id for place in places)


def _ways_of_a_run(name: str) -> str:
    shows, lists = (console.command(f"sweeplab {what} {name}") for what in ("show", "runs"))
    return f"{shows} tells of it, {lists} lists it"


def _no_sweep(home: Store) -> str:
    return f"no sweep in {home.place} begins so or is of an experiment of that name"


def _compare_runs(arguments: Namespace, home: Store, names: Sequence[str], uri: str) -> None:
    has_numbers = arguments.baseline or (arguments.target, arguments.margin) != (None, None)
    has_files = arguments.csv or arguments.report or arguments.latex is not None
    if has_files or arguments.where or has_numbers:
        options = "--csv, --latex, --report, --where, --baseline, --target and --margin"
        raise UserError(f"{options} are for sweeps, not for two runs")
    with _run(home, names[0], uri) as first, _run(home, names[1], uri) as second:
        result = differences.differences(first, second)
        if arguments.json:
            print(console.json_text("differences", result))
        else:
            differences.show(result, (Path(names[0]).name[:8], Path(names[1]).name[:8]))


@contextmanager
def _run(home: Store, name: str, uri: str) -> Iterator[Run]:
    """Find a run of the store by its id, the beginning of that, its folder, or its MLflow run id.

    A run that is in MLflow only is fetched, and kept meanwhile.
    """
    try:
        run = home.find(name)
    except UserError as missing:
        if len(name) != MLFLOW_ID:
            raise UserError(f"{name}: {_no_sweep(home)} ({missing})") from missing
    else:
        yield run
        return
    for run in home.runs():
        if _is_at(tracking.run_places(run, uri), name):
            yield run
            return
    with tempfile.TemporaryDirectory() as folder:
        tracking.download(uri, name, Path(folder))
        yield Run(Path(folder))
