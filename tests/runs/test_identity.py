"""What is the same: one form of what is asked, for fingerprints, groups, differences, baselines and MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from planning import Planned, record, refused

from sweeplab import compare, config, store
from sweeplab.compare import tables
from sweeplab.compare.comparability import incomparable_keys
from sweeplab.compare.groups import group_runs
from sweeplab.compare.runs import read_run
from sweeplab.data import Facts
from sweeplab.runs import identity
from sweeplab.runs.job import Job
from sweeplab.store import Event, Run, Store
from sweeplab.sweep.plan import Plan
from sweeplab.targets import without_defaults
from sweeplab.tracking import terms

SAME = [
    (["+optimizer.foreach=null"], []),
    (["++optimizer.foreach=null", "optimizer.lr=1e-3"], ["optimizer.lr=0.001"]),
    (["+model.dropout=null"], []),
    (["+loss.weight=null", "+loss.ignore_index=-100"], ["+loss.ignore_index=-100"]),
    (["metrics={}"], []),
    (["model.hidden=[32]"], ["model.hidden=32"]),
    (["model.hidden=${data.in_features}"], ["model.hidden=64"]),
    (["optimizer.weight_decay=0"], ["optimizer.weight_decay=0.0"]),
    (["trainer.monitor=valid/accuracy"], []),
    (["trainer.monitor=valid/accuracy", "trainer.mode=max"], ["trainer.mode=auto"]),
    (["scheduler.mode=max"], []),
    (["data.valid=119", "data.test=359"], []),
    (["trainer.target=null"], []),
    (["trainer.epochs=20.0"], ["trainer.epochs=20"]),
    (
        ["optimizer=sgd", "optimizer={lr:0.2}", "optimizer={momentum:0.5}"],
        ["optimizer=sgd", "optimizer.lr=0.2", "optimizer.momentum=0.5"],
    ),
    (["optimizer.lr=2", "optimizer={lr:1}", "optimizer.lr=0.001"], []),
    (["+model._convert_=all", "+model._partial_=false", "+model._args_=[]"], []),
    (
        ["+metrics.f1._target_=own_f1.F1", "+metrics.f1.average=null"],
        ["+metrics.f1={_target_: own_f1.F1}"],
    ),
    (["scheduler=one_cycle", "+scheduler.total_steps=null"], ["scheduler=one_cycle"]),
]
OTHER = [
    (["optimizer.weight_decay=0.01"], []),
    (["+optimizer.amsgrad=true"], []),
    (["model.batch_norm=false"], []),
    (["model.hidden=[32,32]"], ["model.hidden=32"]),
    (["+model.dropout=0.0"], []),  # a layer more, which draws
    (["trainer.patience=null"], []),
    (["data.valid=120"], []),
    (["data.split_seed=1"], []),
]


@pytest.fixture(autouse=True)
def own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of the user's own."""
    lines = [
        "class F1:",
        "    def __init__(self, average=None): pass",
        "    def update(self, output, target): pass",
    ]
    lines += ["    def compute(self): return 0.5", "    def reset(self): pass"]
    (root / "own_f1.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(root)


def only(plan: Plan) -> Job:
    (cell,) = plan.cells
    return cell.job


@pytest.mark.few(8)
@pytest.mark.parametrize(("one", "other"), SAME, ids=lambda given: " ".join(given) or "-")
def test_what_says_nothing_changes_nothing(
    planned: Planned, one: list[str], other: list[str]
) -> None:
    first, second = only(planned(*one)), only(planned(*other))
    assert first.identity.asked == second.identity.asked
    assert (first.fingerprint, first.question) == (second.fingerprint, second.question)
    params = [terms.params(job.record()) for job in (first, second)]
    assert params[0] == params[1]


@pytest.mark.parametrize(("one", "other"), OTHER, ids=lambda given: " ".join(given) or "-")
def test_what_says_something_is_another_run(
    planned: Planned, one: list[str], other: list[str]
) -> None:
    assert only(planned(*one)).question != only(planned(*other)).question


def target(*, given: Any = None, kind: Any = 3, most: Any = None, **rest: Any) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"given": None, "kind": None}, {"kind": None}),  # null is not that argument's default
        ({"most": {}, "kind": {}}, {"kind": {}}),
        ({"unknown": None}, {"unknown": None}),  # nothing tells what the default is
        ({"most": {"_target_": "test_identity.target", "given": None}}, {"most": {"_target_": "test_identity.target"}}),
        ({"most": [{"_target_": "test_identity.target", "given": None}]}, {"most": [{"_target_": "test_identity.target"}]}),
        ({"given": 0, "most": False}, {"given": 0, "most": False}),
        ({"_recursive_": False, "_partial_": True}, {"_recursive_": False, "_partial_": True}),
    ],
)  # fmt: skip
def test_null_says_nothing_where_it_is_the_default(
    arguments: dict[str, Any], left: dict[str, Any]
) -> None:
    node = {"_target_": "test_identity.target"}
    assert without_defaults(node | arguments) == node | left


def test_a_run_of_an_earlier_version_is_found_by_what_it_asked(planned: Planned) -> None:
    job = only(planned("model.dropout=null", "+optimizer.foreach=null"))
    home = Store(job.config.store.root).open()
    old = home.run("0" * 64)
    old.folder.mkdir()
    sizes = {"train": job.facts.train, "valid": job.facts.valid, "test": job.facts.test}
    old.journal.append(
        Event.START, config=config.to_dict(job.config), data={"name": "digits", "digest": job.facts.digest, **sizes},
        code={"numerics": "1"}, fingerprint="0" * 64, question="1" * 64,
    )  # fmt: skip
    result = job.result(
        store.Status.FINISHED, "patience", metrics={"seconds": 1.0, "early_stop_epoch": 1.0}
    )
    result.fingerprint, result.question = "0" * 64, "1" * 64
    old.write_result(result)
    (cell,) = planned().cells
    assert cell.fate.text == "stale: sweeplab's own numerics changed"
    (cell,) = planned("store.reuse=any").cells
    assert (cell.fate.kind, cell.job.fingerprint) == ("reuse", "0" * 64)
    assert cell.fate.text == f"reuse, sweeplab's own numerics changed since run {old.id}"
    assert list(identity.answers(home, ["torch.nn.Linear"])) == ["1" * 64], (
        "nothing else is looked up"
    )


def test_the_latest_run_of_other_code_is_taken(
    planned: Planned, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for version in (1, 2, 3):
        monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", version)
        runs.append(record(only(planned())))
        os.utime(runs[-1].journal.path, (version, version))
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", 9)
    assert only(planned("store.reuse=any")).fingerprint.startswith(runs[-1].id)


# --- what is read by content


def with_weights(job: Job, digest: str, seconds: float = 8.0) -> Run:
    run = record(job, seconds=seconds)
    result = run.result()
    assert result is not None
    result.weights_sha256 = digest
    run.write_result(result)
    run.weights_file.write_bytes(b"")
    return run


def compared(plan: Plan, *more: Plan, **given: Any) -> compare.Comparison:
    home = Store(plan.settings.store.root)
    return compare.compare(
        home,
        [each.manifest(None, "finished", 1.0 + n) for n, each in enumerate((plan, *more))],
        **given,
    )


def test_other_weights_under_one_name_are_another_group(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "ab":
        with_weights(only(planned(f"optimizer.lr=0.{'ab'.index(version) + 1}")), version * 64)
    home = Store(only(planned()).config.store.root)
    link = home.root / "best"
    plans = []
    monkeypatch.setattr("sweeplab.runs.job._fit_weights", lambda *_: None)
    for lr in ("0.1", "0.2"):
        link.unlink(missing_ok=True)
        link.symlink_to(home.run(only(planned(f"optimizer.lr={lr}")).fingerprint).folder)
        plans.append(planned(f"trainer.init_from={link}", "seed=0,1", "model.hidden=8"))
    found = compared(*plans)
    assert [len(one.replicas) for one in found.groups] == [2, 2]
    assert found.columns == ["trainer.init_from (weights)"]
    assert [one.cells for one in found.groups] == [["a" * 12], ["b" * 12]]
    for plan in plans:
        for cell in plan.cells:
            record(cell.job)
    found = compared(*plans)
    assert found.columns == ["trainer.init_from (weights)"]
    assert [(one.cells, len(one.replicas)) for one in found.groups] == [
        (["a" * 12], 2),
        (["b" * 12], 2),
    ]


# --- where runs that were never started belong


def test_missing_runs_stay_with_the_code_they_were_planned_with(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("model.hidden=8,16", "seed=0,1,2")
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", 1)
    old = planned(*given)
    for cell in old.cells:
        record(cell.job)
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", 2)
    new = planned(*given)
    for cell in new.cells[:4]:  # of the second config the first seed alone
        record(cell.job)
    found = compared(old, new)
    counts = {(*one.cells,): tables.n_cell(found, one) for one in found.groups}
    assert found.columns == ["model.hidden", "code.numerics"]
    assert counts == {
        ("8", "1"): "0 of 3 (3 without valid/accuracy)",
        ("8", "2"): "0 of 3 (3 without valid/accuracy)",
        ("16", "1"): "0 of 3 (3 without valid/accuracy)",
        ("16", "2"): "0 of 3 (2 missing, 1 without valid/accuracy)",
    }


def test_a_group_of_which_nothing_was_started_shows_what_its_overrides_came_to(
    planned: Planned,
) -> None:
    plan = planned(
        "model.hidden=${data.in_features},[8]", "+optimizer.amsgrad=true,false", "seed=0,1"
    )
    found = compared(plan)
    assert found.columns == ["model.hidden", "optimizer.amsgrad"]
    assert [one.cells for one in found.groups] == [
        ["64", "true"],
        ["64", "false"],
        ["8", "true"],
        ["8", "false"],
    ]


# --- a seed counts once


def test_a_seed_counts_once(planned: Planned) -> None:
    first = planned("seed=0,1,2", "model.hidden=8")
    second = planned("seed=0,1,2", "model.hidden=8", "+optimizer.foreach=null")
    assert first.id == second.id
    runs = [record(cell.job) for cell in first.cells]
    one, other = [read_run(run) for run in runs[:2]]
    other.start = one.start | {"time": one.start["time"] + 1}
    (found,) = group_runs([one, other])
    assert (found.replicas, found.repeated) == ([other], [one])


# --- baselines


@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("swept", "baseline", "shown"),
    [
        ("+optimizer.amsgrad=true,false", "optimizer.amsgrad=false", "false"),
        ("+optimizer.amsgrad=true,false", "+optimizer.amsgrad=False", "false"),
        ("++optimizer.amsgrad=true,false", "amsgrad=false", "false"),
        ("model.hidden=[8],[16],[8,8]", "model.hidden=[16]", "16"),
        ("model.hidden=[8],[16],[8,8]", "hidden=[8, 8]", "[8,8]"),
        ("model.hidden=8,${data.in_features}", "model.hidden=64", "64"),
        ("optimizer.lr=range(0.1,0.35,0.1)", "optimizer.lr=0.3", "0.3"),
        ("optimizer.lr=range(0.1,0.35,0.1)", "optimizer.lr=0.30000000000000004", "0.3"),
        ("optimizer.lr=1e-2,1e-3", "lr=0.001", "0.001"),
        ("optimizer.betas=[0.9,0.99],[0.8,0.99]", "betas=[0.9,0.99]", "[0.9,0.99]"),
        ("model.dropout=null,0.5", "model.dropout=null", "null"),
        ("model=mlp,linear", "model=linear", "linear"),
        ("model.activation=relu,tanh", "activation=relu", "relu"),
    ],
)
def test_a_baseline_that_the_plan_takes_is_the_one_of_the_comparison(
    planned: Planned, swept: str, baseline: str, shown: str
) -> None:
    extra = ["+optimizer.betas=null"] if "betas" in swept else []
    plan = planned(*extra, swept, "seed=0,1", f"sweep.baseline='{baseline}'")
    found = compared(plan)
    assert list(found.baseline.values()) == [shown]
    assert not any("there is no baseline" in note for note in found.notes)


def test_a_choice_that_another_sweep_was_not_given_is_still_the_baseline(planned: Planned) -> None:
    plain = planned("optimizer.lr=0.1,0.2", "model.hidden=8")
    choices = planned("model=mlp,linear", "optimizer.lr=0.1", "sweep.baseline='model=mlp'")
    found = compared(plain, choices)
    assert found.baseline == {"model": "mlp"}


def test_a_baseline_that_cannot_be_used_is_said(planned: Planned) -> None:
    plan = planned("model.hidden=8,16", "optimizer.lr=0.1,0.2", "sweep.baseline='model.hidden=8'")
    for cell in plan.cells:
        record(cell.job)
    found = compared(plan, where="model.hidden == 16")
    assert found.baseline == {"optimizer.lr": "0.1"}
    assert found.notes[0] == (
        "sweep.baseline: model.hidden=8: model.hidden is not a swept key; valid: optimizer.lr; so there is no baseline"
    )


def test_a_value_that_two_columns_could_mean_is_the_one_that_is_written(planned: Planned) -> None:
    plan = planned(
        "model=cnn",
        "data.flatten=false",
        "model.channels=4,[4]",
        "sweep.baseline='model.channels=[4]'",
    )
    assert compared(plan).baseline == {"model.channels": "[4]"}


@pytest.mark.parametrize(
    "baseline", ["optimizer.lr=.1", "optimizer.lr=1e-1", "optimizer={lr:0.10}", "lr=float(0.1)"]
)
def test_a_baseline_may_be_written_as_hydra_takes_it(planned: Planned, baseline: str) -> None:
    plan = planned("optimizer.lr=0.1,0.2", "seed=0,1", f"sweep.baseline='{baseline}'")
    assert compared(plan).baseline == {"optimizer.lr": "0.1"}


def test_a_section_of_keys_is_compared_by_its_keys(planned: Planned) -> None:
    whole, single = planned("optimizer={lr:0.1},{lr:0.2}"), planned("optimizer.lr=0.2,0.3")
    found = compared(whole, single)
    assert found.columns == ["optimizer.lr"]
    assert [one.cells for one in found.groups] == [["0.1"], ["0.2"], ["0.3"]]


def test_a_choice_that_a_sweep_was_not_given_is_that_of_the_others_with_the_same_part(
    planned: Planned,
) -> None:
    plain = planned("optimizer.lr=0.1,0.2", "seed=0,1")
    choices = planned(
        "model=mlp,linear", "optimizer.lr=0.2,0.3", "seed=0,1", "sweep.baseline='model=mlp'"
    )
    for job in {
        cell.job.fingerprint: cell.job for plan in (plain, choices) for cell in plan.cells
    }.values():
        record(job)
    found = compared(plain, choices)
    assert found.columns == ["optimizer.lr", "model"]
    assert sorted(one.cells for one in found.groups) == [
        ["0.1", "mlp"], ["0.2", "linear"], ["0.2", "mlp"], ["0.3", "linear"], ["0.3", "mlp"],
    ]  # fmt: skip
    more = planned("model=mlp", "optimizer.lr=0.2,0.3", "seed=0,1")
    assert compared(plain, more).columns == ["optimizer.lr"]


def test_a_list_of_one_choice_is_that_choice(planned: Planned) -> None:
    listed = planned("scheduler=[constant]", "++scheduler.factor=0.5", "optimizer.lr=0.1")
    plain = planned("scheduler=constant", "optimizer.lr=0.1,0.2")
    found = compared(listed, plain)
    assert [one.choices["scheduler"] for one in found.groups] == ["constant"] * 3


def test_null_that_says_something_is_a_group_of_its_own(planned: Planned, root: Path) -> None:
    lines = [
        "import torch",
        "class Net(torch.nn.Linear):",
        "    def __init__(self, in_features, out_features, kind=3):",
    ]
    (root / "own_net.py").write_text(
        "\n".join([*lines, "        super().__init__(in_features, out_features)"])
    )
    own = ("model=linear", "model._target_=own_net.Net", "seed=0,1")
    found = compared(planned(*own), planned(*own, "+model.kind=null"))
    assert [len(one.replicas) for one in found.groups] == [2, 2]
    assert (found.columns, [one.cells for one in found.groups]) == (
        ["model.kind"],
        [["-"], ["null"]],
    )


def test_where_judges_a_run_by_what_it_was_asked_however_that_was_written(planned: Planned) -> None:
    plan = (
        planned("data.valid=119", "model.hidden=8", "seed=0"),
        planned("trainer.monitor=auto", "model.hidden=8", "seed=1"),
    )
    for each in plan:
        record(only(each))
    found = compared(
        *plan,
        where="data.valid == 119 and trainer.monitor == 'valid/accuracy' and scheduler.mode == 'max'",
    )
    assert [one.seed for group in found.groups for one in group.replicas] == [0, 1]
    assert compared(*plan, where="trainer.init_from == null").groups[0].replicas[0].seed == 0


# --- replicas over other keys than the seed


def test_replicas_may_be_over_other_keys(planned: Planned) -> None:
    plan = planned(
        "model.hidden=8,16", "data.split_seed=0,1,2", "sweep.replicate=[data.split_seed]"
    )
    for n, cell in enumerate(plan.cells):
        record(cell.job, parameters=float(n))
    found = compared(plan)
    assert [one.by_replica("parameters") for one in found.groups] == [
        {0: 0.0, 1: 1.0, 2: 2.0},
        {0: 3.0, 1: 4.0, 2: 5.0},
    ]
    assert found.columns == ["model.hidden"]
    assert tables.label(found.groups[0], found.groups[0].replicas[1]) == "hidden=8 split_seed=1"
    assert "confidence interval over n values of data.split_seed;" in tables.ranking_caption(found)


def test_replicas_may_be_over_two_keys(planned: Planned) -> None:
    plan = planned(
        "model.hidden=8,16",
        "data.split_seed=0,1",
        "seed=0,1",
        "sweep.replicate=[seed,data.split_seed]",
    )
    for cell in plan.cells:
        record(cell.job)
    found = compared(plan)
    assert [sorted(one.by_replica("parameters")) for one in found.groups] == [
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    ] * 2


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "[data.split_sed]",
            "sweep.replicate=data.split_sed: is not swept; did you mean 'data.split_seed'?",
        ),
        (
            "[model]",
            "sweep.replicate=model: is a choice of many keys; name one of these, as data.split_seed",
        ),
    ],
)
def test_what_cannot_be_replicated_over_is_refused(planned: Planned, keys: str, said: str) -> None:
    assert (
        refused(planned, "model=mlp,linear", "data.split_seed=0,1", f"sweep.replicate={keys}")
        == said
    )


FOLDS = ("data.fold=range(3)", "data.folds=3")


def test_folds_are_replicas_whose_seeds_count_once(planned: Planned) -> None:
    plan = planned("model.hidden=8,16", *FOLDS, "seed=0,1")
    for cell in plan.cells:
        settings = cell.job.config
        assert settings.data.fold is not None
        value = settings.data.fold / 10 + settings.seed / 100
        if settings.model["hidden"] == 16:
            value *= 2
        trained(cell.job, {"valid/accuracy": 0.5}, **{"test/accuracy": value})
    found = compared(plan)
    assert (found.columns, len(found.groups)) == (["model.hidden"], 2)
    mean = found.groups[0].mean("test/accuracy")
    assert mean is not None
    assert (round(mean.mean, 12), mean.n) == (0.105, 3)  # of 0.005, 0.105, 0.205
    ratio = 599 / 1099  # 1,797 digits: 599 in a fold, 99 that validate
    assert mean.half == pytest.approx(4.302652729749462 * 0.1 * (1 / 3 + ratio) ** 0.5)
    first, *_ = found.contrasts
    assert first == "test/accuracy"
    (told,) = found.contrasts[first]
    assert told.paired.difference is not None
    assert (told.paired.difference.n, told.paired.n_all) == (3, 3)
    assert told.paired.difference.half == pytest.approx(mean.half)
    assert "over n folds" in tables.ranking_caption(found)
    assert any("Nadeau and Bengio" in note for note in found.notes)


def test_folds_of_groups_differ_in_nothing_else(planned: Planned) -> None:
    first, second = (cell.job.config for cell in planned("data.fold=0,1", "data.folds=3").cells)
    for settings in (first, second):
        settings.data.group = "patient"
    asked = identity.asked(first, Facts(train=5, valid=2, test=3, digest=""))
    others = identity.asked(second, Facts(train=4, valid=1, test=5, digest=""))
    assert asked["data"] | {"fold": 1} == others["data"]


def test_folds_of_another_number_are_other_examples(planned: Planned) -> None:
    plan = planned("data.fold=0,1", "data.folds=2,3")
    for cell in plan.cells:
        trained(cell.job, {"valid/accuracy": 0.5})
    found = compared(plan)
    assert incomparable_keys("test/accuracy", "valid/accuracy", found.groups) == ["data.folds"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data.fold=0", "data.fold=0: is one of how many? give data.folds, as in data.folds=5"),
        (
            "data.folds=5",
            "data.folds=5: one of them is tested; name it, as in data.fold=0, or all by -m 'data.fold=range(5)'",
        ),
        ("data.fold=5 data.folds=5", "data.fold=5: must be 0 to 4, as data.folds=5"),
        (
            "data.fold=0 data.folds=5 data.test=9",
            "data.test=9: data.fold=0 is what is tested; give data.test=null",
        ),
    ],
)
def test_folds_that_are_none_are_refused(planned: Planned, given: str, said: str) -> None:
    assert refused(planned, *given.split()).splitlines()[0] == said


# --- what had no effect, and what cannot be compared


def trained(job: Job, valid: dict[str, float], weights: str = "0", **test: float) -> Run:
    """A finished run of one epoch with these metrics."""
    home = Store(job.config.store.root).open()
    run = home.run(job.fingerprint)
    run.folder.mkdir()
    run.journal.append(Event.START, **job.record(), provenance={"threads": 1})
    run.journal.append(store.Event.EPOCH, epoch=1, metrics=valid)
    final = {"seconds": 8.0, "early_stop_epoch": 1.0, "parameters": 10.0, "best_epoch": 1.0, **test}
    run.journal.append(
        store.Event.END,
        status=store.Status.FINISHED,
        stop_reason="patience",
        metrics=final,
        weights_sha256=weights,
    )
    run.write_result(
        job.result(store.Status.FINISHED, "patience", metrics=final, weights_sha256=weights)
    )
    return run


def test_a_swept_key_without_effect_is_told(planned: Planned) -> None:
    plan = planned("optimizer.lr=0.1,0.2", "model.hidden=8,16", "seed=0,1")
    for cell in plan.cells:
        job = cell.job
        trained(
            job, {"valid/accuracy": 0.5}, weights=f"{job.config.model['hidden']} {job.config.seed}"
        )
    assert compared(plan).notes[0] == (
        "optimizer.lr had no effect on the weights: they are the same whatever its value"
    )


def test_a_swept_key_without_effect_between_some_values_is_told(planned: Planned) -> None:
    plan = planned("optimizer.lr=0.1,0.2,0.3", "model.hidden=8,16", "seed=0,1")
    for cell in plan.cells:
        of = cell.job.config
        weights = (
            "a" if of.model["hidden"] == 8 and of.optimizer["lr"] < 0.3 else of.optimizer["lr"]
        )
        trained(
            cell.job, {"valid/accuracy": 0.5}, weights=f"{of.model['hidden']} {weights} {of.seed}"
        )
    assert (
        compared(plan).notes[0]
        == "optimizer.lr had no effect on the weights between 0.1 and 0.2 (with 8)"
    )


def test_the_plan_tells_which_key_has_no_effect(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(planned("data.memory=100,200", "seed=0,1").cells) == 2
    assert capsys.readouterr().out == (
        "2 of 4 jobs ask for the same run as another: trained once; data.memory had no effect on what they ask for\n"
    )


def test_losses_of_other_functions_are_not_compared(planned: Planned) -> None:
    plan = planned("loss=cross_entropy,nll", "seed=0,1,2", "trainer.monitor=valid/loss")
    for cell in plan.cells:
        nll, seed = cell.job.config.loss["_target_"].endswith("NLLLoss"), cell.job.config.seed
        loss = (0.1 if nll else 5.0) + seed / 100
        trained(
            cell.job,
            {"valid/loss": loss, "valid/accuracy": (0.5 if nll else 0.9) + seed / 1000},
            f"{nll}{seed}",
        )
    found = compared(plan)
    assert (found.monitor, found.mode) == ("valid/accuracy", "max")
    assert [one.cells for one in found.groups] == [["cross_entropy"], ["nll"]]
    remark = found.notes[0]
    assert remark == (
        "valid/loss is another number where loss._target_, loss.label_smoothing differ, and cannot be compared; "
        "valid/accuracy can, and ranks the configs"
    )


@pytest.mark.parametrize(
    ("swept", "metric", "differs"),
    [
        ("loss.label_smoothing=0,0.1", "valid/loss", ["loss.label_smoothing"]),
        ("loss.label_smoothing=0,0.1", "valid/accuracy", []),
        ("loss.label_smoothing=0,0.1", "epochs_to_target", ["loss.label_smoothing"]),
        ("data.valid=100,119", "valid/accuracy", ["data.valid"]),
        ("data.valid=100,119", "test/accuracy", []),
        ("data.split_seed=0,1", "test/accuracy", ["data.split_seed"]),
        ("optimizer.lr=0.1,0.2", "valid/loss", []),
        ("model.hidden=8,16", "seconds", []),
        ("data.valid=100,119", "parameters", []),
    ],
)
def test_what_a_number_is_made_of(
    planned: Planned, swept: str, metric: str, differs: list[str]
) -> None:
    plan = planned(swept, "seed=0,1")
    for cell in plan.cells:
        trained(cell.job, {"valid/accuracy": 0.5, "valid/loss": 0.5})
    assert incomparable_keys(metric, "valid/loss", compared(plan).groups) == differs


def test_errors_in_the_targets_own_unit_rank_where_losses_cannot(planned: Planned) -> None:
    regression = (
        "data=diabetes",
        "loss=mse",
        "trainer.batch_size=32",
        "trainer.monitor=valid/loss",
    )
    plan = planned(*regression, "data.target_std=1,10", "seed=0,1,2")
    for cell in plan.cells:
        scale, seed = cell.job.config.data.target_std, cell.job.config.seed
        error = (40.0 if scale == 1 else 50.0) + seed / 10
        trained(
            cell.job,
            {"valid/loss": 1600.0 if scale == 1 else 25.0, "valid/mae": error},
            f"{scale}{seed}",
        )
    found = compared(plan)
    assert (found.monitor, found.mode, [one.cells for one in found.groups]) == (
        "valid/mae",
        "min",
        [["1"], ["10"]],
    )
    assert [one.verdict for one in found.contrasts["valid/mae"]] == [
        "differs alike in all 3 pairs: no spread to test by"
    ]


def test_one_key_to_replicate_over_needs_no_brackets(planned: Planned) -> None:
    plan = planned("model.hidden=8,16", "data.split_seed=0,1", "sweep.replicate=data.split_seed")
    assert plan.manifest(None, "running", 0.0)["replicate"] == ["data.split_seed"]


def test_two_spellings_of_a_value_are_not_a_key_without_effect(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(planned("model.dropout=0,0.0,0.5", "model.hidden=8,[8]").cells) == 2
    assert capsys.readouterr().out == "4 of 6 jobs ask for the same run as another: trained once\n"
