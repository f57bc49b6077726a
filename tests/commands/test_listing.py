"""`sweeplab runs`: what is listed, what may be removed, and that nothing else is."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from conftest import Command

from sweeplab import config, tracking
from sweeplab.commands import choosing, cleaning, listing
from sweeplab.commands.listing import Row
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


def rows(home: Store) -> list[Row]:
    sizes = listing.sizes(home.root)
    return [listing.read(run, sizes[run.id]) for run in home.runs()]


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
    listing.show(rows(home), "3 runs")
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
    printed = json.loads(
        runs("--json", OFF).out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert (printed["schema"], printed["store"]) == ("sweeplab.runs/1", str(home.root))
    assert printed["bytes"] > printed["weight_bytes"] == 500_000
    found = printed["runs"]
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
        "metrics": {"valid/accuracy": 0.75, "valid/loss": None, "valid/mae": 0.25, "test/accuracy": 0.625, "best_epoch": 1.0},
        "checkpoint_bytes": 0, "weight_bytes": 100_000,
        "folder": str(home.root / ("1" * 16)), "where": {}, "damage": None,
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
    assert json.loads(runs("--json", OFF, "store.root=none").out)["runs"] == []


@pytest.mark.parametrize(("mode", "best"), [("auto", 0.25), ("min", 0.25), ("max", 0.5)])
def test_the_best_of_a_run_without_a_result_is_that_of_its_mode(
    home: Store, mode: str, best: float
) -> None:
    make(home, "1", "unfinished", trainer={"monitor": "valid/mae", "mode": mode})
    assert rows(home)[0].best == best


def test_a_run_at_work_is_listed_as_running_and_never_removed(home: Store, runs: Command) -> None:
    run = make(home, "1", "interrupted")
    with run.claim():
        assert json.loads(runs("--json", OFF).out)["runs"][0]["status"] == "running"
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
    assert choosing.seconds(text) == seconds


@pytest.mark.parametrize("text", ["7", "d", "-7d", "7 d", "7y", "1.5h"])
def test_another_age_is_refused(home: Store, runs: Command, text: str) -> None:
    make(home, "1", "failed")
    ended = runs("--clean", "--yes", f"--older-than={text}", OFF)
    assert ended.code == 2
    assert (
        ended.err
        == f"--older-than={text}: must be a whole number and its unit, as in 30m, 12h, 7d, 2w\n"
    )
    assert ids(home) == ["1"]


WRONG = {
    "--yes": "--weights, --yes and --dry-run go with rm or --clean",
    "--dry-run": "--weights, --yes and --dry-run go with rm or --clean",
    "--clean --json": "--json lists, and goes with neither rm nor --clean",
    "rm --yes": "rm: which? name runs, or choose them by --where, --status, --sweep or --older-than",
    "--limit 0": "--limit=0: must be a whole number >= 1",
    "--status faild": "--status=faild: no such status; did you mean 'failed'?",
    "--sort valid/acuracy": "--sort=valid/acuracy: no such key; did you mean 'valid/accuracy'?",
    "--where valid/acuracy>0": "--where: valid/acuracy: no such key; did you mean 'valid/accuracy'?",
    "--sweep nope": "nope: no sweep in ",
    "rm 9": "9: no such run in ",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_chosen_is_refused(home: Store, runs: Command, wrong: str) -> None:
    make(home, "1", "finished")
    ended = runs(*wrong.split(), OFF)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(WRONG[wrong])
    assert ended.err.count("\n") == 1
    assert ids(home) == ["1"]


def listed(runs: Command, *arguments: str) -> str:
    """The first digits of the runs that are listed, in order."""
    found = json.loads(runs("--json", OFF, *arguments).out)["runs"]
    return "".join(row["id"][0] for row in found)


def test_runs_are_chosen_by_what_they_are(home: Store, runs: Command) -> None:
    every_kind(home)
    make(home, "5", "finished", model={"hidden": 392}, idle=7200)
    home.write_manifest(
        {"id": "a" * 64, "time": 1.0, "cells": [{"fingerprint": digit * 64} for digit in "25"], "experiment": "width"}
    )  # fmt: skip
    assert listed(runs, "--status", "failed,interrupted") == "23"
    assert listed(runs, "--sweep", "width") == "52"
    assert listed(runs, "--where", "model.hidden == 392 and valid/accuracy > 0.7") == "5"
    assert listed(runs, "--where", "status == 'finished' and valid/mae < 0.5") == "51"
    assert listed(runs, "--where", "test/accuracy > 0.5") == "51", "others have none"
    assert listed(runs, "--older-than", "1h") == "5"
    assert listed(runs, "1", "2") == "12"
    assert listed(runs, "--limit", "2") == "34", "the latest"
    assert listed(runs, "--where", "valid/accuracy > 0.9") == ""


def test_runs_are_sorted(home: Store, runs: Command) -> None:
    for digit, hidden, idle in (("1", 64, 30), ("2", 8, 10), ("3", 392, 20)):
        make(home, digit, "finished", idle=idle, model={"hidden": hidden})
    make(home, "4", "unfinished", idle=40)
    assert listed(runs) == "4132"
    assert listed(runs, "--reverse") == "2314"
    assert listed(runs, "--sort", "model.hidden") == "2134"
    assert listed(runs, "--sort=-model.hidden") == "3124"
    assert listed(runs, "--sort", "model.hidden", "--reverse", "--limit", "1") == "3"
    assert listed(runs, "--sort", "name") == "1234"


def test_the_last_line_tells_the_size_of_the_store(home: Store, runs: Command) -> None:
    run = make(home, "1", "unfinished")
    run.checkpoints.mkdir()
    (run.checkpoints / "1.pt").write_bytes(b"x" * 51_200)
    last = runs(OFF).out.splitlines()[-1]
    assert last.startswith("the store: 14")
    assert last.endswith(" KiB, with 50 KiB of checkpoints and 97.7 KiB of weights")


def test_chosen_runs_are_removed_after_asking(home: Store, runs: Command) -> None:
    kept, *others = every_kind(home)
    dry = runs("rm", "--status", "finished", "--dry-run", OFF)
    assert dry.out.splitlines()[0].startswith("to be removed: 1 run, 9")
    assert dry.out.splitlines()[-1] == "nothing was removed: --dry-run"
    assert ids(home) == ["1", "2", "3", "4"]
    gone = runs("rm", "2222", "3333", "--yes", OFF)
    assert (gone.code, gone.err) == (0, "")
    assert gone.out.splitlines()[-1].startswith("removed 2 runs, 19")
    assert ids(home) == ["1", "4"]
    with others[-1].claim():
        named = runs("rm", "4444", "--yes", OFF)
        assert (named.code, named.err) == (
            2, f"{'4' * 16}: is at work; a run can be removed once it has ended\n",
        )  # fmt: skip
        rest = runs("rm", "--where", "epochs == 2", "--yes", OFF)
        assert rest.out.startswith(f"kept, since they are at work: {'4' * 16}\n")
    assert ids(home) == ["4"]
    assert not kept.folder.exists()


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_removed_runs_are_in_the_trash_of_mlflow_in_each_experiment(
    home: Store, uri: str, runs: Command, command: Command
) -> None:
    from mlflow import MlflowClient

    run, other = make(home, "1", "finished"), make(home, "2", "finished")
    run.journal.append("track", experiment="second")
    settings = config.Tracking(uri=uri)
    assert tracking.sync(home, settings, lambda *_: None) == []
    client = MlflowClient(uri)
    experiments = [client.get_experiment_by_name(name).experiment_id for name in ("demo", "second")]

    def stages() -> list[str]:
        found = client.search_runs(experiments, run_view_type=3)
        return sorted(one.info.lifecycle_stage for one in found)

    assert stages() == ["active"] * 3
    ended = runs("rm", "1111", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert "and 2 runs of MLflow, to its trash\n" in ended.out
    assert "; 2 of MLflow are in its trash, which `mlflow gc` empties" in ended.out
    assert stages() == ["active", "deleted", "deleted"]
    assert tracking.sync(home, settings, lambda *_: None) == []
    assert stages() == ["active", "deleted", "deleted"]
    again = make(home, "1", "finished")
    assert tracking.sync(home, settings, lambda *_: None) == []
    assert stages() == ["active", "active", "deleted", "deleted"], "trained again: a new run"
    (place,) = tracking.run_places(again, uri)
    client.delete_run(place.run_id)
    assert runs("rm", "1111", "--yes").code == 0, "somebody has deleted it there before"
    assert ids(home) == ["2"]
    copy = home.root.with_name("copy")
    shutil.copytree(home.root, copy)
    taken = runs("rm", "2222", "--yes", f"store.root={copy}")
    assert "MLflow" not in taken.out.splitlines()[-1], "what the original has sent is not its own"
    assert stages() == ["active", "deleted", "deleted", "deleted"]
    assert other.folder.exists()


def test_another_mlflow_that_keeps_what_is_removed_is_named(home: Store, runs: Command) -> None:
    run = make(home, "1", "finished")
    entry = {"experiment": "1", "run": "a" * 32, "fed": {}}
    mine, copied = ({"demo": entry | {"store": store}} for store in (home.id, "of the original"))
    run.mlflow_file.write_text(json.dumps({"http://there:1": mine, "http://original:1": copied}))
    said = "MLflow at http://there:1 keeps what it has of them; tracking.uri=http://there:1 has it"
    assert said in runs("rm", "1111", "--dry-run").out
    assert "original" not in runs("rm", "1111", "--dry-run").out
    assert "there" not in runs("rm", "1111", "--dry-run", OFF).out
    assert said in runs("rm", "1111", "--yes").out
    assert ids(home) == []


def test_nothing_is_removed_while_mlflow_is_away(home: Store, runs: Command) -> None:
    run = make(home, "1", "finished")
    place = {"demo": {"experiment": "1", "run": "a" * 32, "fed": {}, "store": home.id}}
    run.mlflow_file.write_text(json.dumps({"http://127.0.0.1:1": place}))
    ended = runs("rm", "1111", "--yes", "tracking.uri=http://127.0.0.1:1")
    assert ended.code == 1
    assert "cannot be reached" in ended.err
    assert ended.err.endswith(
        "nothing was removed; tracking=off removes them from the store alone\n"
    )
    assert ids(home) == ["1"]


def test_without_a_terminal_it_wants_yes(home: Store, command: Command) -> None:
    make(home, "1", "failed")
    ended = command("sweeplab", "runs", "--clean", OFF)
    assert ended.code == 2
    assert "11111111" in ended.out
    assert ended.err == "nobody can be asked here whether to remove them; give --yes\n"
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
    chosen = cleaning.removable(rows(home))
    finished.write_result(
        Result(fingerprint="2" * 64, question="", status="finished", stop_reason=None, metrics={})
    )
    with claimed.claim():
        assert [row.id for row in cleaning.remove(home, chosen)] == [gone.id]
        monkeypatch.setattr(cleaning, "removable", lambda _: chosen[:2])
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
