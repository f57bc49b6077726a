"""Seeds that end when the answer is certain: which jobs each look asks for, and where it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import kill
import kill_sweep
import pytest
from conftest import Command
from planning import Planned, planner, record, refused
from waiting import until

from sweeplab.errors import UserError
from sweeplab.store import Status, Store
from sweeplab.sweep import seeds
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.seeds import SeedJobs

DECIDED = ("sweep.seeds.until=decided", "model.hidden=8,16,32")
RACE = (*DECIDED, "sweep.seeds.max=10", "sweep.seeds.looks=[5,10]")
AGAINST_8 = (*RACE, "sweep.baseline='model.hidden=8'")


@pytest.fixture
def planned(root: Path) -> Iterator[Planned]:
    with planner() as plan:
        yield plan


def finish(cells: Sequence[Cell], means: dict[int, float]) -> None:
    """Leave runs in the store whose values are nearly these, by model.hidden; 0: it failed."""
    for cell in cells:
        hidden, seed = cell.job.config.model["hidden"], cell.job.config.seed
        value = means[hidden] + 0.001 * ((seed * hidden) % 7)
        status = Status.FINISHED if means[hidden] else Status.FAILED
        record(cell.job, status, best=value)


def asked(jobs: SeedJobs) -> list[tuple[int, int]]:
    """hidden and seed of the jobs that a look asks for."""
    return sorted((cell.job.config.model["hidden"], cell.job.config.seed) for cell in jobs)


def carry_out(jobs: SeedJobs, means: dict[int, float]) -> None:
    """Finish the jobs of the look that is next."""
    cells = list(jobs)
    finish(cells, means)
    for cell in cells:
        assert not jobs.more()
        jobs.ended(cell)


MEANS = {8: 0.7, 16: 0.9, 32: 0.701}


def test_only_what_is_not_decided_gets_more_seeds(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = SeedJobs(planned(*AGAINST_8))
    assert (jobs.total, jobs.left) == (30, True)
    assert asked(jobs) == [(hidden, seed) for hidden in (8, 16, 32) for seed in range(5)]
    carry_out(jobs, MEANS)
    assert jobs.more()
    assert asked(jobs) == [(hidden, seed) for hidden in (8, 32) for seed in range(5, 10)]
    assert jobs.plan.looks == {
        "first": 0,
        "after": [5, 10],
        "taken": 1,
        "stopped": [{"config": "hidden=16", "seeds": 5, "verdict": "better"}],
    }
    assert capsys.readouterr().out == (
        "look 1 of 2, after 5 seeds: hidden=16: better; 2 of 3 configs go on\n"
    )
    carry_out(jobs, MEANS)
    assert not jobs.more()
    assert not jobs.left
    assert len(jobs.plan.cells) == 25

    again = SeedJobs(planned(*AGAINST_8))
    assert (again.left, again.plan.id, len(again.plan.cells)) == (False, jobs.plan.id, 25)
    assert again.plan.looks == jobs.plan.looks


def test_a_sweep_that_was_cut_off_goes_on_in_its_look(planned: Planned) -> None:
    jobs = SeedJobs(planned(*AGAINST_8))
    carry_out(jobs, MEANS)
    assert jobs.more()
    finish(list(jobs)[:3], MEANS)
    again = SeedJobs(planned(*AGAINST_8))
    assert (again.plan.id, again.plan.looks) == (jobs.plan.id, jobs.plan.looks)
    assert asked(again) == asked(jobs)[3:]


def test_without_a_baseline_the_winner_is_sought(planned: Planned) -> None:
    jobs = SeedJobs(planned(*RACE))
    carry_out(jobs, MEANS)
    assert not jobs.more()
    assert [(stop["config"], stop["verdict"]) for stop in jobs.plan.looks["stopped"]] == [
        ("hidden=32", "worse than hidden=16"),
        ("hidden=8", "worse than hidden=16"),
    ]


def test_a_config_that_only_fails_gets_no_more_seeds(planned: Planned) -> None:
    jobs = SeedJobs(planned(*AGAINST_8))
    carry_out(jobs, MEANS | {16: 0.0})
    assert jobs.more()
    assert {hidden for hidden, _ in asked(jobs)} == {8, 32}


def test_rules_that_differ_are_other_sweeps(planned: Planned) -> None:
    few = ("sweep.seeds.until=decided", "model.hidden=8,16", "sweep.seeds.max=6")
    others = ((), ("sweep.seeds.looks=[5]",), ("sweep.seeds.looks=[6]",), ("seed=1",))
    ids = {SeedJobs(planned(*few, *more)).plan.id for more in others}
    assert len(ids) == 3  # after 5 and 6 seeds is looked by default


def test_seeds_count_from_the_one_that_is_given(planned: Planned) -> None:
    jobs = SeedJobs(planned(*RACE, "seed=7"))
    assert {seed for _, seed in asked(jobs)} == {7, 8, 9, 10, 11}
    assert jobs.plan.looks["first"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=range(3)",), "seed=range(3): sweep.seeds.until=decided counts the seeds itself; leave it out, or give the first one, as in seed=0"),
        (("sweep.seeds.until=decide",), "sweep.seeds.until=decide: must be one of decided, or null; did you mean 'decided'?"),
        (("sweep.seeds.max=4",), "sweep.seeds.max=4: must be a whole number >= 5"),
        (("sweep.seeds.looks=[5,50]",), "sweep.seeds.looks=[5, 50]: sweep.seeds.max=30 ends before the last look"),
        (("sweep.seeds.looks=[10,5]",), "sweep.seeds.looks=[10, 5]: must be a list of whole numbers >= 5, each more than the one before"),
        (("sweep.seeds.looks=5,10",), "sweep.seeds.looks: must be the same for all jobs of a sweep; it is carried out as one; a list needs brackets"),
        (("sweep.replicate=[seed,data.split_seed]",), "sweep.replicate=[seed,data.split_seed]: sweep.seeds.until=decided repeats a config over the seed alone; leave it out"),
        (("sweep.replicate=[]",), "sweep.replicate=[]: sweep.seeds.until=decided repeats a config over the seed alone; leave it out"),
        (("sweep.seeds=7",), "sweep.seeds=7: a section of keys is expected; valid: looks, max, until"),
        (("sweep.seeds.until=null", "sweep.seeds.max=9"), "sweep.seeds: max and looks are for sweep.seeds.until=decided; without it, sweep the seed, as in 'seed=range(10)'"),
        (("seed=abc",), "seed=abc: must be a whole number >= 0  (in 3 of 3 jobs: hidden=8, ...)\nnothing was trained"),
    ],
)  # fmt: skip
def test_wrong_rules_are_refused(planned: Planned, words: tuple[str, ...], message: str) -> None:
    assert refused(planned, *DECIDED, *words) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.hidden=8",), "one config has nothing to be compared with; sweep a key"),
        (("sweep.where='seed < 4'",), "hidden=8 seed=0 has only 4 of 6 seeds: something else changes with the seed, or sweep.where leaves some out"),
        (("data.folds=2", "data.fold=0,1"), "only the seed repeats a config then, not seed and data.fold"),
        ((), "3 configs, and more than 2 are not compared each with each; name a sweep.baseline"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(seeds, "MOST_RACERS", 2)
    with pytest.raises(UserError) as error:
        SeedJobs(planned(*DECIDED, "sweep.seeds.max=6", *words))
    assert str(error.value) == f"sweep.seeds.until=decided: {message}"


@pytest.mark.parametrize(
    "word",
    [
        "sweep.seeds.until=decided", "sweep.seeds.max=9", "sweep.sample=3", "sweep.margin=0.1",
        'sweep.when={model.dropout: "model.hidden > 8"}', '+sweep.when.seed="true"',
        "sweep.baseline='model.hidden=8'", "sweep.where='seed > 0'",
        "sweep={margin: 0.1}",
    ],
)  # fmt: skip
def test_a_rule_of_sweeps_is_refused_for_a_single_run(
    train: Command, root: Path, word: str
) -> None:
    single = train("data=digits", word)
    problem = "is for a sweep over configs that are compared; add -m"
    assert (single.code, single.err) == (2, f"{word.lstrip('+')}: {problem}\n")
    assert list(root.iterdir()) == []


def test_a_run_may_be_taken_out_of_an_experiment_with_rules(train: Command, root: Path) -> None:
    """With the rules of its file, with one that is off, and as a plan."""
    words = ("experiment=batchnorm", "hydra.mode=RUN", "data=digits", "model.hidden=8")
    tried = train(*words, "sweep.margin=null", "sweep.plan=true")
    assert (tried.code, tried.err) == (0, "")
    assert "1 job: 1 new" in tried.out


def test_a_search_is_refused(train: Command, root: Path) -> None:
    search = train("-m", "data=digits", *DECIDED, "hydra/sweeper=optuna")
    problem = "is for configs that are compared; each trial of a search has a config of its own"
    assert (search.code, search.err) == (2, f"sweep.seeds.until=decided: {problem}\n")
    assert list(root.iterdir()) == []


TWO_LOOKS = ("-m", "data=digits", "tracking=off", "trainer.threads=1", "trainer.epochs=1", "model.hidden=8,9",
             "sweep.seeds.until=decided", "sweep.seeds.max=6", "sweep.report=false",
             "sweep.margin=1e-6")  # fmt: skip
"""With a margin, if one that is never met, no config is given up."""


@pytest.mark.full
def test_a_sweep_trains_look_by_look(train: Command, root: Path) -> None:
    planned = train(*TWO_LOOKS, "sweep.plan=true")
    assert planned.out.endswith(
        "looks after 5 and 6 seeds: 10 to 12 jobs\nnothing was trained: sweep.plan=true\n"
    )
    ended = train(*TWO_LOOKS, "hydra/launcher=sweeplab")
    assert ended.code == 0, ended.err
    assert "10 jobs: 10 new; looks after 5 and 6 seeds: 10 to 12 jobs\n" in ended.out
    assert "look 1 of 2, after 5 seeds: 2 of 2 configs go on\n" in ended.out
    assert "6 pairs cannot tell (look 2: 6 seeds)" in ended.out
    (manifest,) = Store(root / "runs").manifests()
    assert (len(manifest["cells"]), manifest["looks"]["taken"]) == (12, 2)
    again = train(*TWO_LOOKS, "hydra/launcher=basic")
    assert "12 jobs: 12 reused" in again.out
    assert [sweep["id"] for sweep in Store(root / "runs").manifests()] == [manifest["id"]]


@pytest.mark.full
def test_a_sweep_that_is_killed_in_a_look_ends_as_if_it_was_not(tmp_path: Path) -> None:
    """Kill -9 in the second look, twice; then the same decisions, runs and weights."""
    words = (
        *TWO_LOOKS,
        "trainer.epochs=30",
        "trainer.patience=null",
        "model.hidden=8,9,64",
        "sweep.seeds.max=10",
        "sweep.seeds.looks=[5,10]",
        "sweep.baseline='model.hidden=8'",
    )
    roots = tmp_path / "whole", tmp_path / "killed"
    for root in roots:
        root.mkdir()
    assert kill.end(kill.train(roots[0], words), "the sweep") == 0
    for finished in (17, 19):
        process = kill.train(roots[1], words)
        home = Store(roots[1] / "runs")
        until(lambda home=home, least=finished: count_finished(home) >= least)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kill_sweep.gone(roots[1])
    assert kill.end(kill.train(roots[1], words), "the sweep again") == 0
    (whole,), (killed,) = (Store(root / "runs").manifests() for root in roots)
    assert (whole["looks"], whole["looks"]["taken"]) == (killed["looks"], 2)
    assert len(whole["cells"]) == 25
    assert kill_sweep.weights(roots[0]) == kill_sweep.weights(roots[1])


def count_finished(home: Store) -> int:
    return sum(run.status == Status.FINISHED for run in home.runs())
