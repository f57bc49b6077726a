"""A sweep as it is now: each journal is read as it grows, and no line of it twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweeplab import metrics
from sweeplab.compare.analysis import compare
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import Group
from sweeplab.compare.runs import DAMAGED, MISSING, RUNNING, Replica, of_history, share
from sweeplab.config import Node
from sweeplab.store import DamagedError, Event, History, Line, Run, Status, Store
from sweeplab.store.requests import Wish

AT_WORK, WAITING = "at_work", "waiting"
STATES = (
    Status.FINISHED, AT_WORK, WAITING, Status.FAILED, Status.INTERRUPTED, Status.UNFINISHED,
    Status.PRUNED, DAMAGED,
)  # fmt: skip
OPEN = (AT_WORK, WAITING)  # of these more is to come
RESUMED = (Status.INTERRUPTED, Status.UNFINISHED)
GOOD = (Status.FINISHED, Status.PRUNED, *OPEN)
RECENT = 10  # epochs by which the speed of a run is told
QUIET = 10.0  # seconds without a sign of life, after which nobody carries a sweep out


@dataclass(kw_only=True, slots=True, frozen=True)
class Working:
    """A run of a sweep that is at work."""

    id: str
    name: str
    epoch: int  # the last that is complete; 0: none yet
    epochs: int
    value: float | None  # of the monitored metric at that epoch
    speed: float | None  # epochs per second

    @classmethod
    def of(cls, run: Run, name: str, history: History, epochs: int, monitor: str) -> Working:
        """Read in a journal how far a run of so many epochs has come."""
        done = history.epochs
        last = max(done, default=0)
        value = done[last].get(monitor) if done else None
        speed = _speed(history.lines)
        return cls(id=run.id, name=name, epoch=last, epochs=epochs, value=value, speed=speed)

    @property
    def seconds_left(self) -> float | None:
        """At most; early stopping may end it sooner."""
        return None if self.speed is None else max(self.epochs - self.epoch, 0) / self.speed


def _speed(lines: Sequence[Line]) -> float | None:
    """Return the epochs per second of the latest epochs since a run was started or resumed."""
    times: list[float] = []
    seconds = 0.0
    for line in reversed(lines):
        if line["event"] in (Event.START, Event.RESUME) or len(times) > RECENT:
            break
        if line["event"] == Event.EPOCH and "seconds" in line:  # else taken over from another run
            times.append(float(line["time"]))
            seconds = float(line["seconds"])
    if len(times) > 1:
        seconds = (times[0] - times[-1]) / (len(times) - 1)
    return 1 / seconds if seconds > 0 else None


class FollowedReplica:
    """A run of a sweep, as far as its journal has been read."""

    def __init__(self, run: Run, cell: Node) -> None:
        self.run, self._cell = run, cell
        self.state = WAITING  # one of STATES
        self._forget()

    def _forget(self) -> None:
        self._history = History(self.run.journal)
        self._is_claimed = self._is_paused = False
        self.last = 0.0  # when its journal grew (Unix seconds)
        self.replica = Replica(id=self.run.id, cell=self._cell, status=MISSING)

    def look(self, shared: dict[bytes, Node], since: float, *, is_held: bool) -> bool:
        """Take in what is new; return whether anything is. A finished run is not looked at.

        The sweep was issued at `since` (Unix seconds); it is asked to pause if it `is_held`.
        """
        if self.replica.status == Status.FINISHED:
            return False
        before, is_new = self.state, self._read(shared)
        self.state = self._state(since, is_held=is_held)
        return is_new or self.state != before

    def _read(self, shared: dict[bytes, Node]) -> bool:
        """Read what is new in the journal; return whether anything is, or who holds the run."""
        try:
            has_grown = self._history.read()
        except FileNotFoundError:  # never begun, or removed
            was_there = bool(self._history.count)
            if was_there:
                self._forget()
            return was_there
        except DamagedError as error:
            was_whole = self.replica.status != DAMAGED
            self.replica.status, self.replica.error = DAMAGED, str(error)
            return was_whole
        is_claimed = self.run.claimed
        if not has_grown and is_claimed == self._is_claimed:
            return False
        self._is_claimed = is_claimed
        self._take(shared)
        return True

    def _take(self, shared: dict[bytes, Node]) -> None:
        """Make the replica anew of the journal."""
        history = self._history
        self.last = float(history.lines[-1]["time"]) if history.count else 0.0
        replica = Replica(id=self.run.id, cell=self._cell, status=Status.UNFINISHED)
        self._is_paused = history.end.get("request") == Wish.PAUSE
        result = history.result
        self.replica = of_history(replica, result, history, is_claimed=self._is_claimed)
        if self.replica.start:
            share(self.replica, shared)
        if self.replica.status == Status.FINISHED:
            history.forget()

    @property
    def working(self) -> Working:
        """How far it has come."""
        start = self.replica.start
        epochs = start.get("config", {}).get("trainer", {}).get("epochs", 0)
        monitor, _ = metrics.watched(start)
        return Working.of(self.run, self._cell["name"], self._history, epochs, monitor)

    def _state(self, since: float, *, is_held: bool) -> str:
        if self.replica.status == RUNNING:
            return AT_WORK
        is_done = self.replica.status in (Status.FINISHED, Status.PRUNED, DAMAGED)
        # What is paused, and what an earlier command left, is resumed, or started again.
        is_held = is_held and self.replica.status == Status.INTERRUPTED
        is_left = self._is_paused or is_held or self.last < since
        if self.replica.status == MISSING or (is_left and not is_done):
            return WAITING
        return self.replica.status


class FollowedSweep:
    """A sweep that is watched while it runs."""

    def __init__(self, home: Store, sweep: Node) -> None:
        self._home, self.manifest = home, sweep
        self._file = home.manifest_file(sweep["id"])
        self._stamp = 0
        self._shared: dict[bytes, Node] = {}
        self._runs: dict[str, FollowedReplica] = {}
        self._lived = 0.0  # when there was a sign of life
        self.states: Counter[str] = Counter()  # how many runs are in each of STATES

    def look(self) -> list[FollowedReplica]:
        """Take in what is new; return the runs that have changed."""
        self._read_manifest()
        changed = []
        since, is_held = self.manifest["time"], self._is_open and self.is_paused
        for cell in self.manifest["cells"]:
            run = self._runs.get(cell["fingerprint"])
            if run is None:
                run = FollowedReplica(self._home.run(cell["fingerprint"]), cell)
                self._runs[cell["fingerprint"]] = run
            if run.look(self._shared, since, is_held=is_held):
                changed.append(run)
        self.states = Counter(run.state for run in self.runs)
        if self.states[AT_WORK] or self._home.is_carried_out(self.manifest["id"]):
            self._lived = time.time()
        return changed

    def _read_manifest(self) -> None:
        stamp = self._file.stat().st_mtime_ns
        if stamp == self._stamp:
            return
        before, self._stamp = self.manifest["time"], stamp
        self.manifest = self._home.manifest(self.manifest["id"])
        if self.manifest["time"] != before:  # its command was issued again
            self._runs.clear()

    @property
    def runs(self) -> list[FollowedReplica]:
        """All runs, in the order of the sweep."""
        return [self._runs[cell["fingerprint"]] for cell in self.manifest["cells"]]

    @property
    def total(self) -> int:
        """How many runs the sweep has."""
        return len(self.manifest["cells"])

    @property
    def done(self) -> int:
        """How many of them need no more work: what was interrupted, or killed, is resumed."""
        return self.total - sum(self.states[state] for state in (*OPEN, *RESUMED))

    @property
    def _is_open(self) -> bool:
        return bool(self.manifest["status"] == "running")

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return not self._is_open and not self.states[AT_WORK]

    @property
    def is_paused(self) -> bool:
        """Whether it is asked to train nothing until it is resumed."""
        return self._home.request(self.manifest["id"]).read() is Wish.PAUSE

    @property
    def is_deserted(self) -> bool:
        """Whether it has not ended, and nobody carries it out any more."""
        grown = max((run.last for run in self._runs.values()), default=0.0)
        begun = max(self.manifest["time"], self._lived, grown)
        return self._is_open and time.time() - begun > QUIET

    def seconds_left(self) -> float | None:
        """Estimate the seconds left, by the time that the jobs have taken since it was issued.

        None if no job is done yet, and if nobody is at work on the rest.
        """
        if self.is_over or self.is_deserted:
            return None
        began = self.manifest["time"]
        done = sum(run.last >= began and run.state not in OPEN for run in self.runs)
        left = self.states[AT_WORK] + self.states[WAITING]
        return seconds_left(time.time() - began, done, left)

    def comparison(self) -> Comparison:
        """Compare the runs as they are now. Raises UserError if there is none."""
        return compare(
            self._home,
            [self.manifest],
            read=lambda _home, cell, _known: self._runs[cell["fingerprint"]].replica,
        )

    def is_interim(self, group: Group, comparison: Comparison) -> bool:
        """Whether a config of the comparison has not had all its seeds yet."""
        if self.is_over:
            return False
        runs = [self._runs[replica.cell["fingerprint"]] for replica in group.replicas]
        return group in comparison.undecided or any(run.state in OPEN for run in runs)


def seconds_left(elapsed: float, done: int, left: int) -> float | None:
    """Estimate the seconds for the jobs that are left; None if none is, or none is done yet."""
    return elapsed / done * left if done and left else None
