"""The rules of a sweep: which keys are swept where, which configs are drawn, where it starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared import add, cell, manifest, summarise
from conftest import Command
from hydra.core.config_store import ConfigStore
from planning import DIGITS, Planned, refused

from sweeplab.config import Sweep
from sweeplab.errors import UserError
from sweeplab.store import Store
from sweeplab.sweep import combinations, rules, sampling
from sweeplab.sweep.plan import Plan

SGD = "sweep.when={optimizer.momentum: \"optimizer == 'sgd'\"}"
MOMENTA = ("optimizer=adam,sgd", "optimizer.momentum=0,0.9")


@pytest.fixture
def home(root: Path) -> Store:
    return Store(root / "runs").open()


def names(plan: Plan) -> list[str]:
    return [cell.name for cell in plan.cells]


# --- sweep.when


def test_a_key_is_swept_only_where_its_condition_holds(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(*MOMENTA, "seed=0,1", SGD)
    assert names(plan) == [
        "optimizer=adam seed=0",
        "optimizer=adam seed=1",
        "optimizer=sgd momentum=0 seed=0",
        "optimizer=sgd momentum=0 seed=1",
        "optimizer=sgd momentum=0.9 seed=0",
        "optimizer=sgd momentum=0.9 seed=1",
    ]
    assert "momentum" not in plan.cells[0].job.config.optimizer
    assert capsys.readouterr().out == (
        "2 of 8 jobs are the same as another without the keys that sweep.when leaves out\n"
    )


def test_one_job_that_is_left_out_is_one(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(*MOMENTA, SGD)
    assert capsys.readouterr().out.startswith("1 of 4 jobs is the same as another without ")


def test_a_condition_that_never_holds_is_said(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(*MOMENTA, "sweep.when={optimizer.momentum: \"optimizer == 'SGD'\"}")
    said = "sweep.when.optimizer.momentum: holds in no job; optimizer.momentum keeps its default"
    assert capsys.readouterr().out.startswith(f"{said}\n2 of 4 jobs are the same as another ")


def test_where_a_condition_does_not_hold_the_key_keeps_its_default(planned: Planned) -> None:
    """A run has the fingerprint that it has without `when`."""
    when = 'sweep.when={model.dropout: "model.hidden > 8"}'
    plan = planned("model.hidden=8,16", "model.dropout=0.25,0.5", when)
    assert [cell.job.config.model["dropout"] for cell in plan.cells] == [None, 0.25, 0.5]
    assert names(plan) == ["hidden=8", "hidden=16 dropout=0.25", "hidden=16 dropout=0.5"]
    (alone,) = planned("model.hidden=8").cells
    assert plan.cells[0].job.fingerprint == alone.job.fingerprint


def test_a_value_that_is_given_once_has_a_condition_too(planned: Planned) -> None:
    plan = planned("optimizer=adam,sgd", "optimizer.momentum=choice(0.5)", SGD)
    assert names(plan) == ["optimizer=adam", "optimizer=sgd momentum=0.5"]


def test_conditions_go_with_zip_and_where_and_look_at_keys_before(planned: Planned) -> None:
    when = 'sweep.when={model.dropout: "model.hidden > 8", trainer.ema: "model.dropout != null"}'
    lists = ("model.hidden=8,16,32", "model.dropout=0.1,0.2,0.3", "trainer.ema=0.5,0.9")
    plan = planned(
        *lists, when, "sweep.zip=[model.hidden,model.dropout]", "sweep.where='model.hidden < 32'"
    )
    assert names(plan) == [
        "hidden=8",
        "hidden=16 dropout=0.2 ema=0.5",
        "hidden=16 dropout=0.2 ema=0.9",
    ]


def test_conditions_may_stand_in_an_experiment_nested_or_not(planned: Planned) -> None:
    for when in ({"optimizer.momentum": "optimizer == 'sgd'"},
                 {"optimizer": {"momentum": "optimizer._target_ == 'torch.optim.SGD'"}}):  # fmt: skip
        ConfigStore.instance().store(
            group="experiment", name="asking", node={"sweep": {"when": when}}, package="_global_"
        )
        try:
            assert len(planned("experiment=asking", *MOMENTA).cells) == 3
        finally:
            del ConfigStore.instance().repo["experiment"]["asking.yaml"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("x", 'sweep.when=x: must be swept keys with a condition each, as in {model.dropout: "model.hidden > 256"}, or null'),
        ("{optimizer.momentum: 1}", "sweep.when={'optimizer.momentum': 1}: must be swept keys with a condition each, as in {model.dropout: \"model.hidden > 256\"}, or null"),
        ('{optimizer.momentun: "true"}', "sweep.when.optimizer.momentun: is not swept; did you mean 'optimizer.momentum'?"),
        ('{seed: "true"}', "sweep.when.seed: is not swept; valid: optimizer, optimizer.momentum"),
        ('{optimizer.momentum: "optimizer =="}', "sweep.when.optimizer.momentum: cannot be read: invalid syntax\n  optimizer ==\n              ^"),
        ('{optimizer.momentum: "optimzer == 1"}', "sweep.when.optimizer.momentum: optimzer: no such key; did you mean 'optimizer'?; a text needs quotes: 'optimzer'"),
        ('{optimizer.momentum: "optimizer.lr"}', "sweep.when.optimizer.momentum: optimizer.lr: optimizer.lr is 0.001, a number, not true or false; compare it with something"),
        ('{optimizer.momentum: "optimizer.momentum > 0"}', "sweep.when.optimizer.momentum: looks at optimizer.momentum; a condition looks only at keys whose own conditions stand before it"),
        ('{optimizer: "optimizer.momentum > 0", optimizer.momentum: "true"}', "sweep.when.optimizer: looks at optimizer.momentum; a condition looks only at keys whose own conditions stand before it"),
    ],
)  # fmt: skip
def test_conditions_that_are_none_are_refused(planned: Planned, when: str, said: str) -> None:
    assert refused(planned, *MOMENTA, f"sweep.when={when}") == said


def test_a_key_that_repeats_configs_has_no_condition(planned: Planned) -> None:
    when = "sweep.when={seed: \"optimizer == 'sgd'\"}"
    assert (
        refused(planned, "optimizer=adam,sgd", "seed=0,1", when)
        == "sweep.when.seed: repeats configs, of which each is to have all of its values"
    )


def test_a_key_that_is_wrong_is_told_of_the_jobs_not_of_the_condition(planned: Planned) -> None:
    when = 'sweep.when={model.dropout: "model.hiden > 8"}'
    assert refused(planned, "model.hiden=8,16", "model.dropout=0.1,0.2", when).splitlines() == [
        "model.hiden=8: no such key; did you mean 'model.hidden=8'?  (in hiden=8)",
        "model.hiden=16: no such key; did you mean 'model.hidden=16'?  (in hiden=16)",
        "nothing was trained",
    ]


def test_a_config_without_the_key_is_the_baseline_of_all_its_values(home: Store) -> None:
    cells = []
    for seed in (0, 1):
        cells += [
            add(home, "optimizer=adam", f"seed={seed}", valid=[0.5 + seed / 10]),
            add(home, "optimizer=sgd", "optimizer.momentum=0", f"seed={seed}", valid=[0.6]),
            add(home, "optimizer=sgd", "optimizer.momentum=0.9", f"seed={seed}", valid=[0.9]),
        ]
    comparison = summarise(home, manifest(home, cells, baseline="optimizer=adam"))
    assert [group.cells for group in comparison.groups] == [["sgd", "0.9"], ["sgd", "0"], ["adam", "-"]]  # fmt: skip
    differences = [one.paired.difference for one in comparison.contrasts["valid/accuracy"]]
    assert [round(one.mean, 3) for one in differences if one] == [0.35, 0.05]


# --- sweep.sample

GRID = ("model.hidden=8,16,24,32", "trainer.epochs=1,2,3", "seed=0,1")


def drawn(plan: Plan) -> list[tuple[int, int]]:
    """The drawn configs, each with both seeds."""
    configs = [cell.job.config for cell in plan.cells]
    picks = [(each.model["hidden"], each.trainer.epochs) for each in configs]
    assert picks[::2] == picks[1::2]
    assert [each.seed for each in configs] == [0, 1] * (len(configs) // 2)
    return picks[::2]


def test_a_larger_sample_has_the_smaller_one(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same in any order of keys and values; another seed draws others."""
    five, nine = planned(*GRID, "sweep.sample=5"), planned(*GRID, "sweep.sample=9")
    assert len(set(drawn(five))) == 5
    assert drawn(nine)[:5] == drawn(five)
    assert len(set(drawn(nine))) == 9
    turned = ("trainer.epochs=3,1,2", "seed=0,1", "model.hidden=32,16,8,24")
    assert drawn(planned(*turned, "sweep.sample=5")) == drawn(five)
    assert drawn(planned(*GRID, "sweep.sample=5", "sweep.sample_seed=1")) != drawn(five)
    assert capsys.readouterr().out.splitlines()[0] == (
        "sweep.sample=5: drawn from 12 combinations, each with every value of seed"
    )


def test_a_value_that_all_drawn_configs_share_is_told(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(*GRID, "sweep.sample=1")
    ((hidden, epochs),) = set(drawn(plan))
    assert capsys.readouterr().out == (
        "sweep.sample=1: drawn from 12 combinations, each with every value of seed; "
        f"all have model.hidden={hidden} trainer.epochs={epochs}\n"
    )


def test_more_than_there_are_is_all(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(*GRID, "sweep.sample=20", "sweep.where='model.hidden > 8'")
    assert len(set(drawn(plan))) == 9
    assert capsys.readouterr().out == (
        "sweep.sample=20: all there are, 9 configs, each with every value of seed\n"
    )


def test_pairs_with_the_baseline_and_folds_stay_whole(planned: Planned) -> None:
    folds = ("data.folds=3", "data.fold=range(3)", "model.batch_norm=true,false")
    plan = planned(*GRID[:2], *folds, "sweep.baseline='batch_norm=false'", "sweep.sample=2")
    blocks = [(cell.job.config.model["hidden"], cell.job.config.trainer.epochs) for cell in plan.cells]  # fmt: skip
    assert [len(set(blocks)), len(blocks)] == [2, 2 * 2 * 3]
    pairs = {(cell.job.config.model["batch_norm"], cell.job.config.data.fold) for cell in plan.cells}  # fmt: skip
    assert len(pairs) == 2 * 3


def test_each_value_of_a_conditional_key_is_drawn_once(planned: Planned) -> None:
    plan = planned(*MOMENTA, SGD, "sweep.sample=4")
    assert sorted(names(plan)) == [
        "optimizer=adam", "optimizer=sgd momentum=0", "optimizer=sgd momentum=0.9",
    ]  # fmt: skip


def test_a_huge_grid_is_not_listed(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    huge = ("trainer.epochs=range(1,10000)", "trainer.batch_size=range(1,100)", "data.split_seed=range(10000)")  # fmt: skip
    three, five = planned(*huge, "sweep.sample=3"), planned(*huge, "sweep.sample=5")
    assert [cell.job.fingerprint for cell in five.cells][:3] == [
        cell.job.fingerprint for cell in three.cells
    ]
    assert "drawn from 9899010000 combinations\n" in capsys.readouterr().out
    odd = planned(*huge, "sweep.sample=3", "sweep.where='trainer.epochs < 5000'")
    assert all(cell.job.config.trainer.epochs < 5000 for cell in odd.cells)


def test_configs_that_hardly_occur_are_not_sought_for_ever(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MOST_MISSES", 30)
    where = "sweep.where='trainer.epochs < 2'"
    assert refused(planned, "trainer.epochs=range(1,1000)", "seed=0,1", where, "sweep.sample=2") == (
        "sweep.sample=2: 30 jobs in a row were drawn in vain, after 0 configs: sweep.where and sweep.when leave "
        "hardly any of the 999 combinations; narrow the swept values, or ask for fewer"
    )  # fmt: skip


def test_a_large_sample_of_what_hardly_occurs_is_given_up_sooner(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 30 jobs in vain at most 3 of 30 are wanted: 40 configs take 400 jobs at the least."""
    monkeypatch.setattr(sampling, "LEAST_MISSES", 30)
    monkeypatch.setattr(sampling, "MOST_AHEAD", 400)
    monkeypatch.setattr(sampling, "PATIENCE", -1.0)
    words = ("trainer.epochs=range(1,1000)", "sweep.where='trainer.epochs < 2'")
    said = refused(planned, *words, "sweep.sample=40")
    assert said.startswith(
        "sweep.sample=40: 30 jobs in a row were drawn in vain, after 0 configs: "
    )
    assert capsys.readouterr().out == (
        "sweep.sample=40: so far 0 configs of 1 job that were drawn; still drawing\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.sample=0"], "sweep.sample=0: must be a whole number >= 1, or null; did you mean 'sweep.sample=null'?"),
        (["sweep.sample=-1"], "sweep.sample=-1: must be a whole number >= 1, or null; did you mean 'sweep.sample=null'?"),
        (["sweep.sample=1.5"], "sweep.sample=1.5: must be a whole number >= 1, or null"),
        (["sweep.sample=x"], "sweep.sample=x: must be a whole number >= 1, or null"),
        (["sweep.sample=1,2"], "sweep.sample: must be the same for all jobs of a sweep; it is carried out as one"),
        (["sweep.zip=a,b"], "sweep.zip: must be the same for all jobs of a sweep; it is carried out as one; a list needs brackets"),
        (["sweep.sample=2", "sweep.sample_seed=-1"], "sweep.sample_seed=-1: must be a whole number >= 0"),
        (["sweep.sample=2", "sweep.where='seed > 5'"], "sweep.where: holds for none of the 24 jobs; nothing was trained"),
        (["sweep.sample=2", "sweep.where='sed > 5'"], "sweep.where: sed: no such key; did you mean 'seed'?; a text needs quotes: 'sed'"),
        (["sweep.sample=2", "optimizer.lr=interval(0.1,1)"], "optimizer.lr=interval(0.1,1): has no list of values; give some, as in optimizer.lr=1,2, or search it with hydra/sweeper=optuna"),
    ],
)  # fmt: skip
def test_samples_that_are_none_are_refused(planned: Planned, words: list[str], said: str) -> None:
    assert refused(planned, *GRID, *words) == said


def test_a_sample_has_no_more_jobs_than_a_sweep(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combinations, "MOST_JOBS", 10)
    assert refused(planned, *GRID, "sweep.sample=6") == (
        "-m: 12 combinations are asked for; a sweep has at most 10 jobs"
    )


# --- sweep.from


def first(home: Store, *more: str, seeds: int = 2, experiment: str = "first") -> str:
    """A sweep of two widths and learning rates, of which 16 and 0.01 is the best; its id."""
    cells = []
    for seed in range(seeds):
        for hidden, lr, valid in ((8, 0.01, 0.7), (16, 0.01, 0.9), (16, 0.1, 0.8)):
            words = (f"model.hidden={hidden}", f"optimizer.lr={lr}", *more, f"seed={seed}")
            cells.append(add(home, *words, valid=[valid]))
    asked = ["model.hidden=8,16", "optimizer.lr=0.01,0.1", *more, f"seed=range({seeds})"]
    return manifest(home, cells, name=" ".join(asked), experiment=experiment)


def test_a_sweep_starts_from_the_best_config_of_another(
    planned: Planned, home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of which it takes the swept keys alone, not the seed, not `trainer.epochs`."""
    sweep_id = first(home, "trainer.epochs=7")
    taken = ["model.hidden=16", "optimizer.lr=0.01"]
    for name in ("first", "latest", sweep_id, sweep_id[:8]):
        plan = planned("model.dropout=0.1,0.2", f"sweep.from={name}")
        assert names(plan) == ["dropout=0.1", "dropout=0.2"]
        settings = plan.cells[0].job.config
        assert [settings.model["hidden"], settings.optimizer["lr"]] == [16, 0.01]
        assert settings.trainer.epochs == 20
        assert plan.manifest(None, "running", 0.0)["from"] == {
            "asked": name, "sweep": sweep_id, "taken": taken,
        }  # fmt: skip
        said = f"from {name}: {' '.join(taken)} (the best of sweep {sweep_id[:16]})\n"
        assert capsys.readouterr().out == said
    (typed,) = planned(*taken, "model.dropout=0.1").cells
    assert plan.cells[0].job.fingerprint == typed.job.fingerprint


def test_what_is_given_here_goes_before_what_is_taken(planned: Planned, home: Store) -> None:
    """On the command line, in the experiment, or in the option of a group; a choice goes with all of its keys."""
    first(home)
    start = "sweep.from=first"
    assert planned("optimizer.lr=0.5", start).start["taken"] == ["model.hidden=16"]
    assert planned("optimizer.lr=0.5,0.6", start).start["taken"] == ["model.hidden=16"]
    assert planned("optimizer=sgd", start).start["taken"] == ["model.hidden=16"]
    assert planned("model=linear,mlp", start).start["taken"] == ["optimizer.lr=0.01"]
    assert planned("trainer=fast", start).start["taken"] == ["model.hidden=16"], "it sets the rate"
    node = {"sweep": {"from": "first"}, "model": {"hidden": 4}}
    ConfigStore.instance().store(group="experiment", name="second", node=node, package="_global_")
    try:
        plan = planned("experiment=second", "seed=0,1")
        assert plan.start["taken"] == ["optimizer.lr=0.01"]
        assert plan.cells[0].job.config.model["hidden"] == 4
        assert planned("experiment=second", "sweep.from=null").start == {}
    finally:
        del ConfigStore.instance().repo["experiment"]["second.yaml"]


def test_choices_and_further_keys_are_taken_as_such(planned: Planned, home: Store) -> None:
    words = (
        "optimizer=sgd",
        "+optimizer.dampening=0.1",
        "model.hidden=[8, 4]",
        "model.activation=tanh",
    )
    one = add(home, "model.hidden=8", "seed=0") | {"overrides": [*words, "seed=0"]}
    asked = ["optimizer=adam,sgd", "+optimizer.dampening=0.1,0.2", "model.hidden=[8,4],8", "model.activation=choice(tanh)", "seed=0,1"]  # fmt: skip
    home.write_manifest(home.manifest(manifest(home, [one])) | {"overrides": asked})
    plan = planned("seed=0,1", "sweep.from=latest")
    assert plan.start["taken"] == ["optimizer=sgd", "++optimizer.dampening=0.1", "model.hidden=[8,4]", "model.activation=tanh"]  # fmt: skip
    assert plan.cells[0].job.config.optimizer["dampening"] == 0.1


def test_a_third_phase_starts_from_all_that_the_second_was_of(
    planned: Planned, home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """`latest` is never the sweep itself, nor one that comes from it."""
    first_id = first(home)
    second = add(home, "model.hidden=16", "optimizer.lr=0.01", "model.dropout=0.2", "seed=0")
    asked = [*DIGITS, "model.dropout=0.1,0.2", "sweep.from=latest"]
    start = {"asked": "latest", "sweep": first_id, "taken": ["model.hidden=16", "optimizer.lr=0.01"]}  # fmt: skip
    second_id = manifest(home, [second], name="second")
    home.write_manifest(home.manifest(second_id) | {"overrides": asked, "from": start})
    third = planned("seed=0,1", "sweep.from=latest")
    assert third.start["sweep"] == second_id
    assert third.start["taken"] == [*start["taken"], "model.dropout=0.2"]
    again = planned("model.dropout=0.1,0.2", "sweep.from=latest", "sweep.plan=true")
    assert again.start == start
    capsys.readouterr()
    add(home, "model.hidden=8", "optimizer.lr=0.01", "seed=2", valid=[0.99])
    better = [cell(["model.hidden=8", "optimizer.lr=0.01", "seed=2"])]
    home.write_manifest(home.manifest(first_id) | {"cells": better})
    assert planned("model.dropout=0.1,0.2", "sweep.from=latest").start["taken"] == ["model.hidden=8", "optimizer.lr=0.01"]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[1] == (
        "when this sweep was last asked for, that was model.hidden=16 optimizer.lr=0.01"
    )


def test_what_cannot_be_started_from_is_refused(planned: Planned, home: Store) -> None:
    def why(*words: str) -> str:
        return refused(planned, *words).replace(str(home.root), "runs")

    assert why("sweep.from=latest") == "sweep.from=latest: there is no other sweep in runs yet"
    begin, _, known = why("sweep.from=zzz").partition("; valid: ")
    assert begin == (
        "sweep.from=zzz: no other sweep in runs begins so or is of an experiment of that name"
    )
    # Other tests of this process may have experiments of their own.
    assert {"batchnorm", "latest", "linear_vs_mlp", "width"} <= set(known.split(", "))
    assert why("sweep.from=linear_vs_mpl").endswith("; did you mean 'linear_vs_mlp'?")
    assert why("sweep.from=width") == (
        "sweep.from=width: has not been run in runs; first: python train.py experiment=width"
    )
    assert why("sweep.from=[a]") == "sweep.from=['a']: must be a text, or null"
    assert why("experiment=width", "sweep.from=width") == (
        "sweep.from=width: goes in a circle: width from width"
    )
    node = {"sweep": {"from": "width"}}
    ConfigStore.instance().store(group="experiment", name="other", node=node, package="_global_")
    try:
        assert why("experiment=width", "sweep.from=other") == (
            "sweep.from=other: goes in a circle: width from other from width"
        )
    finally:
        del ConfigStore.instance().repo["experiment"]["other.yaml"]
    first(home, experiment="width")
    assert why("model.hidden=8,16", "sweep.from=widht").endswith("; did you mean 'width'?")
    both = ["model.hidden=8,16", "sweep.from=width"]
    assert planned(*both).start["taken"] == ["optimizer.lr=0.01"]
    home.write_manifest(home.manifests()[-1] | {"overrides": [*DIGITS, *both]})
    assert why(*both) == "sweep.from=width: is this sweep itself, or comes from it; name another"


def test_a_beginning_of_several_ids_and_a_sweep_of_seeds_only(
    planned: Planned, home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [add(home, f"seed={seed}") for seed in (0, 1)]
    ids = [manifest(home, [run], name="seed=0,1") for run in runs]
    home.write_manifest(home.manifest(ids[1]) | {"id": f"{ids[0][:5]}{'0' * 59}"})
    assert refused(planned, f"sweep.from={ids[0][:5]}").startswith(
        f"sweep.from={ids[0][:5]}: several sweeps begin so: {ids[0][:12]}, "
    )
    assert planned(f"sweep.from={ids[0]}", "model.hidden=8,16").start["taken"] == []
    assert capsys.readouterr().out.startswith(
        f"from {ids[0]}: nothing: it swept no keys of a config (the best of sweep {ids[0][:16]})"
    )


def test_a_sweep_that_is_not_done_or_not_ranked_is_no_start(planned: Planned, home: Store) -> None:
    done = add(home, "model.hidden=8", "seed=0")
    half = [done, add(home, "model.hidden=16", "seed=0", status="interrupted")]
    manifest(home, half, name="model.hidden=8,16 seed=0", experiment="half")
    assert refused(planned, "sweep.from=half") == (
        "sweep.from=half: is not done, 2 runs of 2 configs: 1 finished, 1 interrupted; first: "
        "python train.py -m model.hidden=8,16 seed=0"
    )
    failed = [done, add(home, "model.hidden=32", "seed=0", status="failed", stop_reason=None)]
    manifest(home, failed, name="model.hidden=8,32 seed=0", experiment="failed")
    assert planned("seed=0,1", "sweep.from=failed").start["taken"] == ["model.hidden=8"]
    none = [add(home, "model.hidden=64", "seed=0", status="failed", stop_reason=None)]
    manifest(home, none, name="model.hidden=64,65 seed=0", experiment="none")
    assert refused(planned, "sweep.from=none") == (
        "sweep.from=none: has no best config: none of its runs has valid/accuracy"
    )


def test_losses_that_are_other_numbers_have_no_winner(planned: Planned, home: Store) -> None:
    cells = [
        add(home, f"loss._target_={name}", "seed=0", valid=[0.5], task="regression")
        for name in ("torch.nn.MSELoss", "torch.nn.L1Loss")
    ]
    manifest(home, cells, name="loss=mse,l1 seed=0", experiment="losses")
    assert refused(planned, "sweep.from=losses") == (
        "sweep.from=losses: has no best config: valid/loss is another number where loss._target_ differs"
    )


def test_rules_are_for_sweeps_of_our_own() -> None:
    rules.ensure_none(Sweep(where="seed > 0"))
    for sweep, key in ((Sweep(sample=2), "sample"), (Sweep(from_="a"), "from"), (Sweep(zip=["a"]), "zip")):  # fmt: skip
        with pytest.raises(UserError) as error:
            rules.ensure_none(sweep)
        assert str(error.value) == f"sweep.{key}: hydra/sweeper=sweeplab is needed for it"


def test_only_plain_values_are_taken(planned: Planned, home: Store) -> None:
    """What lies in a store chooses no class, resolves nothing, and sweeps nothing."""

    def taking(override: str) -> str:
        key = override.partition("=")[0]
        one = cell([override, "seed=0"]) | {"fingerprint": good["fingerprint"]}
        sweep = home.manifest(manifest(home, [one], experiment="bad"))
        home.write_manifest(sweep | {"overrides": [f"{key}=1,2"]})
        return refused(planned, "seed=0,1", "sweep.from=bad")

    good = add(home, "model.hidden=8", "seed=0")
    rule = "a class, an interpolation and a secret are not taken from a store: give it here"
    for override, shown in (
        ("model._target_=os.system", "model._target_=os.system"),
        ("model.hidden=${oc.env:HOME}", 'model.hidden="${oc.env:HOME}"'),
        ("optimizer.token=***", 'optimizer.token="***"'),
    ):
        assert taking(override) == f"sweep.from=bad: its best config has {shown}; {rule}"
    assert taking("model={_target_:os.system}").endswith(rule)
    assert taking("model.hidden=[8").startswith("sweep.from=bad: its manifest cannot be read: ")
    sweep = home.manifest(manifest(home, [good | {"overrides": ["model.hidden=1,2", "store.root=x"]}], experiment="sweeping"))  # fmt: skip
    home.write_manifest(sweep | {"overrides": ["model.hidden=1,2", "store.root=x,y"]})
    assert planned("seed=0,1", "sweep.from=sweeping").start["taken"] == []


def test_two_phases_on_digits(train: Command, root: Path) -> None:
    small = ("trainer.epochs=1", "trainer.limit_batches=4", *DIGITS[:1])
    assert train("-m", "model=linear,mlp", "seed=0,1", *small).code == 0
    ended = train("-m", "model.hidden=8,16", "sweep.from=latest", *small)
    assert ended.code == 0, ended.err
    home = Store(root / "runs")
    one, two = home.manifests()
    best = ended.out.partition("from latest: ")[2].partition(" (")[0]
    assert best in ("model=linear", "model=mlp")
    assert two["from"] == {"asked": "latest", "sweep": one["id"], "taken": [best]}
    assert [cell["name"] for cell in two["cells"]] == ["hidden=8", "hidden=16"]
    again = train("-m", "model.hidden=8,16", "sweep.from=latest", *small)
    assert "2 jobs: 2 reused" in again.out
    ended = train("sweep.from=latest", *small)
    assert (ended.code, ended.err) == (
        2, "sweep.from=latest: is where a sweep starts from; add -m, for one run, too\n",
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["sample=2", "when={seed: 'true'}", "zip=[seed]"])
def test_a_search_has_no_list_of_combinations(train: Command, rule: str) -> None:
    words = ("hydra/sweeper=optuna", "model.hidden=8,16", *DIGITS)
    ended = train("-m", *words, f"sweep.{rule}")
    key = rule.partition("=")[0]
    assert (ended.code, ended.err) == (
        2, f"sweep.{key}: is for a list of combinations, which a search has not\n",
    )  # fmt: skip
