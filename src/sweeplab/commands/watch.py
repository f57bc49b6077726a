"""`sweeplab watch`: look at a sweep while it runs, from any terminal that sees its store."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import Any

from rich.console import Group, RenderableType

from sweeplab import console
from sweeplab.commands.compare import LATEST, named_sweep
from sweeplab.compare import tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.following import (
    AT_WORK,
    GOOD,
    OPEN,
    STATES,
    WAITING,
    FollowedReplica,
    FollowedSweep,
)
from sweeplab.config import Config
from sweeplab.errors import RunFailed, UserError, exit_code
from sweeplab.store import Status, Store
from sweeplab.sweep.screen import bars, overall

EVERY, SELDOM = 2.0, 15.0  # seconds between two looks, at least and at most
SHARE = 0.004  # of a core for looking, and as much for comparing: both come later if they take long
MOST_CONFIGS, MOST_JOBS, MOST_FAILURES = 10, 16, 5  # that are drawn


def add_options(parser: ArgumentParser) -> None:
    """Add which sweep is watched, and how."""
    parser.usage = "%(prog)s [--once | --json] [SWEEP] [key=value ...]"
    sweep = "latest, the beginning of a sweep's id, its MLflow run, or an experiment"
    parser.add_argument("words", nargs="*", action="extend", metavar="SWEEP", help=sweep)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="how it stands now, and no more")
    form.add_argument("--json", action="store_true", help="the same for scripts")


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the name of the sweep, which has no `=`, from among the overrides."""
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise UserError(f"{' '.join(names)}: one sweep is watched at a time")
    arguments.name = names[0] if names else LATEST
    return [word for word in words if "=" in word]


def main(arguments: Namespace, settings: Config) -> None:
    """Watch a sweep until it has ended. Raises UserError for a name that no sweep has.

    Raises RunFailed if it ended, or nobody carries it out, and not all of it is finished.
    """
    home = Store(settings.store.root)
    view = SweepView(FollowedSweep(home, named_sweep(home, arguments.name, settings)))
    with console.waiting("reading the journals"):
        view.look()
    if arguments.json:
        print(console.json_text("watch", view.content()))
        return
    if not arguments.once:
        _watch(view)
    console.show(view.drawing())
    _judge(view.sweep)


def _watch(view: SweepView) -> None:
    """Look again and again: draw on a terminal, else print a line for each run that ends."""
    screen = console.live()
    if screen is not None:
        screen.start()
    try:
        while not (view.sweep.is_over or view.sweep.is_deserted):
            began = time.process_time()
            if screen is not None:
                screen.update(view.drawing(), refresh=True)
            spent = view.spent + time.process_time() - began
            time.sleep(min(max(EVERY, spent / SHARE), SELDOM))
            for line in view.look():
                if screen is None:
                    console.say(line)
    except KeyboardInterrupt as error:
        code = exit_code(error)
        raise SystemExit(code) from None  # without a word of what is lost: nothing is
    finally:
        if screen is not None:
            screen.stop()


def _judge(sweep: FollowedSweep) -> None:
    """Raise RunFailed if a sweep has come to an end before all its runs did."""
    if sweep.is_deserted:
        again = console.command(f"sweeplab resume {sweep.manifest['id'][:12]}")
        raise RunFailed(f"nobody carries out this sweep any more; {again} takes it up")
    if sweep.is_over and sweep.manifest["status"] != Status.FINISHED:
        raise RunFailed(f"the sweep has ended: {sweep.manifest['status']}")


class SweepView:
    """A watched sweep as texts, drawings and JSON."""

    def __init__(self, sweep: FollowedSweep) -> None:
        self.sweep = sweep
        self.spent = 0.0  # seconds of a core for the latest look, but for the first
        self._comparison: Comparison | None = None
        self._ranking: list[RenderableType] = []  # the drawing of that
        self._compared_again = 0.0  # when that may be, by the monotonic clock
        self._is_new = True  # whether runs have ended since

    def look(self) -> list[str]:
        """Take in what is new; return a line for each run that has ended."""
        began = time.process_time()
        changed = self.sweep.look()
        ended = [run for run in changed if run.state not in OPEN]
        self._is_new |= bool(ended)
        if self._comparison is not None:
            self.spent = time.process_time() - began
        if self._is_new and (self.sweep.is_over or time.monotonic() >= self._compared_again):
            self._compare()
        first = self._done - len(ended) + 1
        return [self._line(run, number) for number, run in enumerate(ended, start=first)]

    @property
    def _done(self) -> int:
        states = self.sweep.states
        return self.sweep.total - states[AT_WORK] - states[WAITING]

    def _compare(self) -> None:
        self._is_new = False
        began = time.process_time()
        try:
            self._comparison = self.sweep.comparison()
        except UserError:  # it has no runs yet
            return
        self._ranking = self._drawn(self._comparison)
        seconds = time.process_time() - began
        self._compared_again = time.monotonic() + seconds / SHARE

    @property
    def _monitor(self) -> str:
        return self._comparison.monitor if self._comparison else ""

    def _line(self, run: FollowedReplica, number: int) -> str:
        """Say how a run ended, the how manieth it is."""
        where = f"{number}/{self.sweep.total} {run.replica.cell['name']}"
        if run.state not in GOOD:
            return f"{where}: {_why(run)}"
        value = run.replica.best_epoch.get(self._monitor)
        shown = "" if value is None else f": {self._monitor} {console.number(value)}"
        return f"{where}: {run.replica.status}{shown}"

    def drawing(self) -> RenderableType:
        """Draw how the sweep stands: counts, ranking, runs at work, failures."""
        sweep, states = self.sweep, self.sweep.states
        counts = [f"{states[state]} {state.replace('_', ' ')}" for state in STATES if states[state]]
        name = f"{sweep.manifest['name']} ({sweep.manifest['id'][:12]})"
        parts: list[RenderableType] = [console.plain(name, style="bold")]
        parts.append(overall(sweep.total, sweep.done, ", ".join(counts), sweep.seconds_left()))
        parts += self._ranking
        working = self._working()
        parts.append(bars([run.working for run in working[:MOST_JOBS]], self._monitor))
        parts += _more(len(working) - MOST_JOBS, "at work")
        failures = self._failures()
        for run in failures[-MOST_FAILURES:]:
            line = f"{run.replica.cell['name']}: {_why(run)}"
            parts.append(console.plain(line, style="red"))
        parts += _more(len(failures) - MOST_FAILURES, "that did not finish")
        if sweep.is_paused:
            parts.append(console.plain("paused: sweeplab resume goes on", style="yellow"))
        return Group(*parts)

    def _drawn(self, comparison: Comparison) -> list[RenderableType]:
        monitor = comparison.monitor
        rows, is_interim = [], False
        for group in comparison.groups[:MOST_CONFIGS]:
            n = len(group.measured(monitor))
            mark = "interim" if self.sweep.is_interim(group, comparison) else ""
            is_interim |= bool(mark)
            mean = tables.mean_cell(comparison, group, monitor)
            rows.append([*group.cells, f"{n} of {group.n}", mean, mark])
        columns = [*comparison.columns, "n", tables.column_title(comparison, monitor), ""]
        if not is_interim:  # the last column says nothing
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        parts: list[RenderableType] = [
            console.grid("", columns, rows, left=len(comparison.columns)),
            *_more(len(comparison.groups) - MOST_CONFIGS, "configs"),
        ]
        if is_interim:
            about = f"interim: of some of its {tables.repeats(comparison)} only; it may change"
            parts.append(console.plain(about, style="dim"))
        return parts

    def _working(self) -> list[FollowedReplica]:
        return [run for run in self.sweep.runs if run.state == AT_WORK]

    def _failures(self) -> list[FollowedReplica]:
        return [run for run in self.sweep.runs if run.state not in GOOD]

    def content(self) -> dict[str, Any]:
        """Return all that is known, for scripts: docs/json.md."""
        sweep, manifest, states = self.sweep, self.sweep.manifest, self.sweep.states
        keys = ("id", "name", "experiment", "status", "time", "ended")
        return {
            "sweep": {key: manifest.get(key) for key in keys},
            "is_over": sweep.is_over,
            "is_deserted": sweep.is_deserted,
            "is_paused": sweep.is_paused,
            "monitor": self._monitor or None,
            "counts": {state: states[state] for state in STATES},
            "seconds_left": sweep.seconds_left(),
            "configs": self._configs(),
            "at_work": [_working_content(run) for run in self._working()],
            "failures": [_failure_content(run) for run in self._failures()],
        }

    def _configs(self) -> list[dict[str, Any]]:
        if self._comparison is None:
            return []
        configs = []
        for group in self._comparison.groups:
            mean = group.mean(self._monitor)
            configs.append({
                "name": group.name,
                "n": 0 if mean is None else mean.n,
                "runs": group.n,
                "interim": self.sweep.is_interim(group, self._comparison),
                "mean": None if mean is None else mean.mean,
                "low": None if mean is None else mean.low,
                "high": None if mean is None else mean.high,
            })  # fmt: skip
        return configs


def _more(number: int, what: str) -> list[RenderableType]:
    """Say that more is not drawn; nothing if all is."""
    return [console.plain(f"... and {number} more {what}", style="dim")] if number > 0 else []


def _why(run: FollowedReplica) -> str:
    """Say why a run did not finish: by its journal, else with the last line of its log."""
    trouble = run.replica.trouble(()) or run.replica.status
    tail = run.run.log_tail()
    return trouble if run.replica.error or not tail else f"{trouble}: {tail[-1]}"


def _working_content(run: FollowedReplica) -> dict[str, Any]:
    working = run.working
    return {
        "id": working.id,
        "name": working.name,
        "epoch": working.epoch,
        "epochs": working.epochs,
        "epochs_per_second": working.speed,
        "seconds_left": working.seconds_left,
        "value": working.value,
    }


def _failure_content(run: FollowedReplica) -> dict[str, Any]:
    return {
        "id": run.run.id,
        "name": run.replica.cell["name"],
        "status": run.replica.status,
        "why": _why(run),
        "log": str(run.run.log_file),
    }
