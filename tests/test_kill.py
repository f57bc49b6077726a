"""Runs that are killed, asked for twice at once, or cut off from their server: nothing is lost, nothing is there twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import kill
import pytest
from waiting import until

from sweeplab import tracking
from sweeplab.store import Event, Run, Store

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning"
)  # mlflow's own code


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("full")
    numbers = {"number": range(50) if full else (33,), "mnist_number": range(5 if full else 0)}
    for name, chosen in numbers.items():  # 33: it is killed in the midst of its epochs
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def reference(folder: Path, pytestconfig: pytest.Config) -> kill.Reference:
    """The uninterrupted run; with --full it loads PyTorch itself, so that kills come then, too."""
    if pytestconfig.getoption("full"):
        return kill.refer(folder, kill.CONFIGS["digits"])
    # A training that is over sooner waits longer for MLflow.
    return kill.refer(folder, [*kill.CONFIGS["digits"], "tracking.wait=120"], loaded=True)


@pytest.mark.long
def test_killed_anywhere_it_ends_as_if_it_had_not_been(
    number: int, reference: kill.Reference, folder: Path
) -> None:
    done = kill.trial(number, 0, reference, folder)
    assert done.wrong is None, str(done)
    assert 1 <= len(done.kills) <= 3


@pytest.fixture(scope="module")
def mnist_reference(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> kill.Reference:
    return kill.refer(
        tmp_path_factory.mktemp("mnist"), [*kill.CONFIGS["mnist"], f"data.root={mnist_root}"]
    )


@pytest.mark.mnist
def test_killed_on_real_mnist(
    mnist_number: int, mnist_reference: kill.Reference, tmp_path: Path
) -> None:
    done = kill.trial(mnist_number, 0, mnist_reference, tmp_path)
    assert done.wrong is None, str(done)


def only(root: Path) -> Run:
    (run,) = Store(root / "runs").runs()
    return run


def result_of(said: str) -> list[str]:
    """The table at the end of what a command has said."""
    lines = said.splitlines()
    first = next(n for n, line in enumerate(lines) if line.lstrip().startswith("test accuracy"))
    return [" ".join(line.split()) for line in lines[first : first + 8]]


@pytest.mark.full
def test_two_commands_at_once_train_one_run(root: Path) -> None:
    words = [*kill.CONFIGS["digits"], "tracking.wait=120"]  # however slow the machine is
    both = [kill.train(root, words, out) for out in ("one", "other")]
    assert [kill.end(process, "a command") for process in both] == [0, 0]
    said = [(root / out).read_text() for out in ("one", "other")]
    table = result_of(said[0])
    assert table == result_of(said[1])
    assert table[-1] == f"run folder {only(root).folder}"
    assert sorted("is finished already: reused from" in text for text in said) == [False, True]
    events = [event["event"] for event in only(root).journal.events()]
    assert (events.count(Event.START), events.count(Event.EPOCH)) == (1, 6)
    kill.sync(root)
    assert (
        len(kill.outcome(root).logged) == 6 * 5 + 5
    )  # which has looked that MLflow has one run, with each metric once
    kill.leave(root)


UNHURRIED = """
import pathlib, time
from torch import nn

class Unhurried(nn.Linear):
    def forward(self, input):
        if self.training and not pathlib.Path("hurry").exists():
            time.sleep(0.02)
        return super().forward(input)
"""


@pytest.mark.full
@pytest.mark.server
def test_a_server_that_goes_and_comes_back_has_each_metric_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "unhurried.py").write_text(UNHURRIED)
    monkeypatch.setenv("PYTHONPATH", str(root))
    database = root / "mlflow.db"

    def rows() -> int:
        connection = sqlite3.connect(database, timeout=10)
        try:
            return int(connection.execute("select count(*) from metrics").fetchone()[0])
        finally:
            connection.close()

    with tracking.serve(f"sqlite:///{database}", 5600) as base:
        at = f"tracking.uri={base}"
        long = ("data=digits", "trainer.epochs=300", "trainer.patience=null", "trainer.threads=1")
        process = kill.train(
            root, [*long, "model=linear", "model._target_=unhurried.Unhurried", at]
        )
        until(rows)
    before, trained = rows(), len(only(root).epochs())
    until(lambda: len(only(root).epochs()) >= trained + 20)
    assert process.poll() is None
    assert rows() == before
    with tracking.serve(f"sqlite:///{database}", int(base.rpartition(":")[2])) as again:
        assert again == base
        until(lambda: rows() > before)
        assert process.poll() is None
        (root / "hurry").touch()
        assert kill.end(process, "the command") == 0
        kill.sync(root, at)
    kill.mlflow(root, only(root))
    assert rows() == 300 * 5 + 7
    assert "MLflow lags" not in (root / "out").read_text()
    kill.leave(root)
