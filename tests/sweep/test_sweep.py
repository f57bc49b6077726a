"""Sweeps: planned and checked as a whole, recorded as one, ranked at the end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import PROJECT, Command
from faulty import Broken, Interrupting

from sweeplab.store import Store

FAST = ("data=digits", "trainer.threads=1", "trainer.epochs=2")


def cells(root: Path) -> dict[str, str]:
    """Name -> status of the runs of the one sweep in the store."""
    home = Store(root / "runs")
    (sweep,) = home.manifests()
    return {cell["name"]: home.run(cell["fingerprint"]).status for cell in sweep["cells"]}


def test_one_width_after_the_other(train: Command, root: Path) -> None:
    ended = train("-m", "model.hidden=39,25", *FAST)
    assert ended.code == 0, ended.err
    assert cells(root) == {"hidden=39": "finished", "hidden=25": "finished"}
    assert sorted(run.config()["model"]["hidden"] for run in Store(root / "runs").runs()) == [
        25,
        39,
    ]
    (sweep,) = Store(root / "runs").manifests()
    assert (sweep["status"], sweep["experiment"]) == ("finished", None)
    assert len(sweep["id"]) == 64


def test_every_combination_of_groups_lists_and_seeds(train: Command, root: Path) -> None:
    arguments = (
        "-m",
        "model=mlp",
        "model.batch_norm=true,false",
        "model.hidden=[39,19],[64]",
        "seed=range(2)",
        *FAST,
    )
    ended = train(*arguments)
    assert ended.code == 0, ended.err
    assert len(cells(root)) == 8
    assert "batch_norm=true hidden=[39,19] seed=0" in cells(root)
    assert (
        "8 runs of 4 configs: 8 finished; ranked by valid/accuracy at the best epoch" in ended.out
    )
    rows = [
        line.split()
        for line in ended.out.splitlines()
        if line.strip().startswith(("true", "false"))
    ]
    assert len(rows) == 4
    assert {row[2] for row in rows} == {"2"}, "n"
    ranked = [float(row[3]) for row in rows]
    assert ranked == sorted(ranked, reverse=True)


def test_a_regression_is_ranked_by_the_smallest_error(train: Command) -> None:
    ended = train(
        "-m",
        "data=diabetes",
        "loss=mse",
        "model.hidden=4,64",
        "trainer.epochs=3",
        "trainer.threads=1",
    )
    rows = [
        line.split() for line in ended.out.splitlines() if line.strip().startswith(("4 ", "64 "))
    ]
    assert float(rows[0][2]) < float(rows[1][2])


def test_all_errors_of_all_jobs_are_listed_and_nothing_is_trained(
    train: Command, root: Path
) -> None:
    ended = train("-m", "model.hidden=0,8,x", "optimizer.lr=0.1,-1", *FAST)
    assert ended.code == 2
    assert ended.err.splitlines() == [
        (
            "model.hidden=0: hidden must be a whole number >= 1 or a list of them, got 0 (sweeplab.models.MLP)"
            "  (in 2 of 6 jobs: hidden=0 lr=0.1, ...)"
        ),
        "optimizer.lr=-1: Invalid learning rate: -1 (torch.optim.Adam)  (in hidden=8 lr=-1)",
        (
            "model.hidden=x: must be a whole number or a list of whole numbers  (in 2 of 6 jobs: hidden=x lr=0.1, ...)"
        ),
        "nothing was trained",
    ]
    assert list(root.iterdir()) == []


def test_an_unknown_key_in_one_job_is_found_before_the_first(train: Command, root: Path) -> None:
    ended = train("-m", "model=mlp,linear", "model.hidden=8", *FAST)
    assert ended.code == 2
    assert "model.hidden=8: no such key" in ended.err
    assert "(in model=linear)" in ended.err
    assert list(root.iterdir()) == []


def test_what_two_jobs_both_ask_for_is_trained_once(train: Command, root: Path) -> None:
    ended = train("-m", "model.hidden=8,[8],16", *FAST)
    assert "1 of 3 jobs ask for the same run as another: trained once" in ended.out
    assert len(cells(root)) == 2


def test_one_place_for_all_jobs(train: Command) -> None:
    ended = train("-m", "store.root=a,b", *FAST)
    assert (ended.code, ended.err) == (
        2,
        "store, tracking: must be the same for all jobs of a sweep; it is one place\n",
    )


def test_issued_again_a_sweep_trains_nothing_and_is_the_same_sweep(
    train: Command, root: Path
) -> None:
    first = train("-m", "model.hidden=8,16", *FAST)
    journals = {p: p.read_bytes() for p in root.glob("runs/*/journal.jsonl")}
    again = train("-m", "model.hidden=16,8", *FAST)
    assert again.code == 0
    assert {p: p.read_bytes() for p in root.glob("runs/*/journal.jsonl")} == journals
    assert len(Store(root / "runs").manifests()) == 1, "the order of the cells does not matter"
    table = first.out.partition("ranked")[2].partition("mean ±")[0]
    assert "0." in table
    assert again.out.partition("ranked")[2].partition("mean ±")[0] == table


def test_a_job_that_raises_does_not_stop_the_others(train: Command, root: Path) -> None:
    Broken.calls = 0
    ended = train("-m", "model=linear", "model._target_=faulty.Broken", "seed=0,1", *FAST)
    assert ended.code == 1
    assert cells(root) == {"seed=0": "failed", "seed=1": "finished"}
    assert "1 of 2 runs did not finish:\n  seed=0: failed, its log: " in ended.err
    assert "1 of 2 (1 failed)" in ended.out
    assert train("-m", "model=linear", "model._target_=faulty.Broken", "seed=0,1", *FAST).code == 0
    assert cells(root) == {"seed=0": "finished", "seed=1": "finished"}


def test_ctrl_c_stops_the_sweep(train: Command, root: Path) -> None:

    Interrupting.calls, Interrupting.number = 0, signal.SIGINT
    ended = train("-m", "model=linear", "model._target_=faulty.Interrupting", "seed=0,1", *FAST)
    assert ended.code == 130
    assert cells(root) == {"seed=0": "interrupted", "seed=1": "unfinished"}
    assert Store(root / "runs").manifests()[0]["status"] == "interrupted"


EXPERIMENTS = sorted(p.stem for p in (PROJECT / "experiments").glob("*.yaml"))


@pytest.mark.few(3)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_opens_with_its_command_and_trains_on_digits(
    train: Command, root: Path, name: str
) -> None:
    lines = (PROJECT / "experiments" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# python train.py experiment={name}"
    assert "?" in "".join(lines[1:8])
    planned = train(f"experiment={name}", "data=digits", "sweep.plan=true")
    assert planned.code == 0, planned.err
    assert "nothing was trained" in planned.out
    ended = train(
        f"experiment={name}", "data=digits", "debug=smoke", "trainer.threads=1", "hydra.mode=RUN"
    )
    assert ended.code == 0, ended.err
    assert [run.status for run in Store(root / "runs").runs()] == ["finished"]
