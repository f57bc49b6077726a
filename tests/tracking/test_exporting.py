"""Trackers beside MLflow: what they get of runs, however these and the commands end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ready
from conftest import PROJECT, Command, Write
from feeding import SWEEP, add_epoch, finish, make, manifest
from filelock import FileLock
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sweeplab import tracking
from sweeplab.store import History, Run, Store
from sweeplab.tracking import ExportedRun, Exporter, MetricRow, exporting, exports
from sweeplab.tracking.tensorboard import COMPLETE, TensorBoard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard itself

DIGITS = ("data=digits", "model.hidden=8", "trainer.epochs=3", "trainer.progress=false")
PATIENT = "tracking.wait=60"  # on a machine that others use


class Noting(Exporter):
    """Notes what it is told; fails where it is told to."""

    failing = ""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def begin(self, run: ExportedRun) -> None:
        self.told.append(("begin", run.name, run.params))
        if run.name == self.failing:
            raise OSError("no room")

    def log(self, run: ExportedRun, rows: Sequence[MetricRow]) -> None:
        self.told.append(("log", run.name, [(row.name, row.step) for row in rows]))

    def end(self, run: ExportedRun) -> None:
        self.told.append(("end", run.name, run.status))


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root / "runs").open()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads of a run: tag -> (step, value)."""
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in tags}


def expected(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What the journal tells."""
    history, found = History.of(run.journal), {}
    for epoch, values in history.epochs.items():
        for name, value in values.items():
            found.setdefault(name, []).append((epoch, pytest.approx(value, rel=1e-6)))
    for name, value in history.metrics.items():
        found.setdefault(name, []).append((max(history.epochs), pytest.approx(value, rel=1e-6)))
    return found


def folders(root: Path) -> dict[str, Path]:
    """The folder of each run in TensorBoard's, by the beginning of its id."""
    files = (root / "tensorboard").glob("*/*/events.out.tfevents.*")
    return {file.parent.name.rpartition(" ")[2]: file.parent for file in files}


def ensure_level(root: Path) -> None:
    """Assert that TensorBoard has what the journals tell, once."""
    runs = list(Store(root / "runs").runs())
    assert folders(root).keys() == {run.id[:8] for run in runs}
    for run in runs:
        place = folders(root)[run.id[:8]]
        assert len(list(place.glob("events.out.*"))) == 1
        assert scalars(place) == expected(run)
        assert (place / COMPLETE).read_text() == str(History.of(run.journal).count)


def test_a_sweep(command: Command, sweeplab: Command, root: Path) -> None:
    sweep = (
        "train.py",
        "-m",
        *DIGITS,
        "seed=0,1",
        "tracking=tensorboard",
        "tracking.enabled=false",
        "sweep.report=false",
        PATIENT,
    )
    assert command(*sweep, loaded=True).code == 0
    ensure_level(root)
    before = {file: file.stat().st_mtime_ns for file in root.glob("tensorboard/*/*/*")}
    assert command(*sweep, loaded=True).code == 0
    assert {file: file.stat().st_mtime_ns for file in root.glob("tensorboard/*/*/*")} == before
    for file in next(iter(folders(root).values())).iterdir():
        file.unlink()
    assert len(folders(root)) == 1
    ended = sweeplab("sync", "tracking=tensorboard")
    assert ended.code == 0
    assert "tensorboard: level with the store" in ended.err + ended.out
    ensure_level(root)


@pytest.mark.full
def test_a_killed_command(root: Path) -> None:
    words = (*DIGITS[:2], "trainer.epochs=400", "trainer.patience=null", "trainer.progress=false")
    words = (*words, "trainer.checkpoint_every=0", "tracking=off", PATIENT)
    exporter = "+tracking.exporters={board: {_target_: sweeplab.tracking.TensorBoard}}"
    process = ready.Popen([sys.executable, str(PROJECT / "train.py"), *words, exporter])
    for _ in range(300):
        if folders(root) and scalars(next(iter(folders(root).values()))):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = next(iter(Store(root / "runs").runs()))
    assert run.status is None or run.status == "unfinished"
    lock = FileLock(run.folder / "export-board.lock", timeout=20)
    with lock:  # the exporter has ended by itself
        place = folders(root)[run.id[:8]]
        assert scalars(place) == expected(run)
    again = ready.Popen([sys.executable, str(PROJECT / "train.py"), *words, exporter])
    assert again.wait(60) == 0
    ensure_level(root)


def carry(home: Store, exporter: Exporter, only: Any = None) -> dict[str, str]:
    carrier = exporting.RunCarrier("noting", exporter)
    for run in exporting._runs(home, only or {}):
        carrier.carry(run)
    carrier.leave()
    return carrier.lag


def test_each_row_once(store: Store) -> None:
    run = make(store, end=None)
    noting = Noting()
    carrier = exporting.RunCarrier("noting", noting)
    carrier.carry(run)
    carrier.carry(run)
    add_epoch(run, 3)
    add_epoch(run, 2)  # repeated after a kill: the first line counts
    carrier.carry(run)
    finish(run)
    carrier.carry(run)
    carrier.carry(run)
    names = [(what, told) for what, _, told in noting.told if what != "begin"]
    both = ("train/loss", "valid/accuracy")
    assert names == [
        ("log", [(name, epoch) for epoch in (1, 2) for name in both]),
        ("log", [(name, 3) for name in both]),
        ("log", [("test/accuracy", 3), ("early_stop_epoch", 3), ("seconds", 3)]),
        ("end", "finished"),
    ]
    assert noting.told[0] == ("begin", "run 1", {"model.hidden": [392, 196], "seed": 0})
    make(store)  # begun anew
    carrier.carry(run)
    assert [what for what, *_ in noting.told[5:]] == ["begin", "log", "end"]


def test_one_that_is_at_work_for_another_command(store: Store) -> None:
    run, noting = make(store), Noting()
    with FileLock(run.folder / "export-noting.lock"):
        assert carry(store, noting) == {run.id: "another process carries it"}
        assert noting.told == []
    assert carry(store, noting) == {}


def test_one_run_that_fails_spares_the_others(store: Store) -> None:
    first, second = make(store, 1), make(store, 2)
    noting = Noting()
    noting.failing = "run 1"
    assert carry(store, noting) == {first.id: "OSError: no room (test_exporting.py, line 44)"}
    assert ("end", "run 2", "finished") in noting.told
    with second.claim():
        open_run = make(store, 3, end=None)
        with open_run.claim():
            carry(store, noting)
    assert noting.told[-1] == ("end", "run 3", "running")
    carry(store, noting)
    assert noting.told[-1] == ("end", "run 3", "interrupted")


def test_what_has_failed_lags_until_it_is_carried(store: Store) -> None:
    run, noting = make(store, 1), Noting()
    noting.failing = "run 1"
    carrier = exporting.RunCarrier("noting", noting)
    carrier.carry(run)
    carrier.carry(run)  # nothing is new
    assert carrier.lag.keys() == {run.id}


class Homeless(Noting):
    """Cannot write where it is told to."""

    def begin(self, run: ExportedRun) -> None:
        raise FileNotFoundError(run.name)


def test_a_folder_that_cannot_be_made_is_told_as_it_is(store: Store) -> None:
    run = make(store, 1)
    lag = carry(store, Homeless())
    assert lag[run.id].startswith("FileNotFoundError: run 1 (")


def test_an_event_file_that_was_deleted_is_written_again(store: Store, root: Path) -> None:
    run = make(store, 1)
    board = TensorBoard(str(root / "tensorboard"))
    assert carry(store, board) == {}
    (event_file,) = root.glob("tensorboard/*/*/events.out.*")
    event_file.unlink()
    assert carry(store, board) == {}
    (place,) = root.glob("tensorboard/*/*")
    assert scalars(place) == expected(run)


class Leaving(Noting):
    """Ends its process, as a script of the user's may."""

    def log(self, run: ExportedRun, rows: Sequence[MetricRow]) -> None:
        sys.exit(f"no more of {run.name}")


def test_one_that_ends_its_process_is_told_as_any_other_failure(store: Store) -> None:
    first, second = make(store, 1), make(store, 2)
    lag = carry(store, Leaving())
    assert lag.keys() == {first.id, second.id}
    assert lag[first.id].startswith("SystemExit: no more of run 1 (test_exporting.py, line ")
    silent = subprocess.Popen(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = exports.Exports(silent, Path("exporters.log")).wait(10)
    assert said == "tracking.exporters: ended with exit code 0; see exporters.log"


def test_which_runs(store: Store) -> None:
    runs = [make(store, number) for number in (1, 2, 3)]
    manifest(store, runs[:2])
    for only, names in (
        ({"sweep": SWEEP}, ["run 1", "run 2"]),
        ({"run": runs[2].id}, ["run 3"]),
        ({}, ["run 1", "run 2", "run 3"]),
        ({"sweep": "9" * 64}, []),
    ):
        noting = Noting()
        assert carry(store, noting, only) == {}
        assert sorted(name for what, name, _ in noting.told if what == "end") == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("+tracking.exporters.x=1", "tracking.exporters.x=1: must be a node with a _target_"),
        ("+tracking.exporters.x.y=1", "tracking.exporters.x._target_: is missing"),
        (
            "+tracking.exporters.x._target_=torch.nn.Linear",
            "tracking.exporters.x._target_=torch.nn.Linear: must be a subclass of sweeplab.tracking.Exporter",
        ),
        (
            "+tracking.exporters.x._target_=collections.Counter",
            "tracking.exporters.x._target_=collections.Counter: must be a subclass of sweeplab.tracking.Exporter",
        ),
        (
            "+tracking.exporters.x._target_=sweeplab.tracking.Exporter",
            "tracking.exporters.x._target_=sweeplab.tracking.Exporter: lacks the methods of an exporter: begin, end, log",
        ),
        (
            "+tracking.exporters.x._target_=sweeplab.tracking.TensorBord",
            "has no 'TensorBord'; did you mean 'sweeplab.tracking.TensorBoard'?",
        ),
        (
            "tracking.exporters={x: {y: 1}}",
            "a key below an empty one is added by a plus: +tracking.exporters={x: {y: 1}}",
        ),
        ("tracking.exporters=tensorboard", "tracking.exporters=tensorboard: must be a section of keys"),
    ],
)  # fmt: skip
def test_wrong_ones(train: Command, root: Path, words: str, said: str) -> None:
    ended = train(*DIGITS, words)
    assert ended.code == 2
    assert said in " ".join(ended.err.split())
    assert not (root / "runs").exists()


@pytest.mark.full
def test_a_wrong_argument(train: Command, root: Path) -> None:
    ended = train(
        *DIGITS, "tracking=tensorboard", "+tracking.exporters.tensorboard.foldr=x", tracking=True
    )
    assert ended.code == 2
    assert "did you mean 'folder'?" in " ".join(ended.err.split())
    assert not (root / "runs").exists()


def test_a_package_that_is_missing(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeplab.tracking.tensorboard.find_spec", lambda _: None)
    ended = train(*DIGITS, "tracking=tensorboard", tracking=True)
    assert ended.code == 2
    assert "the package tensorboard is not installed" in " ".join(ended.err.split())
    assert not (root / "runs").exists()


OWN = """
import json
from pathlib import Path
from sweeplab.tracking import Exporter

class Lines(Exporter):
    def __init__(self, file, fail=False):
        self.file, self.fail = Path(file), fail
    def begin(self, run):
        self.rows = []
    def log(self, run, rows):
        self.rows += [[row.name, row.step, row.value] for row in rows]
    def end(self, run):
        print("at the end of", run.name)
        if self.fail:
            raise RuntimeError("the tracker is away")
        self.file.write_text(json.dumps([run.status, self.rows]))
"""


@pytest.mark.full
def test_one_of_the_users(command: Command, write: Write, root: Path) -> None:
    write({"mine.py": OWN})
    exporter = "+tracking.exporters={lines: {_target_: mine.Lines, file: told.json}}"
    assert (
        command(
            "train.py",
            *DIGITS,
            "tracking=off",
            PATIENT,
            exporter,
            loaded=True,
            PYTHONPATH=str(root),
        ).code
        == 0
    )
    assert "at the end of data=digits" in (root / "runs" / "exporters.log").read_text()
    status, rows = json.loads((root / "told.json").read_text())
    assert status == "finished"
    assert [step for name, step, _ in rows if name == "valid/loss"] == [1, 2, 3]
    (root / "told.json").unlink()
    again = command("sweeplab", "sync", "tracking=off", exporter, PYTHONSAFEPATH="1")
    assert (again.code, (root / "told.json").exists()) == (0, True), again.err
    failing = exporter.replace("told.json", "told.json, fail: true")
    ended = command(
        "train.py", *DIGITS, "seed=1", "tracking=off", PATIENT, failing, PYTHONPATH=str(root)
    )
    assert ended.code == 1
    assert (
        "tracking.exporters.lines lags behind by 1 run: RuntimeError: the tracker is away"
        in ended.err
    )
    assert all(run.status == "finished" for run in Store(root / "runs").runs())


def test_names_that_are_no_folders(root: Path, store: Store) -> None:
    run = make(store)
    board = TensorBoard("board")
    told = exporting._Carried(run, "x")
    told.history.read()
    for name, experiment in (
        ("../../x", ".."),
        ("a/b=[1,2]", "a/../b"),
        ("", ""),
        ("é" * 300, "~"),
    ):
        facts = replace(told.facts(), name=name, experiment=experiment)
        board.begin(facts)
        board.end(facts)
        assert board.has(facts)
    assert {file.name for file in root.iterdir()} == {"runs", "board"}
    assert len(list(root.glob("board/*/*"))) == 4
    assert tracking.exporter_problems({}) == []


@pytest.mark.parametrize("folder", ["", "  ", None])
def test_no_folder_is_the_usual_one_and_not_the_root_itself(
    root: Path, store: Store, folder: str | None
) -> None:
    make(store, 1)
    assert carry(store, TensorBoard(folder)) == {}
    assert len(list(root.glob("tensorboard/*/*/events.out.*"))) == 1
    assert {file.name for file in root.iterdir()} == {"runs", "tensorboard"}


def test_the_example_of_the_docs(write: Write) -> None:
    text = (PROJECT / "docs" / "tracking.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    write({"my_package.py": code})
    assert len(code.splitlines()) <= 60
    node = {"_target_": "my_package.WandB", "project": "digits"}
    [problem] = tracking.exporter_problems({"wandb": node})
    assert problem == "tracking.exporters.wandb._target_=my_package.WandB: pip install wandb"


class Unsure(Noting):
    @classmethod
    def unavailable(cls) -> str | None:
        raise RuntimeError("boom")


def test_a_class_that_raises_when_asked_whether_it_can_work() -> None:
    found = exporting.problems({"x": {"_target_": f"{__name__}.Unsure"}})
    assert len(found) == 1
    assert "Unsure: unavailable() raised RuntimeError: boom" in found[0]


HANGING = """
import time
from sweeplab.tracking import Exporter

class Hanging(Exporter):
    def begin(self, run):
        while True:
            print("still away", flush=True)
            time.sleep(0.001)
    log = end = None
"""


def test_one_that_never_returns_is_left_behind_and_ends_at_last(
    store: Store, write: Write, root: Path
) -> None:
    write({"hanging.py": HANGING})
    make(store)
    order = {
        "store": str(store.root),
        "root": str(root),
        "path": sys.path,
        "exporters": {"x": {"_target_": "hanging.Hanging"}},
        "only": {},
    }
    quickly = "exporting.PATIENCE = 1; exporting.PAUSE = 0.01; exporting.LONGEST_LOG = 400"
    program = f"from sweeplab.tracking import exporting; {quickly}; exporting.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    answer, _ = process.communicate(json.dumps(order) + "\n", timeout=60)
    assert (process.returncode, answer) == (1, "")
    log = (store.root / "exporters.log").read_text()
    assert "given up: a tracker has not returned for 1 s" in log
    assert len(log) < 4000  # of some 10,000 that were printed
