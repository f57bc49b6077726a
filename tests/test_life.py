"""Lives of a project: runs and sweeps, killed, moved, copied, cleaned and restored; in the end all is level."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import life
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from life import NO_FAULT, Command, Ended, Fault
from life_checks import check_level, check_store, deleted_experiments, tracked

from sweeplab.store import Store


@dataclass(frozen=True)
class Asked:
    """What is asked of train.py: one run, or a sweep."""

    nets: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    experiment: str
    alone: bool

    def jobs(self, *further: str) -> list[list[str]]:
        tracked = self.experiment != "off"
        more = [
            f"tracking.experiment={self.experiment}" if tracked else "tracking.enabled=false",
            *further,
        ]
        cells = product(self.nets, self.rates, self.seeds)
        return [
            [f"model={net}", f"optimizer.lr={rate}", f"seed={seed}", *more]
            for net, rate, seed in cells
        ]


@dataclass
class Project:
    """A folder that the user works in."""

    root: Path
    uri: str | None  # of MLflow; None: a database in the root
    scale: int = 1  # of its code
    rows: int = 0  # of its data
    latest: Asked | None = None
    swept: Asked | None = None
    excused: set[tuple[str, str]] = field(
        default_factory=set
    )  # (fingerprint or sweep, deleted | cleaned)
    unseen: bool = False  # moved or copied since its last sync

    @property
    def further(self) -> list[str]:
        return [] if self.uri is None else [f"tracking.uri={self.uri}"]

    @property
    def file(self) -> Path:
        return (
            self.root / "mlflow.db"
            if self.uri is None
            else Path(self.uri.removeprefix("sqlite:///"))
        )

    @property
    def home(self) -> Store:
        return Store(self.root / "runs")

    def train(self, asked: Asked, fault: Fault, feeds: bool) -> Command:
        jobs = asked.jobs(*self.further)
        action = life.train(jobs[0]) if asked.alone else life.sweep(jobs, self.further, fault)
        self.latest = asked
        return Command(self.root, action, fault, feeds)

    def tool(self, *words: str, fault: Fault = NO_FAULT) -> Command:
        return Command(self.root, life.tool(*words, *self.further), fault)


def some(*values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True).map(tuple)


runs = st.builds(
    Asked,
    nets=st.sampled_from(["net", "linear"]).map(lambda net: (net,)),
    rates=st.sampled_from([0.1, 0.01]).map(lambda rate: (rate,)),
    seeds=st.integers(0, 2).map(lambda seed: (seed,)),
    experiment=st.sampled_from(["one", "one", "two", "off"]),
    alone=st.just(True),
)
sweeps = st.builds(
    Asked,
    nets=some("net", "linear"),
    rates=some(0.1, 0.01),
    seeds=some(0, 1, 2),
    experiment=st.sampled_from(["one", "one", "two", "off"]),
    alone=st.just(False),
)


def faults(*victims: str, lines: int) -> st.SearchStrategy[Fault]:
    what, whom = st.sampled_from(["kill", "terminate"]), st.sampled_from(victims)
    at_lines = st.builds(Fault, what, whom, st.integers(1, lines), st.just("line"))
    at_changes = st.builds(Fault, what, whom, st.integers(1, 80), st.just("change"))
    full = st.builds(Fault, st.just("full"), st.just(""), st.integers(0, 12_000))
    return st.one_of(st.just(NO_FAULT), at_lines, at_changes, full)


which = st.integers(0, 2)  # of the projects that there are


class Life(RuleBasedStateMachine):
    """One user, their projects, and MLflow."""

    folder: Path  # of all lives
    lives = 0
    ended = 0  # in order: everything has come to its end, and MLflow is level

    def __init__(self) -> None:
        super().__init__()
        Life.lives += 1
        self.place = Life.folder / f"life-{Life.lives}"
        self.place.mkdir()
        self.projects: list[Project] = []
        self.backups: dict[str, bytes] = {}  # of MLflow's database, by where it lies or whose it is
        self.places = 0

    # ---- the beginning ----

    @initialize(shared=st.booleans())
    def begin(self, shared: bool) -> None:
        root = self._new_place()
        root.mkdir()
        uri = f"sqlite:///{self.place}/shared.db" if shared else None
        first = Project(root, uri)
        life.write_code(root, first.scale)
        life.write_rows(root, first.rows)
        shutil.copyfile(Life.folder / "empty.db", first.file)
        self.projects.append(first)

    def _new_place(self) -> Path:
        self.places += 1
        return self.place / f"project-{self.places}"

    def _project(self, number: int) -> Project:
        return self.projects[number % len(self.projects)]

    def _database(self, project: Project) -> str:
        return project.uri or f"project {self.projects.index(project)}"

    # ---- commands ----

    @rule(
        number=which, asked=runs, fault=faults("command", "feeder", lines=2500), feeds=st.booleans()
    )
    def train(self, number: int, asked: Asked, fault: Fault, feeds: bool) -> None:
        self._train(self._project(number), asked, fault, feeds)

    @rule(
        number=which,
        asked=sweeps,
        fault=faults("command", "job", "feeder", lines=3000),
        feeds=st.booleans(),
    )
    def sweep(self, number: int, asked: Asked, fault: Fault, feeds: bool) -> None:
        self._train(self._project(number), asked, fault, feeds)

    @rule(number=which, fault=faults("command", "job", "feeder", lines=3000), feeds=st.booleans())
    def reissue(self, number: int, fault: Fault, feeds: bool) -> None:
        project = self._project(number)
        if project.latest:
            self._train(project, project.latest, fault, feeds)

    def _train(self, project: Project, asked: Asked, fault: Fault, feeds: bool) -> None:
        self._finish(project, asked, project.train(asked, fault, feeds), fault)
        life.wait_for_feeder(project.root)

    def _finish(
        self, project: Project, asked: Asked, command: Command, fault: Fault = NO_FAULT
    ) -> None:
        ended = command.ended()
        sound(ended, fault)
        if fault == NO_FAULT or fault.victim == "feeder":
            assert whole(ended), ended.out
            status = [run.status for run in project.home.runs()]
            assert status.count("finished") >= len(asked.jobs()), status
        if not asked.alone and any(project.home.sweeps.glob("*.json")):
            project.swept = asked if whole(ended) else None

    @rule(number=which, fault=faults("command", lines=8000), back_up=st.booleans())
    def sync(self, number: int, fault: Fault, back_up: bool) -> None:
        project = self._project(number)
        self._sync(project, fault)
        if back_up:
            self.backups[self._database(project)] = project.file.read_bytes()

    def _sync(self, project: Project, fault: Fault = NO_FAULT) -> None:
        ended = project.tool("sync", fault=fault).ended()
        sound(ended, fault)
        project.unseen = project.unseen and ended.code != 0
        deleted = deleted_experiments(project.file)
        if fault == NO_FAULT and not deleted:
            assert ended.code == 0, ended.out
        if ended.code == 0 and project.home.root.exists():
            assert "level" in ended.out
            if not deleted:
                check_level(project.home, project.file, project.excused)

    @rule(number=which)
    def compare(self, number: int) -> None:
        project = self._project(number)
        if project.swept is None:
            return
        ended = project.tool("compare", "--json").ended()
        assert ended.code == 0, ended.out
        check_counts(json.loads(ended.out), project.swept)

    @rule(number=which, fault=faults("command", lines=3000))
    def clean(self, number: int, fault: Fault) -> None:
        project = self._project(number)
        before = {run.id: run for run in project.home.runs()}
        finished = {run.id for run in before.values() if run.status == "finished"}
        asked = {run.id: run.start().get("fingerprint") for run in before.values()}
        ended = project.tool("runs", "--clean", "--yes", fault=fault).ended()
        sound(ended, fault)
        after = {run.id for run in project.home.runs()}
        assert finished <= after
        if fault == NO_FAULT:
            assert ended.code == 0, ended.out
            assert finished == after
        project.excused |= {
            (asked[run_id], "cleaned") for run_id in before.keys() - after if asked[run_id]
        }

    @rule(
        number=which,
        first=st.one_of(runs, sweeps),
        second=st.one_of(runs, sweeps),
        feeds=st.booleans(),
    )
    def two_at_once(self, number: int, first: Asked, second: Asked, feeds: bool) -> None:
        project = self._project(number)
        second = replace(second, experiment=first.experiment)
        commands = [(asked, project.train(asked, NO_FAULT, feeds)) for asked in (first, second)]
        for asked, command in commands:
            self._finish(project, asked, command)
        project.swept = None
        life.wait_for_feeder(project.root)

    @rule(number=which, asked=st.one_of(runs, sweeps))
    def sync_meanwhile(self, number: int, asked: Asked) -> None:
        project = self._project(number)
        command = project.train(asked, NO_FAULT, feeds=False)
        sound(project.tool("sync").ended(), NO_FAULT)
        self._finish(project, asked, command)

    # ---- what the user does otherwise ----

    @rule(number=which, scale=st.integers(1, 3))
    def edit_code(self, number: int, scale: int) -> None:
        project = self._project(number)
        project.scale = scale
        life.write_code(project.root, scale)

    @rule(number=which, version=st.integers(0, 2))
    def edit_data(self, number: int, version: int) -> None:
        project = self._project(number)
        project.rows = version
        life.write_rows(project.root, version)

    @rule(number=which)
    def move(self, number: int) -> None:
        project = self._project(number)
        self._have_seen(*(each for each in self.projects if each is not project))
        project.root = project.root.rename(self._new_place())
        project.unseen = True

    def _have_seen(self, *projects: Project) -> None:
        """Have a moved or copied project notice that: later, nobody could tell any more which of two is the copy."""
        for project in projects:
            if project.unseen:
                self._sync(project)

    @precondition(lambda self: len(self.projects) < 3)
    @rule(number=which, dated=st.booleans())
    def copy(self, number: int, dated: bool) -> None:
        project = self._project(number)
        self._have_seen(project)
        root = self._new_place()
        shutil.copytree(
            project.root, root, symlinks=True, copy_function=shutil.copy2 if dated else shutil.copy
        )
        self.projects.append(replace(project, root=root, excused=set(project.excused), unseen=True))

    @precondition(lambda self: self.backups)
    @rule()
    def restore(self) -> None:
        for project in self.projects:
            if (content := self.backups.get(self._database(project))) is not None:
                project.file.write_bytes(content)

    @rule(number=which, chosen=st.integers(0, 20))
    def delete_run(self, number: int, chosen: int) -> None:
        project = self._project(number)
        found = sorted(tracked(project.file).values(), key=lambda run: sorted(run.tags.items()))
        if found:
            one = found[chosen % len(found)]
            self._by_hand(project, lambda client: client.delete_run(one.id))
            for each in self.projects:
                asked = one.tags.get("fingerprint") or one.tags.get("sweep.id") or ""
                each.excused.add((asked, "deleted"))

    @rule(number=which, name=st.sampled_from(["one", "two"]))
    def delete_or_restore_experiment(self, number: int, name: str) -> None:
        project = self._project(number)

        def action(client: Any) -> None:
            if (found := client.get_experiment_by_name(name)) is not None:
                if found.lifecycle_stage == "deleted":
                    client.restore_experiment(found.experiment_id)
                else:
                    client.delete_experiment(found.experiment_id)

        self._by_hand(project, action)

    def _by_hand(self, project: Project, action: Any) -> None:
        ended = Command(project.root, life.own(action, f"sqlite:///{project.file}")).ended()
        assert ended.code == 0, ended.out

    # ---- always ----

    @invariant()
    def every_store_is_whole(self) -> None:
        for project in self.projects:
            if project.home.root.exists():
                check_store(project.home)

    def teardown(self) -> None:
        """Issued once more, everything comes to its end, and MLflow is level."""
        try:
            if sys.exc_info()[0] is None:  # nothing has failed yet
                for project in self.projects:
                    if project.latest:
                        self._train(project, project.latest, NO_FAULT, feeds=False)
                    self._sync(project)
                self.every_store_is_whole()
                Life.ended += 1
        finally:
            shutil.rmtree(self.place, ignore_errors=True)


CODES = {"kill": (-signal.SIGKILL,), "terminate": (143, -signal.SIGTERM)}


def sound(ended: Ended, fault: Fault) -> None:
    """A command says in a line what it has met, and is killed by nobody else."""
    note(f"{ended.code}: {ended.out[-300:]}")
    assert "Traceback" not in ended.out, ended.out
    assert ended.code in (0, 1, 2) or ended.code in CODES.get(fault.kind, ()), ended
    assert ended.code != 2 or fault.kind == "full", ended.out


def whole(ended: Ended) -> bool:
    """Whether a command's runs have all come to their end; MLflow may lag."""
    lags = "MLflow lags behind" in ended.out and "did not finish" not in ended.out
    return ended.code == 0 or (ended.code == 1 and lags)


def check_counts(found: dict[str, Any], asked: Asked) -> None:
    """Each group has each seed once."""
    groups = found["groups"]
    assert len(groups) == len(asked.nets) * len(asked.rates), groups
    for group in groups:
        assert sorted(run["seed"] for run in group["runs"]) == sorted(asked.seeds)
        assert group["metrics"]["test/loss"]["n"] == len(asked.seeds)


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "SWEEPLAB_ROOT"):
        monkeypatch.delenv(name, raising=False)
    with life.loaded(tmp_path):
        monkeypatch.setattr(Life, "folder", tmp_path, raising=False)
        yield


def live(count: int, *, chance: bool) -> int:
    """Lead so many lives, each with its checks; returns how many came to their end in order."""
    Life.ended = 0
    how = settings(
        max_examples=count,
        stateful_step_count=20,
        deadline=None,
        derandomize=not chance,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if chance else [Phase.generate, Phase.shrink],
    )
    run_state_machine_as_test(Life, settings=how)
    return Life.ended


def test_whatever_happens_in_a_life_each_run_is_trained_once_and_told_to_mlflow_once(
    lives: None,
) -> None:
    assert live(1, chance=False) == 1


@pytest.mark.full
@pytest.mark.parametrize("part", range(10))
def test_twenty_lives_of_twenty_steps_by_chance(part: int, lives: None) -> None:
    assert live(20, chance=True) == 20
