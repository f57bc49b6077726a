"""Adaptive search: Hydra's sweep syntax as a space, trials told as what became of their runs, and a study that lasts."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kill
import kill_sweep
import pytest
import servers
from conftest import Command
from faulty import Broken
from waiting import until

optuna = pytest.importorskip("optuna", reason="the extra sweeplab[optuna] is not installed")

from hydra import compose, initialize_config_dir  # noqa: E402  # after the skip
from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402  # after the skip
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from sweeplab import store  # noqa: E402
from sweeplab.config import Sweep, conf_dir  # noqa: E402
from sweeplab.errors import UserError  # noqa: E402
from sweeplab.store import Event, Run, Store  # noqa: E402
from sweeplab.sweep import rules, space  # noqa: E402
from sweeplab.sweep.local import Local  # noqa: E402
from sweeplab.sweep.search import Options, make  # noqa: E402
from sweeplab.sweep.study import Study  # noqa: E402

SEARCH = ("-m", "hydra/sweeper=optuna", "data=digits", "trainer.threads=1")
FAST = (*SEARCH, "trainer.epochs=2")
LR = "optimizer.lr=tag(log, interval(0.0001, 0.1))"
OURS = "hydra/launcher=sweeplab"
PRUNER = "hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner"


def study(root: Path) -> optuna.Study:
    """The one study in the store."""
    (file,) = root.glob("runs/sweeps/*.optuna.jsonl")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    return optuna.load_study(study_name=None, storage=storage)


def states(root: Path) -> list[str]:
    return [trial.state.name for trial in study(root).trials]


def runs(root: Path) -> list[Run]:
    return Store(root / "runs").runs()


def dimension(text: str) -> space.Dimension:
    return space.read(OverridesParser.create().parse_overrides([text])).dimensions[0]


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("model.hidden=choice(64,128)", CategoricalDistribution(("64", "128"))),
        ("model.hidden=64,[64,32]", CategoricalDistribution(("64", "[64,32]"))),
        ("optimizer=adam,sgd", CategoricalDistribution(("adam", "sgd"))),
        ("trainer.epochs=range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("model.dropout=range(0,0.5,0.1)", FloatDistribution(0.0, 0.4, step=0.1)),
        ("optimizer.lr=interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("optimizer.lr=tag(log, interval(1e-4,0.1))", FloatDistribution(1e-4, 0.1, log=True)),
        ("model.hidden=int(interval(8,64))", IntDistribution(8, 64)),
        ("model.hidden=tag(log, int, interval(8,64))", IntDistribution(8, 64, log=True)),
        ("model.hidden=tag(log, range(1,9))", IntDistribution(1, 8, log=True)),
    ],
)
def test_a_sweep_in_hydras_syntax_is_a_dimension(text: str, distribution: object) -> None:
    found = dimension(text)
    assert repr(found.distribution()) == repr(distribution)
    assert found.name == text.partition("=")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr=tag(lgo, interval(1e-4,0.1))", "no such tag as lgo; did you mean 'log'?"),
        (
            "model.hidden=tag(log, choice(1,2))",
            "a tag (log) is for numbers: a range or an interval",
        ),
        ("optimizer.lr=tag(log, interval(0,1))", "`low > 0` must hold for `log=True`"),
        ("trainer.epochs=range(2,2)", "the range is empty"),
        ("model.hidden=64", "hydra/sweeper=optuna: nothing to search; sweep a key"),
        ("seed=range(3)", "hydra/sweeper=optuna: nothing to search; sweep a key"),
    ],
)
def test_what_is_no_space_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        dimension(text)


def test_numbers_are_given_as_people_type_them_within_their_limits() -> None:
    assert dimension(LR).override(0.00123456789) == "optimizer.lr=0.001235"
    assert dimension("x=interval(0.00012345, 1)").override(0.00012345) == "x=0.00012345"
    assert dimension("+x=range(0,1,0.1)").override(0.30000000000000004) == "+x=0.3"


def test_each_trial_is_trained_on_all_folds() -> None:
    words = ["data.fold=range(2)", "data.folds=2", "seed=0,1", LR]
    found = space.read(OverridesParser.create().parse_overrides(words))
    assert [job[2:] for job in found.jobs({"optimizer.lr": 0.01})] == [
        ["seed=0", "data.fold=0"],
        ["seed=0", "data.fold=1"],
        ["seed=1", "data.fold=0"],
        ["seed=1", "data.fold=1"],
    ]


def test_seeds_are_replicas_and_the_probes_visit_every_end() -> None:
    words = ["seed=range(2)", "data=digits", "model.hidden=8,16", LR]
    found = space.read(OverridesParser.create().parse_overrides(words))
    assert found.jobs({"model.hidden": "16", "optimizer.lr": 0.01}) == [
        ["data=digits", "model.hidden=16", "optimizer.lr=0.01", "seed=0"],
        ["data=digits", "model.hidden=16", "optimizer.lr=0.01", "seed=1"],
    ]
    assert [job[1:3] for job in found.probes()] == [
        ["model.hidden=8", "optimizer.lr=0.0001"],
        ["model.hidden=16", "optimizer.lr=0.0001"],
        ["model.hidden=8", "optimizer.lr=0.1"],
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), 1),
        (("sweep.workers=1",), 0),
        (("hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler",), 0),
        (("hydra.sweeper.sampler.seed=null",), 0),
    ],
)
def test_a_search_that_cannot_be_repeated_says_so_once_and_what_could(
    words: tuple[str, ...], said: int, train: Command
) -> None:
    ended = train(*FAST, OURS, LR, "sweep.plan=true", *words)
    line = "not reproducible with several workers"
    assert (ended.code, ended.out.count(line)) == (0, said), ended.out
    assert ended.out.count("sweep.workers=1 draws the same trials each time") == said


@pytest.mark.few(10)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("optimizer.lr=tag(lgo, interval(1e-4,0.1))",), "no such tag as lgo"),
        (("optimizer.lr=glob(*)",), "has no value; no option has a name like that"),
        (("model.hidden=8,0",), "model.hidden=0: hidden must be a whole number >= 1"),
        (("optimizer.lrr=interval(0,1)",), "optimizer.lrr=0.0: no such key; did you mean 'optimizer.lr=0.0'?"),
        ((LR, "hydra.sweeper.metric=valid/acuracy"), "no such metric; did you mean 'valid/accuracy'?"),
        ((LR, "hydra.sweeper.metric=test/accuracy"), "nothing is chosen by the test set; take valid/..."),
        ((LR, "hydra.sweeper.metric=[seconds,seconds]"), "hydra.sweeper.metric=seconds: is given twice"),
        ((LR, "hydra.sweeper.direction=up"), "hydra.sweeper.direction=up: must be one of maximize, minimize"),
        ((LR, "hydra.sweeper.direction=[maximize,minimize]"), "must be one for each of hydra.sweeper.metric"),
        ((LR, "hydra.sweeper.direction=minimize"), "hydra.sweeper.direction=minimize: valid/accuracy is better the larger it is; leave it out"),
        ((LR, "hydra.sweeper.metric=valid/loss", "hydra.sweeper.direction=maximize"), "hydra.sweeper.direction=maximize: valid/loss is better the smaller it is; leave it out"),
        ((LR, "hydra.sweeper.n_trials=0"), "hydra.sweeper.n_trials=0: must be a whole number >= 1"),
        ((LR, "hydra.sweeper.sampler._target_=optuna.samplers.TPESample"), "did you mean 'optuna.samplers.TPESampler'?"),
        (("optimizer.lr=interval(0,inf)",), "optimizer.lr=interval(0,inf): its ends must be finite numbers"),
        (("model.hidden=range(1000000000)",), "the range has more than 1000000 values; give an interval"),
        ((LR, "+hydra.sweeper.trials=1"), "hydra.sweeper.trials=1: no such key; did you mean 'n_trials'?"),
        ((LR, "~hydra.sweeper.n_trials"), "hydra.sweeper.n_trials: missing"),
        ((LR, "+hydra.sweeper.sampler.sed=1"), "has no argument 'sed'; did you mean 'seed'?"),
        ((LR, "hydra.sweeper.sampler._target_=optuna.pruners.NopPruner", "~hydra.sweeper.sampler.seed"), "is no sampler"),
        ((LR, PRUNER, "+hydra.sweeper.pruner.lower=0.5"), "ended early by hydra/launcher=sweeplab or ray only"),
        (
            (LR, PRUNER, "+hydra.sweeper.pruner.lower=0.5", "hydra.sweeper.metric=[valid/loss,parameters]"),
            "Optuna prunes for one objective only",
        ),
        (
            (LR, "+hydra.sweeper.storage=sqlite:///studies.db"),
            "hydra.sweeper.storage=sqlite:///studies.db: must be postgresql://USER:PASSWORD@HOST/DATABASE, or null",
        ),
        ((LR, "sweep.where='seed < 3'"), "sweep.where: is for a list of combinations, which a search has not"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_before_any_work(
    train: Command, root: Path, words: tuple[str, ...], message: str
) -> None:
    ended = train(*FAST, *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert list(root.iterdir()) == []


def test_without_optuna_the_extra_is_named(train: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_plugins.hydra_sweeplab import optuna as plugin

    monkeypatch.setattr(plugin, "find_spec", lambda _: None)
    ended = train(*FAST, LR)
    assert (ended.code, ended.err) == (
        2,
        'hydra/sweeper=optuna: Optuna is not installed; pip install "sweeplab[optuna]"\n',
    )


def test_the_plan_of_a_search_is_its_space(train: Command, root: Path) -> None:
    ended = train(*FAST, LR, "seed=range(3)", "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert "FloatDistribution(high=0.1, log=True, low=0.0001, step=None)" in ended.out
    assert ended.out.endswith("60 jobs at most\nnothing was trained: sweep.plan=true\n")
    assert list(root.iterdir()) == []


@pytest.mark.full
def test_a_search_that_goes_on_stops_after_so_many_trials_in_all(
    train: Command, root: Path
) -> None:
    words = (*FAST, LR, "model.hidden=8,16", "seed=0,1")
    first = train(*words, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first.err
    assert states(root) == ["COMPLETE"] * 2
    assert len(runs(root)) == 4
    trial = study(root).trials[0]
    lr = float(f"{trial.params['optimizer.lr']:.4g}")
    replicas = [r for r in runs(root) if r.config()["optimizer"]["lr"] == lr]
    best = [max(m["valid/accuracy"] for m in r.epochs().values()) for r in replicas]
    assert len(best) == 2
    assert trial.value == pytest.approx(sum(best) / 2, abs=1e-12), (
        "the mean over the seeds, at the best epoch"
    )
    journals = {r.id: r.journal.path.read_bytes() for r in runs(root)}
    again = train(*words, "hydra.sweeper.n_trials=4")
    assert again.code == 0, again.err
    assert states(root) == ["COMPLETE"] * 4
    assert len({trial.params["optimizer.lr"] for trial in study(root).trials}) == 4, (
        "another seed than before"
    )
    assert {r.id: r.journal.path.read_bytes() for r in runs(root) if r.id in journals} == journals
    (sweep,) = Store(root / "runs").manifests()
    assert len(sweep["cells"]) == 8
    assert sweep["cells"][0]["name"] == f"lr={lr} hidden={trial.params['model.hidden']} seed=0"
    assert sweep["search"]["objectives"] == {"valid/accuracy": "maximize"}
    assert sum(sweep["search"]["importance"].values()) == pytest.approx(1.0)
    assert "8 runs of 4 configs: 8 finished; ranked by valid/accuracy" in again.out
    assert "importance in the search" in again.out
    assert sweep["search"]["importance_intervals"] == {}, "too few trials"
    third = train(*words, "hydra.sweeper.n_trials=4")
    assert "4 trials, 4 of them done" in third.out
    assert states(root) == ["COMPLETE"] * 4


@pytest.mark.full
def test_a_damaged_study_is_refused_in_one_line(train: Command, root: Path) -> None:
    words = (*FAST, LR, "hydra.sweeper.n_trials=2")
    assert train(*words).code == 0
    (file,) = (root / "runs/sweeps").glob("*.optuna.jsonl")
    whole = file.read_bytes()
    value = re.search(rb'"values": ?\[0\.(\d)', whole)
    assert value is not None
    other = whole[: value.start(1)] + (b"1" if value[1] != b"1" else b"2") + whole[value.end(1) :]
    for content in (other, whole.replace(b"{", b"\xff", 1), b"[]\n" + whole):
        file.write_bytes(content)
        ended = train(*words)
        assert ended.code == 2
        assert ended.err.startswith(f"{file}: is damaged: ")
        assert len(ended.err.splitlines()) == 1
    file.unlink()
    assert train(*words).code == 0


@pytest.mark.full
def test_a_search_of_another_space_keeps_the_trials_that_fit_it_as_knowledge(
    train: Command, root: Path
) -> None:
    first = train(*FAST, LR, "hydra.sweeper.n_trials=4")
    assert "earlier searches" not in first.out
    rates = sorted(rate(run) for run in runs(root))
    (file,) = root.glob("runs/sweeps/*.optuna.jsonl")
    file.unlink()  # for `study`; the trials are read from the manifest
    narrower = (*FAST, f"optimizer.lr=interval(0.0001,{rates[1]})", "hydra.sweeper.n_trials=1")
    ended = train(*narrower)
    assert ended.code == 0, ended.err
    fit = "of 4 trials of earlier searches in other spaces 2 fit this one and are kept as knowledge"
    assert fit in ended.out.replace("\n", " ")
    assert "search of 1 trial, 2 more known from earlier searches: " in ended.out
    trials = study(root).trials
    assert sorted(trial.params["optimizer.lr"] for trial in trials[:2]) == rates[:2]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    best = {
        rate(run): max(e["valid/accuracy"] for e in run.epochs().values()) for run in runs(root)
    }
    assert [trial.values for trial in trials[:2]] == [
        [best[trial.params["optimizer.lr"]]] for trial in trials[:2]
    ]
    again = train(*narrower)
    assert "search of 1 trial, 1 of them done, 2 more known from earlier searches" in again.out
    assert len(study(root).trials) == 3
    other = train(*FAST, LR, "model.dropout=0.1,0.2", "hydra.sweeper.n_trials=1")
    none = "of 5 trials of earlier searches in other spaces none fits this one (its keys, values,"
    assert none in other.out.replace("\n", " ")


def rate(run: Run) -> float:
    """Return the learning rate of a run."""
    return float(run.config()["optimizer"]["lr"])


needs_postgres = pytest.mark.skipif(servers.missing() is not None, reason=str(servers.missing()))


@needs_postgres
@pytest.mark.server
def test_a_study_in_postgresql_is_taken_up_and_enlarged_and_no_password_is_written(
    train: Command, root: Path, postgres: servers.Postgres
) -> None:
    uri = postgres.fresh("studies")
    words = (*FAST, LR, f"hydra.sweeper.storage={uri}")
    first = train(*words, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first.err
    shown = f"postgresql://***@127.0.0.1:{postgres.port}/studies"
    assert f"search of 2 trials: {shown}" in first.out
    again = train(*words, "hydra.sweeper.n_trials=3")
    assert f"search of 3 trials, 2 of them done: {shown}" in again.out
    query = "select v.value from trial_values v join trials t using (trial_id) order by t.number"
    values = [value for (value,) in postgres.query("studies", query)]
    found = [max(e["valid/accuracy"] for e in run.epochs().values()) for run in runs(root)]
    assert sorted(values) == sorted(found)
    assert len(found) == 3
    wrong = train(*words[:-1], f"hydra.sweeper.storage={postgres.uri('studies', 'wr0ng-s3cret')}")
    refused = f'{shown}: FATAL:  password authentication failed for user "owner"\n'
    assert (wrong.code, wrong.err) == (2, f"hydra.sweeper.storage={refused}")
    for file in root.rglob("*"):
        text = file.read_bytes() if file.is_file() else b""
        assert servers.OWNERS_PASSWORD.encode() not in text, file
        assert b"wr0ng-s3cret" not in text, file


@needs_postgres
@pytest.mark.server
@pytest.mark.full
@pytest.mark.parametrize("place", ["file", "database"])
def test_two_commands_of_one_search_at_once_train_each_trial_once(
    root: Path, postgres: servers.Postgres, place: str
) -> None:
    """In one store; by a database, also in two: the one waits for the other, and then goes on."""
    words = [
        *SEARCH,
        OURS,
        LR,
        "trainer.epochs=20",
        "hydra.sweeper.n_trials=3",
        "sweep.report=false",
    ]
    if place == "database":
        words.append(f"hydra.sweeper.storage={postgres.fresh('twice')}")
    first = kill.train(root, words)
    until(lambda: (root / "out").exists() and "search of 3 trials" in (root / "out").read_text())
    second = kill.train(root, [*words, "hydra.sweeper.n_trials=4"], "other")
    assert [kill.end(one, "the search") for one in (first, second)] == [0, 0]
    said = (root / "other").read_text()
    assert "another command is at work on this search: waiting for it" in said
    assert "search of 4 trials, 3 of them done" in said
    assert [
        len([e for e in run.journal.events() if e["event"] == Event.START]) for run in runs(root)
    ] == [1] * 4


@needs_postgres
@pytest.mark.server
@pytest.mark.full
def test_a_search_whose_database_is_lost_says_so_and_goes_on_when_it_is_back(
    root: Path, train: Command, postgres: servers.Postgres
) -> None:
    uri = postgres.fresh("lost")
    words = [*SEARCH, OURS, LR, "trainer.epochs=60", "trainer.patience=null", "sweep.report=false"]
    words += ["hydra.sweeper.n_trials=4", "sweep.workers=1", f"hydra.sweeper.storage={uri}"]
    first = kill.train(root, words)
    until(lambda: any(len(run.epochs()) > 2 for run in runs(root)))
    postgres.crash()
    try:
        assert kill.end(first, "the search") == 1
    finally:
        postgres.start()
    said = (root / "out").read_text()
    assert said.count(f"study in postgresql://***@127.0.0.1:{postgres.port}/lost was lost: ") == 1
    assert said.endswith("; issue the same command again, which goes on\n")
    assert "Traceback" not in said
    again = train(*words)
    assert again.code == 0, again.err
    assert "4 runs of 4 configs: 4 finished" in again.out


def test_several_objectives(train: Command, root: Path) -> None:
    ended = train(*FAST, "model.hidden=range(4,32)", "hydra.sweeper.metric=[valid/loss,parameters]",
                  "hydra.sweeper.direction=[minimize,minimize]", "hydra.sweeper.n_trials=2")  # fmt: skip
    assert ended.code == 0, ended.err
    assert [direction.name for direction in study(root).directions] == ["MINIMIZE", "MINIMIZE"]
    for trial in study(root).trials:
        (run,) = [
            r for r in runs(root) if r.config()["model"]["hidden"] == trial.params["model.hidden"]
        ]
        assert (
            trial.values[1]
            == 64 * run.config()["model"]["hidden"] + 13 * run.config()["model"]["hidden"] + 10
        )
        result = run.result()
        assert result is not None
        assert trial.values[0] == run.epochs()[int(result.metrics["best_epoch"])]["valid/loss"]


def test_a_trial_whose_run_raises_has_failed_and_the_search_goes_on(
    train: Command, root: Path
) -> None:
    Broken.calls = 0
    model = ("model=linear", "model._target_=faulty.Broken")
    ended = train(*FAST, LR, *model, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1")
    assert ended.code == 1
    assert states(root) == ["FAIL", "COMPLETE"]
    assert "1 of 2 runs did not finish:" in ended.err


def _tell_all_as_failed(root: Path) -> None:
    """Write the study anew as after a launcher that gave up: no trial has a result."""
    before = study(root)
    (file,) = root.glob("runs/sweeps/*.optuna.jsonl")
    file.unlink()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    after = optuna.create_study(
        storage=storage, study_name=before.study_name, directions=before.directions
    )
    for trial in before.trials:
        after.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL,
                params=trial.params,
                distributions=trial.distributions,
            )
        )


@pytest.mark.full
def test_trials_told_as_failed_are_mended_by_the_results_of_their_runs_or_trained(
    train: Command, root: Path
) -> None:
    words = (*FAST, LR, "hydra.sweeper.n_trials=3")
    assert train(*words).code == 0
    before = study(root).trials
    _tell_all_as_failed(root)
    missing = runs(root)[0]
    shutil.rmtree(missing.folder)
    journals = {run.id: run.journal.path.read_bytes() for run in runs(root)}
    again = train(*words)
    assert again.code == 0, again.err
    assert "search of 3 trials, 0 of them done" in again.out
    assert states(root) == ["FAIL"] * 3 + ["COMPLETE"] * 3
    after = study(root).trials
    assert [trial.params for trial in after[3:]] == [trial.params for trial in before]
    assert [trial.values for trial in after[3:]] == [trial.values for trial in before]
    assert len(runs(root)) == 3
    kept = {run.id: run.journal.path.read_bytes() for run in runs(root) if run.id != missing.id}
    assert kept == journals, "only the one without a result is trained"
    third = train(*words)
    assert "search of 3 trials, 3 of them done" in third.out
    assert len(study(root).trials) == 6


@pytest.mark.full
def test_a_trial_whose_run_was_killed_stays_open(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a launcher of Hydra's, which gives up then, and leaves other runs at work."""
    words = (*FAST, LR, "hydra.sweeper.n_trials=2")

    def give_up(*_: object) -> None:
        raise RuntimeError("job 1 was killed")

    with monkeypatch.context() as patch:
        patch.setattr("sweeplab.sweep.conduct.same_modules", give_up)
        ended = train(*words)
    assert ended.code == 1
    assert "the launcher gave up: RuntimeError: job 1 was killed" in ended.err
    assert "issue the same command again for just those" in ended.err
    assert states(root) == ["RUNNING"] * 2
    again = train(*words)
    assert again.code == 0, again.err
    assert states(root) == ["COMPLETE"] * 2


@pytest.mark.full
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_search_by_a_launcher_that_lost_a_job_is_taken_up(
    root: Path, faults: Callable[..., None], launcher: str
) -> None:
    """The others of its batch are waited for, and the same command trains what was killed."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    model = ("model=linear", "model._target_=faulty.Net", "+model.hidden=8,16")
    words = (*FAST, *model, f"hydra/launcher={launcher}", "hydra.sweeper.n_trials=2",
             "hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler", "sweep.report=false")  # fmt: skip
    faults(h8="kill", h16="slow")
    assert kill.end(kill.train(root, words), "the search") == 1
    # joblib ends its other jobs, too
    survived = "RUNNING" if launcher == "joblib" else "COMPLETE"
    assert sorted(states(root)) == [survived, "RUNNING"]
    faults()
    assert kill.end(kill.train(root, words), "the search") == 0
    assert states(root) == ["COMPLETE"] * 2
    assert [run.status for run in runs(root)] == ["finished"] * 2


@pytest.mark.full
def test_the_same_choice_twice_is_trained_once_and_any_sampler_will_do(
    train: Command, root: Path
) -> None:
    sampler = "hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler"
    ended = train(*FAST, "model.hidden=8,16", sampler, "hydra.sweeper.n_trials=5")
    assert ended.code == 0, ended.err
    assert states(root) == ["COMPLETE"] * 5
    assert (
        sum(e["event"] == Event.START for r in runs(root) for e in r.journal.events())
        == len(runs(root))
        <= 2
    )
    done = train(
        *FAST,
        "model.hidden=8,16",
        sampler.replace("Random", "BruteForce"),
        "hydra.sweeper.n_jobs=1",
    )
    assert done.code == 0, done.err
    assert "search of 20 trials" in done.out
    assert len(runs(root)) == 2, "it stops when it has tried everything"


@pytest.mark.full
def test_runs_are_pruned_while_others_go_on(root: Path, train: Command) -> None:
    """On the real launcher; what it has pruned goes on when it is asked for outside of the search."""
    words = (*SEARCH, OURS, "trainer.epochs=90", "trainer.patience=null", "sweep.report=false")
    pruner = (PRUNER, "+hydra.sweeper.pruner.lower=0.5", "+hydra.sweeper.pruner.n_warmup_steps=3")
    ended = train(*words, *pruner, "optimizer.lr=choice(1e-9,0.01)", "hydra.sweeper.n_trials=3",
                  "hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler", "tracking.wait=60", tracking=True)  # fmt: skip
    assert ended.code == 0, ended.err
    by_rate = {r.config()["optimizer"]["lr"]: r for r in runs(root)}
    assert {rate: r.status for rate, r in by_rate.items()} == {
        1e-9: store.Status.PRUNED,
        0.01: store.Status.FINISHED,
    }
    reached = max(by_rate[1e-9].epochs())
    assert 3 <= reached < 90
    assert f"lr=1e-09: pruned after epoch {reached}\n" in ended.out
    for trial in study(root).trials:
        epochs = by_rate[float(trial.params["optimizer.lr"])].epochs()
        reported = trial.intermediate_values
        assert (
            trial.state.name
            == {"1e-09": "PRUNED", "0.01": "COMPLETE"}[trial.params["optimizer.lr"]]
        )
        assert reported == {n: epochs[n]["valid/accuracy"] for n in range(1, len(reported) + 1)}
        assert len(reported) == (90 if trial.state.name == "COMPLETE" else 3)
    assert by_rate[1e-9].result().stop_reason == "pruned"  # type: ignore[union-attr]
    database = sqlite3.connect(root / "mlflow.db")
    rows = database.execute("select r.status, count(t.value) from runs r left join tags t on t.run_uuid = r.run_uuid "
                            "and t.key = 'mlflow.parentRunId' group by r.run_uuid").fetchall()  # fmt: skip
    database.close()
    assert sorted(rows) == [("FINISHED", 0), ("FINISHED", 1), ("KILLED", 1)], (
        "one parent, its trials as children"
    )
    plain = train("data=digits", "trainer.threads=1", "optimizer.lr=1e-9", "trainer.patience=null",
                  "trainer.epochs=90")  # fmt: skip
    assert plain.code == 0, plain.err
    goes_on = re.search(r"goes on after epoch (\d+)", plain.out)
    assert goes_on is not None
    assert int(goes_on[1]) in (reached - 1, reached), (
        "an epoch is journalled before it is in a checkpoint"
    )


def test_of_a_trial_without_hope_no_further_replica_is_started(root: Path) -> None:
    words = [
        "data=digits",
        "tracking=off",
        "trainer.epochs=9",
        "optimizer.lr=interval(0.1,0.2)",
        "seed=range(3)",
    ]
    pruner = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 0.5, "n_warmup_steps": 2}
    sampler = {"_target_": "optuna.samplers.RandomSampler", "seed": 0}
    options = Options(n_trials=2, n_jobs=1, metric=[], direction=[], sampler=sampler, pruner=pruner)
    parsed = OverridesParser.create().parse_overrides(words)
    home = Store(root / "runs").open()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), Local() as place:
        found = make(
            rules.Command(overrides=parsed, typed=words, rules=Sweep(), start={}),
            lambda given: compose("config", overrides=given),
            place,
            options,
            ours=True,
        )
        assert found is not None
        found.begin(home, lambda: None)
        jobs = iter(found)
        first, second = next(jobs), next(jobs)
        for cell, values in ((first, (0.8, 0.4, 0.4)), (second, (0.4, 0.4))):
            run = home.run(cell.job.fingerprint)
            run.folder.mkdir()
            for epoch, value in enumerate(values, 1):
                run.journal.append(
                    store.Event.EPOCH, epoch=epoch, metrics={"valid/accuracy": value}
                )
        assert not found.hopeless(first), "the third has not begun"
        third = home.run(found._active[0].cells[2].job.fingerprint)
        third.folder.mkdir()
        third.journal.append(store.Event.EPOCH, epoch=1, metrics={"valid/accuracy": 0.9})
        assert not found.hopeless(first), "at its first epoch the mean is 0.7"
        third.journal.append(store.Event.EPOCH, epoch=2, metrics={"valid/accuracy": 0.1})
        assert found.hopeless(first)
        assert found.hopeless(second)
        found.ended(first)
        assert study(root).trials[0].state.name == "RUNNING", "the other is still at work"
        found.ended(second)
        told = study(root).trials[0]
        assert told.state.name == "PRUNED"
        assert told.intermediate_values == {1: pytest.approx(0.7), 2: pytest.approx(0.3)}
        assert next(jobs).overrides[-1] == "seed=0", (
            "of the next trial: the third replica is left out"
        )
        assert len(found.plan.cells) == 3
        found.end()


@pytest.mark.full
def test_killed_and_issued_again_it_is_the_same_search(root: Path) -> None:
    words = (*SEARCH, "trainer.epochs=40", "trainer.patience=null", LR, "model.hidden=8,16", "hydra.sweeper.n_trials=6",
             "tracking=off", "sweep.report=false", "sweep.workers=2")  # fmt: skip
    process = kill.train(root, words)
    until(lambda: len(runs(root)) >= 3 and runs(root)[-1].epochs())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kill_sweep.gone(root)
    before = study(root).trials
    finished = [run for run in runs(root) if run.status == store.Status.FINISHED]
    assert any(not trial.state.is_finished() for trial in before)
    with next(root.glob("runs/sweeps/*.optuna.jsonl")).open("ab") as file:
        file.write(b'{"op_code": 5, "torn')
    assert kill.end(kill.train(root, words), "the search") == 0
    after = study(root).trials
    chosen = [
        trial for trial in after if len(trial.params) == 2
    ]  # one may have been killed while it was chosen
    assert [trial.state.name for trial in chosen] == ["COMPLETE"] * 6
    assert all(trial.state.name == "FAIL" for trial in after if trial not in chosen)
    assert [trial.params for trial in after[: len(before)]] == [trial.params for trial in before]
    assert len({json.dumps(trial.params) for trial in chosen}) == 6
    assert all(
        sum(e["event"] == Event.START for e in run.journal.events()) == 1 for run in finished
    ), "what is done is done"
    assert len(Store(root / "runs").manifests()) == 1


def test_options_read_one_or_several() -> None:
    nodes = {
        "sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 3},
        "pruner": {"_target_": "optuna.pruners.NopPruner"},
    }
    options = Options.read(
        {"n_trials": 1, "n_jobs": 1, "metric": "seconds", "direction": None, **nodes}
    )
    assert (options.metric, options.direction) == (["seconds"], None)
    drawn = [options.sampler_after(n)._rng.rng.random() for n in (0, 0, 5)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(map(math.isfinite, drawn))


def test_importance_has_an_interval_over_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeplab.sweep.importance.RESAMPLES", 20)
    options = Options(
        n_trials=20,
        n_jobs=1,
        sampler={"_target_": "optuna.samplers.RandomSampler", "seed": 0},
        pruner={"_target_": "optuna.pruners.NopPruner"},
    )
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    search = Study(tmp_path / "a.optuna.jsonl", space, options, {"valid/accuracy": "maximize"})
    search.load("a")
    search.start_sampling(after=0)
    for count in range(20):
        assert search.importances()["importance_intervals"] == {}, f"{count} trials are too few"
        trial = search.ask()
        search.tell(trial.number, optuna.trial.TrialState.COMPLETE, [trial.params["a"]])
    found = search.importances()
    share, intervals = found["importance"]["a"], found["importance_intervals"]
    search.close()
    assert share > 0.5
    low, high = intervals["a"]
    assert 0 < low < share < high <= 1
    assert intervals["b"] == pytest.approx((1 - high, 1 - low)), "shares of two keys are 1"


@pytest.mark.full
def test_optuna_is_not_imported_without_need() -> None:
    program = "import sys, sweeplab.sweep.search, hydra_plugins.hydra_sweeplab.optuna; print('optuna' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
