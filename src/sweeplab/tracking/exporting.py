"""Carries the journals of a command's runs to further trackers, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from inspect import isabstract
from pathlib import Path

from filelock import FileLock, Timeout

from sweeplab import console, store, targets
from sweeplab.errors import UserError, describe, failure, one_line
from sweeplab.tracking import terms
from sweeplab.tracking.exporter import ExportedRun, Exporter
from sweeplab.tracking.records import Node

PAUSE = 1.0  # seconds between two looks at the journals
PATIENCE = 600.0  # seconds that trackers get after the command has ended
RUNNING = "running"
KEY = "tracking.exporters"
LOG = "exporters.log"
LONGEST_LOG = 2**23  # bytes


def problems(nodes: Mapping[str, object]) -> list[str]:
    """List what is wrong with `tracking.exporters`, by the signatures; nothing is made."""
    found: list[str] = []
    for name, node in nodes.items():
        wrong = targets.check(node, f"{KEY}.{name}")
        path = node.get("_target_") if isinstance(node, dict) else None
        found += _class_problems(path, f"{KEY}.{name}._target_") or wrong
    return found


def _class_problems(path: object, key: str) -> list[str]:
    """List what is wrong with a class, whatever its arguments; none if it cannot be found."""
    try:
        target = targets.locate(path, key)
    except UserError:
        return []
    if not isinstance(target, type) or not issubclass(target, Exporter):
        return [f"{key}={path}: must be a subclass of sweeplab.tracking.Exporter"]
    try:
        reason = target.unavailable()
    except Exception as error:  # of the user's class
        reason = f"unavailable() raised {failure(error)}"
    if isabstract(target):
        lacking = ", ".join(sorted(target.__abstractmethods__))
        reason = f"lacks the methods of an exporter: {lacking}"
    return [f"{key}={path}: {reason}"] if reason else []


class RunCarrier:
    """Carries the journals of runs to one exporter."""

    def __init__(self, name: str, exporter: Exporter) -> None:
        self.name, self._exporter = name, exporter
        self._runs: dict[str, _Carried] = {}
        self.lag: dict[str, str] = {}  # run id -> why the tracker lacks something of it

    def carry(self, run: store.Run) -> None:
        """Carry what is new of a run."""
        carried = self._runs.setdefault(run.id, _Carried(run, self.name))
        try:
            is_behind = carried.is_behind()
        except FileNotFoundError:  # it has not begun
            return
        except (OSError, store.DamagedError) as error:
            self.lag[run.id] = failure(error)
            carried.close()
            return
        if not is_behind:
            return  # what failed before still lags
        try:
            self._carry(carried)
        except Timeout:
            self.lag[run.id] = "another process carries it"
        except (Exception, SystemExit) as error:  # one run's error must not stop the others
            self.lag[run.id] = failure(error)
            carried.close()
        else:
            self.lag.pop(run.id, None)

    def _carry(self, carried: _Carried) -> None:
        """Give the exporter what is new of a run: its begin, its rows, its end."""
        run, has_ended = carried.facts(), carried.history.has_ended
        if not carried.is_open:
            if has_ended and self._exporter.has(run):
                carried.skip()
                return
            carried.open()
            self._exporter.begin(run)
        rows = carried.new_rows()
        if rows:
            self._exporter.log(run, rows)
        if has_ended:
            self._exporter.end(run)
            carried.close()

    def leave(self) -> None:
        """End what is open: runs that were killed, or go on without the command."""
        for carried in self._runs.values():
            if not carried.is_open:
                continue
            status = RUNNING if carried.run.claimed else store.Status.INTERRUPTED
            try:
                self._exporter.end(replace(carried.facts(), status=status))
            except (Exception, SystemExit) as error:
                self.lag[carried.run.id] = failure(error)
            carried.close()


class _Carried:
    """How much of a run an exporter has got."""

    def __init__(self, run: store.Run, exporter: str) -> None:
        self.run = run
        self.history = store.History(run.journal)
        self._lock = FileLock(run.folder / f"export-{exporter}.lock", timeout=0)
        self._seen = self._sent = 0  # lines of the journal: read; given to the exporter

    @property
    def is_open(self) -> bool:
        return self._lock.is_locked

    def is_behind(self) -> bool:
        """Read the journal; return whether there is something new."""
        self.history.read()
        return self.history.count != self._seen

    def open(self) -> None:
        """Lock the run for this process. Raises Timeout if another one holds it."""
        self._lock.acquire()
        self._sent = 0

    def skip(self) -> None:
        self._seen = self.history.count

    def close(self) -> None:
        """Release the run; it is begun anew if its journal grows again."""
        self._seen = self.history.count
        self._lock.release()
        if self.history.has_ended:
            self.history.forget()

    def new_rows(self) -> list[terms.MetricRow]:
        """Return the rows that have come since the last call."""
        rows = terms.values(self.history.lines, self._sent)
        self._seen = self._sent = self.history.count
        return rows

    def facts(self) -> ExportedRun:
        """Describe the run."""
        history, start = self.history, self.history.start
        return ExportedRun(
            id=self.run.id,
            name=str(start.get("name", "")),
            experiment=str(start.get("experiment") or "sweeplab"),
            sweep=history.sweep,
            params=terms.settings(history.first_start),
            started=history.started_at or 0.0,
            lines=history.count,
            status=history.status if history.has_ended else RUNNING,
            folder=self.run.folder,
        )


def carry(
    home: store.Store, nodes: Mapping[str, Node], only: Node, rest: Callable[[], bool]
) -> dict[str, dict[str, str]]:
    """Carry runs until `rest` says that it was the last look; return what lags, by exporter.

    `only` names the runs: `run`, an id; `sweep`, whose runs are read from its manifest again and
    again; neither: all runs of the store.
    """
    carriers, broken = [], {}
    for name, node in nodes.items():
        try:
            carriers.append(RunCarrier(name, targets.build(node, f"{KEY}.{name}")))
        except (Exception, SystemExit) as error:
            broken[name] = {"": one_line(describe(error))[:300]}
    is_last = False
    while not is_last:
        is_last = rest()
        runs = list(_runs(home, only))
        for carrier in carriers:
            for run in runs:
                carrier.carry(run)
    for carrier in carriers:
        carrier.leave()
    lagging = {carrier.name: carrier.lag for carrier in carriers if carrier.lag}
    return broken | lagging


def _runs(home: store.Store, only: Node) -> Iterable[store.Run]:
    if "run" in only:
        return [home.run(only["run"])]
    if "sweep" not in only:
        return home.runs()
    try:
        cells = home.manifest(only["sweep"])["cells"]
    except (ValueError, OSError):  # it is not written yet
        return []
    return [home.run(str(cell["fingerprint"])) for cell in cells]


def main() -> None:
    """Carry what a line of JSON on stdin asks for, until stdin is closed; print what lags."""
    console.start_streams(encoding="utf-8")
    os.nice(10)  # training goes first
    order = json.loads(sys.stdin.readline())
    os.environ["SWEEPLAB_ROOT"] = order["root"]
    is_last = threading.Event()
    threading.Thread(target=_await_end, args=[is_last], daemon=True).start()
    sys.path[:] = order["path"]  # the exporter may be a class of the user's
    home = store.Store(Path(order["store"]))
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        with (home.root / LOG).open("ab") as log:  # what trackers print
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
        threading.Thread(target=_keep_short, args=[home.root / LOG], daemon=True).start()
        answer.write(
            json.dumps(carry(home, order["exporters"], order["only"], lambda: is_last.wait(PAUSE)))
        )


def _keep_short(log: Path) -> None:
    """Keep the latest half of a log that has grown too long, again and again."""
    while log.exists():
        if log.stat().st_size > LONGEST_LOG:
            content = log.read_bytes()[-LONGEST_LOG // 2 :]
            log.write_bytes(content.partition(b"\n")[2])  # trackers append to the same file
        time.sleep(PAUSE)


def _await_end(is_last: threading.Event) -> None:
    """Tell when stdin is closed: the command has ended. End a tracker that then never returns."""
    while os.read(0, 1):  # not sys.stdin, whose lock Python wants when it ends
        pass
    is_last.set()
    time.sleep(PATIENCE)
    print(f"given up: a tracker has not returned for {PATIENCE:.0f} s", flush=True)
    os._exit(1)
