"""`sweeplab runs`: what is listed, what may be removed, and that nothing else is."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from conftest import Command

from sweeplab import config, tracking
from sweeplab.commands import cleaning, listing
from sweeplab.errors import UserError
from sweeplab.store import Result, Run, Store

OFF = "tracking=off"


@pytest.fixture
def runs(sweeplab: Command) -> Command:
    """`sweeplab runs ...`."""
    return lambda *arguments: sweeplab("runs", *arguments)


def make(home: Store, digit: str, status: str, *, idle: float = 0.0, **config: object) -> Run:
    """A run of two epochs as training leaves it."""
    run = home.run(digit * 64)
    run.folder.mkdir()
    resolved = {
        "data": {"task": "classification"},
        "trainer": {"monitor": "auto", "mode": "auto"},
        **config,
    }
    run.journal.append(
        "start", name=f"seed={digit}", overrides=[f"seed={digit}"], config=resolved, experiment="demo", fingerprint=digit * 64
    )  # fmt: skip
    for epoch, accuracy in ((1, 0.75), (2, 0.5)):
        values = {"valid/accuracy": accuracy, "valid/loss": math.nan, "valid/mae": 1 - accuracy}
        run.journal.append("epoch", epoch=epoch, metrics=values)
    if status != "unfinished":
        values = {"test/accuracy": 0.625, "best_epoch": 1.0} if status == "finished" else {}
        run.journal.append("end", status=status, stop_reason=None, metrics=values)
        run.write_result(
            Result(
                fingerprint=digit * 64, question="", status=status, stop_reason=None, metrics=values
            )
        )
    (run.folder / "weights.safetensors").write_bytes(b"x" * 100_000)
    os.utime(run.journal.path, (time.time() - idle,) * 2)
    return run


def every_kind(home: Store) -> list[Run]:
    return [make(home, digit, status) for digit, status in zip("1234", ("finished", "failed", "interrupted", "unfinished"), strict=True)]  # fmt: skip


def ids(home: Store) -> list[str]:
    return sorted(run.id[0] for run in home.runs())


def test_every_run_is_listed_with_what_came_out(home: Store, runs: Command) -> None:
    for run in every_kind(home):
        os.utime(run.journal.path, (time.time() - 3 * 3600 - 5,) * 2)
    ended = runs(OFF)
    table = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert ended.out.startswith(f"4 runs in {home.root}, 39")
    assert ended.out.splitlines()[0].rstrip().endswith("KiB (best valid/accuracy, test/accuracy)")
    for digit, status, test in (("1", "finished", "0.6250"), ("4", "unfinished", "-")):
        (row,) = [line for line in table if line[:1] == [digit * 8]]
        assert row[1:6] == [status, f"seed={digit}", "0.7500", test, "2"]
        assert float(row[6]) == pytest.approx(99, abs=1)
        assert row[7:] == ["KiB", "3", "h"]


def test_of_many_runs_the_latest_are_shown_and_that_is_said(
    home: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_ROWS", 2)
    for digit, idle in (("1", 10), ("2", 30), ("3", 20)):
        make(home, digit, "finished", idle=idle)
    listing.show(listing.rows(home), "3 runs")
    out = capsys.readouterr().out
    assert "the latest 2 are shown; sweeplab runs --json has all" in out
    assert [line.split()[0] for line in out.splitlines() if "finished" in line] == [
        "3" * 8,
        "1" * 8,
    ]


def test_metrics_are_named_where_runs_have_others(home: Store, runs: Command) -> None:
    make(home, "1", "finished")
    make(home, "2", "unfinished", trainer={"monitor": "valid/mae"})
    lines = [" ".join(line.split()) for line in runs(OFF).out.splitlines()]
    assert "11111111 finished seed=1 valid/accuracy 0.7500 test/accuracy 0.6250 2" in " ".join(
        lines
    )
    assert "22222222 unfinished seed=2 valid/mae 0.2500 - 2" in " ".join(lines)


def test_json_is_for_scripts(home: Store, runs: Command) -> None:
    every_kind(home)
    make(home, "5", "finished", trainer={"monitor": "valid/loss"}, data={"task": "regression"})
    found = json.loads(
        runs("--json", OFF).out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert [row["status"] for row in found] == [
        "finished",
        "failed",
        "interrupted",
        "unfinished",
        "finished",
    ]
    assert found[0] | {"bytes": 0, "time": 0} == {
        "id": "1" * 16, "status": "finished", "name": "seed=1", "overrides": ["seed=1"], "monitor": "valid/accuracy",
        "best": 0.75, "score": "test/accuracy", "test": 0.625, "epochs": 2, "kept": [], "bytes": 0, "time": 0,
        "folder": str(home.root / ("1" * 16)), "where": {},
    }  # fmt: skip
    assert found[0]["bytes"] == sum(
        f.stat().st_size for f in home.run("1" * 64).folder.rglob("*") if f.is_file()
    )
    assert abs(found[0]["time"] - time.time()) < 60
    assert [found[4][name] for name in ("monitor", "best", "score", "test")] == [
        "valid/loss",
        None,
        "test/mae",
        None,
    ]
    assert json.loads(runs("--json", OFF, "store.root=none").out) == []


@pytest.mark.parametrize(("mode", "best"), [("auto", 0.25), ("min", 0.25), ("max", 0.5)])
def test_the_best_of_a_run_without_a_result_is_that_of_its_mode(
    home: Store, mode: str, best: float
) -> None:
    make(home, "1", "unfinished", trainer={"monitor": "valid/mae", "mode": mode})
    assert listing.rows(home)[0].best == best


def test_a_run_at_work_is_listed_as_running_and_never_removed(home: Store, runs: Command) -> None:
    run = make(home, "1", "interrupted")
    with run.claim():
        assert json.loads(runs("--json", OFF).out)[0]["status"] == "running"
        assert runs("--clean", "--yes", OFF).out == "nothing to remove\n"
    assert ids(home) == ["1"]


def test_a_journal_that_cannot_be_read_is_said_to_be_so(home: Store, runs: Command) -> None:
    make(home, "1", "unfinished").journal.path.write_text("{nonsense\n")
    assert "(its journal cannot be read)" in runs(OFF).out


def test_an_empty_store_has_no_runs(root: Path, runs: Command) -> None:
    assert runs(OFF).out == f"no runs in {root}/runs\n"
    assert runs("--clean", OFF).out == "nothing to remove\n"
    assert list(root.iterdir()) == []


def test_clean_removes_all_but_finished_runs(home: Store, runs: Command) -> None:
    every_kind(home)
    (home.root / ".left.removed").mkdir()
    ended = runs("--clean", "--yes", OFF)
    assert ended.code == 0
    assert ended.out.splitlines()[-1].startswith("removed 3 runs, 29")
    assert ids(home) == ["1"]
    assert sorted(p.name for p in home.root.iterdir()) == ["1" * 16, "sweeps"]


def test_only_those_older_than_asked_for(home: Store, runs: Command) -> None:
    make(home, "1", "failed", idle=8 * 86400)
    make(home, "2", "failed", idle=6 * 86400)
    runs("--clean", "--yes", "--older-than", "7d", OFF)
    assert ids(home) == ["2"]
    runs("--clean", "--yes", "--older-than=30m", OFF)
    assert ids(home) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_an_age_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert cleaning.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 d", "7y", "1.5h"])
def test_another_age_is_refused(home: Store, runs: Command, text: str) -> None:
    make(home, "1", "failed")
    ended = runs("--clean", "--yes", f"--older-than={text}", OFF)
    assert ended.code == 2
    assert (
        ended.err
        == f"--older-than={text}: must be a whole number and its unit, as in 30m, 12h, 7d, 2w\n"
    )
    assert ids(home) == ["1"]


@pytest.mark.parametrize("arguments", [["--yes"], ["--older-than=7d"], ["--clean", "--json"]])
def test_what_does_not_go_together_is_refused(
    root: Path, runs: Command, arguments: list[str]
) -> None:
    ended = runs(*arguments, OFF)
    assert (ended.code, ended.err) == (
        2,
        "--weights, --older-than and --yes go with --clean, and --json without it\n",
    )


def test_without_a_terminal_it_wants_yes(home: Store, command: Command) -> None:
    make(home, "1", "failed")
    ended = command("sweeplab", "runs", "--clean", OFF)
    assert ended.code == 2
    assert "11111111" in ended.out
    assert ended.err == "--clean: nobody can be asked here whether to remove them; give --yes\n"
    assert ids(home) == ["1"]


@pytest.mark.parametrize(
    ("answer", "left"), [("y", []), ("Yes", []), ("", ["1"]), ("n", ["1"]), (EOFError, ["1"])]
)
def test_on_a_terminal_it_asks_first(
    home: Store,
    runs: Command,
    monkeypatch: pytest.MonkeyPatch,
    answer: str | type[EOFError],
    left: list[str],
) -> None:
    asked = []

    def reply(question: str) -> str:
        asked.append(question)
        if not isinstance(answer, str):
            raise answer
        return answer

    make(home, "1", "failed")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    ended = runs("--clean", OFF)
    assert asked == ["remove 1 run? [y/N] "]
    assert ids(home) == left
    assert ("nothing was removed" in ended.out) == bool(left)


def test_what_is_claimed_or_finished_meanwhile_is_kept(
    home: Store, runs: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, finished, gone = (make(home, digit, "failed") for digit in "123")
    chosen = cleaning.removable(listing.rows(home))
    finished.write_result(
        Result(fingerprint="2" * 64, question="", status="finished", stop_reason=None, metrics={})
    )
    with claimed.claim():
        assert [row.id for row in cleaning.remove(home, chosen)] == [gone.id]
        monkeypatch.setattr(cleaning, "removable", lambda *_: chosen[:2])
        assert "kept, since they are at work or finished now: 1111111111111111, 2222222222222222" in runs("--clean", "--yes", OFF).out  # fmt: skip
    assert ids(home) == ["1", "2"]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_keeps_what_it_has_and_none_of_it_as_running(
    home: Store, root: Path, runs: Command
) -> None:
    run = make(home, "1", "unfinished")
    uri = f"sqlite:///{root}/mlflow.db"
    with run.claim():
        assert tracking.sync(home, config.Tracking(uri=uri), lambda *_: None) == []
    assert "removed 1 run" in runs("--clean", "--yes").out
    with sqlite3.connect(root / "mlflow.db") as database:
        assert list(database.execute("select status from runs")) == [("KILLED",)]
    database.close()


def test_clean_goes_on_without_mlflow_and_says_so(home: Store, runs: Command) -> None:
    make(home, "1", "failed")
    ended = runs("--clean", "--yes", "tracking.uri=http://127.0.0.1:1")
    assert (
        "MLflow lags behind: 1111111111111111: MLflow at http://127.0.0.1:1 cannot be reached"
        in ended.err
    )
    assert ids(home) == []


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1536, "1.5 KiB"), (434130, "424 KiB"), (5 * 1024**2, "5 MiB"), (3 * 1024**3, "3 GiB")])  # fmt: skip
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert listing.size(count) == text


def test_nobody_to_ask_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(UserError, match="give --yes"):
        cleaning.agreed([])
